"""A saved view of MLflow's own pages for a sweep: its trials alone, all of them, with the plots that a frontier needs.

MLflow keeps saved views as tags of an experiment, in a format that it does not document. So nothing depends on it:
whoever seeds a view hears why it did not work, and goes on; a test opens one in the MLflow that we pin. This file
knows the format. Whether a view is there, and what is told, is the business of `pages.py`.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

TAG = "mlflow.sharedViewState."
"""In front of the view's key."""
MOST_VIEWS = 20
"""Of an experiment: MLflow's page takes 40, and people want room for their own."""
MAX_TAG = 5000
"""Characters of a tag's value that every back end takes."""
_SECTION = "frontier"
_PARAMS = ("layer", "loss", "sparsity_coeff", "d_sae", "seed")
_METRICS = ("l0", "ce_loss_increase", "n_alive_elements", "explained_variance")


def key_of(sweep_id: str) -> str:
    """Names the view in links. One sweep, one view: another sweep of this name is in the same experiment."""
    return f"frontier-{sweep_id}"


def tag_value(sweep_id: str, *, time_ms: int) -> str:
    """What the tag holds."""
    state = json.dumps(_state(sweep_id), separators=(",", ":"))
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode(), 9)).decode()
    return json.dumps({"name": f"Frontier of {sweep_id}", "createdAt": time_ms, "updatedAt": time_ms, "state": packed})


def _state(sweep_id: str) -> dict[str, Any]:
    """The page as somebody would leave it who had set it up by hand."""
    return {
        "searchFilter": f"tags.sweep_id = '{sweep_id}' AND tags.role = 'trial'",
        # By any metric: sorted by time, MLflow would add the sweep's own run and hide all trials below it.
        "orderByKey": "metrics.`final/l0`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "runsHiddenMode": "SHOW_ALL",
        "selectedColumns": [
            *(f"params.`{name}`" for name in _PARAMS),
            *(f"metrics.`final/{name}`" for name in _METRICS),
        ],
        "hideEmptyCharts": True,
        # Else MLflow puts its own sections, one for each kind of curve, in front.
        "isAccordionReordered": True,
        "compareRunSections": [
            {"uuid": _SECTION, "name": "Frontier", "display": True, "isReordered": True, "deleted": False,
             "isGenerated": False, "columns": 2, "cardHeight": 420}
        ],
        "compareRunCharts": [
            _scatter("l0-ce", "L0 against CE loss increase", "l0", "ce_loss_increase"),
            _scatter("alive-ce", "Alive elements against CE loss increase", "n_alive_elements", "ce_loss_increase"),
            _chart("PARALLEL", "parallel", "Settings and what came of them") | {
                "selectedParams": list(_PARAMS[:3]), "selectedMetrics": [f"final/{name}" for name in _METRICS[:3]],
                "showAllRuns": True,
            },
        ],
    }  # fmt: skip


def _scatter(uuid: str, title: str, x: str, y: str) -> Mapping[str, Any]:
    axes = {
        name: {"key": f"final/{metric}", "type": "METRIC", "dataAccessKey": f"final/{metric}"}
        for name, metric in (("xaxis", x), ("yaxis", y))
    }
    return {**_chart("SCATTER", uuid, title), **axes}


def _chart(kind: str, uuid: str, title: str) -> dict[str, Any]:
    return {
        "type": kind, "uuid": uuid, "displayName": title, "metricSectionId": _SECTION, "deleted": False,
        "isGenerated": False, "runsCountToCompare": 500,
    }  # fmt: skip
