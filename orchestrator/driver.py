"""One launch from a sweep file to its result: prepare, run packs under a monitor, finish. Knows no terminal.

Ray and MLflow are reached through `run.py` and `tracking`; neither is loaded for a sweep that is finished already.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from orchestrator import finish
from orchestrator.checks import check_everything, check_writable
from orchestrator.finish import Result
from orchestrator.jobs import PackJob
from orchestrator.monitor import Monitor
from orchestrator.prepare import (
    LaunchOptions,
    Planned,
    import_tracking,
    kept_rows,
    lock,
    make_jobs,
    read_and_plan,
    start_tracking,
    write_plan,
)
from orchestrator.records import Row, SweepState
from orchestrator.run import Outcomes, run_here, run_on_ray
from orchestrator.screen import Screen
from orchestrator.stopping import StopRequest, signals_handled
from orchestrator.streams import console_goes_to
from orchestrator.tracking import Tracker, experiment_link, mlflow_ui_command


class Launched(NamedTuple):
    """A result and what the program should exit with."""

    result: Result
    exit_code: int


def launch(options: LaunchOptions, screen: Screen) -> Launched:
    """Run what is left of a sweep.

    Raises BadInput or EnvironmentProblem, with nothing started and no run folder made, and StopNow where a signal comes
    before packs train, or a second one while they do.
    """
    screen.phase(f"reading {options.sweep_file}")
    planned = read_and_plan(options)
    check_writable(options.runs)
    kept = kept_rows(planned)
    if not make_jobs(planned, kept) and _is_finished(planned):
        return _as_it_is(planned, kept)
    stop = StopRequest(planned.folder.path)
    with signals_handled(stop):
        configs = [planned.saved.trials[id_] for job in make_jobs(planned, kept) for id_ in job.trial_ids]
        if configs:
            check_everything(planned, screen, configs, kept)
        with ExitStack() as held:
            lock(planned, held)
            return _run(planned, stop, screen)


def _is_finished(planned: Planned) -> bool:
    """Whether an earlier launch got to its end."""
    status = planned.folder.status()
    return status is not None and status.state is SweepState.COMPLETE and planned.folder.frontier.exists()


def _as_it_is(planned: Planned, kept: Sequence[Row]) -> Launched:
    """A sweep with nothing left to do: its result once more, in an instant."""
    exported = finish.export(planned, SweepState.COMPLETE)
    figures = tuple(
        path for suffix in ("png", "svg") if (path := planned.folder.frontier.with_suffix(f".{suffix}")).exists()
    )
    if exported.changed or not figures:
        figures = finish.draw(planned)
    result = finish.result_of(planned, exported, n_done_before=len(kept), figures=figures)
    return Launched(result, _exit_code(result, stop=None))


def _run(planned: Planned, stop: StopRequest, screen: Screen) -> Launched:
    """Train, with the run folder ours."""
    folder = planned.folder
    kept = kept_rows(planned)
    jobs = make_jobs(planned, kept)
    stop.clear_file()
    write_plan(planned, jobs)
    monitor = Monitor(
        folder, planned.saved, screen=screen, stop=stop, kept=kept, export=lambda: _export_while_running(planned)
    )
    monitor.event(
        "sweep_started", _start_text(planned, kept, jobs), n_trials=len(planned.plan.trials), n_kept=len(kept)
    )
    monitor.write_status(SweepState.RUNNING)
    screen.note("results", str(folder.path))
    screen.note("Ctrl-C", "stops after the current step and keeps what is done")
    tracking = _Tracking(planned, screen)
    outcomes, cut_off = _run_packs(planned, jobs, stop=stop, monitor=monitor, screen=screen, tracking=tracking)
    result = _finish(planned, outcomes, monitor, screen, tracking, n_kept=len(kept), cut_off=cut_off)
    stop.clear_file()
    return Launched(result, _exit_code(result, stop))


class _Tracking:
    """MLflow runs, if they are wanted: made while Ray starts."""

    def __init__(self, planned: Planned, screen: Screen) -> None:
        self._planned, self._screen = planned, screen
        self.tracker: Tracker | None = None

    def load(self) -> None:
        if self._planned.options.tracking:
            import_tracking(self._planned)

    def start(self) -> None:
        if self._planned.options.tracking:
            self.tracker = start_tracking(self._planned)
            if runs := self._planned.folder.mlflow_runs():
                where = mlflow_ui_command(self._planned.tracking_uri)
                link = experiment_link(self._planned.tracking_uri, runs.experiment_id)
                self._screen.note("MLflow", where or link)


def _run_packs(
    planned: Planned,
    jobs: Sequence[PackJob],
    *,
    stop: StopRequest,
    monitor: Monitor,
    screen: Screen,
    tracking: _Tracking,
) -> tuple[Outcomes, bool]:
    """Outcomes by pack, and whether packs were cut off by a second signal."""
    starts = {"Ray": not planned.options.local and bool(jobs), "MLflow": planned.options.tracking}
    if any(starts.values()):
        screen.phase(f"starting {' and '.join(name for name, is_wanted in starts.items() if is_wanted)}")
    tracking.load()
    if planned.options.local or not jobs:
        tracking.start()
    stop.patient = True
    try:
        if not jobs:
            return {}, False
        if planned.options.local:
            monitor.start()
            return run_here(jobs, stop=stop), False
        from orchestrator.held import forget

        forget()  # the model that was loaded to see that it can be
        path = planned.folder.path.absolute()
        with console_goes_to(planned.folder.ray_logs / "driver.log"):
            outcomes = run_on_ray(jobs, folder=path, stop=stop, meanwhile=tracking.start, on_ready=monitor.start)
            return outcomes, False
    except KeyboardInterrupt:  # StopNow, or what Ray makes of it
        return {}, True
    finally:
        monitor.close()


def _finish(
    planned: Planned,
    outcomes: Outcomes,
    monitor: Monitor,
    screen: Screen,
    tracking: _Tracking,
    *,
    n_kept: int,
    cut_off: bool,
) -> Result:
    tracker = tracking.tracker
    screen.phase("writing the frontier")
    written = finish.write_missing_rows(planned, outcomes, monitor, cut_off=cut_off)
    monitor.look()
    state = finish.state_of(planned)
    exported = finish.export(planned, state, snapshot=True)
    try:
        figures = finish.draw(planned)
    except Exception as trouble:  # a picture that cannot be drawn costs no result
        figures = ()
        monitor.event("trouble", f"no picture of the frontier: {trouble}", level="warning")
    result = finish.result_of(planned, exported, n_done_before=n_kept, figures=figures)
    if tracker is not None and not cut_off:
        screen.phase("bringing MLflow up to date")
        for problem in (
            finish.catch_up(planned, tracker, outcomes.values(), written),
            finish.publish(planned, tracker, result),
        ):
            if problem is not None:
                said = f"MLflow has not got everything (the run folder has): {problem}"
                monitor.event("trouble", said, level="warning")
    monitor.write_status(state)
    monitor.event("sweep_ended", f"{result.n_done} of {result.n_trials} trials are done", state=str(state))
    return result


def _export_while_running(planned: Planned) -> None:
    finish.export(planned, SweepState.RUNNING)


def _exit_code(result: Result, stop: StopRequest | None) -> int:
    """0 all done, 3 some failed, 130 or 143 stopped."""
    if stop is not None and stop.asked and result.state is not SweepState.COMPLETE:
        return stop.exit_code
    return 3 if result.failures or result.n_done < result.n_trials else 0


def _start_text(planned: Planned, kept: Sequence[Row], jobs: Sequence[PackJob]) -> str:
    n_left = sum(len(job.trial_ids) for job in jobs)
    text = f"{planned.plan.sweep_id}: {n_left} trials in {len(jobs)} packs on {planned.room.what}"
    n_trials = len(planned.plan.trials)
    return f"{text}; {len(kept)} of {n_trials} trials were done already" if kept else text
