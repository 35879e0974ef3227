"""`orchestrator dashboard` as a process: what it says, what it loads, how it ends, and what it refuses."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.dashboards.shown import shown_run
from tests.tiny import ROOT

HEAVY = (
    "torch",
    "ray",
    "mlflow",
    "pandas",
    "transformers",
    "matplotlib",
    "optuna",
    "trainer.config",
    "orchestrator.folder",
)


@contextmanager
def dashboard(runs: Path, *more: str) -> Generator[tuple["subprocess.Popen[str]", str, str]]:
    """The process, its address, and what it said until then."""
    command = [sys.executable, "-m", "orchestrator", "dashboard", str(runs), "--port", "0", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        said = ""
        while "Ctrl-C" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        [address] = re.findall(r"shown at (http://[^/]+)/", said)
        yield process, address, said
    finally:
        process.kill()
        process.communicate()


def asked(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()


def test_it_serves_until_ctrl_c_and_ends_as_asked(tmp_path: Path) -> None:
    shown_run(tmp_path)
    with dashboard(tmp_path) as (process, address, said):
        assert said == f"{tmp_path} is shown at {address}/\nCtrl-C ends it\n"
        assert address.startswith("http://127.0.0.1:")
        assert json.loads(asked(f"{address}/api/sweeps"))["sweeps"][0]["n_rows"] == 8
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def test_it_loads_nothing_heavy_whatever_it_is_asked_for(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    script = f"""
import asyncio, sys
from pathlib import Path
from orchestrator.commands.dashboard import _address, _listen, _runs
from dashboards.guard import hosts_of
from dashboards.server import app
runs = _runs(Path({str(tmp_path)!r}))
served = app(runs, is_host=hosts_of("127.0.0.1"))
async def ask(path):
    status = []
    async def send(message):
        status.append(message.get("status"))
    async def receive():
        return {{"type": "http.request", "body": b"", "more_body": False}}
    scope = {{"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
             "headers": [(b"host", b"localhost")], "root_path": "", "http_version": "1.1", "scheme": "http"}}
    await served(scope, receive, send)
    return status[0]
trial = {run.rows()[0].trial_id!r}
for path in ("/", "/api/sweeps", "/api/sweeps/demo-12345678", f"/api/sweeps/demo-12345678/trials/{{trial}}",
             "/sweeps/demo-12345678/frontier.csv", "/sweeps/demo-12345678/report.html"):
    assert asyncio.run(ask(path)) == 200, path
import uvicorn
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert ran.stdout.split() == []


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = CliRunner().invoke(app, ["dashboard", str(tmp_path), "--port", str(port)])
    assert ran.exit_code == 4
    assert f"port {port} of 127.0.0.1 is in use" in ran.stderr
    assert "or take another port: --port" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 2, "no folder nowhere: expected a folder of run folders"),
        ([".", "--port", "99999"], 2, "--port 99999: expected a number from 0 to 65535"),
        ([".", "--host", "no such host"], 2, "--host no such host: there is no such address"),
        ([".", "--host", "192.0.2.1"], 4, "192.0.2.1 is no address of this machine"),
    ],
)
def test_what_cannot_be_served_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["dashboard", *arguments])
    assert ran.exit_code == code
    assert ran.stderr.startswith(f"error: {said}")
    assert len(ran.stderr.splitlines()) == 1


def test_a_host_that_others_reach_is_warned_of_and_ends_by_sigterm(tmp_path: Path) -> None:
    with dashboard(tmp_path, "--host", "0.0.0.0") as (process, address, said):
        assert said.startswith("warning: listening at 0.0.0.0. Whoever reaches this machine can read all of")
        assert asked(f"{address}/healthz") == b"ok"
        process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert process.returncode in (-signal.SIGTERM, 143)


def test_a_run_folder_opens_at_its_own_page(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    with dashboard(run.path) as (_, address, said):
        assert f"{address}/#/frontier/{run.path.name}" in said


def test_export_writes_the_report_where_it_is_wanted(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    ran = CliRunner().invoke(app, ["export", str(run.path), "--format", "html"])
    assert (ran.exit_code, ran.stdout.strip()) == (0, str(run.report))
    ran = CliRunner().invoke(app, ["export", str(run.path), "--format", "html", "-o", str(tmp_path / "r.html")])
    assert ran.exit_code == 0
    assert (tmp_path / "r.html").read_bytes()[:15] == run.report.read_bytes()[:15] == b"<!doctype html>"
