"""One launch from a sweep file to its result: prepare, run packs under a monitor, finish. Knows no terminal.

Ray and MLflow are reached through `run.py` and `tracking`; neither is loaded for a sweep that is finished already.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from orchestrator.display.screen import Screen
from orchestrator.display.streams import console_goes_to
from orchestrator.folder.clock import now
from orchestrator.folder.lease import lease
from orchestrator.folder.records import Event, Holder, Row, SweepState
from orchestrator.packs.jobs import PackJob
from orchestrator.running import finish
from orchestrator.running.checks import check_everything, check_writable
from orchestrator.running.finish import Result
from orchestrator.running.monitor import Monitor
from orchestrator.running.next_round import next_round
from orchestrator.running.prepare import (
    LaunchOptions,
    Planned,
    import_tracking,
    kept_rows,
    make_jobs,
    make_mirror,
    read_and_plan,
    set_rows_aside,
    trial_runs,
    write_plan,
)
from orchestrator.running.recovery import Recovery
from orchestrator.running.rounds import Rounds
from orchestrator.running.run import Outcomes, run_here, run_on_ray
from orchestrator.running.stopping import StopRequest, signals_handled
from orchestrator.sweep.sweep_home import changes_event, refuse_another_meaning
from orchestrator.tracking import Mirror, is_behind, masked, mlflow_ui_command
from trainer.errors import BadInput

MLFLOW_S = 60.0
"""Longest wait at the end for MLflow to have everything."""
MLFLOW_CUT_OFF_S = 5.0
"""The same after a second Ctrl-C."""


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
    for text in options.notes:
        screen.event(_mended(text))
    refuse_another_meaning(planned.home, planned.trial_ids, allowed=options.allow_changed)
    check_writable(options.runs)
    kept = kept_rows(planned)
    if not make_jobs(planned, kept):
        planned, _ = next_round(planned)
    if not make_jobs(planned, kept) and not planned.home.changes and _is_finished(planned) and not _lacks(planned):
        return _as_it_is(planned, kept, screen)
    if (changed := changes_event(planned.home, planned.trial_ids)) is not None:
        screen.event(changed)
    stop = StopRequest(planned.folder.path)
    with signals_handled(stop):
        trials = planned.saved.trials
        configs = [trials[id_] for job in make_jobs(planned, kept) for id_ in job.trial_ids]
        if configs:
            check_everything(planned, screen, configs, kept)
        if configs and options.calibrate:
            from orchestrator.running.calibrate import calibrated

            planned = calibrated(planned, screen)
        with lease(planned.folder, launch_id=planned.launch_id) as before:
            return _run(planned, stop, screen, before)


def _is_finished(planned: Planned) -> bool:
    """Whether an earlier launch got to its end."""
    try:
        status = planned.folder.status()
    except BadInput:  # it says nothing that cannot be made again
        return False
    return status is not None and status.state is SweepState.COMPLETE and planned.folder.frontier.exists()


def _lacks(planned: Planned) -> bool:
    """Whether MLflow has not got everything of it: its end was cut off, or MLflow was away then."""
    return planned.options.tracking and is_behind(planned.folder, trial_runs(planned))


def _as_it_is(planned: Planned, kept: Sequence[Row], screen: Screen) -> Launched:
    """A sweep with nothing left to do: its result once more, in an instant."""
    exported = finish.export(planned, SweepState.COMPLETE)
    figures = tuple(
        path for suffix in ("png", "svg") if (path := planned.folder.frontier.with_suffix(f".{suffix}")).exists()
    )
    if exported.changed or not figures:
        figures = finish.draw(planned)
    result = finish.result_of(planned, exported, n_done_before=len(kept), figures=figures)
    report = planned.folder.report
    if exported.changed or not report.exists():
        report = _report(planned, SweepState.COMPLETE, lambda text: screen.event(_trouble(text)))
    result = replace(result, report=report)
    return Launched(result, _exit_code(result, stop=None))


def _run(planned: Planned, stop: StopRequest, screen: Screen, before: Holder | None) -> Launched:
    """Train, with the run folder ours. `before`: a launch that ended without giving it back."""
    folder = planned.folder
    folder.clear_leftovers()
    aside = set_rows_aside(planned)
    kept = kept_rows(planned)
    jobs = make_jobs(planned, kept)
    stop.clear_file()
    if (changed := changes_event(planned.home, planned.trial_ids)) is not None:
        folder.add_event(changed)
    for text in planned.options.notes:  # told already
        folder.add_event(_mended(text))
    mended = [f"{why}; its spare copy is used" for why in folder.read_from_spares()]
    write_plan(planned, jobs)
    monitor = Monitor(
        folder,
        planned.saved,
        screen=screen,
        stop=stop,
        kept=kept,
        export=lambda: _export_while_running(recovery.planned),
        hung_after_s=60 * planned.sweep.resources.hung_after_minutes,
    )
    if before is not None:
        monitor.event("took_over", f"took over from {before}, which is gone", level="warning")
    for text in mended:
        news = _mended(text)
        monitor.event(news.event, news.message, level=news.level)
    for name, why, path in aside:
        monitor.event("row_set_aside", f"{name} is run again: {why} (its result is now {path})", level="warning")
    monitor.event(
        "sweep_started", _start_text(planned, kept, jobs), n_trials=len(planned.plan.trials), n_kept=len(kept)
    )
    monitor.write_status(SweepState.RUNNING)
    screen.note("results", str(folder.path))
    screen.note("Ctrl-C", "stops after the current step and keeps what is done")
    tracking = _Tracking(planned, monitor, screen)
    recovery = Recovery(planned, monitor, stop)
    recovery.begin(jobs)
    rounds = Rounds(recovery, monitor, stop, on_more=tracking.more)
    outcomes, cut_off = _run_packs(rounds, jobs, stop=stop, monitor=monitor, screen=screen, tracking=tracking)
    result = _finish(recovery.planned, outcomes, monitor, screen, tracking, n_kept=len(kept), cut_off=cut_off)
    stop.clear_file()
    return Launched(result, _exit_code(result, stop))


class _Tracking:
    """The copy in MLflow, if it is wanted: begun while Ray starts, never waited for before the end."""

    def __init__(self, planned: Planned, monitor: Monitor, screen: Screen) -> None:
        self._planned, self._monitor, self._screen = planned, monitor, screen
        self.mirror: Mirror | None = None

    def load(self) -> None:
        if self._planned.options.tracking:
            import_tracking(self._planned)

    def start(self) -> None:
        if self._planned.options.tracking:
            self.mirror = make_mirror(self._planned, self._tell)
            self.mirror.start()
            uri = self._planned.tracking_uri
            self._screen.note("MLflow", mlflow_ui_command(uri) or masked(uri))

    def more(self, planned: Planned) -> None:
        """A search has added trials."""
        if self.mirror is not None:
            self.mirror.add(trial_runs(planned))

    def finish(self, result: Result, *, deadline_s: float) -> None:
        """What the sweep came to, and the rest of the curves; says what is left, and how to send it later."""
        if self.mirror is None:
            return
        self.mirror.publish(result.state, metrics=finish.sweep_metrics(result), files=finish.sweep_files(result))
        if (behind := self.mirror.close(deadline_s)) is not None:
            later = f"python -m orchestrator sync {shlex.quote(str(self._planned.folder.path))}"
            said = f"MLflow has not got {behind}; the run folder has. To send it later: {later}"
            self._monitor.event("trouble", said, level="warning")

    def _tell(self, level: str, text: str) -> None:
        self._monitor.event("mlflow", text, level="warning" if level == "warning" else "info")


def _run_packs(
    rounds: Rounds,
    jobs: Sequence[PackJob],
    *,
    stop: StopRequest,
    monitor: Monitor,
    screen: Screen,
    tracking: _Tracking,
) -> tuple[Outcomes, bool]:
    """Outcomes by pack, and whether packs were cut off by a second signal."""
    planned = rounds.planned
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
            return run_here(jobs, stop=stop, after=rounds.jobs_after), False
        from orchestrator.packs.held import forget

        forget()  # the model that was loaded to see that it can be
        path = planned.folder.path.absolute()
        with console_goes_to(planned.folder.ray_logs / "driver.log"):
            outcomes = run_on_ray(
                jobs,
                folder=path,
                stop=stop,
                meanwhile=tracking.start,
                on_ready=monitor.start,
                after=rounds.jobs_after,
                tracking=planned.options.tracking,
            )
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
    screen.phase("writing the frontier")
    finish.write_missing_rows(planned, outcomes, monitor, cut_off=cut_off)
    monitor.look()
    finish.tidy(planned)
    state = finish.state_of(planned)
    exported = finish.export(planned, state, snapshot=True)
    try:
        figures = finish.draw(planned)
    except Exception as trouble:  # a picture that cannot be drawn costs no result
        figures = ()
        monitor.event("trouble", f"no picture of the frontier: {trouble}", level="warning")
    result = finish.result_of(planned, exported, n_done_before=n_kept, figures=figures)
    monitor.write_status(SweepState.RUNNING)  # with what the last packs did: the report tells it
    report = _report(planned, state, lambda text: monitor.event("trouble", text, level="warning"))
    result = replace(result, report=report)
    if tracking.mirror is not None:
        screen.phase("bringing MLflow up to date")
        tracking.finish(result, deadline_s=MLFLOW_CUT_OFF_S if cut_off else MLFLOW_S)
        result = replace(result, mlflow=finish.mlflow_link(planned))  # its runs may have been made just now
    monitor.write_status(state)
    monitor.event("sweep_ended", f"{result.n_done} of {result.n_trials} trials are done", state=str(state))
    return result


def _report(planned: Planned, state: SweepState, say: Callable[[str], None]) -> Path | None:
    """None where it cannot be written, which costs no result."""
    try:
        finish.write_found(planned)
        return finish.report(planned, state)
    except Exception as trouble:
        say(f"no report of the sweep: {trouble or type(trouble).__name__}")
        return None


def _trouble(text: str) -> Event:
    return Event(time=now(), level="warning", event="trouble", message=text)


def _mended(text: str) -> Event:
    return Event(time=now(), level="warning", event="file_mended", message=text)


def _export_while_running(planned: Planned) -> None:
    finish.export(planned, SweepState.RUNNING)


def _exit_code(result: Result, stop: StopRequest | None) -> int:
    """0 all done, 3 some failed, 130 or 143 stopped."""
    if stop is not None and stop.asked and result.state is not SweepState.COMPLETE:
        return stop.exit_code
    return 3 if result.failures or result.n_done + len(result.dominated) < result.n_trials else 0


def _start_text(planned: Planned, kept: Sequence[Row], jobs: Sequence[PackJob]) -> str:
    n_left = sum(len(job.trial_ids) for job in jobs)
    text = f"{planned.plan.sweep_id}: {n_left} trials in {len(jobs)} packs on {planned.room.what}"
    n_trials = len(planned.plan.trials)
    return f"{text}; {len(kept)} of {n_trials} trials were done already" if kept else text
