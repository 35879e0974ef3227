"""What people open in MLflow: a saved view of the sweep, words on its own run, and the links, noted in the run folder.

    mlflow/links.json

All of it is for comfort: a server that refuses a part of it is told of once, and the copy goes on.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from orchestrator.folder.clock import in_ms, now
from orchestrator.folder.files import write_json
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.schema import objective_columns
from orchestrator.tracking import view
from orchestrator.tracking.address import experiment_link, frontier_link, masked, mlflow_ui_command, run_link
from trainer.values import Frozen

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as the description of a run."""
SHOWN = ("l0", "ce_loss_increase", "n_alive_elements", "explained_variance", "kl_div_with_sae", "mse", "ce_loss_score")
"""Metrics whose unit and meaning are written on the sweep's own run."""


class Links(Frozen):
    """`mlflow/links.json`."""

    schema_version: Literal[1] = 1
    experiment_url: str
    frontier_url: str | None
    """The saved view; None where MLflow took none."""
    run_url: str
    """Of the sweep's own run."""
    start: str
    """The command that serves these pages; empty where a server does."""


def make_pages(
    client: "MlflowClient",
    folder: RunFolder,
    *,
    uri: str,
    experiment_id: str,
    parent_run_id: str,
    sweep_id: str,
    warn: Callable[[str], None],
) -> None:
    """Seed what is not there yet, and note the links. Raises nothing."""
    seeded = False
    try:
        seeded = seed_view(client, experiment_id, sweep_id)
        if NOTE not in client.get_run(parent_run_id).data.tags:
            client.set_tag(parent_run_id, NOTE, description(uri, experiment_id, sweep_id if seeded else None))
    except Exception as problem:  # whatever another version of MLflow may say to this
        warn(f"MLflow shows this sweep without its view of the frontier: {masked(str(problem))[:300]}")
    links = Links(
        experiment_url=experiment_link(uri, experiment_id),
        frontier_url=frontier_link(uri, experiment_id, view.key_of(sweep_id)) if seeded else None,
        run_url=run_link(uri, experiment_id, parent_run_id),
        start=mlflow_ui_command(uri),
    )
    try:
        if read_links(folder) != links:
            write_json(folder.mlflow / "links.json", links.model_dump(mode="json"))
    except Exception as problem:
        warn(f"the links to MLflow cannot be noted: {problem}")


def read_links(folder: RunFolder) -> Links | None:
    """None where there are none, or none that can be read."""
    try:
        return Links.model_validate_json((folder.mlflow / "links.json").read_bytes())
    except (OSError, ValueError):
        return None


def seed_view(client: "MlflowClient", experiment_id: str, sweep_id: str) -> bool:
    """Whether the sweep has its view, made now if need be. One that somebody has changed stays as it is."""
    tag = view.TAG + view.key_of(sweep_id)
    tags = client.get_experiment(experiment_id).tags
    if tag in tags:
        return True
    value = view.tag_value(sweep_id, time_ms=in_ms(now()))
    if sum(name.startswith(view.TAG) for name in tags) >= view.MOST_VIEWS or len(value) > view.MAX_TAG:
        return False
    client.set_experiment_tag(experiment_id, tag, value)
    return True


def description(uri: str, experiment_id: str, sweep_id: str | None) -> str:
    """Words on the sweep's own run, in Markdown: where the frontier is, and what the metrics of its trials mean."""
    columns = objective_columns()
    lines = ["| metric `final/...` | unit | better | meaning |", "|---|---|---|---|"]
    for name in SHOWN:
        column = columns[name]
        lines.append(f"| {name} | {column.unit} | {column.better} | {column.description.replace('|', '/')} |")
    if sweep_id is not None:
        lines = [f"[Frontier of this sweep]({frontier_link(uri, experiment_id, view.key_of(sweep_id))})", "", *lines]
    return "\n".join(lines)
