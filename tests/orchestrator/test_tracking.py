"""What MLflow holds after a sweep, read back with its own client; and that a bad store never harms training."""

import http.server
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator import tracking
from orchestrator.records import CurvePoint, MLflowRuns, RowStatus, SweepState
from orchestrator.tracking import ListLogger, MlflowLogger, Tracker, TrialRun, store
from orchestrator.tracking.points import Value
from tests.orchestrator.rows import a_config
from trainer.errors import EnvironmentProblem

MlflowClient = Any
CONFIGS = (
    a_config(loss="local", coeff=0.5, layer=3),
    a_config(loss="e2e", coeff=2.0, layer=3),
    a_config(loss="e2e_downstream", coeff=10.0, layer=3, seed=1),
)
LOCAL_ID, E2E_ID, DOWNSTREAM_ID = (config.trial_id for config in CONFIGS)
T0 = 1_700_000_000_000


def trial_runs(pack_id: str = "p001") -> list[TrialRun]:
    return [tracking.describe_trial(config, d_model=32, pack_id=pack_id) for config in CONFIGS]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database: making one takes seconds, copying it none."""
    runs = tmp_path_factory.mktemp("template")
    store.create_store(tracking.resolve_tracking_uri(None, runs=runs, environ={}))
    return runs / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, template: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    return folder


@pytest.fixture
def uri(runs: Path) -> str:
    return tracking.resolve_tracking_uri(None, runs=runs, environ={})


@pytest.fixture
def started(uri: str, runs: Path) -> MLflowRuns:
    return Tracker(uri, runs=runs).start_sweep("quickstart", "quickstart-1a2b3c4d", trial_runs())


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return store.open_client(uri)


def history(client: MlflowClient, run_id: str) -> list[tuple[str, str, int, int]]:
    """Every point of every curve of a run, sorted; values as text so that NaN equals NaN."""
    keys = client.get_run(run_id).data.metrics
    points = [point for key in keys for point in client.get_metric_history(run_id, key)]
    return sorted((p.key, repr(p.value), p.step, p.timestamp) for p in points)


def as_history(logger: ListLogger, trial_id: str) -> list[tuple[str, str, int, int]]:
    return sorted((p.key, repr(float(p.value)), p.step, p.time_ms) for p in logger.points[trial_id])


def log_a_sweep(logger: tracking.TrialLogger, *, n_steps: int = 6) -> None:
    for step in range(n_steps):
        for n, trial_id in enumerate((LOCAL_ID, E2E_ID, DOWNSTREAM_ID)):
            metrics: dict[str, Value] = {"train/loss": 1 / (step + 1) + n, "train/l0": float("nan"), "train/n_alive": 7}
            logger.log(trial_id, step * 10, T0 + step, metrics)
    final: dict[str, Value] = {
        "l0": 12.5,
        "ce_loss_increase": float("inf"),
        "mse": None,
        "downstream_mse": [1.0, 2.0],
    }
    logger.finish(LOCAL_ID, RowStatus.DONE, time_ms=T0 + 99, metrics=final)
    logger.finish(E2E_ID, RowStatus.FAILED, time_ms=T0 + 98, metrics={}, error="the loss was NaN at step 50")
    logger.finish(DOWNSTREAM_ID, RowStatus.STOPPED, time_ms=T0 + 97, metrics={})


def journal(logger: ListLogger, trial_id: str) -> list[CurvePoint]:
    """The journal's lines for what a list logger heard, final metrics left out."""
    return [
        CurvePoint(step=p.step, tokens=0, time_ms=p.time_ms, metrics={p.key: p.value})
        for p in logger.points[trial_id]
        if not p.key.startswith("final/")
    ]


# Runs


