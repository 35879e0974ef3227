"""Addresses of MLflow stores: which one a sweep uses, how people see it, where its pages are. No MLflow here."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from trainer.errors import EnvironmentProblem

LOCAL = "local"
"""In place of an address: a SQLite file in the runs folder."""
ENV = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_UI = "http://127.0.0.1:5000"


def resolve_tracking_uri(configured: str | None, *, runs: Path, environ: Mapping[str, str]) -> str:
    """The store's address: the sweep file's, else MLFLOW_TRACKING_URI's, else SQLite in `runs`.

    `local` stands for the SQLite file. SQLite paths come back absolute, so that the address means the same in every
    process, whatever folder it runs in.
    """
    chosen = (configured or "").strip() or environ.get(ENV, "").strip() or LOCAL
    if chosen == LOCAL:
        return _SQLITE + str(runs.resolve() / "mlflow.db")
    path = sqlite_path(chosen)
    return chosen.rstrip("/") if path is None else _SQLITE + str(path.absolute())


def sqlite_path(uri: str) -> Path | None:
    """The file behind a SQLite address; None for every other kind of address, SQLite in memory included."""
    name = uri.removeprefix(_SQLITE)
    return Path(name) if name != uri and name not in ("", ":memory:") else None


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def artifact_root(uri: str, *, runs: Path) -> str | None:
    """Where a new experiment keeps files: `mlartifacts` beside a SQLite file, in `runs` for other databases.

    None for a server, which has its own place.
    """
    if is_server(uri):
        return None
    path = sqlite_path(uri)
    return ((path.parent if path else runs).resolve() / "mlartifacts").as_uri()


def masked(text: str) -> str:
    """The text with the password of every address in it replaced by three stars, and a token in place of a user too."""
    # SQLAlchemy takes passwords with any sign in them; those of servers end at a slash.
    text = re.sub(r"((?:postgresql|mysql|mssql)(?:\+\w+)?://[^:/?#\s@]*):\S*@", r"\1:***@", text)
    text = re.sub(r"(://[^:/?#\s@]*):[^/?#\s]*@", r"\1:***@", text)
    text = re.sub(r"(https?://)[^:/?#\s@]+@", r"\1***@", text)
    return re.sub(r"(?i)([?&](?:password|passwd|sslpassword|token)=)[^&\s]+", r"\1***", text)


def whole_address(stored: str, *, environ: Mapping[str, str]) -> str:
    """The address that was stored without its password, with it.

    Raises EnvironmentProblem where there was a password and MLFLOW_TRACKING_URI does not hold the whole address.
    """
    if "***" not in stored:
        return stored
    whole = environ.get(ENV, "").strip()
    if masked(whole) == stored:
        return whole
    raise EnvironmentProblem(
        f"the MLflow address {stored} has a password, which is not written to the run folder; "
        f"set {ENV} to the whole address"
    )


def experiment_link(uri: str, experiment_id: str) -> str:
    """The page with all runs of an experiment. Without `workflowType` MLflow opens a page about something else."""
    return f"{_pages(uri)}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def frontier_link(uri: str, experiment_id: str, view_key: str) -> str:
    """The plots of a saved view."""
    return f"{experiment_link(uri, experiment_id)}&compareRunsMode=CHART&viewStateShareKey={quote(view_key, safe='')}"


def run_link(uri: str, experiment_id: str, run_id: str) -> str:
    """The page of one run."""
    return f"{_pages(uri)}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def mlflow_ui_command(uri: str) -> str:
    """The shell command that serves a database's pages on port 5000; empty for a server, which serves them already."""
    if is_server(uri):
        return ""
    return shlex.join([_python(), "-m", "mlflow", "ui", "--workers", "1", "--backend-store-uri", masked(uri)])


def how_to_open(uri: str, experiment_id: str, link: str = "") -> str:
    """What to tell people: the link, and before it the command to start the pages where they need one."""
    command = mlflow_ui_command(uri)
    link = link or experiment_link(uri, experiment_id)
    return f"{command}\nthen open {link}" if command else link


def _pages(uri: str) -> str:
    """Where a browser finds the pages. A server may have another name outside its containers: MLFLOW_PUBLIC_URL."""
    if not is_server(uri):
        return _UI
    return os.environ.get("MLFLOW_PUBLIC_URL", "").rstrip("/") or re.sub(r"://[^/@]*@", "://", uri)


def _python() -> str:
    """This interpreter, as short as it can be typed from here."""
    python = Path(sys.executable)
    return str(python.relative_to(Path.cwd())) if python.is_relative_to(Path.cwd()) else str(python)
