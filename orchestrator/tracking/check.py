"""The look at an MLflow store before a sweep starts. Refuses what can never work; `Unreachable` is what may yet.

Creates nothing. For a SQLite file it takes no time and does not import MLflow.
"""

import importlib.util
import os
import re
import sqlite3
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

from orchestrator.tracking.address import is_server, masked, sqlite_path
from orchestrator.tracking.store import WAYS_ON, answers_explained, open_client
from trainer.errors import EnvironmentProblem

_DRIVERS = {"psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'", "MySQLdb": "mysqlclient"}


def check_tracking(uri: str, *, timeout_s: int = 5) -> None:
    """Whether the store will answer. Takes about `timeout_s` seconds at most, and MLflow's import.

    Raises EnvironmentProblem with one message, passwords masked: unknown kind of address, a file that cannot be
    written or is no database, a missing database driver, tables of another version, a refused Host header or login.
    Raises its kind Unreachable where nobody answers, or with an error that may pass.
    """
    path = sqlite_path(uri)
    if path is not None:
        _check_sqlite(uri, path)
    elif is_server(uri):
        settings = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_s), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        with _environment(settings), answers_explained(uri):
            open_client(uri).search_experiments(max_results=1)
    elif re.match(r"(postgresql|mysql|mssql)(\+\w+)?://", uri):
        check_database(uri, timeout_s=timeout_s)
    else:
        raise EnvironmentProblem(
            f"MLflow address {masked(uri)!r} is of no kind that can be used; expected http://, https://, "
            f"sqlite:///FILE, postgresql+psycopg2://, mysql+pymysql:// or mssql+pyodbc://. {WAYS_ON}"
        )


def check_database(uri: str, *, timeout_s: int) -> None:
    """Connects once, and looks whose tables are there. Raises as `check_tracking` does."""
    from sqlalchemy import create_engine, inspect, text

    timeout = {"timeout": timeout_s} if uri.startswith("mssql") else {"connect_timeout": timeout_s}
    try:
        with answers_explained(uri):
            engine = create_engine(uri, connect_args=timeout)
            try:
                with engine.connect() as connection:
                    if inspect(connection).has_table("alembic_version"):
                        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
                        _check_version(uri, [str(version) for version in found])
            finally:
                engine.dispose()
    except ModuleNotFoundError as missing:
        package = _DRIVERS.get(str(missing.name), missing.name)
        hint = (
            " (or write postgresql+psycopg2:// and: pip install psycopg2-binary)" if missing.name == "psycopg" else ""
        )
        raise EnvironmentProblem(
            f"MLflow address {masked(uri)} needs the Python package {missing.name}: pip install {package}{hint}"
        ) from missing


def _check_sqlite(uri: str, path: Path) -> None:
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
        raise EnvironmentProblem(f"MLflow's SQLite file {path} cannot be written: {folder} {what}. {WAYS_ON}")
    if not path.exists():
        return
    versions: list[str] = []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=1)) as database:
            database.execute("BEGIN IMMEDIATE")
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                versions = [str(version) for (version,) in database.execute("SELECT version_num FROM alembic_version")]
            database.rollback()
    except sqlite3.OperationalError as problem:
        if "locked" not in str(problem):  # else somebody writes just now, and will have done soon
            raise _sqlite_problem(path, problem) from problem
    except sqlite3.Error as problem:
        raise _sqlite_problem(path, problem) from problem
    _check_version(uri, versions)


def _sqlite_problem(path: Path, problem: sqlite3.Error) -> EnvironmentProblem:
    return EnvironmentProblem(f"MLflow's SQLite file {path} cannot be used: {problem}. {WAYS_ON}")


def _check_version(uri: str, found: list[str]) -> None:
    """Whether a database with tables has those of the MLflow that is installed."""
    expected = _newest_version()
    if found and expected is not None and found != [expected]:
        raise EnvironmentProblem(
            f"the database {masked(uri)} has tables of another version of MLflow, or of another program (version "
            f"{', '.join(found)}, expected {expected}). If they are MLflow's: save a copy and run: "
            f"mlflow db upgrade {masked(uri)}"
        )


@cache
def _newest_version() -> str | None:
    """The version of the tables that the installed MLflow makes. None where that cannot be told without loading it."""
    spec = importlib.util.find_spec("mlflow")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    made = {match[1] for text in texts if (match := re.search(r'^revision = ["\'](\w+)', text, re.M))}
    followed = {match[1] for text in texts if (match := re.search(r'^down_revision = ["\'](\w+)', text, re.M))}
    newest = made - followed
    return newest.pop() if len(newest) == 1 else None


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
