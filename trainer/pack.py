"""Training a pack: many SAEs, one frozen model, one clean run per batch. A generator of what happens.

Whoever iterates logs, shows progress, or stops by leaving the loop; the numbers are the same whether anyone listens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from types import MappingProxyType

from torch import Tensor

from trainer.clean import clean_run
from trainer.clock import Clock
from trainer.config import SCRATCH, TrialConfig
from trainer.data import Rows
from trainer.elements import Collector, Look, choose
from trainer.errors import BadInput
from trainer.evaluate import Measured, Prepared, evaluate, prepare, window_counts, window_metrics
from trainer.events import Diverged, Evaluated, Event, Finished, Stepping, Trained, TrialResult
from trainer.feed import Feed
from trainer.models import FrozenModel
from trainer.precision import use_tensor_cores
from trainer.pulse import pulse
from trainer.sae.density import PathChoice
from trainer.sae.weights import SAEWeights
from trainer.spec import BankSpec, bank_specs
from trainer.state import DIVERGED_TERMS, BankState, TrainState
from trainer.step import Stepped, bank_step

__all__ = ["Diverged", "Evaluated", "Event", "Finished", "Pack", "Stepping", "Trained", "TrialResult"]


class Pack:
    """Trials that share batches, with their state. Build once, then iterate `train()`."""

    def __init__(
        self,
        trials: Sequence[TrialConfig],
        *,
        model: FrozenModel,
        rows: Rows,
        micro_batch_rows: int | None = None,
        path: PathChoice = "auto",
        starts: Mapping[str, SAEWeights] = MappingProxyType({}),
    ) -> None:
        """`micro_batch_rows` cuts each step's batch into parts that fit into memory; results are the same up to
        floating-point reassociation. So they are whatever the `path`: "auto" computes densely or sparsely, whichever
        pays at the density at hand; the others always do the same. `starts` holds the trained SAEs that trials
        start from, by their `weights_id`.

        Raises:
            BadInput: the trials do not share model, rows, batch shape, steps and precision, or do not fit the model,
                the path or what they start from.
        """
        if len({trial.shares_batches_with for trial in trials}) != 1:
            raise BadInput("trials of one pack must share model, data, batch_rows, number of steps and compute_dtype")
        for trial in trials:
            _check(trial, model, path)
            _check_start(trial, model, starts)
        self.trials = tuple(trials)
        self.model = model
        self.rows = rows
        self.specs = bank_specs(self.trials, n_layers=model.n_layers)
        batch_rows = trials[0].train.batch_rows
        self.micro_batch_rows = micro_batch_rows or batch_rows
        self.may_wait = model.device.type == "cpu"
        """Whether the host reads numbers of every step. Where that makes a device wait it reads at logged steps."""
        self._clock = Clock(model.device)
        self._feed = Feed(rows, batch_rows=batch_rows, n_steps=self.n_steps, device=model.device)
        self._prepared: Prepared | None = None
        self._told: set[str] = set()
        """Trials whose divergence has been told."""
        use_tensor_cores(model.device)
        self.state = TrainState(
            step=0,
            banks=[
                spec.initial_state(d_model=model.d_model, device=model.device, path=path, starts=starts)
                for spec in self.specs
            ],
        )

    @property
    def trial_ids(self) -> list[list[str]]:
        """Bank by bank, in the order of their slots."""
        return [[trial.trial_id for trial in spec.trials] for spec in self.specs]

    @property
    def clock(self) -> Clock:
        """Seconds spent: on "clean" runs, on "evaluation", and by number of each bank."""
        return self._clock

    @property
    def n_steps(self) -> int:
        return self.trials[0].n_steps

    @property
    def tokens_per_step(self) -> int:
        return self.trials[0].tokens_per_step

    def train(
        self, *, log_every_steps: int = 20, eval_every_tokens: int | None = None, look: Look | None = None
    ) -> Iterator[Event]:
        """Train from `state.step` to the end, then measure. Yields as it goes; ends with `Finished`.

        `look`: how much is found out about single dictionary elements at the end.
        """
        eval_steps = self._eval_steps(eval_every_tokens)
        if self.state.step == 0 and eval_steps:  # a resumed pack has the evaluation of its step behind it
            yield self._evaluated()
        while self.state.step < self.n_steps:
            stepped = self._step()
            step = self.state.step
            logged = step % log_every_steps == 0 or step == self.n_steps
            if logged or self.may_wait:
                yield from self._diverged()
            if logged:
                yield Trained(step, step * self.tokens_per_step, self._curves(stepped))
            if step in eval_steps and step < self.n_steps:
                yield self._evaluated()
            yield Stepping(step)
        yield self._finished(look)

    def drop(self, trial_id: str) -> None:
        """Train this one no further, between two events: it costs nothing more, and the others' numbers are as they
        would be. The last of a bank stays in its slot, silent."""
        specs = list(self.specs)
        for number, (spec, state) in enumerate(zip(specs, self.state.banks, strict=True)):
            index = next((index for index, trial in enumerate(spec.trials) if trial.trial_id == trial_id), None)
            if index is None:
                continue
            if len(spec.trials) > 1:
                others = [each for each in range(len(spec.trials)) if each != index]
                specs[number] = replace(spec, trials=tuple(spec.trials[each] for each in others))
                self.state.banks[number] = state.of(others)
            else:
                state.active[index] = False
                state.silence(index)
        self.specs = tuple(specs)

    def _eval_steps(self, every_tokens: int | None) -> set[int]:
        if every_tokens is None:
            return set()
        every = max(1, every_tokens // self.tokens_per_step)
        return set(range(0, self.n_steps, every))

    def _step(self) -> list[Stepped]:
        step = self.state.step
        with self._clock.timing("clean"):
            tokens = self._feed.batch(step)
            specs = [spec.at(step) for spec in self.specs]
            capture = reduce(or_, (spec.capture for spec in specs))
            micro_batches = [clean_run(self.model, part, capture) for part in tokens.split(self.micro_batch_rows)]
        outcomes: list[Stepped] = []
        for index, (spec, state) in enumerate(zip(specs, self.state.banks, strict=True)):
            pulse("bank")
            with self._clock.timing(index):
                outcomes.append(
                    bank_step(
                        spec,
                        state,
                        micro_batches,
                        self.model,
                        step=step,
                        tokens_seen=(step + 1) * self.tokens_per_step,
                        may_wait=self.may_wait,
                    )
                )
        self._feed.prefetch(step + 1)
        self.state.step += 1
        return outcomes

    def _diverged(self) -> Iterator[Diverged]:
        """What has diverged and was not told yet; it costs little from now on."""
        for spec, state in zip(self.specs, self.state.banks, strict=True):
            for index, step in enumerate(state.diverged_at.tolist()):
                trial_id = spec.trials[index].trial_id
                if step >= 0 and trial_id not in self._told:
                    self._told.add(trial_id)
                    state.silence(index)
                    yield Diverged(step, trial_id, _why(spec.at(step - 1), state, index))

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

    def _measure(self, collectors: Sequence[Collector] = ()) -> list[Measured]:
        batch_rows = self.micro_batch_rows
        with self._clock.timing("evaluation"):
            if self._prepared is None:
                layers = {spec.layer for spec in self.specs}
                self._prepared = prepare(self.model, self.rows, layers=layers, batch_rows=batch_rows)
            return evaluate(
                self.specs,
                self.state.banks,
                model=self.model,
                rows=self.rows,
                prepared=self._prepared,
                batch_rows=batch_rows,
                collectors=collectors,
            )

    def _by_trial(self, measured: list[Measured]) -> dict[str, dict[str, float | list[float]]]:
        return {
            trial.trial_id: values
            for spec, state, bank in zip(self.specs, self.state.banks, measured, strict=True)
            for trial, values, active in zip(spec.trials, bank, state.active.tolist(), strict=True)
            if active
        }

    def _evaluated(self) -> Evaluated:
        return Evaluated(self.state.step, self.state.step * self.tokens_per_step, self._by_trial(self._measure()))

    def _finished(self, look: Look | None) -> Finished:
        n_tokens = self.trials[0].eval.alive_window_tokens
        with self._clock.timing("evaluation"):
            counts = window_counts(
                self.specs,
                self.state.banks,
                model=self.model,
                rows=self.rows,
                n_tokens=n_tokens,
                batch_rows=self.micro_batch_rows,
            )
            window = [window_metrics(count, rows=self.rows, n_tokens=n_tokens) for count in counts]
            collectors = [] if look is None else self._collectors(counts, look)
        metrics = self._by_trial(self._measure(collectors))
        alive = self._by_trial(window)
        found = [collector.finish(self.rows.evaluation) for collector in collectors]
        results: dict[str, TrialResult] = {}
        for number, (spec, state) in enumerate(zip(self.specs, self.state.banks, strict=True)):
            norms = (state.grad_norm_sum / max(1, state.grad_norm_steps)).tolist()
            for index, trial in enumerate(spec.trials):
                if trial.trial_id in metrics:
                    results[trial.trial_id] = TrialResult(
                        metrics={**metrics[trial.trial_id], **alive[trial.trial_id], "grad_norm": norms[index]},
                        sae=state.bank.export(index),
                        cost=self._cost(number),
                        elements=found[number][index] if found else (),
                    )
        return Finished(results)

    def _collectors(self, counts: list[Tensor], look: Look) -> list[Collector]:
        """For each bank, given `window_counts`: which elements follows from them and from each trial's seed."""
        return [
            Collector(
                state.bank,
                [
                    choose(fired, n_elements=look.n_elements, seed=trial.seed)
                    for fired, trial in zip(count, spec.trials, strict=True)
                ],
                n_snippets=look.n_snippets,
                context=self.rows.context,
                compute_dtype=spec.compute_dtype,
            )
            for count, spec, state in zip(counts, self.specs, self.state.banks, strict=True)
        ]

    def _cost(self, bank: int) -> dict[str, float]:
        """A trial's share: of the clean run and the evaluation by number of trials, of its bank by number of SAEs."""
        n_trials = len(self.trials)
        clean_s, evaluation_s = self._clock.seconds("clean"), self._clock.seconds("evaluation")
        bank_s = [self._clock.seconds(index) for index in range(len(self.specs))]
        return {
            "train_s": clean_s / n_trials + bank_s[bank] / len(self.specs[bank].trials),
            "evaluation_s": evaluation_s / n_trials,
            "pack_s": clean_s + sum(bank_s) + evaluation_s,
            "n_trials_in_pack": float(n_trials),
            "n_train_tokens": float(self.n_steps * self.tokens_per_step),
        }


