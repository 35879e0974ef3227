"""MLflow's own request handlers on a small HTTP server in this process that can be told to misbehave."""

import threading
import warnings
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tracking.store import import_mlflow

Start = Callable[..., Any]


class Faulty:
    """A server on one port for as long as the test lasts; down until it is started."""

    def __init__(self, app: Callable[[dict[str, Any], Start], Iterable[bytes]]) -> None:
        self._app = app
        self.status = ""
        """Such as `503 Service Unavailable`: what it answers in place of MLflow's answer."""
        self.obeys = False
        """Whether it has done what was asked when it answers so."""
        self.hangs = threading.Event()
        """It answers nothing while this is set."""
        self._awake = threading.Event()
        self.n_requests = 0
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, type: str, message: str, *args: object) -> None: ...

        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True, request_handler=Quiet)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._thread is not None:
            self._awake.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._thread = None
            self._awake.clear()

    def _answer(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        self.n_requests += 1
        while self.hangs.is_set() and not self._awake.wait(0.05):
            pass
        if not self.status:
            return self._app(environ, start)
        if self.obeys:
            list(self._app(environ, lambda *_: None))
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(self.status, [("Content-Type", "text/plain")])
        return [b"no"]


@contextmanager
def faulty_server(database: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Faulty]:
    import_mlflow()
    with warnings.catch_warnings(), suppress(ImportError):
        warnings.simplefilter("ignore")  # MLflow's server uses what Starlette deprecates
        import_module("mlflow.server.auth")
    from mlflow.server import app, handlers
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    served = (database.parent / "served").as_uri()
    store = SqlAlchemyStore(f"sqlite:///{database}", "mlflow-artifacts:/")
    monkeypatch.setattr(handlers, "_tracking_store", store)
    monkeypatch.setattr(handlers, "_artifact_repo", get_artifact_repository(served))
    monkeypatch.setenv("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", served)
    server = Faulty(app)
    try:
        yield server
    finally:
        server.stop()
        store.engine.dispose()
