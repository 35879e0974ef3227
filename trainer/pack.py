"""Training a pack: many SAEs, one frozen model, one clean run per batch. A generator of what happens.

Whoever iterates logs, shows progress, or stops by leaving the loop; the numbers are the same whether anyone listens.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

from torch import Tensor

from trainer.clean import clean_run
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.evaluate import Measured, Prepared, alive_window, evaluate, prepare
from trainer.models import FrozenModel
from trainer.state import TrainState
from trainer.step import Stepped, bank_specs, bank_step


@dataclass(frozen=True)
class Stepping:
    """After every optimizer step: `pack.state` holds `step` whole steps. The moment to stop or to save."""

    step: int


@dataclass(frozen=True)
class Trained:
    """Curves at one step: `train/...` metrics by trial, of the trials that are still training."""

    step: int
    tokens: int
    metrics: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluated:
    """Held-out metrics at one step, before the end; by trial."""

    step: int
    tokens: int
    metrics: dict[str, dict[str, float | list[float]]]


@dataclass(frozen=True)
class Diverged:
    """A trial whose loss or gradient stopped being finite: its gradient is dropped and it trains no further."""

    step: int
    trial_id: str
    reason: str


@dataclass(frozen=True)
class TrialResult:
    """A trained SAE: final metrics by column, its tensors (`w_enc`, `b_enc`, `dictionary`, `b_dec`), its cost."""

    metrics: dict[str, float | list[float]]
    sae: dict[str, Tensor]
    cost: dict[str, float]


@dataclass(frozen=True)
class Finished:
    """The last event: results of every trial that did not diverge."""

    results: dict[str, TrialResult]


Event = Stepping | Trained | Evaluated | Diverged | Finished


@dataclass
class Clock:
    """Seconds of a pack's work, by what they were spent on."""

    clean_s: float = 0.0
    evaluation_s: float = 0.0


