"""What the SAE does to the model's predictions."""

import torch

from trainer.metrics.metric import EvalBatch, Metric, Sums


def sums(batch: EvalBatch) -> Sums:
    increase = (batch.ce_sae - batch.ce_clean).double()
    n_saes = increase.shape[0]

    def same(value: torch.Tensor) -> torch.Tensor:
        return value.double().sum().expand(n_saes).clone()

    return {
        "rows": torch.full((n_saes,), float(batch.n_rows), dtype=torch.float64, device=increase.device),
        "ce_clean": same(batch.ce_clean),
        "ce_ablated": same(batch.ce_ablated),
        "ce_sae": batch.ce_sae.double().sum(-1),
        "ce_increase_square": increase.square().sum(-1),
        "kl": batch.kl.double().sum(-1),
    }


def _ce_increase(s: Sums) -> torch.Tensor:
    return (s["ce_sae"] - s["ce_clean"]) / s["rows"]


def _stderr(s: Sums) -> torch.Tensor:
    n = s["rows"]
    variance = (s["ce_increase_square"] - n * _ce_increase(s).square()) / (n - 1)
    return (variance.clamp(min=0) / n).sqrt()  # one row has no spread: 0 / 0 is NaN, and NaN is "not known"


METRICS = (
    Metric(
        "ce_loss_increase", "nats per token", "lower",
        "ce_loss_with_sae - ce_loss_without_sae: what splicing the SAE in costs the model.", _ce_increase,
    ),
    Metric(
        "ce_loss_increase_stderr", "nats per token", "lower",
        "Standard error of ce_loss_increase over evaluation rows; missing for a single row.", _stderr,
    ),
    Metric(
        "ce_loss_with_sae", "nats per token", "lower",
        "Cross-entropy of the next token, over positions with one, with the SAE spliced in.",
        lambda s: s["ce_sae"] / s["rows"],
    ),
    Metric(
        "ce_loss_without_sae", "nats per token", "neither",
        "Cross-entropy of the frozen model alone on the same rows.", lambda s: s["ce_clean"] / s["rows"],
    ),
    Metric(
        "ce_loss_with_ablation", "nats per token", "neither",
        "Cross-entropy with the residual stream at the hookpoint set to zero.", lambda s: s["ce_ablated"] / s["rows"],
    ),
    Metric(
        "ce_loss_score", "share", "higher",
        "(ablation - SAE) / (ablation - clean) of the cross-entropies: 1 loses nothing, 0 is as bad as zeros.",
        lambda s: (s["ce_ablated"] - s["ce_sae"]) / (s["ce_ablated"] - s["ce_clean"]),
    ),
    Metric(
        "kl_div_with_sae", "nats per token", "lower",
        "KL(clean || SAE) of the next-token distributions, mean over all positions.", lambda s: s["kl"] / s["rows"],
    ),
)  # fmt: skip