def test_a_sweep_is_one_experiment_with_a_parent_run_and_a_child_run_per_trial(
    client: MlflowClient, started: MLflowRuns
) -> None:
    found = client.search_runs([started.experiment_id])
    assert client.get_experiment(started.experiment_id).name == "quickstart"
    assert {run.info.run_id for run in found} == {started.parent_run_id, *started.trials.values()}
    assert client.get_run(started.parent_run_id).info.run_name == "quickstart-1a2b3c4d"
    children = {trial_id: client.get_run(run_id) for trial_id, run_id in started.trials.items()}
    assert {run.info.run_name for run in children.values()} == {
        "L3-local-c0.5-s0",
        "L3-e2e-c2-s0",
        "L3-e2e_downstream-c10-s1",
    }
    assert {run.info.status for run in children.values()} == {"SCHEDULED"}
    for trial_id, run in children.items():
        assert run.data.tags["mlflow.parentRunId"] == started.parent_run_id
        assert run.data.tags["trial_id"] == trial_id
        assert run.data.tags["sweep_id"] == "quickstart-1a2b3c4d"
    tags = children[DOWNSTREAM_ID].data.tags
    assert [tags[name] for name in ("layer", "loss", "seed", "pack_id")] == ["3", "e2e_downstream", "1", "p001"]


def test_params_hold_what_a_reader_compares_runs_by(client: MlflowClient, started: MLflowRuns) -> None:
    params = client.get_run(started.trials[DOWNSTREAM_ID]).data.params
    expected = {
        "sparsity_coeff": "10.0",
        "downstream_coeff": "2.5",
        "kl_coeff": "0.5",
        "layer": "3",
        "loss": "e2e_downstream",
        "seed": "1",
        "lr": "0.0005",
        "d_sae": "128",
        "ratio": "4.0",
        "tokens": "100000",
        "batch_rows": "8",
        "context": "64",
        "model": "gpt2",
        "dataset": "builtin",
        "hookpoint": "blocks.3.hook_resid_pre",
    }
    assert expected.items() <= params.items()
    assert client.get_run(started.trials[LOCAL_ID]).data.params.get("downstream_coeff") is None


def test_a_second_start_finds_the_same_runs(uri: str, runs: Path, client: MlflowClient, started: MLflowRuns) -> None:
    again = Tracker(uri, runs=runs).start_sweep("quickstart", "quickstart-1a2b3c4d", trial_runs("p777"))
    assert again == started
    assert len(client.search_runs([started.experiment_id])) == 1 + len(CONFIGS)
    assert client.get_run(started.trials[E2E_ID]).data.tags["pack_id"] == "p777"


def test_a_start_that_was_cut_off_is_completed_by_the_next(
    uri: str, runs: Path, client: MlflowClient, started: MLflowRuns
) -> None:
    child = client.get_run(started.trials[E2E_ID])
    client.delete_run(started.trials[LOCAL_ID])
    tags = {**child.data.tags, "trial_id": LOCAL_ID, "mlflow.runName": "L3-local-c0.5-s0"}
    bare = client.create_run(started.experiment_id, tags=tags).info.run_id
    again = Tracker(uri, runs=runs).start_sweep("quickstart", "quickstart-1a2b3c4d", trial_runs())
    assert again.trials[LOCAL_ID] == bare
    assert client.get_run(bare).data.params["sparsity_coeff"] == "0.5"
    assert client.get_run(bare).data.tags["loss"] == "local"


def test_of_two_runs_for_one_trial_the_older_is_used(
    uri: str, runs: Path, client: MlflowClient, started: MLflowRuns
) -> None:
    child = client.get_run(started.trials[E2E_ID])
    client.create_run(started.experiment_id, tags=child.data.tags, start_time=child.info.start_time + 1000)
    assert Tracker(uri, runs=runs).start_sweep("quickstart", "quickstart-1a2b3c4d", trial_runs()) == started


