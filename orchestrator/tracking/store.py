"""Opens an MLflow store quietly, and checks before a sweep starts that it will answer.

The client never prints, never reports home, and never waits long: whoever calls it decides how often to try again.
"""

import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
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
_NOISY = ("mlflow.store.db.utils", "alembic", "alembic.runtime.migration")
_DRIVERS = {"psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}
_WAYS_ON = "Change tracking.uri or MLFLOW_TRACKING_URI, or leave both out for a SQLite file in the runs folder."


def import_mlflow() -> None:
    """Imports MLflow (seconds, the first time) with our settings; those of the environment win."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import_module("mlflow")
    from sqlalchemy.exc import SADeprecationWarning

    # MLflow 3.17 uses what SQLAlchemy 2.1 deprecates. Nothing for our users to do about it.
    warnings.filterwarnings("ignore", category=SADeprecationWarning)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def open_client(uri: str) -> "MlflowClient":
    """A client for explicit run ids. Raises whatever MLflow or the database raises."""
    import_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def create_store(uri: str) -> "MlflowClient":
    """A client whose database has its tables, made now if need be. Two processes that need them at once make them once.

    Raises EnvironmentProblem where the store cannot be opened.
    """
    path = sqlite_path(uri)
    with answers_explained(uri):
        if path is None:
            return open_client(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            client = open_client(uri)
            client.search_experiments(max_results=1)
            return client


def check_tracking(uri: str, *, timeout_s: int = 5) -> None:
    """Whether the store will answer. Creates nothing. Takes about `timeout_s` seconds at most, and MLflow's import.

    Raises EnvironmentProblem with one message, passwords masked: unknown kind of address, a file that cannot be
    written or is no database, a missing database driver, no answer, a refused Host header or login.
    """
    path = sqlite_path(uri)
    if path is not None:
        _check_sqlite(path)
    elif is_server(uri):
        settings = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_s), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        with _environment(settings), answers_explained(uri):
            open_client(uri).search_experiments(max_results=1)
    elif re.match(r"(postgresql|mysql|mssql)(\+\w+)?://", uri):
        _check_database(uri, timeout_s)
    else:
        raise EnvironmentProblem(
            f"MLflow address {masked(uri)!r} is of no kind that can be used; expected http://, https://, "
            f"sqlite:///FILE, postgresql+psycopg2://, mysql+pymysql:// or mssql+pyodbc://. {_WAYS_ON}"
        )


@contextmanager
def answers_explained(uri: str) -> Generator[None]:
    """Turns what MLflow or the database raises into one EnvironmentProblem."""
    import_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as problem:
        raise EnvironmentProblem(masked(_explanation(uri, str(problem)))) from problem


def _explanation(uri: str, problem: str) -> str:
    if "Invalid Host header" in problem:
        host = re.sub(r"^https?://(?:[^/@]*@)?", "", uri).split("/")[0]
        return (
            f"the MLflow server at {uri} refuses the name it is called by (403, Invalid Host header); "
            f"start it with --allowed-hosts '{host},localhost:*,127.0.0.1:*'"
        )
    if "error code 401" in problem or "error code 403" in problem or "PERMISSION_DENIED" in problem:
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
        return f"no answer from the MLflow server at {uri} ({_reason(problem)}). Is it running? {_WAYS_ON}"
    return f"MLflow at {uri} cannot be used: {_first_line(problem)} {_WAYS_ON}"


def _reason(problem: str) -> str:
    """The few words that matter of a network library's message."""
    known = {"timeout": "it timed out", "Connection refused": "connection refused", "NameResolution": "unknown host"}
    return next((words for sign, words in known.items() if sign in problem), _first_line(problem))


def _first_line(problem: str) -> str:
    line = problem.strip().splitlines()[0][:300] if problem.strip() else "no reason given"
    return line if line.endswith((".", "!")) else f"{line}."


def _check_sqlite(path: Path) -> None:
    if set("?%") & set(str(path)):
        raise EnvironmentProblem(
            f"SQLite address with the path {path}: MLflow cannot open paths with ? or %; choose another runs folder, "
            "or name a store by tracking.uri or MLFLOW_TRACKING_URI"
        )
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "is not writable" if folder.is_dir() else "is not a folder"
        raise EnvironmentProblem(f"MLflow's SQLite file {path} cannot be written: {folder} {what}. {_WAYS_ON}")
    if path.exists():
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
        except sqlite3.Error as problem:
            raise EnvironmentProblem(f"MLflow's SQLite file {path} cannot be used: {problem}. {_WAYS_ON}") from problem


def _check_database(uri: str, timeout_s: int) -> None:
    """Connects once. MLflow itself would try 15 times over several minutes."""
    from sqlalchemy import create_engine

    timeout = {"timeout": timeout_s} if uri.startswith("mssql") else {"connect_timeout": timeout_s}
    try:
        with answers_explained(uri):
            engine = create_engine(uri, connect_args=timeout)
            engine.connect().close()
            engine.dispose()
    except ModuleNotFoundError as missing:
        package = _DRIVERS.get(str(missing.name), missing.name)
        hint = (
            " (or write postgresql+psycopg2:// and: pip install psycopg2-binary)" if missing.name == "psycopg" else ""
        )
        raise EnvironmentProblem(
            f"MLflow address {masked(uri)} needs the Python package {missing.name}: pip install {package}{hint}"
        ) from missing


@contextmanager
def _environment(values: Mapping[str, str]) -> Generator[None]:
    """Environment variables for the duration of a call."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
