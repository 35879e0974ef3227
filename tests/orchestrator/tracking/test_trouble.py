"""MLflow away, slow, refusing or answering nonsense: training never waits, and in the end MLflow has everything."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking import Mirror, store
from tests.orchestrator.tracking.a_sweep import ASweep, assert_equal, publish
from tests.orchestrator.tracking.faulty import Faulty, faulty_server
from tests.orchestrator.tracking.servers import wait_for
from tests.tiny import Bench

pytestmark = pytest.mark.slow


@pytest.fixture
def faulty(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    with faulty_server(runs / "mlflow.db", monkeypatch) as server:
        yield server


def started(sweep: ASweep, uri: str) -> Mirror:
    mirror = sweep.mirror(uri)
    mirror.start()
    return mirror


def finished(mirror: Mirror, sweep: ASweep, uri: str) -> None:
    """The sweep ends, and MLflow has it all."""
    sweep.train(2)
    sweep.end_all()
    publish(mirror, sweep)
    assert mirror.close(60) is None
    assert_equal(store.open_client(uri), sweep)


@pytest.mark.parametrize("obeys", [False, True])
@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"])
def test_errors_in_the_middle_are_told_once_and_their_end_too(
    faulty: Faulty, sweep: ASweep, status: str, *, obeys: bool
) -> None:
    mirror = started(sweep, faulty.url)
    assert mirror.wait_until_open(60)
    faulty.status, faulty.obeys = status, obeys
    for _ in range(3):
        sweep.train(2)
        seen = faulty.n_requests
        wait_for(lambda seen=seen: faulty.n_requests > seen)
    faulty.status = ""
    wait_for(lambda: len(sweep.said) == 2)
    finished(mirror, sweep, faulty.url)
    [(level, lost), back] = sweep.said
    assert (level, status[:3] in lost) == ("warning", True)
    assert back == ("info", "MLflow is back and has got everything so far")


@pytest.mark.parametrize("obeys", [False, True])
def test_errors_while_runs_are_made_make_no_run_twice(faulty: Faulty, sweep: ASweep, *, obeys: bool) -> None:
    faulty.status, faulty.obeys = "502 Bad Gateway", obeys
    mirror = started(sweep, faulty.url)
    for n_answers in (4, 5, 6):
        wait_for(lambda: len(sweep.said) >= 1)
        faulty.status, seen = "", faulty.n_requests
        wait_for(lambda seen=seen, n=n_answers: faulty.n_requests >= seen + n or mirror.wait_until_open(0))
        faulty.status = "502 Bad Gateway"
    faulty.status = ""
    assert mirror.wait_until_open(60)
    finished(mirror, sweep, faulty.url)


def test_a_server_that_is_down_at_the_start_gets_everything_once_it_is_up(faulty: Faulty, sweep: ASweep) -> None:
    faulty.stop()
    mirror = started(sweep, faulty.url)
    wait_for(lambda: len(sweep.said) == 1)
    sweep.train(5)
    sweep.end(sweep.ids[0])
    assert not mirror.wait_until_open(0)
    assert sweep.folder.mlflow_runs() is None
    assert "connection refused" in sweep.said[0][1]
    faulty.start()
    assert mirror.wait_until_open(60)
    finished(mirror, sweep, faulty.url)


def test_a_server_that_goes_down_and_comes_back_is_no_news_but_twice(faulty: Faulty, sweep: ASweep) -> None:
    mirror = started(sweep, faulty.url)
    assert mirror.wait_until_open(60)
    sweep.train(2)
    faulty.stop()
    wait_for(lambda: bool(sweep.said))
    sweep.train(5)
    faulty.start()
    finished(mirror, sweep, faulty.url)
    assert [level for level, _ in sweep.said] == ["warning", "info"]


def test_a_server_that_hangs_holds_up_neither_training_nor_the_end(
    faulty: Faulty, sweep: ASweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    mirror = started(sweep, faulty.url)
    assert mirror.wait_until_open(60)
    faulty.hangs.set()
    sweep.train(5)
    sweep.end_all()
    publish(mirror, sweep)
    behind = mirror.close(2)
    assert behind is not None
    assert (behind.n_trials, behind.n_endings, behind.files) == (3, 3, True)
    faulty.hangs.clear()
    again = started(sweep, faulty.url)
    publish(again, sweep)
    assert again.close(60) is None
    assert_equal(store.open_client(faulty.url), sweep)


def test_down_at_the_end_what_is_missing_is_counted_and_the_next_launch_sends_it(faulty: Faulty, sweep: ASweep) -> None:
    mirror = started(sweep, faulty.url)
    assert mirror.wait_until_open(60)
    faulty.stop()
    sweep.train(4)
    sweep.end_all()
    publish(mirror, sweep)
    behind = mirror.close(0.5)
    assert behind is not None
    assert (behind.n_lines, behind.n_endings, behind.n_trials, behind.files) == (3 * (4 + 2), 3, 3, True)
    assert str(behind).startswith(
        "18 lines of curves and how 3 trials ended and the sweep's numbers or files (no answer"
    )
    faulty.start()
    again = started(sweep, faulty.url)
    publish(again, sweep)
    assert again.close(60) is None
    assert_equal(store.open_client(faulty.url), sweep)


def test_a_login_that_is_refused_in_the_middle_is_told_and_asked_for_again(faulty: Faulty, sweep: ASweep) -> None:
    mirror = started(sweep, faulty.url)
    assert mirror.wait_until_open(60)
    faulty.status = "401 Unauthorized"
    sweep.train(2)
    wait_for(lambda: bool(sweep.said))
    assert "MLFLOW_TRACKING_USERNAME" in sweep.said[0][1]
    faulty.status = ""
    finished(mirror, sweep, faulty.url)


def test_no_password_of_an_address_is_in_any_file_of_the_run_folder_or_in_mlflow(
    faulty: Faulty, sweep: ASweep, runs: Path
) -> None:
    uri = faulty.url.replace("http://", "http://user:geheim@")
    mirror = started(sweep, uri)
    assert mirror.wait_until_open(60)
    faulty.status = "500 http://user:geheim@host failed"
    sweep.train(2)
    wait_for(lambda: bool(sweep.said))
    faulty.status = ""
    sweep.end(sweep.ids[0])
    sweep.end(sweep.ids[1], RowStatus.FAILED, "no answer")
    publish(mirror, sweep)
    assert mirror.close(60) is None
    faulty.stop()
    again = started(sweep, uri)
    wait_for(lambda: len(sweep.said) > 2)
    behind = again.close(0)
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert {"runs.json", "cursor.json", "mlflow.db"} <= {path.name for path in files}
    assert [path for path in files if b"geheim" in path.read_bytes()] == []
    assert re.findall("geheim", f"{sweep.said} {behind}") == []
    assert "user:***@" in str(sweep.said)


def test_a_finished_sweep_sends_what_mlflow_lacks_when_it_is_launched_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow was away at the end; the same command is all that it takes."""
    arguments = bench.arguments("--local", "--plain", "--set", "grid.layer=0", "--set", "train.tokens=64")
    monkeypatch.setattr("orchestrator.running.finish.MLFLOW_S", 0.2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    ran = CliRunner().invoke(app, ["launch", *arguments])
    assert (ran.exit_code, "MLflow has not got" in ran.output) == (0, True), ran.output
    monkeypatch.setattr("orchestrator.running.finish.MLFLOW_S", 60)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{bench.folder}/mlflow.db")
    for _ in range(2):
        ran = CliRunner().invoke(app, ["launch", *arguments])
        assert (ran.exit_code, "MLflow has not got" in ran.output) == (0, False), ran.output
    client = store.open_client(f"sqlite:///{bench.folder}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert [run.info.status for run in found] == ["FINISHED"] * 5
    events = [event.event for event in RunFolder(bench.run_folder).events()]
    assert events.count("sweep_started") == 2  # the third time there is nothing to do