def test_another_sweep_of_the_same_name_shares_the_experiment_and_nothing_else(
    uri: str, runs: Path, started: MLflowRuns
) -> None:
    other = Tracker(uri, runs=runs).start_sweep("quickstart", "quickstart-99999999", trial_runs())
    assert other.experiment_id == started.experiment_id
    assert not {other.parent_run_id, *other.trials.values()} & {started.parent_run_id, *started.trials.values()}


def test_more_params_than_one_call_takes_are_split(uri: str, runs: Path, client: MlflowClient) -> None:
    wide = TrialRun("0" * 16, "wide", tags={}, params={f"p{n}": str(n) for n in range(230)})
    made = Tracker(uri, runs=runs).start_sweep("wide", "wide-1", [wide])
    assert client.get_run(made.trials["0" * 16]).data.params == wide.params


def test_a_deleted_experiment_is_explained(uri: str, runs: Path, client: MlflowClient, started: MLflowRuns) -> None:
    client.delete_experiment(started.experiment_id)
    with pytest.raises(EnvironmentProblem, match=r"'quickstart' .*was deleted.*mlflow experiments restore"):
        Tracker(uri, runs=runs).start_sweep("quickstart", "quickstart-1a2b3c4d", trial_runs())


def test_the_parent_run_gets_the_files_of_the_sweep_inside_the_runs_folder(
    uri: str,
    runs: Path,
    tmp_path: Path,
    client: MlflowClient,
    started: MLflowRuns,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "frontier.parquet").write_bytes(b"PAR1")
    tracker = Tracker(uri, runs=runs)
    problem = tracker.publish(
        started, SweepState.COMPLETE, metrics={"n_done": 3.0}, artifacts=[tmp_path / "frontier.parquet"]
    )
    assert problem is None
    copies = list(runs.rglob("frontier.parquet"))
    assert [copy.read_bytes() for copy in copies] == [b"PAR1"]
    assert copies[0].is_relative_to(runs / "mlartifacts" / started.parent_run_id)
    assert [file.path for file in client.list_artifacts(started.parent_run_id)] == ["frontier.parquet"]
    assert client.get_run(started.parent_run_id).info.status == "FINISHED"
    assert client.get_run(started.parent_run_id).data.metrics == {"n_done": 3.0}
    assert list(elsewhere.iterdir()) == []


def test_publishing_what_is_not_there_is_a_problem_returned(uri: str, runs: Path, started: MLflowRuns) -> None:
    problem = Tracker(uri, runs=runs).publish(
        started, SweepState.STOPPED, metrics={}, artifacts=[runs / "no_such_file.png"]
    )
    assert problem is not None
    assert "no_such_file.png" in str(problem)


# Curves


def test_mlflow_gets_what_the_list_gets_point_by_point(uri: str, client: MlflowClient, started: MLflowRuns) -> None:
    logger, twin = MlflowLogger(uri, started.trials), ListLogger()
    log_a_sweep(logger)
    log_a_sweep(twin)
    assert logger.close(deadline_s=60) == twin.close(deadline_s=60) == ()
    for trial_id, run_id in started.trials.items():
        assert history(client, run_id) == as_history(twin, trial_id)
    final = {p.key: repr(p.value) for p in twin.points[LOCAL_ID] if p.key.startswith("final/")}
    assert final == {"final/l0": "12.5", "final/ce_loss_increase": "nan", "final/mse": "nan"}


def test_a_run_ends_as_its_trial_did_and_when_it_did(uri: str, client: MlflowClient, started: MLflowRuns) -> None:
    logger = MlflowLogger(uri, started.trials)
    log_a_sweep(logger)
    assert logger.close(deadline_s=60) == ()
    infos = [client.get_run(started.trials[trial_id]).info for trial_id in (LOCAL_ID, E2E_ID, DOWNSTREAM_ID)]
    assert [info.status for info in infos] == ["FINISHED", "FAILED", "KILLED"]
    assert [info.end_time for info in infos] == [T0 + 99, T0 + 98, T0 + 97]
    assert client.get_run(started.trials[E2E_ID]).data.tags["error"] == "the loss was NaN at step 50"


