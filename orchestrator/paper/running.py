"""Tasks of analyses, run: in this process, or as Ray's (`on_ray.py`). One that fails ends no other.

A task writes its own result into the cache, whole, in whatever process it runs.
"""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.folder.files import write_text
from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.analysis import Task
from orchestrator.paper.planned import PlannedTask
from orchestrator.paper.registry import analyses
from orchestrator.paper.store import Kept, Store
from orchestrator.paper.tables import checked
from trainer.errors import BadInput, EnvironmentProblem
from trainer.faults import fault_point


@dataclass(frozen=True)
class Job:
    """A task as a process gets it."""

    folder: str
    output: str
    task: Task
    key: str


@dataclass(frozen=True)
class Ended:
    """How a task ended."""

    name: str
    analysis: str
    seconds: float
    error: str = ""
    """One message; empty where it is done."""


Heard = Callable[[float, str], None]
"""Hears which share of all work is done, and what is being done."""


def job_of(planned: PlannedTask, folder: RunFolder, store: Store) -> Job:
    return Job(str(folder.path.absolute()), str(store.path.absolute()), planned.task, planned.key)


def run_job(job: Job, *, far: Callable[[float], None] | None = None) -> Ended:
    """Do one task and keep what it comes to. Never raises but for what ends the process.

    `far` hears which share of it is done; where nobody listens, a file of the cache says it.
    """
    from orchestrator.packs.memory import let_go
    from orchestrator.paper.context import TaskContext

    store, task = Store(Path(job.output)), job.task
    began_s = time.monotonic()
    context = TaskContext(
        RunFolder(Path(job.folder)), task, far=far or (lambda share: store.tell_far(job.key, share)), kept=store.firing
    )
    error = ""
    try:
        fault_point(f"paper:{task.analysis}")
        analysis = next(one for one in analyses() if one.id == task.analysis)
        tables = checked(analysis.run(task, context), analysis.tables)
        store.write(task, job.key, Kept(tables, time.monotonic() - began_s))
    except (BadInput, EnvironmentProblem) as problem:
        error = str(problem)
    except Exception as problem:
        error = _unexpected(problem, store, task)
    finally:
        store.forget_far(job.key)
        let_go()
    return Ended(f"{task.analysis} {task.key}", task.analysis, time.monotonic() - began_s, error)


def run_tasks_here(
    tasks: Sequence[PlannedTask], folder: RunFolder, store: Store, *, heard: Heard, ended: Callable[[Ended], None]
) -> list[Ended]:
    """One after another in this process: the same numbers as through Ray."""
    from orchestrator.packs.held import forget

    found: list[Ended] = []
    shares: dict[str, float] = {}
    try:
        for number, planned in enumerate(tasks, start=1):
            what = f"{planned.name} ({number} of {len(tasks)})"

            def far(share: float, key: str = planned.key, what: str = what) -> None:
                heard(share_done(tasks, {**shares, key: share}), what)

            far(0.0)
            one = run_job(job_of(planned, folder, store), far=far)
            shares[planned.key] = 1.0
            found.append(one)
            ended(one)
    finally:
        forget()
    return found


def share_done(tasks: Sequence[PlannedTask], shares: Mapping[str, float]) -> float:
    """Of all work, by the time that each task was expected to take. `shares`: by key, of those that began."""
    weights = {planned.key: max(planned.cost.seconds, 0.1) for planned in tasks}
    done = sum(weights[key] * share for key, share in shares.items())
    return done / max(sum(weights.values()), 1e-9)


def _unexpected(problem: Exception, store: Store, task: Task) -> str:
    """One message for what is no user's fault; the traceback goes to a file."""
    from orchestrator.packs.memory import is_out_of_memory

    what = f"{type(problem).__name__}: {(str(problem).strip().splitlines() or [''])[0][:300]}".rstrip(": ")
    if is_out_of_memory(problem) or isinstance(problem, MemoryError):
        return f"it did not fit into memory ({what}). Free some, or take a machine with more"
    path = store.path / "cache" / task.analysis / "error.txt"
    with suppress(EnvironmentProblem):
        write_text(path, "".join(traceback.format_exception(problem)))
    return f"this is a bug, not something you did: {what}. The traceback is in {path}"
