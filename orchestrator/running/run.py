"""Ray Tune places packs on machines: one Ray trial per pack. `run_here` is its twin in this process.

Nothing of Ray's survives a launch: no restore, no checkpoints of Tune's; the run folder is the truth. Ray takes seconds
to import, so it is imported inside functions.
"""

import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.folder.clock import now
from orchestrator.folder.records import PackState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.jobs import PackJob, PackOutcome, stop_file
from orchestrator.packs.watchdog import was_ended
from orchestrator.running.stopping import StopRequest
from trainer.errors import EnvironmentProblem

ATTEMPTS = 4
"""How often a pack is tried whose worker dies. What goes wrong inside a worker is a row, and is not tried again."""
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Its memory monitor killing one worker ends the whole sweep; a kill by the kernel is an ordinary failure.
    "RAY_memory_monitor_refresh_ms": "0",
    # Without it, ports of a local cluster listen on all interfaces whatever the node's address.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
}
_OBJECT_STORE_BYTES = 80 * 2**20  # nothing goes through it; Ray wants at least 75 MiB

Outcomes = dict[str, PackOutcome]
"""By pack; those that never started are not in it."""


Next = Callable[[Outcomes], Sequence[PackJob]]
"""Given how a round of packs ended, what is to be run after it."""


def run_here(jobs: Sequence[PackJob], *, stop: StopRequest, after: Next = lambda _: ()) -> Outcomes:
    """The packs one after another in this process: the same rows as through Ray, to the bit."""
    from orchestrator.packs.held import forget
    from orchestrator.packs.worker import run_pack_here

    outcomes: Outcomes = {}
    try:
        while jobs:
            ended: Outcomes = {}
            for job in jobs:
                if stop.asked:
                    break
                ended[job.pack_id] = run_pack_here(job, stop=stop)
            outcomes |= ended
            jobs = after(ended)
    finally:
        forget()
    return outcomes


def run_on_ray(
    jobs: Sequence[PackJob],
    *,
    folder: Path,
    stop: StopRequest,
    meanwhile: Callable[[], None] = lambda: None,
    on_ready: Callable[[], None] = lambda: None,
    after: Next = lambda _: (),
    tracking: bool = False,
) -> Outcomes:
    """The packs side by side, as many as fit: on a cluster of this machine, or on that of `RAY_ADDRESS`.

    `meanwhile` is done in a thread while Ray starts, `on_ready` when both are done and packs are about to start. Ray's
    metrics have the sweep's gauges; `tracking`: that of MLflow's copy too. Raises EnvironmentProblem where Ray does not
    start or no machine has what a pack asks for, and what `meanwhile` raises.
    """
    import_ray()
    from orchestrator.running.tune_hooks import exported

    with ThreadPoolExecutor(1) as thread:
        other_work = thread.submit(meanwhile)
        with cluster(folder, stop):
            _check_fits(jobs)
            other_work.result()
            on_ready()
            outcomes: Outcomes = {}
            with exported(folder, tracking=tracking):
                while jobs:
                    ended = _tuned(jobs, folder, stop)
                    outcomes |= ended
                    jobs = after(ended)
            return outcomes


def try_ray(folder: Path) -> list[tuple[float, float]]:
    """Start Ray as a sweep does, and end it again. Returns CPUs and GPUs of each machine.

    Raises EnvironmentProblem where it does not start.
    """
    import_ray()
    with cluster(folder, StopRequest(folder)):
        return machines()


def train_pack(config: dict[str, str]) -> None:
    """What Ray runs in a worker."""
    from ray import tune

    from orchestrator.packs.watchdog import watched
    from orchestrator.packs.worker import run_pack_here

    job = PackJob.model_validate_json(config["job"])
    folder = RunFolder(Path(job.folder))
    with watched(folder.pack_log(job.pack_id), job.hung_after_s) as alive:
        outcome = run_pack_here(job, stop=stop_file(folder.path).exists, alive=alive)
    tune.report({"outcome": outcome.model_dump_json()})


def _tuned(jobs: Sequence[PackJob], folder: Path, stop: StopRequest) -> Outcomes:
    from ray import tune

    from orchestrator.running.tune_hooks import PackDeaths, StopWhenIdle

    first = jobs[0]  # resources are the sweep's, equal for all packs
    bundle = {"CPU": first.cpus} | ({"GPU": first.gpus} if first.gpus else {})
    tuner = tune.Tuner(
        tune.with_resources(train_pack, tune.PlacementGroupFactory([bundle])),
        param_space={"job": tune.grid_search([job.model_dump_json() for job in jobs])},
        tune_config=tune.TuneConfig(
            # Many small packs on a CPU: starting Python and PyTorch anew would cost more than some of them.
            reuse_actors=first.gpus == 0,
            trial_dirname_creator=_trial_name,
            trial_name_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=now().strftime("%Y%m%dT%H%M%S%f"),
            storage_path=str(folder / "ray" / "tune"),
            verbose=0,
            callbacks=[PackDeaths(str(folder))],
            stop=StopWhenIdle(str(folder), [job.pack_id for job in jobs]),
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
        ),
    )
    outcomes: Outcomes = {}
    deaths: dict[str, BaseException | None] = {}
    for result in tuner.fit():
        report: dict[str, Any] = result.metrics or {}
        if "outcome" in report:
            outcome = PackOutcome.model_validate_json(report["outcome"])
            outcomes[outcome.pack_id] = outcome
        elif result.error is not None:
            deaths[Path(result.path).name] = result.error
    if not stop.asked:  # else packs without an outcome were cut off, or never started
        for job in jobs:
            why = _why_it_died(job, deaths.get(job.pack_id))
            outcomes.setdefault(job.pack_id, _died(job, why))
    return outcomes


