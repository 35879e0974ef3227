"""`status`: of a run in progress, ended, stopped, killed or torn, and of all of them; never a traceback."""

import io
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands.standing import Onlooker, RunState, stand
from orchestrator.folder.clock import now
from orchestrator.folder.records import Event, SweepState
from orchestrator.folder.run_folder import RunFolder
from tests.orchestrator.made_run import GONE, TRIALS, held, made_run, write_pack


def status(runs: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["status", *more, "--runs", str(runs)])


def as_json(runs: Path, *more: str) -> dict[str, object]:
    ran = status(runs, *more, "--json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_a_complete_run_says_so_and_has_nothing_to_go_on_with(tmp_path: Path) -> None:
    made_run(tmp_path)
    ran = status(tmp_path, "demo")
    assert "8 done" in ran.stdout
    assert "complete at " in ran.stdout
    assert "to go on" not in ran.stdout
    assert as_json(tmp_path, "demo")["go_on"] is None


def test_a_run_in_progress_shows_its_packs_and_who_runs_it(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    with held(folder) as holder:
        ran = status(tmp_path, "demo")
        found = as_json(tmp_path, "demo")
    assert f"running (process {holder.pid} on this machine since " in ran.stdout
    assert "4 done, 4 running" in ran.stdout
    assert "bbbbbb" in ran.stdout
    assert "4,000" in ran.stdout  # tokens per second of four SAEs
    assert "to go on" not in ran.stdout
    assert (found["state"], found["n_done"], found["n_running"], found["n_waiting"]) == ("running", 4, 4, 0)
    assert found["launcher"] == holder.model_dump(mode="json", include={"host", "pid", "started_at"})


def test_a_killed_run_says_that_its_launcher_is_gone_and_how_to_go_on(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.RUNNING, n_done=4, pid=GONE)
    ran = status(tmp_path, "demo")
    assert f"cut off: its launcher, process {GONE} on " in " ".join(ran.stdout.split())
    assert "running" not in ran.stdout
    assert f"resume {folder.path}" in ran.stdout
    found = as_json(tmp_path, "demo")
    assert (found["state"], found["n_running"], found["n_waiting"]) == ("cut off", 0, 4)
    assert str(found["go_on"]).endswith(f"-m orchestrator resume {folder.path}")


def test_a_stopped_run_says_how_to_go_on(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.STOPPED, n_done=3)
    ran = status(tmp_path, "demo")
    assert "stopped at " in ran.stdout
    assert "3 done, 5 waiting" in ran.stdout
    assert f"resume {folder.path}" in ran.stdout


def test_failed_trials_are_named_with_their_reason_and_how_to_try_them_again(tmp_path: Path) -> None:
    folder = made_run(tmp_path, n_done=2, n_failed=6)
    ran = status(tmp_path, "demo")
    assert f"failed     {TRIALS[2].run_name}: diverged at step 3" in ran.stdout
    assert "and 1 more, see" in ran.stdout
    assert f"retry {folder.path} --failed" in ran.stdout


def test_a_launcher_that_trains_nothing_yet_is_starting_and_one_that_trained_is_finishing(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.STOPPED, n_done=3, at=now() - timedelta(hours=1))
    with held(folder):
        assert stand(folder).state is RunState.STARTING
        made_run(tmp_path, state=SweepState.STOPPED, n_done=4)
        assert stand(folder).state is RunState.FINISHING


def test_a_launcher_that_has_said_nothing_for_minutes_is_said_to_be_silent(tmp_path: Path) -> None:
    folder = made_run(tmp_path, state=SweepState.RUNNING, n_done=4, at=now() - timedelta(minutes=9))
    with held(folder, since=now() - timedelta(minutes=20)):
        assert "no word from it since" in stand(folder).who


def test_trials_that_were_removed_are_not_counted(tmp_path: Path) -> None:
    folder = made_run(tmp_path)
    plan = folder.plan()
    assert plan is not None
    folder.write_plan(plan.model_copy(update={"removed": [trial.trial_id for trial in TRIALS[:3]]}))
    found = as_json(tmp_path, "demo")
    assert (found["n_trials"], found["n_done"], found["fraction"]) == (5, 5, 1.0)


@pytest.mark.parametrize(
    "file", ["status.json", "packs/bbbbbbbbbbbb/status.json", f"results/{TRIALS[0].trial_id}.json"]
)
@pytest.mark.parametrize("content", ["", '{"schema_ver', "null", '{"state": "dancing"}', "\x00\x01"])
def test_a_torn_file_is_one_sentence_and_the_rest_is_shown(tmp_path: Path, file: str, content: str) -> None:
    folder = made_run(tmp_path, state=SweepState.RUNNING, n_done=4, pid=GONE)
    (folder.path / file).write_text(content)
    ran = status(tmp_path, "demo")
    assert ran.exit_code == 0
    assert f"trouble    {folder.path / file}" in ran.stdout
    assert "Traceback" not in ran.output
    assert "8 trials in 2 packs" in ran.stdout
    assert len(as_json(tmp_path, "demo")["troubles"]) == 1  # pyright: ignore[reportArgumentType]


def test_a_torn_plan_is_read_from_its_spare_copy(tmp_path: Path) -> None:
    folder = made_run(tmp_path)
    before = status(tmp_path, "demo").stdout
    (folder.path / "plan.json").write_text('{"sweep_id": "de')
    assert status(tmp_path, "demo").stdout == before
    (folder.path / "plan.json").unlink()
    assert status(tmp_path, str(folder.path)).stdout == before


def test_a_torn_plan_without_one_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    folder = made_run(tmp_path)
    for path in (folder.path / "plan.json", folder.path / "spare" / "plan.json"):
        path.write_text('{"sweep_id": "de')
    ran = status(tmp_path, "demo")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.count("error: ") == 1
    assert "plan.json is not a readable SavedPlan" in ran.stderr


def test_without_a_run_all_are_listed_the_last_launched_first(tmp_path: Path) -> None:
    made_run(tmp_path, "older-11111111")
    made_run(tmp_path, "killed-22222222", state=SweepState.RUNNING, n_done=2, pid=GONE)
    torn = made_run(tmp_path, "torn-33333333")
    (torn.path / "status.json").write_text("{")
    newest = made_run(tmp_path, "newest-44444444", n_done=5, n_failed=3)
    for age, name in enumerate(("newest-44444444", "torn-33333333", "killed-22222222", "older-11111111")):
        time_s = 1_700_000_000 - age
        os.utime(tmp_path / name / "plan.json", (time_s, time_s))
    ran = status(tmp_path)
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == [
        "newest-44444444", "torn-33333333", "killed-22222222", "older-11111111",
    ]  # fmt: skip
    assert "complete" in lines[1]
    assert "5/8" in lines[1]
    assert "unreadable" in lines[2]
    assert "cut off" in lines[3]
    assert "torn-33333333: " in lines[5]
    listed = json.loads(status(tmp_path, "--json").stdout)
    assert [line["state"] for line in listed] == ["complete", None, "cut off", "complete"]
    assert listed[0]["folder"] == str(newest.path)


def test_an_empty_runs_folder_is_no_error(tmp_path: Path) -> None:
    ran = status(tmp_path / "nowhere")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "no runs in" in ran.stderr
    assert json.loads(status(tmp_path / "nowhere", "--json").stdout) == []


def test_a_name_that_could_lead_elsewhere_finds_nothing(tmp_path: Path) -> None:
    made_run(tmp_path / "runs")
    for name in ("*", "[a-z]*", "de*", "../runs", "demo-*"):
        ran = status(tmp_path / "runs", name)
        assert ran.exit_code == 2, name
        assert "demo-12345678" in ran.stderr


def test_watching_ends_with_the_run_and_tells_its_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    with held(folder) as holder:
        looks = 0

        def ends_at_the_third_look(_: RunFolder) -> object:
            nonlocal looks
            looks += 1
            if looks == 2:
                folder.add_event(Event(time=now(), event="trial_done", message="L1-local-c1-s0 is done"))
            if looks == 3:
                made_run(tmp_path)
            return holder if looks < 3 else None

        monkeypatch.setattr("orchestrator.commands.standing.who_holds", ends_at_the_third_look)
        monkeypatch.setattr("orchestrator.commands.status.WATCH_EVERY_S", 0.01)
        ran = status(tmp_path, "demo", "--watch")
    assert ran.exit_code == 0
    assert "L1-local-c1-s0 is done" in ran.stderr
    assert "complete at " in ran.stdout


def test_an_onlooker_reads_a_row_again_only_when_it_was_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(tmp_path, state=SweepState.STOPPED, n_done=3)
    onlooker = Onlooker(folder)
    assert onlooker.look().view.n_done == 3
    read: list[str] = []
    real = folder.row
    monkeypatch.setattr(folder, "row", lambda trial_id: read.append(trial_id) or real(trial_id))
    made_run(tmp_path, state=SweepState.STOPPED, n_done=2, n_failed=2)
    assert onlooker.look().view.n_failed == 2
    assert len(read) == 4
    onlooker.look()
    assert len(read) == 4


def test_what_a_terminal_would_obey_is_shown_and_not_sent(tmp_path: Path) -> None:
    """An error text may hold anything: colours of a library, or a title that somebody put into a file's name."""
    evil = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202eback"
    folder = made_run(tmp_path, state=SweepState.RUNNING, n_done=2, n_failed=1, pid=GONE, error=evil)
    write_pack(folder, at=now(), error=evil)
    for more in (("demo",), ("demo", "--json"), ("--json",), ()):
        ran = status(tmp_path, *more)
        assert ran.exit_code == 0
        for character in "\x1b\x07\x9b\u202e":
            assert character not in ran.output
    assert "␛]0;owned" in status(tmp_path, "demo").stdout
    assert as_json(tmp_path, "demo")["failed"][0]["why"] == evil  # pyright: ignore[reportIndexIssue]


def test_a_picture_of_what_came_out_has_a_dot_for_each_trial_of_a_layer(tmp_path: Path) -> None:
    from orchestrator.display.terminal import SafeConsole, drawn

    view = stand(made_run(tmp_path, n_done=4)).view
    console = SafeConsole(file=io.StringIO(), width=100)
    console.print(drawn(view, notes={}, with_front=True))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "CE increase against L0, layer 1, 4 trials" in text
    assert "L0 10 to 40, CE increase 0.125 to 0.5" in text
    dots = sum((ord(character) - 0x2800).bit_count() for character in text if 0x2800 <= ord(character) < 0x2900)
    assert dots == 4
