"""The look at a store before a sweep: what can never work is explained, what may work later is told apart."""

import http.server
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator import tracking
from orchestrator.tracking import store
from tests.orchestrator.tracking import servers
from tests.orchestrator.tracking.servers import free_port
from trainer.errors import EnvironmentProblem


def problem_with(uri: str, *, may_pass: bool = False) -> str:
    """What is said; `may_pass`: that it is a problem which a launch does not wait for."""
    with pytest.raises(EnvironmentProblem) as raised:
        tracking.check_tracking(uri, timeout_s=1)
    assert isinstance(raised.value, tracking.Unreachable) is may_pass
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


@pytest.mark.parametrize("version", ["0123456789ab", "v3.0.0.d"])
def test_tables_of_another_version_or_program_are_explained(runs: Path, sqlite: str, version: str) -> None:
    with closing(sqlite3.connect(runs / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", [version])
    said = problem_with(sqlite)
    assert f"(version {version}, expected" in said
    assert "mlflow db upgrade sqlite:///" in said


def test_a_database_that_somebody_writes_to_just_now_is_no_problem(runs: Path, sqlite: str) -> None:
    with closing(sqlite3.connect(runs / "mlflow.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        tracking.check_tracking(sqlite)
        database.rollback()


@pytest.mark.slow
def test_a_database_server_that_is_down_may_come_back_and_one_without_the_database_does_not() -> None:
    with servers.postgres() as (address, server):
        tracking.check_tracking(address)
        said = problem_with(address.replace("/postgres", "/nowhere"))
        assert "does not exist" in said
        assert "geheim" not in said
        server.stop()
        assert "refused" in problem_with(address, may_pass=True)


def test_a_missing_database_driver_is_explained_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    said = problem_with("postgresql://user:geheim@127.0.0.1:1/mlflow")
    assert "pip install 'psycopg[binary]'" in said
    assert "postgresql+psycopg2:// and: pip install psycopg2-binary" in said
    assert "pip install psycopg2-binary" in problem_with("postgresql+psycopg2://user:geheim@127.0.0.1:1/mlflow")
    assert "geheim" not in said


def test_a_server_that_is_down_or_hangs_is_explained(silent_port: int) -> None:
    down = problem_with(f"http://user:geheim@127.0.0.1:{free_port()}", may_pass=True)
    assert "no answer from the MLflow server at http://user:***@127.0.0.1" in down
    assert "connection refused" in down
    assert "it timed out" in problem_with(f"http://127.0.0.1:{silent_port}", may_pass=True)


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
        (500, b"", "it answers with error 500"),
        (503, b"starting", "it answers with error 503"),
        (429, b"", "it answers with error 429"),
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
            assert expected in problem_with(
                f"http://127.0.0.1:{server.server_port}", may_pass=status in (500, 503, 429)
            )
        finally:
            server.shutdown()
            thread.join()


FIRST_START = """
import sys
from pathlib import Path
from tests.orchestrator.tracking.a_sweep import ASweep, publish
from orchestrator import tracking
sweep = ASweep(Path(sys.argv[1]), sys.argv[2])
uri = tracking.resolve_tracking_uri(None, runs=sweep.runs, environ={})
tracking.check_tracking(uri)
mirror = sweep.mirror(uri)
mirror.start()
sweep.train(3)
sweep.end_all()
publish(mirror, sweep)
assert mirror.close(200) is None
assert sweep.said == [], sweep.said
"""


def python(code: str, *arguments: str, cwd: Path) -> "subprocess.Popen[str]":
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environ["PYTHONPATH"] = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_neither_importing_tracking_nor_checking_a_sqlite_file_imports_mlflow(sqlite: str, tmp_path: Path) -> None:
    check = "from orchestrator import tracking; tracking.check_tracking(sys.argv[1])"
    assert python(f"import sys; {check}; print('mlflow' in sys.modules)", sqlite, cwd=tmp_path).communicate() == (
        "False\n",
        None,
    )


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
