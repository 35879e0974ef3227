"""One pack in this process, from its job to its rows. `--local` and Ray's workers run the same function.

The only place that catches broadly: whatever happens to a trial becomes its row. Knows neither Ray nor the terminal.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from orchestrator.folder.records import PackState, RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.folder.versions import versions_on
from orchestrator.packs import checkpoints
from orchestrator.packs.fence import Fence, Fenced
from orchestrator.packs.held import device_for, device_name
from orchestrator.packs.jobs import PackJob, PackOutcome
from orchestrator.packs.memory import MemoryGuard, is_out_of_memory, let_go, out_of_memory_text
from orchestrator.packs.patience import REFUSED, DiskProblem, Patience
from orchestrator.packs.recorder import PackRecorder
from orchestrator.packs.training import Attempt, Stopped
from trainer.errors import BadInput, EnvironmentProblem
from trainer.pulse import heard_by

Stop = Callable[[], bool]
"""Whether a stop is asked for. Called between steps."""


def run_pack_here(job: PackJob, *, stop: Stop, alive: Callable[[], None] = lambda: None) -> PackOutcome:
    """Train the trials of a pack and write all there is to know about them into the run folder.

    Goes on from the pack's newest checkpoint. `alive` is called while work goes on. Raises nothing that is about a
    trial: a trial that diverged, a missing file become failed rows. Where something can be done about it, the outcome
    says what kind of thing it is: no memory, no room on the disk.
    """
    folder = RunFolder(Path(job.folder))
    plan = folder.plan()
    if plan is None:
        raise BadInput(f"{folder.path} has no plan.json: a worker needs it")
    left = [id_ for id_ in job.trial_ids if (row := folder.row(id_)) is None or row.status is RowStatus.STOPPED]
    if not left:  # an earlier attempt was cut off at its very end
        checkpoints.remove(folder.checkpoints(job.pack_id))
        return PackOutcome(pack_id=job.pack_id, state=PackState.DONE)
    if stop():
        return PackOutcome(pack_id=job.pack_id, state=PackState.STOPPED)
    job = job.model_copy(update={"trial_ids": left})
    fence = Fence(folder, job)
    device = device_for(job.gpus)
    try:
        Patience(say=_nobody_hears, stop=stop)(fence.take)
        versions = versions_on(device_name(device))
        recorder = PackRecorder(job, plan, folder=folder, fence=fence, versions=versions, stop=stop)
        return _attempt(Attempt(job, plan, folder, fence, recorder, device, stop), alive)
    except Fenced as why:
        return PackOutcome(pack_id=job.pack_id, state=PackState.STOPPED, error=str(why))
    except EnvironmentProblem as why:  # only the disk can be meant: all else became rows
        return PackOutcome(pack_id=job.pack_id, state=PackState.FAILED, error=str(why), reason="disk")


def _attempt(attempt: Attempt, alive: Callable[[], None]) -> PackOutcome:
    recorder, guard = attempt.recorder, MemoryGuard()

    def pulse() -> None:
        alive()
        attempt.fence.check_launch()
        guard.look()
        recorder.beat()

    error, reason = None, None
    try:
        with heard_by(pulse):
            attempt.run()
        state = PackState.DONE
    except Stopped:
        state = PackState.STOPPED
        recorder.stopped(f"stopped at step {recorder.step}")
    except Fenced:
        raise
    except DiskProblem as problem:
        recorder.write_status(PackState.FAILED, str(problem))
        raise
    except Exception as problem:
        recorder.say_traceback(problem)
        if isinstance(problem, OSError) and problem.errno in REFUSED:  # of a cache, a temporary file, the text
            recorder.write_status(PackState.FAILED, why := f"disk: {problem}")
            raise DiskProblem(why) from problem
        state, error, reason = _failed(attempt, problem)
    recorder.write_status(state, error)
    if state is PackState.DONE:
        checkpoints.remove(attempt.folder.checkpoints(attempt.job.pack_id))
    if reason == "memory":
        let_go()
    return PackOutcome(pack_id=attempt.job.pack_id, state=state, error=error, reason=reason)


def _nobody_hears(kind: str, message: str) -> None:
    """Before a worker has its pack, it may not write what it has to say."""


def _failed(attempt: Attempt, problem: Exception) -> tuple[PackState, str, Literal["memory"] | None]:
    """What becomes of a pack that raised: failed rows, unless it can be split."""
    why = _why(problem, attempt.device)
    if is_out_of_memory(problem) and len(attempt.plan.packs[attempt.job.pack_id]) > 1:
        return PackState.FAILED, why, "memory"
    for trial_id in attempt.recorder.open_trials:
        attempt.recorder.failed(trial_id, why)
    return PackState.FAILED, why, None


def _why(problem: Exception, device: torch.device) -> str:
    """What went wrong in a line or two; the pack's log has the traceback."""
    if isinstance(problem, BadInput | EnvironmentProblem):
        return str(problem)
    if is_out_of_memory(problem):
        text = out_of_memory_text(problem, device_name(device))
        return f"{text}. A smaller train.batch_rows or sae.ratio needs less"
    lines = str(problem).strip().splitlines()
    return f"{type(problem).__name__}: {lines[0]}" if lines else type(problem).__name__
