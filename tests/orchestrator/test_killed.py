"""Processes that are killed for real, with real signals; without Ray. The same command goes on to the same end."""

import hashlib
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.folder.records import PackState, RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from tests.orchestrator.forked import Child, launched
from tests.tiny import Bench, science

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def checkpoints_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_FRONTIER_CHECKPOINT_S", "0")
    forget()


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> dict[str, object]:
    """What the sweep comes to undisturbed."""
    bench = Bench(tmp_path_factory.mktemp("twin"), tiny_model, tiny_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(bench.folder / "cache"))
        code, said = launched(bench)
    assert code == 0, said
    return everything(bench.run_folder)


def everything(folder: Path) -> dict[str, object]:
    """Rows, curves, weights and elements."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("saes", "elements")
        for path in (folder / name).rglob("*")
        if path.is_file()
    }
    return {"science": science(folder), "files": files}


def step_of(bench: Bench) -> int:
    """The furthest step of any pack."""
    folders = bench.run_folders if bench.runs.exists() else []
    return max((int(path.name) for folder in folders for path in folder.glob("packs/*/checkpoints/[0-9]*")), default=0)


def check_goes_on(bench: Bench, twin: dict[str, object], *more: str) -> str:
    code, said = launched(bench, *more)
    assert code == 0, said
    assert everything(bench.run_folder) == twin
    folder = RunFolder(bench.run_folder)
    for path in folder.path.glob("journal/*.jsonl"):
        assert len(path.read_text().splitlines()) == len(folder.curve(path.stem))
    assert not list(folder.path.rglob("*.tmp"))
    assert not list(folder.path.glob("packs/*/checkpoints"))
    return said


@pytest.mark.parametrize(
    "faults",
    [
        "step:7=kill",
        "checkpoint.before_manifest:5=kill",
        "checkpoint.before_rename:9=kill",
        "checkpoint.renamed:9=kill",
        "write.middle:state.safetensors:6=kill",
        "rename:manifest.json:6=kill",
        "append.middle:*.jsonl:9=kill",
        "evaluate:9=kill",
        "rename:sae.safetensors:2=kill",
        "renamed:????????????????.json:3=kill",
        "renamed:????????????????.json:4=kill",
        "rename:plan.json=kill",
        "write.middle:owner:3=kill",
    ],
)
def test_a_process_that_is_killed_anywhere_costs_nothing_but_time(bench: Bench, twin: dict[str, object], faults: str):
    code, said = launched(bench, faults=faults)
    assert code == -signal.SIGKILL, said
    check_goes_on(bench, twin)


def test_a_sweep_that_is_killed_again_and_again_gets_to_its_end(bench: Bench, twin: dict[str, object]):
    n_kills = 0
    while (code := launched(bench, faults=f"step:{5 + 4 * n_kills}=kill,evaluate:11=kill")[0]) == -signal.SIGKILL:
        n_kills += 1
        assert n_kills < 12
    assert code == 0
    assert n_kills >= 4
    check_goes_on(bench, twin)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_was_stopped_goes_on_from_its_last_step(
    bench: Bench, twin: dict[str, object], number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SAE_FRONTIER_CHECKPOINT_S", "1e6")
    faults = "step:4=term" if number is signal.SIGTERM else "step:4=int"
    ended, said = launched(bench, faults=faults)
    assert ended == code, said
    folder = RunFolder(bench.run_folder)
    assert {row.status for row in folder.rows()} == {RowStatus.STOPPED}
    (stopped,) = [path.name for path in folder.path.glob("packs/*/checkpoints/*")]
    check_goes_on(bench, twin)
    resumed = [event.fields["step"] for event in folder.events() if event.event == "pack_resumed"]
    assert resumed == [int(stopped)]


def test_two_signals_stop_at_once_and_break_nothing(bench: Bench, twin: dict[str, object]):
    code, said = launched(bench, faults="step:6=int,checkpoint.before_manifest:6=int")
    assert code == 130, said
    check_goes_on(bench, twin)


def test_a_second_launcher_is_refused_by_name_while_the_first_one_lives(bench: Bench, twin: dict[str, object]):
    first = Child(bench, faults="step:5=stop")
    first.wait_until(lambda: step_of(bench) == 4)
    code, said = launched(bench)
    assert code == 4, said
    assert f"is being run already by process {first.pid} on " in said
    first.signal(signal.SIGKILL)
    first.wait()
    said = check_goes_on(bench, twin)
    assert f"took over from process {first.pid} on " in said


def test_a_run_folder_goes_on_elsewhere_under_any_name(
    bench: Bench, twin: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    where = bench.folder / "größe mit Leerzeichen 'und' $HOME"
    bench.runs = where / "läufe"
    assert launched(bench, faults="step:9=kill")[0] == -signal.SIGKILL
    moved = bench.folder / "anderswo"
    shutil.copytree(bench.runs, moved)
    shutil.rmtree(bench.runs)
    monkeypatch.chdir(bench.folder)
    bench.runs = Path("anderswo")
    check_goes_on(bench, twin)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("pattern", "damage", "told"),
    [
        ("packs/*/checkpoints/8/state.safetensors", flip, "cannot use its checkpoint of step 8"),
        ("packs/*/checkpoints/8/manifest.json", tear, "cannot use its checkpoint of step 8"),
        ("packs/*/status.json", tear, ""),
        ("packs/*/owner", tear, ""),
        ("status.json", tear, ""),
        ("lease.json", flip, ""),
        ("events.jsonl", tear, ""),
        ("launch.json", tear, "launch.json is not a readable SavedLaunch"),
        ("plan.json", flip, "its spare copy is used"),
        ("plan.json", Path.unlink, "plan.json is gone; its spare copy is used"),
        ("spare/plan.json", tear, ""),
        ("runs.json", tear, ""),
        ("journal/*.jsonl", flip, ""),
    ],
)
def test_damage_while_nobody_looks_is_made_good(
    bench: Bench, twin: dict[str, object], pattern: str, damage: Callable[[Path], None], told: str
):
    assert launched(bench, faults="step:9=kill")[0] == -signal.SIGKILL
    (bench.run_folder / "runs.json").write_text("{}")  # of a launch with MLflow
    (path, *_) = sorted(bench.run_folder.glob(pattern))
    damage(path)
    assert told in check_goes_on(bench, twin)


@pytest.mark.parametrize(("of", "damage"), [("results", flip), ("journal", flip), ("journal", Path.unlink)])
def test_a_damaged_row_or_journal_is_told_and_its_trial_trained_again(
    bench: Bench, twin: dict[str, object], of: str, damage: Callable[[Path], None]
):
    assert launched(bench)[0] == 0
    damage(sorted((bench.run_folder / of).glob("*"))[2])
    said = check_goes_on(bench, twin)
    assert "is run again" in said
    assert "1 trials in 1 packs" in said


def test_a_disk_that_is_full_ends_with_words_and_goes_on_with_room(
    bench: Bench, twin: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("orchestrator.packs.patience.PATIENCE_S", 0.1)
    monkeypatch.setattr("orchestrator.packs.patience.Patience._pause", lambda *_: None)
    code, said = launched(bench, faults="write:state.safetensors:2=erofs")
    assert code == 3, said
    assert "disk: cannot write" in said
    assert "Traceback" not in said
    assert RowStatus.FAILED not in {row.status for row in RunFolder(bench.run_folder).rows()}
    check_goes_on(bench, twin)


def test_a_hang_of_the_one_process_is_told_with_where_it_hangs(bench: Bench, twin: dict[str, object]):
    child = Child(bench, "--set", "resources.hung_after_minutes=0.03", faults="step:9=hang")

    def told() -> list[str]:
        events = RunFolder(bench.run_folder).events() if step_of(bench) else []
        return [event.message for event in events if event.event == "pack_hung"]

    try:
        child.wait_until(lambda: bool(told()))
        assert f"end it (kill -9 {child.pid}) and give the same command again" in told()[0]
    finally:
        child.signal(signal.SIGKILL)
        child.wait()
    assert any("in _happen" in path.read_text() for path in bench.run_folder.glob("packs/*/log.txt"))
    check_goes_on(bench, twin)


def test_what_is_done_is_not_run_again(bench: Bench, twin: dict[str, object]):
    """Two packs: killed in the second, the first is left as it is."""
    options = ("--set", "resources.trials_per_pack=4")
    code, said = launched(bench, *options, faults="checkpoint.renamed:30=kill")
    assert code == -signal.SIGKILL, said
    folder = RunFolder(bench.run_folder)
    before = {row.trial_id: row.finished_at for row in folder.rows()}
    assert len(before) == 4
    assert launched(bench, *options)[0] == 0
    after = {row.trial_id: row.finished_at for row in folder.rows()}
    assert before.items() < after.items()
    assert len(after) == 8
    status = folder.status()
    assert status is not None
    assert status.state is SweepState.COMPLETE
    assert set(status.packs.values()) <= {PackState.DONE, PackState.WAITING}


def test_a_worker_that_hangs_is_ended_by_its_own_timer(tmp_path: Path):
    """In C: the process runs no Python any more."""
    import time

    from orchestrator.packs.watchdog import was_ended, watched

    log = tmp_path / "packs" / "log.txt"
    pid = os.fork()
    if pid == 0:
        with watched(log, 0.3) as alive:
            alive()
            time.sleep(60)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert "test_a_worker_that_hangs" in log.read_text()
    assert was_ended(log)
    with log.open("a") as file:
        file.write("2026-11-22T12:00:00+00:00 pack p00000 goes on from step 4 of 9\n")
    assert not was_ended(log)
    assert not was_ended(tmp_path / "none.txt")
