"""A bench to launch sweeps on, made of one model and one text for all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny import Bench, save_model, save_text


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random GPT-2 with its tokenizer."""
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with text for it."""
    return save_text(tmp_path_factory.mktemp("text"))


@pytest.fixture
def bench(tmp_path: Path, tiny_model: Path, tiny_text: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Its environment is that of this process too."""
    made = Bench(tmp_path, tiny_model, tiny_text)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAE_FRONTIER_CACHE", str(tmp_path / "cache"))
    yield made
    made.end_all()