class Pack:
    """Trials that share batches, with their state. Build once, then iterate `train()`."""

    def __init__(
        self, trials: Sequence[TrialConfig], *, model: FrozenModel, rows: Rows, micro_batch_rows: int | None = None
    ):
        """`micro_batch_rows` cuts each step's batch into parts that fit into memory; results are the same up to
        floating-point reassociation.

        Raises:
            BadInput: the trials do not share model, rows, batch shape, steps and precision, or do not fit the model.
        """
        if len({trial.shares_batches_with for trial in trials}) != 1:
            raise BadInput("trials of one pack must share model, data, batch_rows, number of steps and compute_dtype")
        for trial in trials:
            _check(trial, model)
        self.trials = tuple(trials)
        self.model = model
        self.rows = rows
        self.specs = bank_specs(self.trials, n_layers=model.n_layers)
        self.micro_batch_rows = micro_batch_rows or trials[0].train.batch_rows
        self.clock = Clock()
        self.bank_s = [0.0] * len(self.specs)
        self._prepared: Prepared | None = None
        self.state = TrainState(
            step=0, banks=[spec.initial_state(d_model=model.d_model, device=model.device) for spec in self.specs]
        )

    @property
    def trial_ids(self) -> list[list[str]]:
        """Bank by bank, in the order of their slots."""
        return [[trial.trial_id for trial in spec.trials] for spec in self.specs]

    @property
    def n_steps(self) -> int:
        return self.trials[0].n_steps

    @property
    def tokens_per_step(self) -> int:
        return self.trials[0].tokens_per_step

    def train(self, *, log_every_steps: int = 20, eval_every_tokens: int | None = None) -> Iterator[Event]:
        """Train from `state.step` to the end, then measure. Yields as it goes; ends with `Finished`."""
        eval_steps = self._eval_steps(eval_every_tokens)
        if self.state.step == 0 and eval_steps:  # a resumed pack has the evaluation of its step behind it
            yield self._evaluated()
        while self.state.step < self.n_steps:
            stepped = self._step()
            step = self.state.step
            for spec, outcome in zip(self.specs, stepped, strict=True):
                for index in outcome.diverged:
                    yield Diverged(step, spec.trials[index].trial_id, _why(outcome, index))
            if step % log_every_steps == 0 or step == self.n_steps:
                yield Trained(step, step * self.tokens_per_step, self._curves(stepped))
            if step in eval_steps and step < self.n_steps:
                yield self._evaluated()
            yield Stepping(step)
        yield self._finished()

    def _eval_steps(self, every_tokens: int | None) -> set[int]:
        if every_tokens is None:
            return set()
        every = max(1, every_tokens // self.tokens_per_step)
        return set(range(0, self.n_steps, every))

    def _step(self) -> list[Stepped]:
        started = time.perf_counter()
        tokens = self.rows.train_batch(self.state.step, self.trials[0].train.batch_rows).to(self.model.device)
        capture = reduce(or_, (spec.capture for spec in self.specs))
        micro_batches = [clean_run(self.model, part, capture) for part in tokens.split(self.micro_batch_rows)]
        self.clock.clean_s += time.perf_counter() - started
        outcomes: list[Stepped] = []
        for index, (spec, state) in enumerate(zip(self.specs, self.state.banks, strict=True)):
            started = time.perf_counter()
            seen = (self.state.step + 1) * self.tokens_per_step
            outcomes.append(bank_step(spec, state, micro_batches, self.model, step=self.state.step, tokens_seen=seen))
            self.bank_s[index] += time.perf_counter() - started
        self.state.step += 1
        return outcomes

    def _curves(self, stepped: list[Stepped]) -> dict[str, dict[str, float]]:
        curves: dict[str, dict[str, float]] = {}
        seen = self.state.step * self.tokens_per_step
        for spec, state, outcome in zip(self.specs, self.state.banks, stepped, strict=True):
            window_start = seen - spec.trials[0].eval.alive_window_tokens
            columns = {
                "train/loss": outcome.terms.loss,
                "train/sparsity": outcome.terms.sparsity,
                "train/local_mse": outcome.terms.local_mse,
                "train/kl": outcome.terms.kl,
                "train/downstream_mse": outcome.terms.downstream_mse,
                "train/l0": outcome.terms.l0,
                "train/n_alive": (state.last_fired > max(window_start, -1)).sum(-1),
                "train/grad_norm": outcome.grad_norm,
            }
            values = {name: column.tolist() for name, column in columns.items() if column is not None}
            active = state.active.tolist()
            for index, trial in enumerate(spec.trials):
                if active[index]:
                    curves[trial.trial_id] = {name: column[index] for name, column in values.items()}
                    curves[trial.trial_id]["train/lr"] = outcome.lr
        return curves

    def _measure(self) -> list[Measured]:
        started = time.perf_counter()
        batch_rows = self.micro_batch_rows
        if self._prepared is None:
            layers = {spec.layer for spec in self.specs}
            self._prepared = prepare(self.model, self.rows, layers=layers, batch_rows=batch_rows)
        measured = evaluate(
            self.specs,
            self.state.banks,
            model=self.model,
            rows=self.rows,
            prepared=self._prepared,
            batch_rows=batch_rows,
        )
        self.clock.evaluation_s += time.perf_counter() - started
        return measured

    def _by_trial(self, measured: list[Measured]) -> dict[str, dict[str, float | list[float]]]:
        return {
            trial.trial_id: values
            for spec, state, bank in zip(self.specs, self.state.banks, measured, strict=True)
            for trial, values, active in zip(spec.trials, bank, state.active.tolist(), strict=True)
            if active
        }

    def _evaluated(self) -> Evaluated:
        return Evaluated(self.state.step, self.state.step * self.tokens_per_step, self._by_trial(self._measure()))

    def _finished(self) -> Finished:
        metrics = self._by_trial(self._measure())
        started = time.perf_counter()
        window = alive_window(
            self.specs,
            self.state.banks,
            model=self.model,
            rows=self.rows,
            n_tokens=self.trials[0].eval.alive_window_tokens,
            batch_rows=self.micro_batch_rows,
        )
        self.clock.evaluation_s += time.perf_counter() - started
        alive = self._by_trial(window)
        results: dict[str, TrialResult] = {}
        for number, (spec, state) in enumerate(zip(self.specs, self.state.banks, strict=True)):
            norms = (state.grad_norm_sum / max(1, state.grad_norm_steps)).tolist()
            for index, trial in enumerate(spec.trials):
                if trial.trial_id in metrics:
                    results[trial.trial_id] = TrialResult(
                        metrics={**metrics[trial.trial_id], **alive[trial.trial_id], "grad_norm": norms[index]},
                        sae=state.bank.export(index),
                        cost=self._cost(number),
                    )
        return Finished(results)

    def _cost(self, bank: int) -> dict[str, float]:
        """A trial's share: of the clean run and the evaluation by number of trials, of its bank by number of SAEs."""
        n_trials = len(self.trials)
        train_s = self.clock.clean_s / n_trials + self.bank_s[bank] / len(self.specs[bank].trials)
        return {
            "train_s": train_s,
            "evaluation_s": self.clock.evaluation_s / n_trials,
            "pack_s": self.clock.clean_s + sum(self.bank_s) + self.clock.evaluation_s,
            "n_trials_in_pack": float(n_trials),
            "n_train_tokens": float(self.n_steps * self.tokens_per_step),
        }


def _check(trial: TrialConfig, model: FrozenModel) -> None:
    if trial.layer >= model.n_layers:
        raise BadInput(
            f"unknown hookpoint '{trial.hookpoint}': {model.name} has blocks.0.hook_resid_pre to "
            f"blocks.{model.n_layers - 1}.hook_resid_pre"
        )
    if trial.data.context > model.n_context:
        raise BadInput(
            f"data.context={trial.data.context} is longer than the {model.n_context} tokens {model.name} can see"
        )
    if trial.n_steps < 1:
        raise BadInput(f"train.tokens={trial.train.tokens} is less than one step of {trial.tokens_per_step} tokens")
    if trial.loss.weights.downstream > 0 and trial.layer == model.n_layers - 1:
        raise BadInput(f"{trial.hookpoint} is the last hookpoint: no later one is left for a downstream loss")


def _why(outcome: Stepped, index: int) -> str:
    terms = {name: getattr(outcome.terms, name) for name in ("loss", "sparsity", "local_mse", "kl", "downstream_mse")}
    values = ", ".join(f"{name}={value[index].item():g}" for name, value in terms.items() if value is not None)
    return f"not finite: {values}, grad_norm={outcome.grad_norm[index].item():g}"
