"""A password in the tracking address: of no use to whoever reads a run folder, a log or a screen."""

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.tiny import Bench


@pytest.mark.slow
def test_a_password_in_an_address_is_in_no_file_of_a_run_and_on_no_screen(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers there, so that every word of trouble is said, too."""
    monkeypatch.setattr("orchestrator.running.finish.MLFLOW_S", 0.5)
    uri = "http://user:geheim@127.0.0.1:9"
    more = ["--local", "--plain", "--set", f"tracking.uri={uri}", "--set", "grid.layer=0", "--set", "train.tokens=64"]
    ran = CliRunner().invoke(app, ["launch", *bench.arguments(*more)])
    assert ran.exit_code == 0, ran.output
    assert "MLflow" in ran.output
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for command in ("status", "sync", "resume"):
        ran_too = CliRunner().invoke(app, [command, str(bench.run_folder)])
        assert "geheim" not in ran_too.output, command
    assert "geheim" not in ran.output
    files = [path for path in bench.run_folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path.name for path in files if b"geheim" in path.read_bytes()] == []
