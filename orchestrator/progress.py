"""How a sweep stands, as one value made from plan, statuses and rows. Pure; drawn by `terminal.py` and by `status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.records import PackState, PackStatus, RowStatus, SavedPlan
from orchestrator.words import spans
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

    @property
    def n_waiting(self) -> int:
        return self.n_trials - self.n_done - self.n_failed - self.n_stopped - self.n_running


def look(
    plan: SavedPlan,
    statuses: Mapping[str, PackStatus],
    ended: Mapping[str, RowStatus],
    *,
    elapsed_s: float,
    active: bool = True,
) -> SweepView:
    """`statuses` by pack, `ended` by trial: how those with a row ended. `active`: whether a launch is at work on it."""
    running = [status for status in statuses.values() if active and status.state is PackState.RUNNING]
    open_trials = {
        status.pack_id: [trial_id for trial_id in status.trial_ids if trial_id not in ended] for status in running
    }
    packs = tuple(_pack_view(status, plan, open_trials[status.pack_id]) for status in running)
    progress = {
        trial_id: status.step / status.n_steps if status.n_steps else 0.0
        for status in running
        for trial_id in open_trials[status.pack_id]
    }
    sizes = {trial_id: float(trial.n_steps * trial.tokens_per_step) for trial_id, trial in plan.trials.items()}
    left = {
        trial_id: 0.0 if ended.get(trial_id, RowStatus.STOPPED) is not RowStatus.STOPPED else
        size * (1.0 - progress.get(trial_id, 0.0))
        for trial_id, size in sizes.items()
    }  # fmt: skip
    counts = {kind: sum(status is kind for status in ended.values()) for kind in RowStatus}
    return SweepView(
        sweep_id=plan.sweep_id,
        n_trials=len(plan.trials),
        n_packs=len(plan.packs),
        n_done=counts[RowStatus.DONE],
        n_failed=counts[RowStatus.FAILED],
        n_stopped=counts[RowStatus.STOPPED],
        n_running=len(progress),
        fraction=1.0 - sum(left.values()) / max(1.0, sum(sizes.values())),
        elapsed_s=elapsed_s,
        eta_s=_eta_s(sum(left.values()), packs),
        packs=packs,
    )


def seconds_between(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def where(trials: Sequence[TrialConfig]) -> str:
    """Layers and losses of some trials in short, such as `L2-4,6 e2e local`."""
    layers = sorted({trial.layer for trial in trials})
    losses = list(dict.fromkeys(trial.loss.kind for trial in trials))
    return f"L{spans(layers)} {' '.join(_SHORT.get(loss, loss) for loss in losses)}"


_SHORT = {"e2e_downstream": "e2e+ds"}


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