def test_a_trial_that_trains_again_runs_again_and_forgets_its_error(
    uri: str, client: MlflowClient, started: MLflowRuns
) -> None:
    first = MlflowLogger(uri, started.trials)
    log_a_sweep(first)
    assert first.close(deadline_s=60) == ()
    second = MlflowLogger(uri, started.trials)
    second.log(E2E_ID, 60, T0 + 200, {"train/loss": 0.5})
    assert second.close(deadline_s=60) == ()
    run = client.get_run(started.trials[E2E_ID])
    assert run.info.status == "RUNNING"
    assert "error" not in run.data.tags


def test_replaying_the_journal_twice_doubles_nothing(
    uri: str, runs: Path, client: MlflowClient, started: MLflowRuns
) -> None:
    logger, twin = MlflowLogger(uri, started.trials), ListLogger()
    log_a_sweep(logger)
    log_a_sweep(twin)
    assert logger.close(deadline_s=60) == ()
    tracker = Tracker(uri, runs=runs)
    for _ in range(2):
        assert tracker.replay(started.trials[LOCAL_ID], journal(twin, LOCAL_ID)) == 18
    assert history(client, started.trials[LOCAL_ID]) == as_history(twin, LOCAL_ID)


def test_a_journal_alone_rebuilds_the_run(uri: str, runs: Path, client: MlflowClient, started: MLflowRuns) -> None:
    twin = ListLogger()
    log_a_sweep(twin)
    tracker, run_id = Tracker(uri, runs=runs), started.trials[LOCAL_ID]
    tracker.replay(run_id, journal(twin, LOCAL_ID))
    for _ in range(2):
        final = {"l0": 12.5, "ce_loss_increase": float("inf"), "mse": None}
        tracker.end_trial(run_id, RowStatus.DONE, time_ms=T0 + 99, metrics=final)
    assert history(client, run_id) == as_history(twin, LOCAL_ID)
    assert client.get_run(run_id).info.status == "FINISHED"


def test_more_points_than_one_call_takes_all_arrive(uri: str, client: MlflowClient, started: MLflowRuns) -> None:
    logger, run_id = MlflowLogger(uri, started.trials), started.trials[LOCAL_ID]
    for step in range(1203):
        logger.log(LOCAL_ID, step, T0 + step, {"train/loss": step / 7, "train/lr": 1e-3})
    assert logger.close(deadline_s=60) == ()
    loss = client.get_metric_history(run_id, "train/loss")
    assert sorted((p.step, p.value, p.timestamp) for p in loss) == [(n, n / 7, T0 + n) for n in range(1203)]
    assert len(client.get_metric_history(run_id, "train/lr")) == 1203


# Trouble while training


class _Flaky:
    """A client whose batches arrive, but whose answers get lost the first times: what a time-out looks like."""

    def __init__(self, client: MlflowClient, *, failures: int) -> None:
        self._client = client
        self._failures = failures

    def __getattr__(self, name: str) -> Callable[..., object]:
        return getattr(self._client, name)

    def log_batch(self, *args: object, **kwargs: object) -> None:
        self._client.log_batch(*args, **kwargs)
        if self._failures > 0:
            self._failures -= 1
            raise ConnectionError("the answer got lost")


