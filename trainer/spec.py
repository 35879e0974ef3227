"""Which trials train as one bank, and what follows from their settings. No state."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from trainer.clean import Capture
from trainer.config import SAEConfig, TrainConfig, TrialConfig
from trainer.precision import DTYPES
from trainer.sae.bank import Bank
from trainer.sae.density import PathChoice
from trainer.state import BankState


@dataclass(frozen=True)
class BankSpec:
    """Trials that train as one bank: same hookpoint, shape, optimiser settings, and need of the blocks above."""

    trials: tuple[TrialConfig, ...]
    n_layers: int

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

    def initial_state(self, *, d_model: int, device: torch.device, path: PathChoice = "auto") -> BankState:
        seeds = [trial.seed for trial in self.trials]
        return BankState.initial(
            Bank.initial(self.sae, d_model=d_model, seeds=seeds, dtype=self.master_dtype, device=device), path
        )


def bank_specs(trials: tuple[TrialConfig, ...], *, n_layers: int) -> tuple[BankSpec, ...]:
    """Group trials into banks, in the order in which their first members come."""
    groups: dict[object, list[TrialConfig]] = {}
    for trial in trials:
        weights = trial.loss.weights
        key = (trial.hookpoint, trial.sae, trial.train, weights.kl > 0, weights.downstream > 0, weights.sparsity_p)
        groups.setdefault(key, []).append(trial)
    return tuple(BankSpec(tuple(group), n_layers) for group in groups.values())
