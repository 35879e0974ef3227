"""A pack's curves on their way to the journals of its trials: points wait in memory for a few seconds."""

import time
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from orchestrator.folder.records import CurvePoint
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.checkpoints import Pace

T = TypeVar("T")
JOURNAL_EVERY_S = 3.0


class Write(Protocol):
    """Does what has to be written, now or once there is room."""

    def __call__(self, write: Callable[[], T], /) -> T: ...


class Journals:
    """Of one attempt at a pack. What earlier attempts have written is there already."""

    def __init__(self, folder: RunFolder, trial_ids: Iterable[str], *, write: Write) -> None:
        """Mends journals that are damaged."""
        self._folder, self._write = folder, write
        self._pace = Pace(least_s=JOURNAL_EVERY_S)
        self._pending: dict[str, list[CurvePoint]] = {}
        found = {trial_id: write(lambda id_=trial_id: folder.mend_curve(id_)) for trial_id in trial_ids}
        self.n_lost = {trial_id: n_lost for trial_id, (_, n_lost) in found.items() if n_lost}
        """Lines that could not be read, by trial."""
        self._known = {trial_id: {point.key for point in points} for trial_id, (points, _) in found.items()}
        self._was_at = {id_: max((step for step, _ in keys), default=0) for id_, keys in self._known.items()}

    def n_points(self, step: int) -> dict[str, int]:
        """Points of each trial's journal up to that step, once `flush` is done. An earlier attempt may have been
        further: its later points say nothing of whether one before them is lost."""
        return {trial_id: sum(at <= step for at, _ in keys) for trial_id, keys in self._known.items()}

    def went_beyond(self, trial_id: str, step: int) -> bool:
        """Whether an earlier attempt has trained it further than that, and said so."""
        return self._was_at[trial_id] > step

    def add(self, trial_id: str, point: CurvePoint) -> None:
        """A point that waits, unless the journal has it."""
        if point.key not in self._known[trial_id]:
            self._known[trial_id].add(point.key)
            self._pending.setdefault(trial_id, []).append(point)

    def flush_if_due(self) -> None:
        """Write what has waited long enough."""
        if self._pending and self._pace.is_due:
            self.flush()

    def flush(self) -> None:
        """Every point so far is on the disk."""
        started_s = time.perf_counter()
        for trial_id in list(self._pending):
            self._write(lambda id_=trial_id: self._folder.add_curve_points(id_, self._pending[id_]))
            del self._pending[trial_id]
        self._pace.took(time.perf_counter() - started_s)