def test_a_lost_answer_is_asked_for_again_and_doubles_nothing(
    uri: str, client: MlflowClient, started: MLflowRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.sender.open_client", lambda _: _Flaky(client, failures=3))
    logger, twin = MlflowLogger(uri, started.trials, flush_every_s=0.01), ListLogger()
    log_a_sweep(logger)
    log_a_sweep(twin)
    assert logger.close(deadline_s=60) == ()
    for trial_id, run_id in started.trials.items():
        assert history(client, run_id) == as_history(twin, trial_id)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_with_the_server_down_training_goes_on_and_close_names_what_is_missing() -> None:
    run_ids = {LOCAL_ID: "a" * 32, E2E_ID: "b" * 32, DOWNSTREAM_ID: "c" * 32}
    logger = MlflowLogger(f"http://user:geheim@127.0.0.1:{free_port()}", run_ids, flush_every_s=0.01)
    log_a_sweep(logger)
    unsent = logger.close(deadline_s=0.5)
    assert [(u.trial_id, u.run_id, u.n_points, u.ending) for u in unsent] == [
        (LOCAL_ID, "a" * 32, 6 * 3 + 3, True),
        (E2E_ID, "b" * 32, 6 * 3, True),
        (DOWNSTREAM_ID, "c" * 32, 6 * 3, True),
    ]
    assert all("refused" in u.reason and "geheim" not in u.reason for u in unsent)


def test_a_full_queue_drops_what_the_journal_has_and_says_how_much() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    logger = MlflowLogger(url, {LOCAL_ID: "a" * 32}, max_points=10, flush_every_s=3600)
    for step in range(25):
        logger.log(LOCAL_ID, step, T0 + step, {"train/loss": 1.0})
    logger.finish(LOCAL_ID, RowStatus.DONE, time_ms=T0, metrics={"l0": 3.0})
    [unsent] = logger.close(deadline_s=0)
    assert unsent.n_points == 26


def test_a_run_that_was_deleted_holds_up_no_other(uri: str, client: MlflowClient, started: MLflowRuns) -> None:
    client.delete_run(started.trials[LOCAL_ID])
    logger, twin = MlflowLogger(uri, started.trials), ListLogger()
    log_a_sweep(logger)
    log_a_sweep(twin)
    [unsent] = logger.close(deadline_s=60)
    assert (unsent.trial_id, unsent.n_points, unsent.ending) == (LOCAL_ID, 21, True)
    assert "active" in unsent.reason
    assert history(client, started.trials[E2E_ID]) == as_history(twin, E2E_ID)


# Addresses


def test_the_sweep_file_wins_over_the_environment_and_a_file_in_the_runs_folder_is_the_default(tmp_path: Path) -> None:
    def resolved(configured: str | None, variable: str) -> str:
        return tracking.resolve_tracking_uri(configured, runs=tmp_path, environ={"MLFLOW_TRACKING_URI": variable})

    local = f"sqlite:///{tmp_path}/mlflow.db"
    assert resolved(None, "") == resolved("local", "http://b:5000") == local
    assert resolved(None, "http://b:5000/") == "http://b:5000"
    assert resolved("http://a:5000", "http://b:5000") == "http://a:5000"
    assert resolved("sqlite:///here.db", "") == f"sqlite:///{Path.cwd()}/here.db"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no http://user:geheim@host:5000/x, sorry", "no http://user:***@host:5000/x, sorry"),
        ("postgresql+psycopg2://u:ge:he@im@db/mlflow", "postgresql+psycopg2://u:***@db/mlflow"),
        ("postgresql://db/mlflow?user=u&password=geheim&x=1", "postgresql://db/mlflow?user=u&password=***&x=1"),
        ("http://host:5000/path/@here", "http://host:5000/path/@here"),
        ("sqlite:////tmp/a:b@c/mlflow.db", "sqlite:////tmp/a:b@c/mlflow.db"),
    ],
)
def test_passwords_in_addresses_are_masked(text: str, expected: str) -> None:
    assert tracking.masked(text) == expected


def test_a_worker_gets_a_masked_address_back_whole_from_its_environment() -> None:
    whole = "http://user:geheim@host:5000"
    assert tracking.worker_address("sqlite:////x/mlflow.db", environ={}) == "sqlite:////x/mlflow.db"
    stored = tracking.masked(whole)
    assert tracking.worker_address(stored, environ={"MLFLOW_TRACKING_URI": whole}) == whole
    with pytest.raises(EnvironmentProblem, match="set MLFLOW_TRACKING_URI to the whole address"):
        tracking.worker_address(stored, environ={"MLFLOW_TRACKING_URI": "http://user:geheim@other:5000"})


