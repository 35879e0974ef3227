"""One launch from a sweep file to its result: prepare, run packs under a monitor, finish. Knows no terminal.

Ray and MLflow are reached through `run.py` and `tracking`; neither is loaded for a sweep that is finished already.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from orchestrator.display.screen import Screen
from orchestrator.display.streams import console_goes_to
from orchestrator.folder.lease import lease
from orchestrator.folder.records import Event, Holder, Row, SweepState
from orchestrator.packs.jobs import PackJob
from orchestrator.running import finish
from orchestrator.running.checks import check_everything, check_writable
from orchestrator.running.earlier_rows import kept_rows, set_rows_aside
from orchestrator.running.mlflow_copy import Tracking, trial_runs
from orchestrator.running.monitor import Monitor
from orchestrator.running.news import new_event
from orchestrator.running.next_round import next_round
from orchestrator.running.pack_jobs import make_jobs, write_plan
from orchestrator.running.planned import LaunchOptions, Planned
from orchestrator.running.prepare import read_and_plan
from orchestrator.running.recovery import Recovery
from orchestrator.running.result import Result, result_of
from orchestrator.running.rounds import Rounds
from orchestrator.running.run import Outcomes, run_here, run_on_ray
from orchestrator.running.stopping import StopRequest, signals_handled
from orchestrator.sweep.sweep_home import changes_event, refuse_another_meaning
from orchestrator.tracking import is_behind
from trainer.errors import BadInput


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
    result = result_of(planned, exported, n_done_before=len(kept), figures=figures)
    report = planned.folder.report
    if exported.changed or not report.exists():
        trouble = partial(new_event, "trouble", level="warning")
        report = finish.report(planned, SweepState.COMPLETE, lambda text: screen.event(trouble(text)))
    result = replace(result, report=report)
    return Launched(result, _exit_code(result, stop=None))


def _run(planned: Planned, stop: StopRequest, screen: Screen, before: Holder | None) -> Launched:
    """Train, with the run folder ours. `before`: a launch that ended without giving it back."""
    news = _put_right(planned)
    if before is not None:
        news.insert(0, new_event("took_over", f"took over from {before}, which is gone", level="warning"))
    kept = kept_rows(planned)
    jobs = make_jobs(planned, kept)
    stop.clear_file()
    for sae in planned.sweep.starts.values():
        planned.folder.write_start(sae)
    write_plan(planned, jobs)
    monitor = Monitor(
        planned.folder,
        planned.saved,
        screen=screen,
        stop=stop,
        kept=kept,
        export=lambda: finish.export(recovery.planned, SweepState.RUNNING),
        hung_after_s=60 * planned.sweep.resources.hung_after_minutes,
    )
    for event in news:
        monitor.tell(event)
    text = _start_text(planned, kept, jobs)
    monitor.event("sweep_started", text, n_trials=len(planned.plan.trials), n_kept=len(kept))
    monitor.write_status(SweepState.RUNNING)
    screen.note("results", str(planned.folder.path))
    screen.note("Ctrl-C", "stops after the current step and keeps what is done")
    tracking = Tracking(planned, monitor, screen)
    recovery = Recovery(planned, monitor, stop)
    recovery.begin(jobs)
    rounds = Rounds(recovery, monitor, stop, on_more=tracking.more)
    outcomes, cut_off = _run_packs(rounds, jobs, stop=stop, monitor=monitor, screen=screen, tracking=tracking)
    result = finish.finish_launch(
        recovery.planned, outcomes, monitor, screen, tracking, n_kept=len(kept), cut_off=cut_off
    )
    stop.clear_file()
    return Launched(result, _exit_code(result, stop))


def _put_right(planned: Planned) -> list[Event]:
    """Leave nothing half done or damaged in the run folder. Returns what people have to be told of it."""
    folder = planned.folder
    folder.clear_leftovers()
    aside = set_rows_aside(planned)
    changed = changes_event(planned.home, planned.trial_ids)
    told = [] if changed is None else [changed]
    told += [_mended(text) for text in planned.options.notes]
    for event in told:
        folder.add_event(event)
    spares = [_mended(f"{why}; its spare copy is used") for why in folder.read_from_spares()]
    again = [f"{name} is run again: {why} (its result is now {path})" for name, why, path in aside]
    return [*spares, *(new_event("row_set_aside", text, level="warning") for text in again)]


def _run_packs(
    rounds: Rounds,
    jobs: Sequence[PackJob],
    *,
    stop: StopRequest,
    monitor: Monitor,
    screen: Screen,
    tracking: Tracking,
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


def _mended(text: str) -> Event:
    return new_event("file_mended", text, level="warning")


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
