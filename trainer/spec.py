"""Which trials train as one bank, and what follows from their settings. No state."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.clean import Capture
from trainer.config import SCRATCH, SAEConfig, TrainConfig, TrialConfig
from trainer.precision import DTYPES
from trainer.sae.bank import Bank
from trainer.sae.density import PathChoice
from trainer.sae.weights import SAEWeights
from trainer.state import BankState


@dataclass(frozen=True)
class BankSpec:
    """Trials that train as one bank: same hookpoint, shape, optimiser settings, and need of the blocks above."""

    trials: tuple[TrialConfig, ...]
    n_layers: int
    since: int = 0
    """The step with which their loss began to be what it is."""

    def at(self, step: int) -> "BankSpec":
        """The bank as it is at a step: of trials whose loss becomes another, with the loss of then."""
        return next(spec for stop, spec in self._stages if step < stop)

    @cached_property
    def _stages(self) -> "tuple[tuple[int, BankSpec], ...]":
        return tuple(
            (stages[0].stop, replace(self, trials=tuple(stage.trial for stage in stages), since=stages[0].start))
            for stages in zip(*(trial.stages for trial in self.trials), strict=True)
        )

    @property
    def layer(self) -> int:
        return self.trials[0].layer

    @property
    def sae(self) -> SAEConfig:
        return self.trials[0].sae

    @property
    def train(self) -> TrainConfig:
        return self.trials[0].train

    @property
    def n_steps(self) -> int:
        return self.trials[0].n_steps

    @property
    def compute_dtype(self) -> torch.dtype:
        return DTYPES[self.train.compute_dtype]

    @property
    def master_dtype(self) -> torch.dtype:
        return torch.float64 if self.compute_dtype == torch.float64 else torch.float32

    @cached_property
    def uses_kl(self) -> bool:
        return self.trials[0].loss.weights.kl > 0

    @cached_property
    def uses_downstream(self) -> bool:
        return self.trials[0].loss.weights.downstream > 0

    @property
    def sparsity_p(self) -> float:
        return self.trials[0].loss.weights.sparsity_p

    @cached_property
    def kl_as_local(self) -> bool:
        return self.trials[0].loss.weights.kl_as_local

    @property
    def later_layers(self) -> tuple[int, ...]:
        """Hookpoints after the SAE's that the downstream term covers: inputs of the blocks above its own (X3)."""
        return tuple(range(self.layer + 1, self.n_layers))

    @property
    def capture(self) -> Capture:
        """What a training step needs of the clean run."""
        later = self.later_layers if self.uses_downstream else ()
        return Capture(layers=frozenset((self.layer, *later)), output=self.uses_kl)

    def weight_column(self, name: str, like: Tensor) -> Float[Tensor, " n_saes"]:
        """The weight of a loss term, SAE by SAE, where and as precise as `like`. Kept, not sent at every step."""
        key = (name, like.dtype, like.device)
        if key not in self._columns:
            numbers = [getattr(trial.loss.weights, name) for trial in self.trials]
            self._columns[key] = torch.tensor(numbers, dtype=like.dtype, device=like.device)
        return self._columns[key]

    @cached_property
    def _columns(self) -> dict[tuple[str, torch.dtype, torch.device], Tensor]:
        return {}

    @cached_property
    def uses_local(self) -> bool:
        return any(trial.loss.weights.local for trial in self.trials)

    def initial_state(
        self,
        *,
        d_model: int,
        device: torch.device,
        path: PathChoice = "auto",
        starts: Mapping[str, SAEWeights] = MappingProxyType({}),
    ) -> BankState:
        """`starts`: the trained SAE that they start from, if they do, by its `weights_id`."""
        n_saes, dtype = len(self.trials), self.master_dtype
        if self.sae.start_from != SCRATCH:
            given = starts[self.sae.start_from]
            return BankState.initial(Bank.starting_as(given, n_saes=n_saes, dtype=dtype, device=device), path)
        seeds = [trial.seed for trial in self.trials]
        bank = Bank.initial(self.sae, d_model=d_model, seeds=seeds, dtype=dtype, device=device)
        return BankState.initial(bank, path)


def bank_specs(trials: tuple[TrialConfig, ...], *, n_layers: int) -> tuple[BankSpec, ...]:
    """Group trials into banks, in the order in which their first members come."""
    groups: dict[object, list[TrialConfig]] = {}
    for trial in trials:
        groups.setdefault(trial.bank_key, []).append(trial)
    return tuple(BankSpec(tuple(group), n_layers) for group in groups.values())