def _died(job: PackJob, why: str) -> PackOutcome:
    return PackOutcome(pack_id=job.pack_id, state=PackState.FAILED, error=why, reason="died")


def _trial_name(trial: Any) -> str:
    return PackJob.model_validate_json(trial.config["job"]).pack_id


def _why_it_died(job: PackJob, error: BaseException | None) -> str:
    """Where it hung, if it did; else the last error that Ray's text names, or its last line."""
    log = RunFolder(Path(job.folder)).pack_log(job.pack_id)
    if was_ended(log):
        return (
            f"its worker was ended {ATTEMPTS} times, at last since it did nothing for {job.hung_after_s:.0f} s "
            f"(resources.hung_after_minutes); where it hung is in {log}"
        )
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit): ", line)]
    reason = (named or lines or ["no reason known"])[-1][:300]
    return f"its worker died {ATTEMPTS} times: {reason}"


def import_ray() -> None:
    """Ray with our settings, which it reads when it is imported. Not while another thread imports things too."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    importlib.import_module("ray.tune")


@contextmanager
def cluster(folder: Path, stop: StopRequest) -> Generator[None]:
    """Ray while inside, its logs in the folder. `stop` has the signals from then on."""
    import ray

    remote = bool(os.environ.get("RAY_ADDRESS"))
    # Sockets lie below it, and their paths may have 107 bytes: the run folder may be too deep.
    session = None if remote else Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp" if Path("/tmp").is_dir() else None))
    try:
        try:
            if session is None:
                ray.init(log_to_driver=False, configure_logging=True)
            else:
                ray.init(
                    address="local",
                    include_dashboard=False,
                    log_to_driver=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=str(session),
                )
        except (ConnectionError, RuntimeError, OSError, ValueError) as problem:
            where = f"the Ray cluster at {os.environ['RAY_ADDRESS']}" if remote else "Ray"
            token = " If it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH." if remote else ""
            raise EnvironmentProblem(
                f"{where} cannot be used: {_first_line(problem)}.{token} Ray's words are in {folder / 'ray'}. "
                "Try --local, which trains in this process without Ray"
            ) from problem
        stop.install()
        yield
    finally:
        with stop.not_now():
            ray.shutdown()
        if session is not None:
            _keep_logs(session, folder / "ray" / "logs")
            shutil.rmtree(session, ignore_errors=True)


def _keep_logs(session: Path, where: Path) -> None:
    """Copy the newest session's logs. They are for people: a copy that fails is no failure."""
    with suppress(OSError):
        shutil.rmtree(where, ignore_errors=True)
        shutil.copytree((session / "session_latest").resolve() / "logs", where, symlinks=True)


def _check_fits(jobs: Sequence[PackJob]) -> None:
    wanted, have = jobs[0], machines()
    if not any(cpus >= wanted.cpus and gpus >= wanted.gpus for cpus, gpus in have):
        raise EnvironmentProblem(does_not_fit(wanted.cpus, wanted.gpus, have=have))


def machines() -> list[tuple[float, float]]:
    """CPUs and GPUs of each that is in the cluster."""
    import ray

    return [(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]


def does_not_fit(cpus: float, gpus: float, *, have: Sequence[tuple[float, float]]) -> str:
    """What to say where no machine has room for one pack. `have`: CPUs and GPUs of each machine."""
    most_cpus, most_gpus = (max((machine[i] for machine in have), default=0) for i in (0, 1))
    less = [f"--set resources.cpus_per_pack={most_cpus:g}"] if cpus > most_cpus else []
    less += ["--set resources.gpus_per_pack=0 (to train on the CPU)"] if gpus > most_gpus else []
    there = "; ".join(f"{machine[0]:g} CPUs and {machine[1]:g} GPUs" for machine in have)
    return (
        f"a pack asks for {cpus:g} CPUs and {gpus:g} GPUs (resources.cpus_per_pack, resources.gpus_per_pack), and no "
        f"machine has them: there are {there}. Ask for less: {' '.join(less) or 'of one of the two'}"
    )


def _first_line(problem: BaseException) -> str:
    lines = str(problem).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(problem).__name__
