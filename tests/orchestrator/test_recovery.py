"""Whatever is killed when, what comes out in the end is what comes out undisturbed: to the bit, nothing twice."""

import errno
import inspect
import os
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from orchestrator.folder.records import PackState, RowStatus
from orchestrator.packs.checkpoints import steps
from orchestrator.packs.fence import fence_off
from orchestrator.packs.jobs import PackJob
from orchestrator.packs.patience import Patience
from tests.orchestrator.packs import (
    N_STEPS,
    SmallPack,
    events_of,
    failing_at,
    folder_of,
    killed_at,
    outcome_of,
    passing,
    run,
    stopped_after,
)
from tests.tiny import Bench
from trainer.faults import Killed, injected


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill within this process cannot lose what was not synced; syncing takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def pack(bench: Bench) -> SmallPack:
    return SmallPack(bench)


def check_like(job: PackJob, wanted: dict[str, object], about: object = "") -> None:
    """The job's folder has what it should, each point once, and no checkpoint any more."""
    assert outcome_of(job) == wanted, about
    folder = folder_of(job)
    for trial_id in job.trial_ids:
        lines = (folder.path / "journal" / f"{trial_id}.jsonl").read_text().splitlines()
        assert len(lines) == len(folder.curve(trial_id)), about
    assert not folder.checkpoints(job.pack_id).exists(), about
    assert not list(folder.path.rglob("*.tmp")), about


def check_kills(pack: SmallPack, kills: list[tuple[int, ...]]) -> None:
    """Each tuple kills the attempts at one folder's pack one after the other; then it is left alone."""
    whole = pack.fresh()
    n_places = len(passing(whole))
    wanted = outcome_of(whole)
    assert n_places > 150
    for numbers in kills:
        job = pack.fresh()
        places = [number % n_places for number in numbers]
        for number in places:
            killed_at(job, number)
        folder_of(job).clear_leftovers()  # as a launch does
        assert run(job).state is PackState.DONE, places
        check_like(job, wanted, places)


def random_kills(n: int, *, seed: int) -> list[tuple[int, ...]]:
    dice = random.Random(seed)
    return [tuple(dice.randrange(10**6) for _ in range(dice.choice((1, 1, 2, 3)))) for _ in range(n)]


def test_a_pack_killed_anywhere_ends_as_if_nothing_had_been(pack: SmallPack):
    check_kills(pack, random_kills(8, seed=0))


