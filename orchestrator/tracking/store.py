"""Opens an MLflow store quietly, and says in one message what is wrong with one.

The client never prints, never reports home, and never waits long: whoever calls it decides how often to try again.
"""

import logging
import os
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from filelock import FileLock

from orchestrator.tracking.address import is_server, masked, sqlite_path
from trainer.errors import EnvironmentProblem

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow would try 8 times with 120 s each: minutes of silence when a server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
}
_NOISY = {
    # Tracebacks of every error that it raises as well, and "will be retried".
    "mlflow.store.db.utils": logging.CRITICAL,
    "alembic": logging.WARNING,
    "alembic.runtime.migration": logging.WARNING,
}
WAYS_ON = "Change tracking.uri or MLFLOW_TRACKING_URI, or leave both out for a SQLite file in the runs folder."
_MAY_PASS = ("failed with exception", "timeout exception", "OperationalError", "TimeoutError", "InterfaceError")
_WILL_NOT_PASS = ("authentication failed", "does not exist", "no pg_hba.conf", "Access denied", "Login failed")


class Unreachable(EnvironmentProblem):
    """Nobody answers, or not now. It may be otherwise in a minute."""


def import_mlflow() -> None:
    """Imports MLflow (seconds, the first time) with our settings; those of the environment win."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import_module("mlflow")
    from sqlalchemy.exc import SADeprecationWarning

    # MLflow 3.17 uses what SQLAlchemy 2.1 deprecates. Nothing for our users to do about it.
    warnings.filterwarnings("ignore", category=SADeprecationWarning)
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(level)


def open_client(uri: str) -> "MlflowClient":
    """A client for explicit run ids. Raises whatever MLflow or the database raises."""
    import_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def create_store(uri: str) -> "MlflowClient":
    """A client whose store answers and has its tables, made now if need be; two processes at once make them once.

    Raises EnvironmentProblem where the store cannot be opened, Unreachable where that may pass.
    """
    path = sqlite_path(uri)
    with answers_explained(uri):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                client = open_client(uri)
                client.search_experiments(max_results=1)
                return client
        if not is_server(uri):
            from orchestrator.tracking.check import check_database

            check_database(uri, timeout_s=5)  # MLflow itself would try 10 times over several minutes
        client = open_client(uri)
        client.search_experiments(max_results=1)
        return client


@contextmanager
def answers_explained(uri: str) -> Generator[None]:
    """Turns what MLflow or the database raises into one EnvironmentProblem; Unreachable where it may pass."""
    import_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as problem:
        text = str(problem)
        kind = Unreachable if may_pass(problem) else EnvironmentProblem
        raise kind(masked(_explanation(uri, text))) from problem


def may_pass(problem: BaseException) -> bool:
    """Whether the same call may work later without anybody changing anything."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    text = str(problem)
    if any(sign in text for sign in _WILL_NOT_PASS):
        return False
    transient = isinstance(problem, ConnectionError | TimeoutError | OperationalError | InterfaceError)
    code = str(getattr(problem, "error_code", ""))
    return transient or code in _TRANSIENT_CODES or any(sign in text for sign in _MAY_PASS)


_TRANSIENT_CODES = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}


def _explanation(uri: str, problem: str) -> str:
    if "Invalid Host header" in problem:
        host = re.sub(r"^https?://(?:[^/@]*@)?", "", uri).split("/")[0]
        return (
            f"the MLflow server at {uri} refuses the name it is called by (403, Invalid Host header); "
            f"start it with --allowed-hosts '{host},localhost:*,127.0.0.1:*'"
        )
    if re.search(r"error code 40[13]|\b40[13] error|PERMISSION_DENIED|UNAUTHENTICATED", problem):
        return (
            f"the MLflow server at {uri} refuses this login; set MLFLOW_TRACKING_USERNAME and "
            f"MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN. It said: {_first_line(problem)}"
        )
    if "out-of-date database schema" in problem or "Can't locate revision" in problem:
        return (
            f"the MLflow database {uri} was made by another version of MLflow; save a copy of it and run: "
            f"mlflow db upgrade {uri}"
        )
    if "failed with exception" in problem or "timeout exception" in problem:
        return f"no answer from the MLflow server at {uri} ({_reason(problem)}). Is it running? {WAYS_ON}"
    return f"MLflow at {uri} cannot be used: {_first_line(problem)} {WAYS_ON}"


def _reason(problem: str) -> str:
    """The few words that matter of a network library's message."""
    known = {"timeout": "it timed out", "timed out": "it timed out", "Connection refused": "connection refused"}
    known |= {"NameResolution": "unknown host", "Connection aborted": "it hung up"}
    if errors := re.search(r"too many (\d+) error responses", problem):
        return f"it answers with error {errors[1]}"
    return next((words for sign, words in known.items() if sign in problem), _first_line(problem))


def _first_line(problem: str) -> str:
    line = problem.strip().splitlines()[0][:300] if problem.strip() else "no reason given"
    return line if line.endswith((".", "!")) else f"{line}."
