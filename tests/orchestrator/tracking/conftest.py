"""Stores to copy into: a SQLite file always, PostgreSQL and MLflow's server over HTTP for slow tests."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import tracking
from orchestrator.tracking import store as stores
from tests.orchestrator.tracking import servers
from tests.orchestrator.tracking.a_sweep import ASweep


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new database: making one takes seconds, copying it none."""
    runs = tmp_path_factory.mktemp("template")
    stores.create_store(tracking.resolve_tracking_uri(None, runs=runs, environ={}))
    return runs / "mlflow.db"


@pytest.fixture
def runs(tmp_path: Path, template: Path) -> Path:
    folder = tmp_path / "my runs ü"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    return folder


@pytest.fixture
def sqlite(runs: Path) -> str:
    return tracking.resolve_tracking_uri(None, runs=runs, environ={})


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with servers.postgres() as (address, _):
        yield address


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's server over a PostgreSQL of its own, with files in an S3 store."""
    with ExitStack() as held:
        address, _ = held.enter_context(servers.postgres())
        environ = held.enter_context(servers.s3())
        folder = tmp_path_factory.mktemp("server")
        artifacts = f"s3://{servers.BUCKET}"
        url, _ = held.enter_context(servers.mlflow_server(folder, store=address, artifacts=artifacts, environ=environ))
        yield url


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.slow),
        pytest.param("server", marks=pytest.mark.slow),
    ]
)
def uri(request: pytest.FixtureRequest) -> str:
    """Each kind of store in turn."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def client(uri: str) -> Any:
    return stores.open_client(uri)


@pytest.fixture
def sweep(runs: Path) -> ASweep:
    return ASweep(runs, f"sweep-{uuid4().hex[:8]}")
