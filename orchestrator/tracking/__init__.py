"""The only part that knows MLflow. A copy of the sweep: everything in it is made from the run folder, by the driver.

`address` names the store and its pages, `store` opens it, `check` looks at it before a sweep, `tracked` and `trial_run`
describe a sweep and its trials, `sweep_runs` finds and makes runs, `tail` follows a journal, `sweep_copy`, `trial_copy`
and `copier` send what is new, `cursor` keeps what was acknowledged, `mirror` is the thread that does it for a launch,
`syncing` and `audit` what `orchestrator sync` does. MLflow takes seconds to import, so that happens inside functions,
never with this package.
"""

from orchestrator.tracking.address import (
    LOCAL,
    experiment_link,
    how_to_open,
    masked,
    mlflow_ui_command,
    resolve_tracking_uri,
    run_link,
    whole_address,
)
from orchestrator.tracking.behind import is_behind
from orchestrator.tracking.check import check_tracking
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.pages import Links, read_links
from orchestrator.tracking.points import Point
from orchestrator.tracking.spool import spool_bytes
from orchestrator.tracking.store import Unreachable
from orchestrator.tracking.tally import Behind
from orchestrator.tracking.tracked import Tracked
from orchestrator.tracking.trial_run import TrialRun, describe_plan, describe_trial

__all__ = [
    "LOCAL",
    "Behind",
    "Links",
    "Mirror",
    "Point",
    "Tracked",
    "TrialRun",
    "Unreachable",
    "check_tracking",
    "describe_plan",
    "describe_trial",
    "experiment_link",
    "how_to_open",
    "is_behind",
    "masked",
    "mlflow_ui_command",
    "read_links",
    "resolve_tracking_uri",
    "run_link",
    "spool_bytes",
    "whole_address",
]
