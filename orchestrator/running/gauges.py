"""A running sweep as numbers for Prometheus: which there are, and what they are now, from the run folder alone.

Pure but for reading files. `tune_hooks.py` hands them to Ray, which exports them as `ray_<name>` with its own; the
board in `dashboards/grafana/` draws both, and a test holds the board to the names of a real run.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from orchestrator.folder.records import PackState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking import spool_bytes


class Gauge(NamedTuple):
    """A number that goes up and down."""

    description: str
    labels: tuple[str, ...]


TOKENS, TRIALS, SPOOL = "sae_frontier_pack_tokens_per_s", "sae_frontier_trials", "sae_frontier_mlflow_spool_bytes"
GAUGES: Mapping[str, Gauge] = {
    TOKENS: Gauge("Tokens of the stream per second, of a running pack.", ("sweep", "pack")),
    TRIALS: Gauge("Trials of the sweep by state.", ("sweep", "state")),
    SPOOL: Gauge("Bytes of curves that MLflow has not got yet; the run folder has them.", ("sweep",)),
}
"""By name, as Ray is given it."""


class Reading(NamedTuple):
    """What a gauge shows."""

    name: str
    value: float
    labels: dict[str, str]


def readings(folder: RunFolder, *, tracking: bool) -> Iterator[Reading]:
    """All there are now. Raises what reading raises. `tracking`: whether the sweep is copied into MLflow."""
    sweep = folder.path.name
    status = folder.status()
    if status is not None:
        for pack_id, state in status.packs.items():
            # A gauge keeps what it was last given, so that of a pack that has ended is set to nothing.
            pack = folder.pack_status(pack_id) if state is PackState.RUNNING else None
            yield Reading(TOKENS, (pack and pack.tokens_per_s) or 0.0, {"sweep": sweep, "pack": pack_id})
        states = {
            "done": status.n_done, "failed": status.n_failed, "stopped": status.n_stopped,
            "running": status.n_running, "waiting": status.n_waiting,
        }  # fmt: skip
        for state, n in states.items():
            yield Reading(TRIALS, float(n), {"sweep": sweep, "state": state})
    if tracking:
        yield Reading(SPOOL, float(spool_bytes(folder)), {"sweep": sweep})
