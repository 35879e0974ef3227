"""Times a few real steps of some kinds of SAEs: real model, real rows, a real `Pack`. Run as a process by
`calibrate.py`, as many at once as a sweep has packs at once, so that what is measured is what will be.

    python -m orchestrator.planning.timing < job.json        prints a JSON line per kind, as it comes

Trained SAEs have few positive latents and new ones have many, so both are timed: the second kind of step with encoder
biases set such that about `TYPICAL_L0` latents of each token are positive.

Where a pack has one CPU thread, seconds are those of the CPU: what else this machine does meanwhile is not held against
the SAEs. With more threads, or on a GPU, they are seconds of the wall.
"""

import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from statistics import median

import psutil
import torch

from orchestrator.packs.held import device_for, held_model, held_rows, peak_memory_bytes, tidy_memory
from orchestrator.planning.timed import Timed, TimingJob, TimingTask
from orchestrator.planning.work import TYPICAL_L0
from trainer.clean import clean_run
from trainer.config import EvalConfig
from trainer.data import Rows
from trainer.memory import keep_freed_memory
from trainer.models import FrozenModel
from trainer.pack import Pack, Stepping
from trainer.precision import DTYPES

DENSE_STEPS, SPARSE_STEPS, CLEAN_RUNS = 4, 13, 3
WARM_STEPS = 2
"""Before each; not counted."""
LONGEST_S = 6.0
"""Of one kind's steps; at least `FEWEST_STEPS` of each are made."""
FEWEST_STEPS = 2
EVAL_TOKENS = 2048
BIAS_TOKENS = 256


def timings(job: TimingJob) -> Iterator[Timed]:
    """One after another, until `job.budget_s` is used up. The first always."""
    keep_freed_memory()
    torch.set_num_threads(job.n_threads)
    device = device_for(job.gpus)
    started_s = time.perf_counter()
    start_s: float | None = None
    for task in job.tasks:
        if start_s is not None and time.perf_counter() - started_s > job.budget_s:
            return
        first = task.trials[0]
        model = held_model(first.model, device, DTYPES[first.train.compute_dtype])  # pyright: ignore[reportArgumentType]
        rows = held_rows(first.data, first.model, model.d_vocab, job.cache)  # pyright: ignore[reportArgumentType]
        if start_s is None:
            start_s = time.process_time() if one_cpu_thread(device) else time.time() - psutil.Process().create_time()
        tidy_memory(device)
        yield timed(task, model=model, rows=rows, start_s=start_s)


def timed(task: TimingTask, *, model: FrozenModel, rows: Rows, start_s: float) -> Timed:
    """One kind of SAE, as many of them as its bank has."""
    context = rows.context
    n_eval = max(1, min(len(rows.evaluation), max(task.micro_batch_rows, EVAL_TOKENS // context)))
    window = EvalConfig(alive_window_tokens=n_eval * context)
    trials = [trial.model_copy(update={"eval": window}) for trial in task.trials]
    few = Rows.from_tokens(rows.evaluation.take(slice(0, 1)), rows.evaluation.take(slice(0, n_eval)), rows.seed)
    short = Rows(train=rows.train, evaluation=few.evaluation, seed=rows.seed, data_hash="", eval_hash="")
    pack = Pack(trials, model=model, rows=short, micro_batch_rows=task.micro_batch_rows, path=task.path)
    spec = pack.specs[0]
    tokens = rows.train_batch(0, pack.trials[0].train.batch_rows).to(model.device)
    parts = tokens.split(pack.micro_batch_rows)
    clean_s = _median_s(lambda: [clean_run(model, part, spec.capture) for part in parts], CLEAN_RUNS, model.device)
    state, switch = pack.state.banks[0], pack.state.banks[0].switch
    state.switch = switch.choosing("dense")  # or it would change while it is timed
    dense_s, first_s = _steps_s(pack, DENSE_STEPS)
    state.switch = switch
    sparse_s: float | None = None
    if task.path != "dense" and spec.sparsity_p == 1.0:
        make_sparse(pack, model, tokens)
        sparse_s, first_sparse_s = _steps_s(pack, SPARSE_STEPS)
        first_s += max(0.0, first_sparse_s - sparse_s)
    pack.state.step = pack.n_steps
    evaluation_s = _median_s(lambda: list(pack.train()), 1, model.device)
    return Timed(
        kind=task.kind,
        n_saes=len(trials),
        micro_batch_rows=pack.micro_batch_rows,
        clean_s=clean_s,
        dense_s=max(dense_s - clean_s, 0.05 * dense_s),
        sparse_s=None if sparse_s is None else max(sparse_s - clean_s, 0.05 * sparse_s),
        evaluation_s=evaluation_s,
        evaluation_tokens=n_eval * context,
        start_s=start_s + max(0.0, first_s - dense_s),
        peak_bytes=peak_memory_bytes(model.device),
    )


@torch.no_grad()
def make_sparse(pack: Pack, model: FrozenModel, tokens: torch.Tensor) -> None:
    """Shift encoder biases so that `TYPICAL_L0` latents of a token are positive, as after some training."""
    spec, state = pack.specs[0], pack.state.banks[0]
    residual = clean_run(model, tokens[:1], spec.capture).residuals[spec.layer]
    x = residual.flatten(0, 1)[:BIAS_TOKENS].to(state.bank.w_enc.dtype)
    for weights, bias in zip(state.bank.w_enc, state.bank.b_enc, strict=True):
        d_sae = weights.shape[0]
        n_positive = min(TYPICAL_L0, max(1, d_sae // 2))
        above = (x @ weights.T + bias).topk(min(n_positive + 1, d_sae), dim=-1).values[:, -1]
        bias -= above.median()
    state.switch = state.switch.resumed(path="sparse", switches=())


def _steps_s(pack: Pack, n_steps: int) -> tuple[float, float]:
    """Seconds of a step, clean run included: the median of about so many, and the first, which loads what it needs."""
    times: list[float] = []
    device = pack.model.device
    until_s = time.perf_counter() + LONGEST_S
    clock = _clock(device)
    begun_s = clock()
    for event in pack.train(log_every_steps=sys.maxsize):
        if not isinstance(event, Stepping):
            continue
        _wait(device)
        times.append(clock() - begun_s)
        late = time.perf_counter() > until_s
        enough = len(times) >= WARM_STEPS + n_steps or (late and len(times) >= WARM_STEPS + FEWEST_STEPS)
        if enough or event.step >= pack.n_steps - 1:
            break
        begun_s = clock()
    return median(times[WARM_STEPS:] or times), times[0]


def _median_s(what: Callable[[], object], times: int, device: torch.device) -> float:
    found: list[float] = []
    clock = _clock(device)
    for _ in range(times):
        _wait(device)
        begun_s = clock()
        what()
        _wait(device)
        found.append(clock() - begun_s)
    return median(found)


def one_cpu_thread(device: torch.device) -> bool:
    """Whether a CPU's seconds are what a free machine would need."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def _clock(device: torch.device) -> Callable[[], float]:
    return time.process_time if one_cpu_thread(device) else time.perf_counter


def _wait(device: torch.device) -> None:
    """For work that a GPU was only told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    import_module("orchestrator.packs.worker")  # all that a worker has in memory
    job = TimingJob.model_validate_json(sys.stdin.read())
    for found in timings(job):
        print(found.model_dump_json(), flush=True)


if __name__ == "__main__":
    main()