def test_links_open_the_page_with_runs_and_carry_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    server = "https://user:geheim@mlflow.example.org"
    page = "https://mlflow.example.org/#/experiments/3/runs?workflowType=machine_learning"
    assert tracking.experiment_link(server, "3") == page
    assert tracking.run_link("sqlite:////x/mlflow.db", "3", "abc") == (
        "http://127.0.0.1:5000/#/experiments/3/runs/abc?workflowType=machine_learning"
    )
    assert tracking.how_to_open(server, "3") == page
    command, link = tracking.how_to_open("sqlite:////my runs/mlflow.db", "3").splitlines()
    assert command.endswith("-m mlflow ui --workers 1 --backend-store-uri 'sqlite:////my runs/mlflow.db'")
    assert link == "then open http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning"
    monkeypatch.setenv("MLFLOW_PUBLIC_URL", "http://localhost:5001/")
    outside = "http://localhost:5001/#/experiments/3/runs?workflowType=machine_learning"
    assert tracking.experiment_link("http://mlflow:5000", "3") == outside


# The check before a sweep


def problem_with(uri: str) -> str:
    with pytest.raises(EnvironmentProblem) as raised:
        tracking.check_tracking(uri, timeout_s=1)
    return str(raised.value)


def test_a_good_store_passes_the_check_and_a_new_one_is_not_made_by_it(uri: str, tmp_path: Path) -> None:
    tracking.check_tracking(uri)
    tracking.check_tracking(f"sqlite:///{tmp_path}/new/runs/mlflow.db")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("address", ["foo://x", "ht!tp", "", "sqlite://", "file:///tmp/mlruns", "mlruns", "databricks"])
def test_an_unknown_kind_of_address_is_explained(address: str) -> None:
    assert "expected http://, https://, sqlite:///FILE" in problem_with(address)


def test_a_sqlite_file_that_cannot_be_written_or_is_none_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database, and longer than the header of one " * 50)
    assert "is not a folder" in problem_with(f"sqlite:///{tmp_path}/file/mlflow.db")
    assert "file is not a database" in problem_with(f"sqlite:///{tmp_path}/file")
    assert "paths with ? or %" in problem_with(f"sqlite:///{tmp_path}/a%20b/mlflow.db")


def test_a_missing_database_driver_is_explained_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    said = problem_with("postgresql://user:geheim@127.0.0.1:1/mlflow")
    assert "pip install 'psycopg[binary]'" in said
    assert "postgresql+psycopg2:// and: pip install psycopg2-binary" in said
    assert "pip install psycopg2-binary" in problem_with("postgresql+psycopg2://user:geheim@127.0.0.1:1/mlflow")
    assert "geheim" not in said


