"""The copy in MLflow that goes with a launch. What it takes to make one is the business of `orchestrator/tracking`."""

import shlex

from orchestrator.display.screen import Screen
from orchestrator.running.monitor import Monitor
from orchestrator.running.planned import Planned
from orchestrator.running.result import Result, sweep_files, sweep_metrics
from orchestrator.tracking import Mirror, Tracked, TrialRun, describe_plan, masked, mlflow_ui_command
from orchestrator.tracking.store import answers_explained


class Tracking:
    """The copy in MLflow, if it is wanted: begun while Ray starts, never waited for before the end."""

    def __init__(self, planned: Planned, monitor: Monitor, screen: Screen) -> None:
        self._planned, self._monitor, self._screen = planned, monitor, screen
        self.mirror: Mirror | None = None

    def load(self) -> None:
        """Seconds of imports: not to happen in two threads at once."""
        if self._planned.options.tracking:
            with answers_explained(self._planned.tracking_uri):
                pass

    def start(self) -> None:
        if self._planned.options.tracking:
            sweep = tracked(self._planned)
            self.mirror = Mirror(sweep, tell=self._tell)
            self.mirror.start()
            self._screen.note("MLflow", mlflow_ui_command(sweep.uri) or masked(sweep.uri))

    def more(self, planned: Planned) -> None:
        """A search has added trials."""
        if self.mirror is not None:
            self.mirror.add(trial_runs(planned))

    def finish(self, result: Result, *, deadline_s: float) -> None:
        """What the sweep came to, and the rest of the curves; says what is left, and how to send it later."""
        if self.mirror is None:
            return
        self.mirror.publish(result.state, metrics=sweep_metrics(result), files=sweep_files(result))
        if (behind := self.mirror.close(deadline_s)) is not None:
            later = f"python -m orchestrator sync {shlex.quote(str(self._planned.folder.path))}"
            said = f"MLflow has not got {behind}; the run folder has. To send it later: {later}"
            self._monitor.event("trouble", said, level="warning")

    def _tell(self, level: str, text: str) -> None:
        self._monitor.event("mlflow", text, level="warning" if level == "warning" else "info")


def tracked(planned: Planned) -> Tracked:
    return Tracked(
        planned.folder,
        planned.tracking_uri,
        planned.options.runs,
        sweep_name=planned.sweep.name,
        sweep_id=planned.plan.sweep_id,
        trials=trial_runs(planned),
    )


def trial_runs(planned: Planned) -> list[TrialRun]:
    """What MLflow is told about the trials before they train."""
    return describe_plan(planned.saved, d_model=planned.facts.d_model)
