"""`--calibrate`: times real steps of a plan's SAEs on this machine, and keeps the rates for later plans.

The timing itself is done by processes of `timing.py`, as many at once as the sweep has packs at once. Whatever goes
wrong there costs the measurement only: the reason is said, and the plan keeps what it rested on before.
"""

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from tempfile import TemporaryFile

from pydantic import ValidationError

from orchestrator.display.screen import Screen
from orchestrator.planning.kept_rates import keep_rates, machine_key
from orchestrator.planning.plan import device_kind, n_threads
from orchestrator.planning.rates import guessed
from orchestrator.planning.shape import kind_label
from orchestrator.planning.timed import Timed, TimingJob, TimingTask
from orchestrator.planning.timing_fit import rates_from
from orchestrator.running.machine import n_cpus
from orchestrator.running.planned import Planned
from orchestrator.running.prepare import with_rates
from trainer.config import SCRATCH, TrialConfig
from trainer.data import default_cache, prepare_rows
from trainer.errors import BadInput, EnvironmentProblem

NEW = {"start_from": SCRATCH}
"""New SAEs are timed: what one starts as costs nothing later."""
BUDGET_S = 45.0
"""No process takes up another kind after this long."""
DEADLINE_S = 1800.0


def calibrated(planned: Planned, screen: Screen) -> Planned:
    """The plan again, with rates that were measured just now. The old one where that could not be done."""
    try:
        for trial in {trial.config.shares_batches_with: trial.config for trial in planned.plan.trials}.values():
            prepare_rows(
                trial.data,
                model=trial.model,
                d_vocab=planned.facts.d_vocab,
                n_context=planned.facts.n_context,
                progress=screen.preparing,
            )
        tasks = tasks_of(planned)
        found = _run(planned, tasks, screen.phase)
        guess = guessed(device_kind(planned.sweep), n_threads=n_threads(planned.sweep))
        rates = rates_from(found, tasks, planned.costing, guess=guess)
    except (BadInput, EnvironmentProblem, OSError, subprocess.SubprocessError) as problem:
        screen.note("not calibrated", f"{problem}. Estimates stay {planned.cost.basis}")
        return planned
    if n_left := len(tasks) - len({timed.kind for timed in found}):
        screen.note("calibrated", f"{n_left} of {len(tasks)} kinds of SAEs were left out, to keep it short")
    device = device_kind(planned.sweep)
    key = machine_key(device, n_threads=n_threads(planned.sweep), n_slots=planned.room.n_slots)
    try:
        keep_rates(default_cache(), key, rates)
    except (EnvironmentProblem, OSError) as problem:
        screen.note("calibrated", f"for this launch alone: {problem}")
    return with_rates(planned, rates)


def tasks_of(planned: Planned) -> list[TimingTask]:
    """One for each kind of SAE in the plan, with as many SAEs as its largest bank has. In a fixed, mixed order."""
    largest: dict[str, TimingTask] = {}
    for pack, cost in zip(planned.plan.packs, planned.cost.packs, strict=True):
        banks: dict[object, list[TrialConfig]] = {}
        for trial in pack.trials:
            banks.setdefault(trial.config.bank_key, []).append(trial.config)
        together = (zip(*(trial.stages for trial in members), strict=True) for members in banks.values())
        for trials in (tuple(stage.trial for stage in stages) for bank in together for stages in bank):
            trials = tuple(trial.model_copy(update={"sae": trial.sae.model_copy(update=NEW)}) for trial in trials)
            kind = kind_label(trials[0])
            if kind not in largest or len(largest[kind].trials) < len(trials):
                largest[kind] = TimingTask(
                    kind=kind, trials=trials, micro_batch_rows=cost.micro_batch_rows, path=planned.options.path
                )
    tasks = [largest[kind] for kind in sorted(largest)]
    random.Random(0).shuffle(tasks)  # where time runs out, some of everything is measured
    return tasks


def n_processes(planned: Planned) -> int:
    """As many as packs that share this machine's CPUs or its first GPU."""
    gpus, n_slots = planned.sweep.resources.gpus_per_pack, planned.room.n_slots
    if gpus > 0:
        return max(1, min(n_slots, int(1 / gpus)))
    return max(1, min(n_slots, int(n_cpus() / planned.sweep.resources.cpus_per_pack)))


def shares(tasks: Sequence[TimingTask], n: int) -> list[list[TimingTask]]:
    """The tasks of each process. Where there are fewer tasks than processes, some are done twice."""
    return [list(tasks[index::n]) or [tasks[index % len(tasks)]] for index in range(n)]


def _run(planned: Planned, tasks: Sequence[TimingTask], say: Callable[[str], None]) -> list[Timed]:
    """All that the processes found. Raises EnvironmentProblem where none of them found anything."""
    jobs = [
        TimingJob(
            tasks=tuple(mine),
            cache=str(default_cache().absolute()),
            gpus=planned.sweep.resources.gpus_per_pack,
            n_threads=n_threads(planned.sweep),
            budget_s=BUDGET_S,
        )
        for mine in shares(tasks, n_processes(planned))
    ]
    found: list[Timed] = []
    what = f"timing {len(tasks)} kinds of SAEs, {len(jobs)} at a time"

    def hear(line: str) -> None:
        try:
            found.append(Timed.model_validate_json(line))
        except ValidationError:  # something a library printed
            return
        say(f"{what}: {len({timed.kind for timed in found})} done")

    say(what)
    troubles = _processes([job.model_dump_json() for job in jobs], hear)
    if not found:
        raise EnvironmentProblem(f"no step could be timed: {troubles[0] if troubles else 'no reason known'}")
    return found


def _processes(jobs: Sequence[str], hear: Callable[[str], None]) -> list[str]:
    """Run `timing.py` once for each job, side by side; `hear` gets their lines. Returns why any of them failed.

    None of them outlives this call.
    """
    lock = threading.Lock()
    with ExitStack() as open_files:
        errors = [open_files.enter_context(TemporaryFile("w+")) for _ in jobs]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "orchestrator.planning.timing"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=error,
                text=True,
            )
            for error in errors
        ]

        def attend(process: "subprocess.Popen[str]", job: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(job)
            with process.stdout:
                for line in process.stdout:
                    with lock:
                        hear(line)
            process.wait()

        threads = [threading.Thread(target=attend, args=pair, daemon=True) for pair in zip(started, jobs, strict=True)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE_S)
        finally:
            for process in started:
                process.kill()
                process.wait()
        said = [
            (process.returncode, error.seek(0), error.read()) for process, error in zip(started, errors, strict=True)
        ]
    return [_last_line(text) for code, _, text in said if code]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason known"
