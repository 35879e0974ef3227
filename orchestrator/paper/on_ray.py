"""Tasks of analyses as Ray's, side by side, as many as CPUs, GPUs and memory allow.

Ray places them and runs them again if their worker dies; what they come to is in the cache, not with Ray.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.costs import PROCESS_BYTES
from orchestrator.paper.planned import PlannedTask
from orchestrator.paper.running import Ended, Heard, Job, job_of, run_job, share_done
from orchestrator.paper.store import Store
from orchestrator.running.run import cluster, import_ray, machines
from orchestrator.running.stopping import StopRequest

RETRIES = 2
"""Of a task whose worker died; what goes wrong inside a task is not tried again."""
LOOK_EVERY_S = 0.5
MOST_MEMORY = 0.9
"""Of a machine's, that one task may ask for: more would never start."""


@dataclass(frozen=True)
class Having:
    """What machines of the cluster have."""

    cpus: float
    """Of all together."""
    most_cpus: float
    """Of the largest."""
    gpus: float
    memory_bytes: float
    """Of the largest."""


def run_tasks_on_ray(
    tasks: Sequence[PlannedTask],
    folder: RunFolder,
    store: Store,
    *,
    stop: StopRequest,
    heard: Heard,
    ended: Callable[[Ended], None],
) -> list[Ended]:
    """All tasks; returns how each ended. Raises EnvironmentProblem where Ray does not start."""
    import_ray()
    import ray

    found: list[Ended] = []
    with cluster(store.path, stop):
        have = _having()
        n_cpus = max(1.0, min(have.most_cpus, have.cpus // max(1, len(tasks))))
        waiting: dict[Any, PlannedTask] = {}
        for planned in sorted(tasks, key=lambda one: -one.cost.seconds):
            remote: Any = ray.remote(_run_job).options(max_retries=RETRIES, **_resources(planned, have, n_cpus))
            waiting[remote.remote(job_of(planned, folder, store), int(n_cpus))] = planned
        done: dict[str, float] = {}
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=LOOK_EVERY_S)
            for reference in ready:
                planned = waiting.pop(reference)
                found.append(_outcome(reference, planned))
                done[planned.key] = 1.0
                ended(found[-1])
            shares = done | {planned.key: store.far(planned.key) for planned in waiting.values()}
            heard(share_done(tasks, shares), f"{len(done)} of {len(tasks)} tasks are done")
    return found


def _run_job(job: Job, n_threads: int) -> Ended:
    """In a worker."""
    import torch

    torch.set_num_threads(n_threads)
    return run_job(job)


def _outcome(reference: Any, planned: PlannedTask) -> Ended:
    import ray
    from ray.exceptions import RayError

    try:
        return ray.get(reference)
    except RayError as death:
        lines = [line.strip() for line in str(death).splitlines() if line.strip()]
        why = lines[0][:300] if lines else type(death).__name__
        error = f"its worker died {RETRIES + 1} times: {why}. Too little memory is the usual reason; try --local"
        return Ended(planned.name, planned.task.analysis, 0.0, error)


def _having() -> Having:
    import ray

    memory = [node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"]]
    have = machines()
    cpus, gpus = [cpus for cpus, _ in have], [gpus for _, gpus in have]
    return Having(sum(cpus), max(cpus, default=1.0), sum(gpus), max(memory, default=0.0))


def _resources(planned: PlannedTask, have: Having, n_cpus: float) -> dict[str, Any]:
    asked: dict[str, Any] = {"num_cpus": n_cpus}
    if have.gpus >= 1 and planned.task.needs_model:
        asked["num_gpus"] = 1
    if have.memory_bytes > 0:
        wanted = min(planned.cost.memory_bytes + PROCESS_BYTES, MOST_MEMORY * have.memory_bytes)
        asked["memory"] = int(wanted)
    return asked
