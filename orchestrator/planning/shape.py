"""What costs follow from: the model's numbers, and banks of SAEs of one kind. Pure."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from trainer.config import TrialConfig

Path = Literal["auto", "dense", "sparse"]
FLOAT_BYTES = 4


class Shape(NamedTuple):
    """The model's numbers that costs follow from."""

    n_layers: int
    d_model: int
    d_vocab: int
    n_context: int
    d_mlp: int

    @classmethod
    def of(cls, facts: object) -> "Shape":
        """From anything that has these fields; `d_mlp` is 4 d_model where it is not told."""
        n_layers, d_model, d_vocab, n_context = (
            int(getattr(facts, name)) for name in ("n_layers", "d_model", "d_vocab", "n_context")
        )
        return cls(n_layers, d_model, d_vocab, n_context, int(getattr(facts, "d_mlp", 4 * d_model)))

    def block(self, context: int) -> float:
        """Forward FLOPs per token of one block: four projections, the MLP, attention over `context` positions."""
        d = self.d_model
        return 8.0 * d * d + 4.0 * d * self.d_mlp + 4.0 * d * context

    @property
    def unembedding(self) -> float:
        """Forward FLOPs per token."""
        return 2.0 * self.d_model * self.d_vocab

    def forward(self, context: int) -> float:
        """FLOPs per token of the whole model."""
        return self.n_layers * self.block(context) + self.unembedding

    @property
    def n_parameters(self) -> int:
        """Weights of the model, roughly: without norms and biases, a tied embedding once."""
        per_block = 4 * self.d_model**2 + 2 * self.d_model * self.d_mlp
        return self.n_layers * per_block + (self.d_vocab + self.n_context) * self.d_model


class Bank(NamedTuple):
    """SAEs that train as one: `trial` is any of them, since they cost the same."""

    trial: TrialConfig
    n_saes: int


def banks_of(trials: Iterable[TrialConfig]) -> tuple[Bank, ...]:
    """The banks that these trials make in one pack, in the order of their first members."""
    groups: dict[object, list[TrialConfig]] = {}
    for trial in trials:
        groups.setdefault(trial.bank_key, []).append(trial)
    return tuple(Bank(group[0], len(group)) for group in groups.values())


def kind_label(trial: TrialConfig) -> str:
    """Names all that the cost of one step of such an SAE follows from, batch and precision included. Of a trial whose
    loss becomes another, that of its last steps: its stages have their own."""
    weights = trial.loss.weights
    needs = "+".join(name for name in ("local", "kl", "downstream") if getattr(weights, name) > 0)
    return (
        f"{trial.model.name} {trial.hookpoint} x{trial.sae.ratio:g} {needs or 'sparsity'} p{weights.sparsity_p:g} "
        f"{trial.train.batch_rows}x{trial.data.context} {trial.train.compute_dtype}"
    )


def float_bytes(trial: TrialConfig) -> int:
    """Of a number of its SAE."""
    return FLOAT_BYTES * (2 if trial.train.compute_dtype == "float64" else 1)


def n_parameters(trial: TrialConfig, shape: Shape) -> int:
    """Numbers of one SAE."""
    d_sae = trial.sae.d_sae(shape.d_model)
    return 2 * d_sae * shape.d_model + d_sae + shape.d_model
