"""How a sweep stands, as one value made from plan, statuses and rows. Pure; drawn by `terminal.py` and by `status`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from orchestrator.display.words import spans
from orchestrator.folder.records import PackState, PackStatus, Row, RowStatus, SavedPlan
from trainer.config import TrialConfig

_L0 = ("l0", "eval/l0", "train/l0")
_CE = ("ce_loss_increase", "eval/ce_loss_increase")

Span = tuple[float, float]
"""Lowest and highest of some trials."""


@dataclass(frozen=True)
class GroupView:
    """Trials of one layer and loss in a running pack."""

    layer: int
    loss: str
    n_trials: int
    l0: Span | None
    ce_loss_increase: Span | None
    """Held-out, so far; None before the first evaluation."""


@dataclass(frozen=True)
class PackView:
    """A pack that runs."""

    pack_id: str
    where: str
    """Layers and losses, such as `L2-3 local e2e`."""
    n_trials: int
    step: int
    n_steps: int
    sae_tokens_per_s: float | None
    """Tokens of the stream times SAEs that train on them."""
    eta_s: float | None
    """Of its training steps; None while there is no speed yet."""
    l0: Span | None
    ce_loss_increase: Span | None
    groups: tuple[GroupView, ...]


class Point(NamedTuple):
    """What came out of a trial that is done."""

    layer: int
    loss: str
    l0: float
    ce_loss_increase: float


@dataclass(frozen=True)
class SweepView:
    """A sweep at one moment."""

    sweep_id: str
    n_trials: int
    n_packs: int
    n_done: int
    n_failed: int
    n_stopped: int
    n_running: int
    fraction: float
    """Of all tokens that all trials together train on."""
    elapsed_s: float
    eta_s: float | None
    """None while it cannot be told."""
    packs: tuple[PackView, ...]
    eta_high_s: float | None = None
    """Where the last packs end up alone while other slots have nothing to do."""
    points: tuple[Point, ...] = ()
    """Of the trials that are done, the last to end at the end."""
    active: bool = True
    """Whether a launch is at work on it."""
    n_dominated: int = 0
    """Stopped early, since others are better."""
    search_round: int = 0
    """The newest round of its search; 0 while there is only the grid."""

    @property
    def n_waiting(self) -> int:
        ended = self.n_done + self.n_failed + self.n_stopped + self.n_dominated
        return self.n_trials - ended - self.n_running


def look(
    plan: SavedPlan,
    statuses: Mapping[str, PackStatus],
    ended: Mapping[str, RowStatus],
    *,
    elapsed_s: float,
    active: bool = True,
    points: Iterable[Point] = (),
) -> SweepView:
    """`statuses` by pack, `ended` by trial: how those with a row ended. `active`: whether a launch is at work on it.

    Trials that the sweep asks for no longer are not in any number.
    """
    wanted = plan.wanted
    ended = {trial_id: status for trial_id, status in ended.items() if trial_id in wanted}
    running = [status for status in statuses.values() if active and status.state is PackState.RUNNING]
    open_trials = {
        status.pack_id: [id_ for id_ in status.trial_ids if id_ in wanted and id_ not in ended] for status in running
    }
    packs = tuple(_pack_view(status, plan, open_trials[status.pack_id]) for status in running)
    progress = {
        trial_id: status.step / status.n_steps if status.n_steps else 0.0
        for status in running
        for trial_id in open_trials[status.pack_id]
    }
    sizes = {id_: float(trial.n_steps * trial.tokens_per_step) for id_, trial in plan.trials.items() if id_ in wanted}
    left = {
        trial_id: 0.0 if ended.get(trial_id, RowStatus.STOPPED) is not RowStatus.STOPPED else
        size * (1.0 - progress.get(trial_id, 0.0))
        for trial_id, size in sizes.items()
    }  # fmt: skip
    counts = {kind: sum(status is kind for status in ended.values()) for kind in RowStatus}
    waiting = [
        sum(left.get(trial_id, 0.0) for trial_id in trial_ids)
        for pack_id, trial_ids in plan.packs.items()
        if pack_id not in open_trials
    ]
    eta_s = _eta_s(sum(left.values()), packs)
    return SweepView(
        sweep_id=plan.sweep_id,
        n_trials=len(wanted),
        n_packs=len(plan.packs),
        n_done=counts[RowStatus.DONE],
        n_failed=counts[RowStatus.FAILED],
        n_stopped=counts[RowStatus.STOPPED],
        n_dominated=counts[RowStatus.DOMINATED],
        n_running=len(progress),
        fraction=1.0 - sum(left.values()) / max(1.0, sum(sizes.values())),
        elapsed_s=elapsed_s,
        eta_s=eta_s,
        packs=packs,
        eta_high_s=_eta_high_s(eta_s, packs, longest_waiting=max(waiting, default=0.0)),
        points=tuple(points),
        active=active,
        search_round=max((why.round for id_, why in plan.proposed.items() if id_ in wanted), default=0),
    )


def points_of(rows: Iterable[Row]) -> tuple[Point, ...]:
    """What came out of those that are done, the last to end at the end."""
    found: list[Point] = []
    for row in sorted(rows, key=lambda row: row.finished_at):
        l0, ce = row.metrics.get("l0"), row.metrics.get("ce_loss_increase")
        if row.status is RowStatus.DONE and isinstance(l0, float) and isinstance(ce, float):
            found.append(Point(row.config.layer, row.config.loss.kind, l0, ce))
    return tuple(found)


def seconds_between(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def where(trials: Sequence[TrialConfig]) -> str:
    """Layers and losses of some trials in short, such as `L2-4,6 e2e local`."""
    layers = sorted({trial.layer for trial in trials})
    losses = list(dict.fromkeys(trial.loss.kind for trial in trials))
    return f"L{spans(layers)} {' '.join(_SHORT.get(loss, loss) for loss in losses)}"


_SHORT = {"e2e_downstream": "e2e+ds", "local_then_e2e": "local>e2e"}


def short_loss(loss: str) -> str:
    """As in tables with little room."""
    return _SHORT.get(loss, loss)


def _pack_view(status: PackStatus, plan: SavedPlan, open_trials: Sequence[str]) -> PackView:
    speed = status.tokens_per_s or None
    tokens_per_step = plan.trials[status.trial_ids[0]].tokens_per_step if status.trial_ids else 0
    known = [plan.trials[trial_id] for trial_id in status.trial_ids if trial_id in plan.trials]
    kinds = dict.fromkeys((trial.layer, trial.loss.kind) for trial in known)
    return PackView(
        pack_id=status.pack_id,
        where=where(known),
        n_trials=len(open_trials),
        step=status.step,
        n_steps=status.n_steps,
        sae_tokens_per_s=speed * len(open_trials) if speed else None,
        eta_s=(status.n_steps - status.step) * tokens_per_step / speed if speed else None,
        l0=_span(status, open_trials, _L0),
        ce_loss_increase=_span(status, open_trials, _CE),
        groups=tuple(_group(status, [t for t in known if (t.layer, t.loss.kind) == kind]) for kind in kinds),
    )


def _group(status: PackStatus, trials: Sequence[TrialConfig]) -> GroupView:
    ids = [trial.trial_id for trial in trials]
    return GroupView(
        layer=trials[0].layer,
        loss=trials[0].loss.kind,
        n_trials=len(trials),
        l0=_span(status, ids, _L0),
        ce_loss_increase=_span(status, ids, _CE),
    )


def _span(status: PackStatus, trial_ids: Sequence[str], names: Sequence[str]) -> Span | None:
    """Of each trial's first of these metrics that has a number."""
    found: list[float] = []
    for trial_id in trial_ids:
        metrics = status.latest.get(trial_id, {})
        numbers = (value for name in names if (value := metrics.get(name)) is not None)
        found += list(numbers)[:1]
    return (min(found), max(found)) if found else None


def _eta_s(tokens_left: float, packs: Sequence[PackView]) -> float | None:
    """What is left at the speed of now; None until two packs, or the only one, have a speed."""
    speeds = [pack.sae_tokens_per_s for pack in packs if pack.sae_tokens_per_s]
    if not speeds or len(speeds) < min(2, len(packs)):
        return None
    return tokens_left / sum(speeds)


def _eta_high_s(eta_s: float | None, packs: Sequence[PackView], *, longest_waiting: float) -> float | None:
    """What is left, and the longest pack that waits alone at its end; without one, the slowest pack that runs."""
    speeds = [pack.sae_tokens_per_s for pack in packs if pack.sae_tokens_per_s]
    if eta_s is None or not speeds:
        return eta_s
    if not longest_waiting:
        return max(eta_s, *(pack.eta_s or 0.0 for pack in packs))
    return eta_s + (1 - 1 / len(packs)) * longest_waiting / (sum(speeds) / len(speeds))
