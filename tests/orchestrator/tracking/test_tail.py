"""Following a journal gives its points once, whatever is in it, however it grows and wherever one begins."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.folder.records import CurvePoint
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.points import MAX_POINTS, Point, points_of
from orchestrator.tracking.tail import START, JournalTail, Place
from tests.orchestrator.rows import a_config

TRIAL = a_config().trial_id


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run-1")


def lines(*steps: int, name: str = "loss", time_ms: int = 1000) -> list[CurvePoint]:
    return [CurvePoint(step=s, tokens=s, time_ms=time_ms + s, metrics={name: s / 7, "none": None}) for s in steps]


def size(folder: RunFolder) -> int:
    return folder.journal(TRIAL).stat().st_size


def taken(tail: JournalTail, limit: int) -> list[Point]:
    """All points up to there, acknowledged."""
    found: list[Point] = []
    for batch in tail.batches(limit):
        found += batch.points
        tail.acknowledge(batch)
    return found


def as_text(points: list[Point]) -> list[str]:
    return [repr(point) for point in points]


def wanted(folder: RunFolder) -> list[str]:
    """From the run folder's own reader."""
    return as_text([p for row in folder.curve(TRIAL) for p in points_of(row.step, row.time_ms, row.metrics)])


def test_a_journal_that_is_not_there_yet_has_no_points(folder: RunFolder) -> None:
    assert list(JournalTail(folder.journal(TRIAL)).batches(10)) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.integers(0, 12), max_size=25),
    names=st.lists(st.sampled_from(["a", "b"]), min_size=25, max_size=25),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    again=st.booleans(),
)
def test_however_a_journal_is_cut_into_looks_its_points_are_those_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], names: list[str], cuts: list[int], *, again: bool
) -> None:
    # A worker that goes on from a checkpoint comes by steps again; lines that a disk lost are made again at the end.
    folder, kept = RunFolder(tmp_path_factory.mktemp("run")), list[CurvePoint]()
    for n, (step, name) in enumerate(zip(steps, names, strict=False)):
        kept += lines(step, name=name, time_ms=1000 * n)
    folder.add_curve_points(TRIAL, kept)
    path = folder.journal(TRIAL)
    tail, found = JournalTail(path), list[str]()
    for cut in [*sorted(cuts), 10**9]:
        found += as_text(taken(tail, cut))
        tail = JournalTail(path, tail.place) if again else tail
    # The folder gives them by step; MLflow takes them in any order.
    assert sorted(found) == sorted(wanted(folder) if kept else [])


def test_a_batch_that_was_not_acknowledged_comes_again(folder: RunFolder) -> None:
    folder.add_curve_points(TRIAL, lines(0, 1, 2))
    tail = JournalTail(folder.journal(TRIAL))
    [lost] = tail.batches(size(folder))
    assert tail.place == START
    [again] = tail.batches(size(folder))
    assert as_text(again.points) == as_text(lost.points) == wanted(folder)


def test_batches_are_as_large_as_mlflow_takes_and_end_at_lines(folder: RunFolder) -> None:
    folder.add_curve_points(TRIAL, lines(*range(1203)))
    wide = CurvePoint(step=9999, tokens=0, time_ms=5, metrics={f"m{n}": float(n) for n in range(2 * MAX_POINTS + 1)})
    folder.add_curve_points(TRIAL, [wide])
    tail = JournalTail(folder.journal(TRIAL))
    batches, found = list[int](), list[Point]()
    content = folder.journal(TRIAL).read_bytes()
    for batch in tail.batches(size(folder)):
        batches.append(len(batch.points))
        found += batch.points
        tail.acknowledge(batch)
        assert content[: tail.place.n_bytes].endswith(b"\n") or tail.place == START
    assert as_text(found) == wanted(folder)
    assert max(batches) == MAX_POINTS
    assert tail.place.n_bytes == size(folder)


def test_a_torn_last_line_waits_for_its_end(folder: RunFolder) -> None:
    folder.add_curve_points(TRIAL, lines(0))
    whole = size(folder)
    with folder.journal(TRIAL).open("ab") as file:
        file.write(b'{"step": 1, "tok')
    tail = JournalTail(folder.journal(TRIAL))
    assert len(taken(tail, size(folder))) == 2
    assert tail.place.n_bytes == whole


def test_what_cannot_be_read_is_counted_and_passed_by(folder: RunFolder) -> None:
    folder.add_curve_points(TRIAL, lines(0))
    with folder.journal(TRIAL).open("ab") as file:
        file.write(b"\xff\x00 no JSON\n")
    folder.add_curve_points(TRIAL, lines(1))
    tail = JournalTail(folder.journal(TRIAL))
    assert [point.step for point in taken(tail, size(folder)) if point.key == "loss"] == [0, 1]
    assert tail.n_unreadable == 1


@pytest.mark.parametrize("now_has", [(0,), (5, 6, 7, 8)])
def test_another_journal_in_its_place_is_read_from_its_start(folder: RunFolder, now_has: tuple[int, ...]) -> None:
    folder.add_curve_points(TRIAL, lines(0, 1, 2))
    tail = JournalTail(folder.journal(TRIAL))
    taken(tail, size(folder))
    folder.journal(TRIAL).unlink()
    folder.add_curve_points(TRIAL, lines(*now_has, time_ms=77))
    found = taken(tail, size(folder))
    assert as_text(found) == wanted(folder)
    assert tail.was_replaced


def test_a_place_says_when_its_last_point_was(folder: RunFolder) -> None:
    folder.add_curve_points(TRIAL, [*lines(0), *lines(1, time_ms=500), *lines(1, time_ms=900)])
    tail = JournalTail(folder.journal(TRIAL))
    taken(tail, size(folder))
    assert tail.place == Place(size(folder), tail.place.mark, 501)  # a repetition says nothing
