"""Whether a trial is not worth finishing: with a margin, another that is done was better at as many tokens.

Compared is with done trials of its group: the same frontier (model, held-out text, hookpoint, loss, dictionary size)
and the same seed, so that the frontier of each seed stays its own; and only with those that train at least as long,
since metrics fall faster where the learning rate has come down. Reads the run folder; what follows from a verdict is
not decided here.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.folder.records import CurvePoint, Dominated, Row, RowStatus
from orchestrator.folder.run_folder import RunFolder
from trainer.config import TrialConfig
from trainer.errors import BadInput

AFTER = 0.25
"""Share of its tokens that a trial has trained on before it is judged: before, curves cross. Nor is it judged before
its loss has become the last one."""
Better = Literal["lower", "higher"]
ALIVE = "n_alive_elements"
"""The one objective that evaluations on the way do not measure; the training counts it."""


def so_far(latest: Mapping[str, float | None], names: Sequence[str]) -> dict[str, float] | None:
    """These metrics out of the newest points of a trial's curves; None where one is missing."""
    values = {name: latest.get("train/n_alive" if name == ALIVE else f"eval/{name}") for name in names}
    whole = {name: value for name, value in values.items() if value is not None}
    return whole if len(whole) == len(names) else None


def at_tokens(curve: Sequence[CurvePoint], tokens: int, names: Sequence[str]) -> tuple[int, dict[str, float]] | None:
    """A trial at its last evaluation up to so many tokens; None where there was none of these metrics."""
    evaluated = [
        point.tokens for point in curve if point.tokens <= tokens and any(key[:5] == "eval/" for key in point.metrics)
    ]
    if not evaluated:
        return None
    latest: dict[str, float | None] = {}
    for point in sorted(curve, key=lambda point: point.tokens):
        if point.tokens <= max(evaluated):
            latest |= point.metrics
    found = so_far(latest, names)
    return None if found is None else (max(evaluated), found)


def is_better(
    other: Mapping[str, float], mine: Mapping[str, float], objectives: Mapping[str, Better], *, margin: float
) -> bool:
    """In every objective, by that share of my value."""
    for name, better in objectives.items():
        value = mine[name]
        ahead = value - other[name] if better == "lower" else other[name] - value
        if not ahead > 0 or ahead < margin * abs(value):
            return False
    return True


@dataclass
class Judge:
    """Of the trials of one pack, while it trains."""

    folder: RunFolder
    objectives: Mapping[str, Better]
    """All metrics of all frontiers: who is dominated in each of them is on none."""
    margin: float
    _done: dict[str, Row | None] = field(default_factory=dict[str, Row | None])
    _curves: dict[str, list[CurvePoint]] = field(default_factory=dict[str, list[CurvePoint]])

    def verdict(
        self, config: TrialConfig, step: int, latest: Mapping[str, float | None], *, eval_hash: str
    ) -> Dominated | None:
        """About a trial that was evaluated after so many steps; `latest` are the newest points of its curves."""
        tokens, mine = step * config.tokens_per_step, so_far(latest, [*self.objectives])
        if mine is None or step < max(AFTER * config.n_steps, config.stages[-1].start):
            return None
        for row in self._rivals(config, eval_hash):
            theirs = at_tokens(self._curve(row.trial_id), tokens, [*self.objectives])
            if theirs is not None and is_better(theirs[1], mine, self.objectives, margin=self.margin):
                return Dominated(
                    step=step,
                    tokens=tokens,
                    metrics=dict(mine),
                    by=row.trial_id,
                    by_name=row.run_name,
                    by_tokens=theirs[0],
                    by_metrics=dict(theirs[1]),
                    margin=self.margin,
                )
        return None

    def _rivals(self, config: TrialConfig, eval_hash: str) -> list[Row]:
        """Done trials of its group, by their ids."""
        self._look()
        rows = (row for _, row in sorted(self._done.items()) if row is not None)
        return [row for row in rows if _group(row.config) == _group(config) and _may_judge(row, config, eval_hash)]

    def _look(self) -> None:
        """Rows that have come since the last time."""
        for trial_id in self.folder.ended():
            if trial_id not in self._done:
                with suppress(BadInput):  # damaged: it will be trained again
                    row = self.folder.row(trial_id)
                    if row is None or row.status is not RowStatus.STOPPED:
                        self._done[trial_id] = row if row is not None and row.status is RowStatus.DONE else None

    def _curve(self, trial_id: str) -> list[CurvePoint]:
        if trial_id not in self._curves:
            self._curves[trial_id] = []
            with suppress(BadInput):
                self._curves[trial_id] = self.folder.curve(trial_id)
        return self._curves[trial_id]


def _group(config: TrialConfig) -> tuple[object, ...]:
    return config.model, config.hookpoint, config.loss.kind, config.sae.ratio, config.seed


def _may_judge(row: Row, config: TrialConfig, eval_hash: str) -> bool:
    assert row.facts is not None
    longer = row.config.n_steps * row.config.tokens_per_step >= config.n_steps * config.tokens_per_step
    return longer and row.facts.eval_hash == eval_hash and row.trial_id != config.trial_id
