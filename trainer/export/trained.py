"""A trained SAE as a value: its tensors and what is known of it. Every format is made from this."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from trainer.config import TrialConfig
from trainer.models.facts import ModelFacts
from trainer.sae.weights import SAEWeights

GENERATOR = "sae-frontier"


@dataclass(frozen=True)
class TrainedSAE(SAEWeights):
    """The SAE of a trial."""

    config: TrialConfig
    """As trained."""
    metrics: Mapping[str, object] = field(default_factory=dict)
    """Final metrics by column, such as `l0` and `ce_loss_increase`."""
    about: Mapping[str, object] = field(default_factory=dict)
    """What else shall travel with it, such as its name and its sweep: JSON values."""
    firing_frequency: Float[Tensor, " d_sae"] | None = None
    """Share of tokens on which each element fires, if it was counted."""
    model: ModelFacts | None = None
    """Shape of its model, if known: `trainer.models.describe_model(config.model)`."""

    @classmethod
    def of(
        cls,
        tensors: Mapping[str, Tensor],
        config: TrialConfig,
        *,
        metrics: Mapping[str, object] | None = None,
        about: Mapping[str, object] | None = None,
        firing_frequency: Tensor | None = None,
        model: ModelFacts | None = None,
    ) -> "TrainedSAE":
        """From the tensors of a `TrialResult` or of a run folder's `sae.safetensors`."""
        return cls(
            w_enc=tensors["w_enc"],
            b_enc=tensors["b_enc"],
            dictionary=tensors["dictionary"],
            b_dec=tensors["b_dec"],
            config=config,
            metrics=metrics or {},
            about=about or {},
            firing_frequency=tensors.get("firing_frequency") if firing_frequency is None else firing_frequency,
            model=model,
        )

    @property
    def layer(self) -> int:
        """Block whose input it replaces."""
        return self.config.layer

    @property
    def dtype(self) -> str:
        """Such as `float32`."""
        return str(self.w_enc.dtype).removeprefix("torch.")

    @property
    def described(self) -> dict[str, object]:
        """Config, metrics and `about` as JSON values; NaN and infinities, which JSON lacks, are None."""
        known = {
            "generator": GENERATOR,
            "trial_id": self.config.trial_id,
            "config": self.config.model_dump(mode="json"),
            "metrics": dict(self.metrics),
        }
        plain = _finite({**known, **self.about})
        assert isinstance(plain, dict)
        return plain

    def number(self, metric: str) -> float | None:
        """A metric's value where it is one finite number."""
        value = self.metrics.get(metric)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def json_bytes(value: object) -> bytes:
    """Indented JSON. Non-finite numbers are an error: nobody else's reader takes them."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _finite(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
