"""A small pack that can be run again and again from the same plan, and killed anywhere within this process."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.jobs import PackJob, PackOutcome
from orchestrator.packs.worker import run_pack_here
from orchestrator.planning.planned import Pack
from orchestrator.running.pack_jobs import make_jobs, write_plan
from orchestrator.running.planned import LaunchOptions, Planned
from orchestrator.running.prepare import read_and_plan
from tests.tiny import Bench, science
from trainer.faults import Killed, injected

SMALL = ("train.tokens=384", "grid.sparsity_coeff=1", "logging.eval_every_tokens=128", "logging.log_every_steps=2")
"""2 layers x 2 losses, 12 steps; evaluated every 4 steps."""
N_STEPS = 12


class SmallPack:
    """A planned pack of four trials; each `fresh` folder knows the plan and nothing else."""

    def __init__(self, bench: Bench, *more: str, checkpoint_every_s: float | None = 0.0) -> None:
        """`checkpoint_every_s`: 0 makes a checkpoint at each step."""
        overrides = (f"model.name={bench.model}", f"data.dataset={bench.data}", *SMALL, *more)
        options = LaunchOptions(bench.sweep, overrides, bench.runs, tracking=False, n_slots=1)
        planned = read_and_plan(options)
        plan = replace(planned.plan, packs=(Pack(planned.plan.trials),))  # whatever a plan would make of it
        self.planned: Planned = replace(planned, plan=plan)
        jobs = make_jobs(self.planned, [])
        write_plan(self.planned, jobs)
        changes = {"launch_id": "", "checkpoint_every_s": checkpoint_every_s}
        (self._job,) = (job.model_copy(update=changes) for job in jobs)
        self._template = Path(self._job.folder)
        self._n_folders = 0

    def fresh(self) -> PackJob:
        """The job, in a folder of its own."""
        self._n_folders += 1
        folder = self._template.parent.parent / f"{self._template.name}-{self._job.pack_id}-{self._n_folders}"
        shutil.copytree(self._template, folder)
        return self._job.model_copy(update={"folder": str(folder)})


def run(job: PackJob, stop: Callable[[], bool] = lambda: False) -> PackOutcome:
    return run_pack_here(job, stop=stop)


def stopped_after(job: PackJob, n_steps: int) -> PackOutcome:
    """Runs the job until it has done that many steps in this attempt."""
    asked = iter([False] * n_steps)  # once before the first step, then after each
    return run(job, stop=lambda: next(asked, True))


def folder_of(job: PackJob) -> RunFolder:
    return RunFolder(Path(job.folder))


def outcome_of(job: PackJob) -> dict[str, object]:
    """All that must not depend on what was killed when: rows, curves, weights, elements."""
    folder = folder_of(job)
    files = {
        path.relative_to(folder.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in ("saes", "elements")
        for path in (folder.path / name).rglob("*")
        if path.is_file()
    }
    return {"rows": science(folder.path), "files": files}


def events_of(job: PackJob) -> list[str]:
    return [event.event for event in folder_of(job).pack_events(job.pack_id)]


def passing(job: PackJob) -> list[str]:
    """Runs the job, and returns the fault points it came by."""
    places: list[str] = []
    with injected(lambda place, _: places.append(place)):
        run(job)
    return places


def killed_at(job: PackJob, number: int) -> bool:
    """Runs the job and kills it at its fault point of that number, counted from 0. False: it got to its end."""
    left = number

    def kill(place: str, _: int | None) -> None:
        nonlocal left
        if left == 0:
            raise Killed(place)
        left -= 1

    try:
        with injected(kill):
            run(job)
    except Killed:
        return True
    return False


def failing_at(
    place: str, problem: Callable[[], BaseException], *, times: int = 1
) -> Callable[[str, int | None], None]:
    """For `injected`: raises at a place, the first `times` times."""
    left = times

    def hook(name: str, number: int | None) -> None:
        nonlocal left
        at = name if number is None else f"{name}:{number}"
        if left and at.startswith(place):
            left -= 1
            raise problem()

    return hook
