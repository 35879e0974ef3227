"""The points of a trial's journal as its curves: in order, each once, whatever was damaged and made again since."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.folder.files import whole_lines, write_text
from orchestrator.folder.record_files import read_lines
from orchestrator.folder.records import CurvePoint


def read_curve(path: Path) -> list[CurvePoint]:
    """By step, training before evaluation; of points that came twice the first. Raises BadInput for a broken line."""
    return _once(read_lines(path, CurvePoint))


def mend_curve(path: Path) -> tuple[list[CurvePoint], int]:
    """The curve, and how many lines that could not be read were left out, of the file too."""
    n_lines = sum(1 for _ in whole_lines(path))
    found = list(read_lines(path, CurvePoint, skip_broken=True))
    if len(found) < n_lines:
        write_text(path, "".join(f"{point.line}\n" for point in found))
    return _once(found), n_lines - len(found)


def _once(points: Iterable[CurvePoint]) -> list[CurvePoint]:
    found: dict[object, CurvePoint] = {}
    for point in points:
        found.setdefault(point.key, point)
    # Not as they were written: a line that was damaged is made again, and then the last one.
    by_name = sorted(found.values(), key=lambda point: sorted(point.metrics), reverse=True)
    return sorted(by_name, key=lambda point: point.step)
