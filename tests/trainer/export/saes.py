"""SAEs with random weights, of any shape and place."""

import torch
from torch.nn.functional import normalize

from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.export import TrainedSAE
from trainer.losses import E2EDownstreamLoss, LocalLoss, LossConfig
from trainer.models import ModelFacts

DOWNSTREAM = E2EDownstreamLoss(sparsity_coeff=1.5, downstream_coeff=2.5)
SHAPE = ModelFacts(
    n_layers=12, d_model=16, d_vocab=50257, n_context=1024, family="gpt2", d_mlp=64, n_parameters=1_000_000
)


def a_trial(
    *, layer: int = 2, loss: LossConfig | None = None, model: str = "gpt2", centred: bool = False
) -> TrialConfig:
    return TrialConfig(
        model=ModelConfig(name=model, center_residual=centred),
        data=DataConfig(dataset="some/text", context=32),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=37 / 16),
        loss=loss or LocalLoss(sparsity_coeff=0.8),
        train=TrainConfig(tokens=32 * 8 * 10, batch_rows=8),
    )


def an_sae(
    config: TrialConfig | None = None, *, d_model: int = 16, d_sae: int = 37, dtype: torch.dtype = torch.float32
) -> TrainedSAE:
    """Biases are large, so that forgetting one shows."""
    dice = torch.Generator().manual_seed(d_sae)
    return TrainedSAE(
        w_enc=torch.randn(d_sae, d_model, generator=dice, dtype=dtype) / d_model**0.5,
        b_enc=torch.randn(d_sae, generator=dice, dtype=dtype),
        dictionary=normalize(torch.randn(d_sae, d_model, generator=dice, dtype=dtype), dim=-1),
        b_dec=torch.randn(d_model, generator=dice, dtype=dtype),
        config=config or a_trial(),
        metrics={
            "l0": 11.5, "ce_loss_increase": 0.125, "n_alive_elements": 30.0, "explained_variance": 0.75,
            "cosine": float("nan"), "downstream_mse": [1.0, float("inf")],
        },
        about={"run_name": "L2-local-c0.8-s0", "sweep_id": "a-sweep", "model_hash": "ab" * 32},
        firing_frequency=torch.linspace(0, 1, d_sae, dtype=torch.float64),
        model=SHAPE,
    )  # fmt: skip


def activations(d_model: int = 16, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 3 * torch.randn(5, 7, d_model, generator=torch.Generator().manual_seed(1), dtype=dtype)
