"""From timed steps to rates: what a machine does per second, and how kinds of SAEs differ from that. Pure."""

from collections.abc import Sequence
from math import ceil

from orchestrator.planning.cost import Costing
from orchestrator.planning.pack_memory import pack_bytes
from orchestrator.planning.rates import Rates, Work, factor_name, fitted
from orchestrator.planning.shape import Bank, Shape
from orchestrator.planning.timed import Timed, TimingTask
from orchestrator.planning.work import clean_work, evaluation_work, shared_evaluation_work, step_work, window_work


def rates_from(found: Sequence[Timed], tasks: Sequence[TimingTask], costing: Costing, *, guess: Rates) -> Rates:
    """Rates that fit what was measured, and for each kind the factor by which it differs from them.

    Starts from a guess, so that the same measurements give the same rates.
    """
    by_kind = {task.kind: task for task in tasks}
    shape, device = costing.shape, costing.device
    works = [_works(timed, by_kind[timed.kind], shape) for timed in found]
    pairs = [(work, seconds) for each in works for work, seconds in each.values()]
    rates = fitted(guess, pairs)
    factors: dict[str, list[float]] = {}
    for timed, each in zip(found, works, strict=True):
        for phase in ("sparse", "dense", "evaluation"):
            if phase not in each:
                continue
            work, seconds = each[phase]
            factors.setdefault(factor_name(timed.kind, phase), []).append(seconds / rates.seconds(work))
    base = max(
        timed.peak_bytes
        - pack_bytes(
            [Bank(by_kind[timed.kind].trials[0], timed.n_saes)],
            shape,
            device=device,
            rows=timed.micro_batch_rows,
            base_bytes=0.0,
        )
        for timed in found
    )
    return rates.model_copy(
        update={
            "factors": {name: sum(values) / len(values) for name, values in factors.items()},
            "start_s": max(timed.start_s for timed in found),
            "base_bytes": max(0.0, base) if device == "cpu" else 0.0,
        }
    )


def _works(timed: Timed, task: TimingTask, shape: Shape) -> dict[str, tuple[Work, float]]:
    """What was done, and how long it took, by name."""
    trial, tokens = task.trials[0], timed.evaluation_tokens
    bank = Bank(trial, timed.n_saes)
    n_parts = ceil(trial.train.batch_rows / timed.micro_batch_rows)
    eval_parts = tokens / (timed.micro_batch_rows * trial.data.context)
    measuring = (
        evaluation_work(bank, shape, tokens=tokens, n_parts=eval_parts)
        + shared_evaluation_work(trial, shape, tokens=tokens, n_parts=eval_parts)
        + window_work(bank, shape, tokens=tokens, n_parts=eval_parts)
        + clean_work(trial, shape, tokens=2 * tokens, n_parts=2 * eval_parts)
    )
    clean = clean_work(trial, shape, tokens=trial.tokens_per_step, n_parts=n_parts)
    found = {
        "dense": (step_work(bank, shape, n_parts=n_parts, dense=True), timed.dense_s),
        "evaluation": (measuring, timed.evaluation_s),
    }
    if timed.sparse_s is not None:
        found["sparse"] = (step_work(bank, shape, n_parts=n_parts, dense=False), timed.sparse_s)
    if clean.flops:
        found["clean"] = (clean, timed.clean_s)
    return found