def test_a_pack_without_checkpoints_so_far_starts_over_and_ends_the_same(bench: Bench):
    check_kills(SmallPack(bench, checkpoint_every_s=1e6), random_kills(4, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_pack_killed_at_hundreds_of_places_ends_as_if_nothing_had_been(bench: Bench, seed: int):
    """Half of them with an SAE that diverges on the way."""
    more = ("grid.sparsity_coeff={local: [1, 1e300], e2e: 1}",) if seed % 2 else ()
    check_kills(SmallPack(bench, *more), random_kills(40, seed=100 + seed))


def test_a_stopped_pack_goes_on_from_its_last_step(pack: SmallPack):
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    assert stopped_after(job, 7).state is PackState.STOPPED
    assert steps(folder_of(job).checkpoints(job.pack_id)) == [7, 6]
    assert {row.error for row in folder_of(job).rows()} == {"stopped at step 7"}
    places: list[str] = []
    with injected(lambda place, number: places.append(f"{place}:{number}")):
        run(job)
    assert [place for place in places if place.startswith("step:")] == [f"step:{step}" for step in range(8, 13)]
    check_like(job, outcome_of(whole))


def test_a_stop_writes_a_checkpoint_however_rare_they_are(bench: Bench):
    job = SmallPack(bench, checkpoint_every_s=1e6).fresh()
    stopped_after(job, 5)
    assert steps(folder_of(job).checkpoints(job.pack_id)) == [5]


def test_a_pack_killed_in_its_last_evaluation_only_evaluates_again(pack: SmallPack):
    whole, job = pack.fresh(), pack.fresh()
    places = passing(whole)
    killed_at(job, len(places) - 1 - places[::-1].index("evaluate"))
    seen: list[str] = []
    with injected(lambda place, _: seen.append(place)):
        run(job)
    assert "step" not in seen
    assert "evaluate" in seen
    check_like(job, outcome_of(whole))


def test_rows_that_are_there_are_not_written_again(pack: SmallPack):
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    third = f"rename:{job.trial_ids[2]}.json"
    with pytest.raises(Killed), injected(failing_at(third, lambda: Killed(third))):
        run(job)
    before = {row.trial_id: row.finished_at for row in folder_of(job).rows()}
    assert len(before) == 2
    folder_of(job).clear_leftovers()  # as a launch does
    run(job)
    after = {row.trial_id: row.finished_at for row in folder_of(job).rows()}
    assert before.items() < after.items()
    check_like(job, outcome_of(whole))


def test_seconds_of_all_attempts_are_counted(pack: SmallPack):
    job = pack.fresh()
    first = stopped_after(job, 11)
    assert first.state is PackState.STOPPED
    spent = folder_of(job).rows()[0].started_at
    run(job)
    for row in folder_of(job).rows():
        assert row.started_at == spent
        assert (row.cost["train_s"] or 0) > 0
        assert (row.cost["train_wall_s"] or 0) >= (row.cost["train_s"] or 0)


@pytest.mark.parametrize("days", [-3, 400])
def test_a_clock_that_jumps_changes_nothing(pack: SmallPack, monkeypatch: pytest.MonkeyPatch, days: int):
    """In the middle of an attempt and between two."""
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    jumps = timedelta(0)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "datetime":  # type: ignore[override]
            return datetime.now(tz) + jumps

    def jump(place: str, number: int | None) -> None:
        nonlocal jumps
        jumps = timedelta(days=days) if (place, number) == ("step", 5) else jumps

    monkeypatch.setattr("orchestrator.folder.clock.datetime", Clock)
    with injected(jump):
        stopped_after(job, 7)
    jumps = timedelta(days=-days)
    run(job)
    check_like(job, outcome_of(whole))
    times = [point.time_ms for point in folder_of(job).curve(job.trial_ids[0])]
    assert max(times) - min(times) > 2 * 24 * 3600 * 1000


# What is damaged


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


@pytest.mark.parametrize("damage", [flip, tear, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["state.safetensors", "manifest.json"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(
    pack: SmallPack, damage: Callable[[Path], None], name: str
):
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    stopped_after(job, 7)
    where = folder_of(job).checkpoints(job.pack_id)
    damage(where / "7" / name)
    run(job)
    told = {event.event: event for event in folder_of(job).pack_events(job.pack_id)}
    assert told["checkpoint_damaged"].fields["step"] == 7
    assert told["pack_resumed"].fields["step"] == 6
    check_like(job, outcome_of(whole))


def test_a_pack_none_of_whose_checkpoints_is_whole_starts_over_and_says_so(pack: SmallPack):
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    stopped_after(job, 7)
    for step in (6, 7):
        flip(folder_of(job).checkpoints(job.pack_id) / str(step) / "state.safetensors")
    run(job)
    assert events_of(job) == ["checkpoint_damaged", "checkpoint_damaged", "pack_starts_over"]
    check_like(job, outcome_of(whole))


@pytest.mark.parametrize("damage", [tear, Path.unlink, lambda path: path.write_text("{\n" * 9)])
def test_points_that_a_damaged_journal_lost_are_made_again(pack: SmallPack, damage: Callable[[Path], None]):
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    stopped_after(job, 7)
    damage(folder_of(job).path / "journal" / f"{job.trial_ids[0]}.jsonl")
    run(job)
    assert events_of(job)[-1] == "pack_starts_over"
    check_like(job, outcome_of(whole))


def test_later_points_do_not_stand_in_for_an_early_one_that_was_lost(pack: SmallPack, tmp_path: Path):
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    stopped_after(job, 3)
    where = folder_of(job).checkpoints(job.pack_id)
    shutil.copytree(where, tmp_path / "early")
    stopped_after(job, 7)
    shutil.rmtree(where)  # both of the newest are damaged, say
    shutil.copytree(tmp_path / "early", where)
    journal = folder_of(job).path / "journal" / f"{job.trial_ids[0]}.jsonl"
    first, *others = journal.read_text().splitlines(keepends=True)
    assert len(others) > 1
    journal.write_text(first.replace("}", "]", 1) + "".join(others))
    run(job)
    assert events_of(job)[-1] == "pack_starts_over"
    check_like(job, outcome_of(whole))


def test_checkpoints_of_other_trials_are_not_used(pack: SmallPack, bench: Bench):
    job = pack.fresh()
    stopped_after(job, 3)
    other = SmallPack(bench, "grid.seed=1").fresh()
    shutil.copytree(folder_of(job).checkpoints(job.pack_id), folder_of(other).checkpoints(other.pack_id))
    run(other)
    assert events_of(other)[-1] == "pack_starts_over"


# Who may write


def test_an_attempt_that_lost_its_pack_writes_nothing_more(pack: SmallPack):
    job = pack.fresh()
    folder = folder_of(job)
    written: dict[Path, bytes] = {}

    def another_comes(place: str, number: int | None) -> None:
        if (place, number) == ("step", 5):
            fence_off(folder, job.pack_id)
            written.update({path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()})

    with injected(another_comes):
        outcome = run(job)
    assert (outcome.state, outcome.error) == (PackState.STOPPED, "another attempt has this pack now")
    assert written
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == written


def test_a_worker_of_a_launch_that_is_over_does_not_begin(pack: SmallPack):
    job = pack.fresh().model_copy(update={"launch_id": "long-gone"})
    assert run(job).state is PackState.STOPPED
    assert folder_of(job).rows() == []
    assert not folder_of(job).checkpoints(job.pack_id).exists()


# A disk that refuses


def no_room() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _short_pause(pause: Callable[[Patience, float], None]) -> Callable[[Patience, float], None]:
    return lambda patience, _: pause(patience, 0.02)


@pytest.mark.parametrize(
    "place", ["write:state.safetensors", "write:manifest.json", "append.sync:", "rename:sae", "write:"]
)
def test_a_disk_that_is_full_for_a_while_is_waited_for(pack: SmallPack, place: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("orchestrator.packs.patience.Patience._pause", lambda *_: None)
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    with injected(failing_at(place, no_room, times=3)):
        assert run(job).state is PackState.DONE
    check_like(job, outcome_of(whole))
    if place != "write:":  # the first of all is the mark of who writes: nobody can say anything yet
        assert {"disk_full", "disk_has_room"} <= set(events_of(job))


@pytest.mark.parametrize("place", ["append.sync:", "write:state.safetensors", "write:sae.safetensors"])
def test_while_it_waits_for_room_a_worker_is_seen_alive_and_begins_no_other_write(
    pack: SmallPack, place: str, monkeypatch: pytest.MonkeyPatch
):
    """Each wait pulses; a pulse that wrote points again would wait within the wait, and so on without end."""
    monkeypatch.setattr("orchestrator.packs.journals.Pace.is_due", True)
    monkeypatch.setattr("orchestrator.packs.patience.Patience._pause", _short_pause(Patience._pause))
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    deepest = 0

    def hook(name: str, number: int | None) -> None:
        nonlocal deepest
        if name == "disk":
            deepest = max(deepest, sum(frame.function == "_pause" for frame in inspect.stack(0)))
        fail(name, number)

    fail = failing_at(place, no_room, times=3)
    with injected(hook):
        assert run(job).state is PackState.DONE
    assert deepest == 1
    check_like(job, outcome_of(whole))
    assert events_of(job).count("disk_full") == 1


def test_a_wait_for_room_is_no_cost_of_a_checkpoint(pack: SmallPack, monkeypatch: pytest.MonkeyPatch):
    """Else the next one would come fifty times that wait later."""
    costs: list[float] = []
    monkeypatch.setattr("orchestrator.packs.checkpoints.Pace.took", lambda _, cost_s: costs.append(cost_s))
    with injected(failing_at("write:state.safetensors", no_room)):
        assert run(pack.fresh()).state is PackState.DONE
    assert costs
    assert max(costs) < 0.9


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_while_nothing_is_written_fails_no_trial(pack: SmallPack, number: int):
    """A compiler's cache, a temporary file, the text itself may lie there."""
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    with injected(failing_at("bank", lambda: OSError(number, os.strerror(number)))):
        outcome = run(job)
    assert (outcome.state, outcome.reason) == (PackState.FAILED, "disk")
    assert os.strerror(number) in (outcome.error or "")
    assert folder_of(job).rows() == []
    assert run(job).state is PackState.DONE
    check_like(job, outcome_of(whole))


def test_a_disk_that_stays_full_ends_the_attempt_and_leaves_its_checkpoint(
    pack: SmallPack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("orchestrator.packs.patience.Patience._pause", lambda *_: None)
    whole, job = pack.fresh(), pack.fresh()
    run(whole)
    full = False

    def hook(place: str, number: int | None) -> None:
        nonlocal full
        full = full or (place, number) == ("step", 6)
        if full and place.startswith(("write:", "append:")):
            raise no_room()

    with injected(hook):
        outcome = run(job)
    assert (outcome.state, outcome.reason) == (PackState.FAILED, "disk")
    assert "Free some space" in (outcome.error or "")
    assert folder_of(job).rows() == []
    assert steps(folder_of(job).checkpoints(job.pack_id))[0] == 5
    run(job)
    check_like(job, outcome_of(whole))


def test_a_checkpoint_is_not_begun_without_room_for_two(pack: SmallPack, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("orchestrator.packs.patience.Patience._pause", lambda *_: None)
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10_000))  # type: ignore[attr-defined]
    outcome = run(pack.fresh())
    assert outcome.reason == "disk"
    assert "checkpoints want" in (outcome.error or "")


# One trial's trouble


def test_a_trial_that_diverges_changes_no_bit_of_its_company(bench: Bench):
    """The same bank, once with a neighbour that trains on and once with one that is masked."""
    fine = SmallPack(bench, "grid.sparsity_coeff={local: [1, 2], e2e: 1}").fresh()
    bad = SmallPack(bench, "grid.sparsity_coeff={local: [1, 1e300], e2e: 1}").fresh()
    for job in (fine, bad):
        run(job.model_copy(update={"path": "dense"}))
    rows = {row.trial_id: row for row in folder_of(bad).rows()}
    failed = [row for row in rows.values() if row.status is RowStatus.FAILED]
    assert len(failed) == 2
    for row in failed:
        assert (row.error or "").startswith("diverged at step 1: not finite: loss=")
    same = [row for row in folder_of(fine).rows() if row.trial_id in rows]
    assert len(same) == 4
    for row in same:
        assert rows[row.trial_id].metrics == row.metrics
        assert rows[row.trial_id].sae_sha256 == row.sae_sha256


def test_a_diverged_trial_stays_diverged_when_its_row_was_lost(bench: Bench):
    job = SmallPack(bench, "grid.sparsity_coeff={local: [1, 1e300], e2e: 1}").fresh()
    stopped_after(job, 5)
    folder = folder_of(job)
    (lost, *_) = [row for row in folder.rows() if row.status is RowStatus.FAILED]
    folder.set_row_aside(lost.trial_id)
    run(job)
    again = folder.row(lost.trial_id)
    assert again is not None
    assert (again.status, again.error) == (lost.status, lost.error)


def test_n_steps_is_what_these_tests_count_on(pack: SmallPack):
    job = pack.fresh()
    places = passing(job)
    assert places.count("step") == N_STEPS
    assert {place.partition(":")[0] for place in places} >= {
        "step", "bank", "evaluate", "write", "write.middle", "sync", "rename", "renamed", "append", "append.middle",
        "append.sync", "checkpoint.before", "checkpoint.before_manifest", "checkpoint.before_rename",
        "checkpoint.renamed", "checkpoint.before_prune",
    }  # fmt: skip
