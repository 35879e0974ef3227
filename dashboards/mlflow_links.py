"""Where MLflow shows a sweep: addresses that the driver wrote into the run folder. No MLflow here.

`mlflow/links.json` has them, `runs.json` which run is which; a folder of an earlier version has the second alone.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dashboards.reading import Fields, fields_in, json_of, text

_LOCAL = "http://127.0.0.1:5000"
"""Where `mlflow ui` serves a database."""
_PAGE = re.compile(r"https?://[^\s\"'<>\\]+")


def links_of(folder: Path) -> Fields | None:
    """The pages of the experiment, of its frontier and of the sweep's run; None where the sweep is in no MLflow."""
    links = json_of(folder, "mlflow/links.json")
    if links is None:
        links = _told_by(json_of(folder, "runs.json") or {})
    found: Fields = {name: _page(links.get(name)) for name in ("experiment_url", "frontier_url", "run_url")}
    if not found["experiment_url"]:
        return None
    return found | {"start": text(links.get("start"))}


def run_links_of(folder: Path) -> Mapping[str, str]:
    """The page of each trial's run, by trial."""
    runs, links = json_of(folder, "runs.json") or {}, links_of(folder)
    experiment = (links or {}).get("experiment_url")
    if not isinstance(experiment, str) or "/runs?" not in experiment:
        return {}
    start, _, options = experiment.partition("/runs?")
    trials = fields_in(runs.get("trials"))
    return {id_: f"{start}/runs/{quote(run, safe='')}?{options}" for id_, run in trials.items() if isinstance(run, str)}


def _told_by(runs: Mapping[str, Any]) -> Fields:
    uri = text(runs.get("tracking_uri"))
    if not uri:
        return {}
    is_server = uri.startswith("http")
    pages = re.sub(r"://[^/@]*@", "://", uri).rstrip("/") if is_server else _LOCAL
    start = f"{pages}/#/experiments/{quote(str(runs.get('experiment_id')), safe='')}/runs"
    parent = text(runs.get("parent_run_id"))
    serve = ["python", "-m", "mlflow", "ui", "--workers", "1", "--backend-store-uri", uri]
    return {
        "experiment_url": f"{start}?workflowType=machine_learning",
        "run_url": f"{start}/{quote(parent, safe='')}?workflowType=machine_learning" if parent else None,
        "start": "" if is_server else shlex.join(serve),
    }


def _page(value: object) -> str | None:
    """Only http: nothing else is a page, and a script is none."""
    return value if isinstance(value, str) and _PAGE.fullmatch(value) else None
