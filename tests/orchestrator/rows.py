"""Rows as a worker would write them, with invented numbers."""

from datetime import UTC, datetime, timedelta

from orchestrator.folder.records import Facts, Row, RowStatus, Versions
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, LocalThenE2ELoss

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def a_config(
    *, loss: str = "local", coeff: float = 1.0, layer: int = 1, seed: int = 0, ratio: float = 4.0, model: str = "gpt2"
) -> TrialConfig:
    losses = {
        "local": LocalLoss(sparsity_coeff=coeff),
        "e2e": E2ELoss(sparsity_coeff=coeff),
        "e2e_downstream": E2EDownstreamLoss(sparsity_coeff=coeff, downstream_coeff=2.5),
        "local_then_e2e": LocalThenE2ELoss(sparsity_coeff=coeff, sparsity_factor=2.0),
    }
    return TrialConfig(
        model=ModelConfig(name=model),
        data=DataConfig(dataset="builtin", context=64),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=ratio),
        loss=losses[loss],
        train=TrainConfig(tokens=100_000, batch_rows=8),
        seed=seed,
    )


def a_row(
    config: TrialConfig | None = None,
    *,
    l0: float | None = 20.0,
    ce: float | None = 0.1,
    alive: float | None = 200.0,
    status: RowStatus = RowStatus.DONE,
    error: str | None = None,
    **metrics: float | list[float],
) -> Row:
    """A row whose metrics are these; None leaves one out."""
    config = config or a_config()
    measured = {"l0": l0, "ce_loss_increase": ce, "n_alive_elements": alive}
    return Row(
        trial_id=config.trial_id,
        run_name=config.run_name,
        pack_id="p000",
        status=status,
        error=error,
        config=config,
        facts=Facts(
            d_model=64,
            d_sae=config.sae.d_sae(64),
            n_train_tokens=99_840,
            n_eval_tokens=32_000,
            data_hash="d" * 16,
            eval_hash="e" * 16,
            model_hash="f" * 16,
        ),
        metrics={name: value for name, value in measured.items() if value is not None} | metrics,
        cost={"train_wall_s": 12.5, "peak_memory_bytes": 123456.0},
        versions=Versions(code="0.1.0", git_commit=None, python="3.11.9", torch="2.13.0", device="cpu"),
        started_at=NOON,
        finished_at=NOON + timedelta(minutes=2),
    )
