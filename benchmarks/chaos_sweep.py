"""The sweep under test: its launches as real processes, how far it has come, and MLflow behind a door that can be shut.

Injects nothing itself and compares nothing; `chaos_faults.py` and `chaos_compare.py` do.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, NamedTuple

import psutil

from tests.tiny import ROOT

SWEEP = """\
name: chaos
model: {name: builtin}
data: {dataset: builtin, context: 64, eval_split: held_out, eval_rows: 32}
train: {tokens: TOKENS, batch_rows: 4, lr: 4e-3}
sae: {ratio: 4}
eval: {alive_window_tokens: 25_600}
loss:
  e2e_downstream: {downstream_coeff: 2.5, kl_coeff: 0.5}
grid:
  layer: [2, 4]
  loss: [local, e2e, e2e_downstream]
  sparsity_coeff:
    local: [0.5, 2, 1.0e+300]
    e2e: [0.5, 1.2, 3]
    e2e_downstream: [0.6, 1.5, 4]
  seed: 0
resources: {cpus_per_pack: 1, trials_per_pack: 3, hung_after_minutes: 0.75}
logging: {log_every_steps: 5, eval_every_tokens: EVERY}
"""
"""The quick start's model, text, layers and losses; two of its 18 trials diverge in their first step."""
EXIT_S = 600.0
CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
"""Debian's libfaketime, by which the clock of a process can be set."""


class PackNow(NamedTuple):
    """Where a pack is."""

    pack_id: str
    state: str
    step: int
    n_steps: int
    pid: int | None


class Sweep:
    """One run folder, and the launch that works on it now, if any."""

    def __init__(self, folder: Path, runs: Path, *, n_tokens: int, local: bool, uri: str | None) -> None:
        self.folder, self.runs, self.local, self.uri = folder, runs, local, uri
        self.file = folder / "chaos.yaml"
        text = SWEEP.replace("TOKENS", str(n_tokens)).replace("EVERY", str(n_tokens // 4))
        self.file.write_text(text)
        self.environ: dict[str, str] = {}
        """For all launches from now on."""
        self.process: subprocess.Popen[bytes] | None = None
        self.n_launches = 0
        self._trials: dict[str, list[str]] = {}

    @property
    def run_folder(self) -> Path:
        """There from the first launch on."""
        (found,) = self.runs.glob("chaos-????????")
        return found

    @property
    def command(self) -> list[str]:
        """`launch` and `resume` by turns."""
        resumes = self.n_launches % 2 == 1 and self.runs.is_dir() and any(self.runs.glob("chaos-*/sweep.yaml"))
        if resumes:
            return [*_program("resume"), str(self.run_folder), "--plain"]
        how = ["--local"] if self.local else ["--slots", "2"]
        tracking = [] if self.uri else ["--no-tracking"]
        return [*_program("launch"), str(self.file), "--runs", str(self.runs), "--plain", *how, *tracking]

    @property
    def log(self) -> Path:
        """What the newest launch prints."""
        return self.folder / f"launch-{self.n_launches:03}.txt"

    def start(self, **environ: str) -> None:
        """The same command again, in a session of its own: a signal to its group is a Ctrl-C."""
        command = self.command
        self.n_launches += 1
        with self.log.open("wb") as log:
            log.write(f"$ {' '.join(command)} {environ or ''}\n".encode())
            log.flush()
            self.process = self._opened(command, log, environ)

    def second(self) -> subprocess.CompletedProcess[bytes]:
        """Another launch beside the one that runs."""
        with (self.folder / "second.txt").open("wb") as log:
            process = self._opened(self.command, log, {})
            return subprocess.CompletedProcess(process.args, process.wait(EXIT_S))

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def code(self) -> int | None:
        """Of the newest launch; None while it runs."""
        return self.process.poll() if self.process is not None else None

    def wait(self) -> int:
        """For its end. Raises TimeoutExpired."""
        assert self.process is not None
        return self.process.wait(EXIT_S)

    def send(self, number: signal.Signals, *, group: bool = False) -> None:
        """To the driver, or as a terminal does to all of its group."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def everybody(self) -> list[psutil.Process]:
        """The driver and all that it started."""
        assert self.process is not None
        try:
            driver = psutil.Process(self.process.pid)
            return [driver, *driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill_everything(self) -> None:
        """As a power cut does, as near as it goes: all at once."""
        everybody = self.everybody()
        for one in everybody:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.wait()
        psutil.wait_procs(everybody, timeout=30)

    # How far it is.
    def packs(self) -> dict[str, PackNow]:
        """Of those that have a status that can be read."""
        found = dict[str, PackNow]()
        for path in self.runs.glob("chaos-*/packs/*/status.json"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                status: dict[str, Any] = json.loads(path.read_bytes())
                name, step, n_steps = path.parent.name, int(status["step"]), int(status["n_steps"])
                saved = [int(each.name) for each in path.parent.glob("checkpoints/[0-9]*")]
                step = n_steps if status["state"] == "done" else max([step, *saved])
                found[name] = PackNow(name, status["state"], step, n_steps, status.get("pid"))
        return found

    def share_done(self) -> float:
        """Of all steps of all trials; those that have a row are done, those that diverged, too."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            plan = json.loads((self.run_folder / "plan.json").read_bytes())
            self._trials = plan["packs"] or self._trials
        ended = {path.stem for path in self.runs.glob("chaos-*/results/????????????????.json")}
        packs = self.packs()
        steps = {name: pack.step / pack.n_steps for name, pack in packs.items() if pack.n_steps}
        done = [
            1.0 if id_ in ended else steps.get(name, 0.0) for name, trials in self._trials.items() for id_ in trials
        ]
        return sum(done) / max(1, len(done))

    def n_rows(self) -> int:
        return len(list(self.runs.glob("chaos-*/results/????????????????.json")))

    def _opened(self, command: Sequence[str], log: IO[bytes], environ: dict[str, str]) -> "subprocess.Popen[bytes]":
        unset = ("MLFLOW_", "RAY_", "TUNE_", "CI", "SAE_FRONTIER_FAULTS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        ours = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
        tracking = {"MLFLOW_TRACKING_URI": self.uri} if self.uri else {}
        everything = kept | ours | tracking | self.environ | environ
        return subprocess.Popen(
            command, cwd=self.folder, env=everything, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip


def _program(command: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator", command]


class Door:
    """Stands before a server, and passes on what comes, or does not."""

    def __init__(self, port: int) -> None:
        self.mode = "pass"
        """`pass`; `503` (and it is not done), `cut` (it is done, and the answer is lost), `hang` (says nothing)."""
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(OSError, http.client.HTTPException):
                    super().handle_one_request()
                    return
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None: ...

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                while door.mode == "hang":
                    time.sleep(0.1)
                if door.mode == "503":
                    return self._say(503, b"no")
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                try:
                    server.request(self.command, self.path, body, {**self.headers, "Host": f"127.0.0.1:{port}"})
                    there = server.getresponse()
                    content = there.read()
                except OSError:  # it is down: nobody answers
                    self.close_connection = True
                    return None
                finally:
                    server.close()
                if door.mode == "cut":
                    self.close_connection = True
                    return None
                return self._say(there.status, content, there.headers.get("Content-Type", "application/json"))

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def _say(self, status: int, content: bytes, kind: str = "text/plain") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.mode = "503"
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def small_disk(path: Path, n_megabytes: int) -> Generator[bool]:
    """A disk of its own there, which can be filled. Yields False where none can be had: then it is a plain folder."""
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_megabytes}m", "tmpfs", str(path)]
    there = (
        shutil.which("mount") is not None and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", "-l", str(path)], check=False)