def test_a_server_that_is_down_or_hangs_is_explained(silent_port: int) -> None:
    down = problem_with(f"http://user:geheim@127.0.0.1:{free_port()}")
    assert "no answer from the MLflow server at http://user:***@127.0.0.1" in down
    assert "connection refused" in down
    assert "it timed out" in problem_with(f"http://127.0.0.1:{silent_port}")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (403, b"Invalid Host header - possible DNS rebinding attack detected", "--allowed-hosts '127.0.0.1:"),
        (401, b"You are not authenticated", "MLFLOW_TRACKING_USERNAME"),
        (404, b"<html>nothing here</html>", "cannot be used"),
        (200, b"<html>another kind of server</html>", "cannot be used"),
    ],
)
def test_an_answer_that_is_no_use_is_explained(status: int, body: bytes, expected: str) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            assert expected in problem_with(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


# In processes of their own


def python(code: str, *arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_importing_tracking_does_not_import_mlflow(tmp_path: Path) -> None:
    process = python("import sys, orchestrator.tracking; print('mlflow' in sys.modules)", cwd=tmp_path)
    assert process.communicate() == ("False\n", None)


FIRST_START = """
import sys
from pathlib import Path
from orchestrator.records import RowStatus
from orchestrator.tracking import *
runs = Path(sys.argv[1])
uri = resolve_tracking_uri(None, runs=runs, environ={})
check_tracking(uri)
trial = TrialRun("0" * 16, "run", {"trial_id": "0" * 16}, {})
made = Tracker(uri, runs=runs).start_sweep(sys.argv[2], sys.argv[2], [trial])
logger = MlflowLogger(uri, made.trials)
logger.log("0" * 16, 0, 1, {"a": 1.0})
logger.finish("0" * 16, RowStatus.DONE, time_ms=2, metrics={})
assert logger.close(deadline_s=60) == ()
"""


@pytest.mark.slow
def test_two_sweeps_that_start_at_once_on_a_new_store_say_nothing_and_leave_nothing_elsewhere(tmp_path: Path) -> None:
    cwd, new = tmp_path / "cwd", tmp_path / "new" / "runs"
    cwd.mkdir()
    processes = [python(FIRST_START, str(new), name, cwd=cwd) for name in ("one", "two")]
    assert [process.communicate()[0] for process in processes] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]
    client = store.open_client(f"sqlite:///{new}/mlflow.db")
    assert {e.name for e in client.search_experiments()} == {"Default", "one", "two"}
    assert list(cwd.iterdir()) == []


def wait_for(condition: Callable[[], bool], *, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def server(runs: Path, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A real server over a SQLite file, that goes by the name 127.0.0.1 and no other."""
    port = free_port()
    command: Sequence[str] = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{runs}/mlflow.db", "--artifacts-destination", str(tmp_path / "served")),
        *("--allowed-hosts", f"127.0.0.1:{port}"),
    ]
    environ = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}"), limit_s=180)
        yield f"http://127.0.0.1:{port}", process
    finally:
        for kind in (signal.SIGCONT, signal.SIGKILL):
            os.killpg(process.pid, kind)
        process.wait()


@pytest.mark.slow
def test_a_sweep_over_http_through_a_server_that_hangs_and_comes_back(
    server: tuple[str, subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, process = server
    tracking.check_tracking(url)
    said = problem_with(url.replace("127.0.0.1", "localhost"))
    assert "--allowed-hosts 'localhost:" in said

    tracker = Tracker(url, runs=tmp_path)
    made = tracker.start_sweep("quickstart", "quickstart-1a2b3c4d", trial_runs())
    assert tracker.start_sweep("quickstart", "quickstart-1a2b3c4d", trial_runs()) == made
    logger, twin = MlflowLogger(url, made.trials), ListLogger()
    log_a_sweep(logger, n_steps=3)
    log_a_sweep(twin, n_steps=3)
    assert logger.close(deadline_s=60) == ()

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    os.killpg(process.pid, signal.SIGSTOP)
    logger = MlflowLogger(url, made.trials, flush_every_s=0.01)
    log_a_sweep(logger)
    unsent = logger.close(deadline_s=2)
    assert {u.trial_id for u in unsent} == set(made.trials)
    os.killpg(process.pid, signal.SIGCONT)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")

    twin = ListLogger()
    log_a_sweep(twin)
    for u in unsent:
        tracker.replay(u.run_id, journal(twin, u.trial_id))
    client = store.open_client(url)
    for trial_id, run_id in made.trials.items():
        assert history(client, run_id) == as_history(twin, trial_id)

    (tmp_path / "frontier.png").write_bytes(b"png")
    assert tracker.publish(made, SweepState.COMPLETE, metrics={}, artifacts=[tmp_path / "frontier.png"]) is None
    assert [path.read_bytes() for path in (tmp_path / "served").rglob("frontier.png")] == [b"png"]