def _check(trial: TrialConfig, model: FrozenModel, path: PathChoice) -> None:
    if path == "sparse" and trial.loss.sparsity_p != 1.0:
        raise BadInput(
            f"loss.sparsity_p={trial.loss.sparsity_p:g} cannot take the sparse path, which knows sparsity_p=1 only: "
            "leave the path to be chosen, or choose the dense one"
        )
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


def _check_start(trial: TrialConfig, model: FrozenModel, starts: Mapping[str, SAEWeights]) -> None:
    start, shape = trial.sae.start_from, (trial.sae.d_sae(model.d_model), model.d_model)
    if start == SCRATCH:
        return
    if start not in starts:
        raise BadInput(f"sae.start_from={start} is not among the SAEs that were given: {', '.join(starts) or 'none'}")
    if (found := tuple(starts[start].w_enc.shape)) != shape:
        raise BadInput(f"the SAE to start from is of shape {found}, expected {shape} (d_sae, d_model)")


def _why(spec: BankSpec, state: BankState, index: int) -> str:
    used = {"kl": spec.uses_kl, "downstream_mse": spec.uses_downstream}
    values = dict(zip(DIVERGED_TERMS, state.diverged_terms[index].tolist(), strict=True))
    return "not finite: " + ", ".join(f"{name}={value:g}" for name, value in values.items() if used.get(name, True))
