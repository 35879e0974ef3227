"""Which store a sweep uses, how people see its address, and where its pages are."""

from pathlib import Path

import pytest

from orchestrator import tracking
from trainer.errors import EnvironmentProblem


def test_the_sweep_file_wins_over_the_environment_and_a_file_in_the_runs_folder_is_the_default(tmp_path: Path) -> None:
    def resolved(configured: str | None, variable: str) -> str:
        return tracking.resolve_tracking_uri(configured, runs=tmp_path, environ={"MLFLOW_TRACKING_URI": variable})

    local = f"sqlite:///{tmp_path}/mlflow.db"
    assert resolved(None, "") == resolved("local", "http://b:5000") == local
    assert resolved(None, "http://b:5000/") == "http://b:5000"
    assert resolved("http://a:5000", "http://b:5000") == "http://a:5000"
    assert resolved("sqlite:///here.db", "") == f"sqlite:///{Path.cwd()}/here.db"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no http://user:geheim@host:5000/x, sorry", "no http://user:***@host:5000/x, sorry"),
        ("postgresql+psycopg2://u:ge:he@im@db/mlflow", "postgresql+psycopg2://u:***@db/mlflow"),
        ("cannot open postgresql://u:ge/h?e#im@db/mlflow now", "cannot open postgresql://u:***@db/mlflow now"),
        ("https://geheimtoken@host/x", "https://***@host/x"),
        ("postgresql://db/mlflow?user=u&password=geheim&x=1", "postgresql://db/mlflow?user=u&password=***&x=1"),
        ("http://host:5000/path/@here", "http://host:5000/path/@here"),
        ("sqlite:////tmp/a:b@c/mlflow.db", "sqlite:////tmp/a:b@c/mlflow.db"),
    ],
)
def test_passwords_in_addresses_are_masked(text: str, expected: str) -> None:
    assert tracking.masked(text) == expected


def test_a_masked_address_comes_back_whole_from_the_environment() -> None:
    whole = "http://user:geheim@host:5000"
    assert tracking.whole_address("sqlite:////x/mlflow.db", environ={}) == "sqlite:////x/mlflow.db"
    stored = tracking.masked(whole)
    assert tracking.whole_address(stored, environ={"MLFLOW_TRACKING_URI": whole}) == whole
    with pytest.raises(EnvironmentProblem, match="set MLFLOW_TRACKING_URI to the whole address"):
        tracking.whole_address(stored, environ={"MLFLOW_TRACKING_URI": "http://user:geheim@other:5000"})


def test_links_open_the_page_with_runs_and_carry_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    server = "https://user:geheim@mlflow.example.org"
    page = "https://mlflow.example.org/#/experiments/3/runs?workflowType=machine_learning"
    assert tracking.experiment_link(server, "3") == page
    assert tracking.run_link("sqlite:////x/mlflow.db", "3", "abc") == (
        "http://127.0.0.1:5000/#/experiments/3/runs/abc?workflowType=machine_learning"
    )
    assert tracking.how_to_open(server, "3") == page
    command, link = tracking.how_to_open("sqlite:////my runs/mlflow.db", "3").splitlines()
    assert command.endswith("-m mlflow ui --workers 1 --backend-store-uri 'sqlite:////my runs/mlflow.db'")
    assert link == "then open http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning"
    monkeypatch.setenv("MLFLOW_PUBLIC_URL", "http://localhost:5001/")
    outside = "http://localhost:5001/#/experiments/3/runs?workflowType=machine_learning"
    assert tracking.experiment_link("http://mlflow:5000", "3") == outside
