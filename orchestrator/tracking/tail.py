"""Follows a journal: what was written after a place in it, in batches that MLflow takes, each with where it ends.

Reads only. A journal grows; where it is another one than before, it is read again from its start.
"""

import hashlib
import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from orchestrator.folder.records import CurvePoint
from orchestrator.tracking.points import MAX_POINTS, Point, in_batches, points_of

_MARK_BYTES = 256


class Place(NamedTuple):
    """A place in a journal, and how to know it again."""

    n_bytes: int = 0
    mark: str = ""
    """Hash of what stands just before it."""
    newest_ms: int = 0
    """Time of the last point before it."""


START = Place()


class Steps(NamedTuple):
    """Of the lines under one set of names."""

    newest: int
    each: "array[int]"
    """In the order of the lines, which is that of steps but where a lost line was made again."""

    def has(self, step: int) -> bool:
        """Whether there was one of that step."""
        return step <= self.newest and step in self.each


Seen = dict[frozenset[str], Steps]
"""By their names."""


class Batch(NamedTuple):
    """Points for one call. `end` and `seen` are how things stand once MLflow has them."""

    points: list[Point]
    end: Place
    seen: Seen


class JournalTail:
    """One trial's journal from a place on. The place moves as batches are acknowledged."""

    def __init__(self, path: Path, place: Place = START) -> None:
        self._path = path
        self.place = place
        self._seen: Seen | None = None
        self.n_unreadable = 0
        """Lines at the last reading that were no points: a disk's fault, or somebody's."""
        self.was_replaced = False
        """What stood before the place was gone once, so that it was read from its start."""

    def acknowledge(self, batch: Batch) -> None:
        """MLflow has it."""
        self.place, self._seen = batch.end, batch.seen

    def batches(self, limit: int) -> Iterator[Batch]:
        """What stands between the place and byte `limit`, whole lines only.

        A step that came before under the same names is left out, as `RunFolder.curve` does.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            seen = _copy(self._known(file))
            if self.place.n_bytes >= limit:
                return
            with suppress(OSError):
                # What is sent must outlast a loss of power: measured again, a point would have another time.
                os.fsync(file.fileno())
            points, end = list[Point](), self.place
            self.n_unreadable = 0
            for line, n_bytes in _lines(file, self.place.n_bytes, limit):
                row = self._parsed(line)
                more = [] if row is None or _is_repeat(row, seen) else points_of(row.step, row.time_ms, row.metrics)
                if points and len(points) + len(more) > MAX_POINTS:
                    yield Batch(points, _marked(file, end), _copy(seen))
                    points = []
                *parts, points = list(in_batches(points + more)) or [[]]
                for part in parts:  # of a line with more points than a call takes
                    yield Batch(part, _marked(file, end), _copy(seen))
                if row is not None:
                    _see(row, seen)
                # The last one's time, not the latest: clocks are set back now and then.
                end = Place(n_bytes, newest_ms=row.time_ms if row is not None and more else end.newest_ms)
            if end.n_bytes != self.place.n_bytes:
                yield Batch(points, _marked(file, end), seen)

    def _known(self, file: BinaryIO) -> Seen:
        """What came before the place, after a look whether that is still there."""
        if self.place.n_bytes and _marked(file, self.place) != self.place:
            self.was_replaced = True
            self.place, self._seen = START, None
        if self._seen is None:
            self._seen = {}
            for line, _ in _lines(file, 0, self.place.n_bytes):
                if (row := self._parsed(line)) is not None:
                    _see(row, self._seen)
        return self._seen

    def _parsed(self, line: bytes) -> CurvePoint | None:
        try:
            return CurvePoint.model_validate_json(line)
        except ValidationError:
            self.n_unreadable += 1
            return None


def _is_repeat(row: CurvePoint, seen: Seen) -> bool:
    steps = seen.get(frozenset(row.metrics))
    return steps is not None and steps.has(row.step)


def _see(row: CurvePoint, seen: Seen) -> None:
    names = frozenset(row.metrics)
    steps = seen.get(names) or Steps(-1, array("q"))
    steps.each.append(row.step)
    seen[names] = Steps(max(row.step, steps.newest), steps.each)


def _copy(seen: Seen) -> Seen:
    return {names: Steps(newest, each[:]) for names, (newest, each) in seen.items()}


def _lines(file: BinaryIO, start: int, limit: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines from byte `start` on that end at `limit` or before, each with where it ends."""
    file.seek(start)
    end = start
    while end < limit and (line := file.readline()).endswith(b"\n"):
        end += len(line)
        if end <= limit:
            yield line, end


def _marked(file: BinaryIO, place: Place) -> Place:
    """The place with its mark as the file has it now."""
    before = os.pread(file.fileno(), min(_MARK_BYTES, place.n_bytes), max(0, place.n_bytes - _MARK_BYTES))
    whole = len(before) == min(_MARK_BYTES, place.n_bytes)
    return place._replace(mark=hashlib.sha256(before).hexdigest()[:16] if whole else "gone")
