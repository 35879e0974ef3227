"""The only part that knows MLflow. A view of the sweep: everything in it can be rebuilt from the run folder.

`address` names the store and its pages, `store` opens and checks it, `trial_run` describes a trial, `runs` is the
driver's side (it alone creates runs), `logger` and `sender` the worker's (a queue and one thread), `points` what goes
over the wire. MLflow takes seconds to import, so it is imported inside functions, never when this package is.
"""

from orchestrator.tracking.address import (
    LOCAL,
    experiment_link,
    how_to_open,
    masked,
    mlflow_ui_command,
    resolve_tracking_uri,
    run_link,
    worker_address,
)
from orchestrator.tracking.logger import Ending, ListLogger, TrialLogger, Unsent
from orchestrator.tracking.points import Point
from orchestrator.tracking.runs import Tracker
from orchestrator.tracking.sender import MlflowLogger
from orchestrator.tracking.store import check_tracking
from orchestrator.tracking.trial_run import TrialRun, describe_trial

__all__ = [
    "LOCAL",
    "Ending",
    "ListLogger",
    "MlflowLogger",
    "Point",
    "Tracker",
    "TrialLogger",
    "TrialRun",
    "Unsent",
    "check_tracking",
    "describe_trial",
    "experiment_link",
    "how_to_open",
    "masked",
    "mlflow_ui_command",
    "resolve_tracking_uri",
    "run_link",
    "worker_address",
]
