"""Run folders and the dashboard's server over them, as tests want them: no model, no training, no socket."""

import json
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from dashboards.guard import hosts_of
from dashboards.runs import Runs
from dashboards.server import app
from orchestrator.folder.records import CurvePoint, MLflowRuns, Row, SavedPlan, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.made_run import TRIALS, made_run
from tests.orchestrator.rows import NOON

SWEEP = """\
name: demo
model: {name: gpt2}
data: {dataset: builtin, context: 64}
train: {tokens: 100_000, batch_rows: 8}
sae: {ratio: 4}
grid: {layer: [1, 2], loss: [local, e2e], sparsity_coeff: [1, 2], seed: 0}
"""
REFERENCE = {"l0": 1000.0, "ce_loss_increase": 3.0, "n_alive_elements": 5000.0}


def shown_run(runs: Path, name: str = "demo-12345678", **how: Any) -> RunFolder:
    """`made_run` with its frontier, sweep file, curves of the first trial, and MLflow's runs."""
    folder = made_run(runs, name, **how)
    folder.write_sweep(SWEEP)
    export(folder)
    points = [
        CurvePoint(step=step, tokens=step * 512, time_ms=1, metrics={"train/loss": 1 / (1 + step)})
        for step in range(50)
    ]
    folder.add_curve_points(TRIALS[0].trial_id, points)
    folder.write_mlflow_runs(
        MLflowRuns(
            tracking_uri="sqlite:////somewhere/mlflow.db",
            experiment_id="7",
            parent_run_id="p" * 32,
            trials={TRIALS[0].trial_id: "r" * 32},
        )
    )
    return folder


def fake_run(runs: Path, name: str = "paper-87654321", **how: Any) -> RunFolder:
    """A larger one, with a frontier that looks like the paper's."""
    folder = RunFolder(runs / name)
    rows: list[Row] = fake_rows(**({"layers": 2, "coeffs": 4, "seeds": 2} | how))
    for row in rows:
        folder.write_row(row)
    folder.write_plan(
        SavedPlan(
            sweep_id=name,
            trials={row.trial_id: row.config for row in rows},
            run_names={row.trial_id: row.run_name for row in rows},
            packs={"p000": [row.trial_id for row in rows]},
        )
    )
    export(folder)
    return folder


def export(folder: RunFolder) -> None:
    state = SweepState.COMPLETE
    export_frontier(folder, sweep_id=folder.path.name, state=state, now=NOON, reference=REFERENCE)


def client_of(runs: Path, *, host: str = "127.0.0.1") -> TestClient:
    """Whoever asks a dashboard that listens at `host`."""
    served = app(Runs.at(runs), is_host=hosts_of(host))
    return TestClient(served, base_url="http://127.0.0.1:8050", raise_server_exceptions=False)


def got(client: TestClient, path: str) -> Any:
    """The JSON of an answer that is fine."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content)
