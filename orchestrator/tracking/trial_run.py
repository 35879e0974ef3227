"""What MLflow is told about a trial before it trains. Pure: a config in, names and strings out."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.tracking.points import MAX_TEXT
from trainer.config import TrialConfig


@dataclass(frozen=True)
class TrialRun:
    """What MLflow is told about a trial before it trains."""

    trial_id: str
    run_name: str
    tags: Mapping[str, str]
    """For filters and groups."""
    params: Mapping[str, str]
    """For tables and the axes of the compare page; never change for a trial."""


def describe_trial(config: TrialConfig, *, d_model: int, pack_id: str) -> TrialRun:
    """The tags and params of a trial in a model of width `d_model`."""
    loss = config.loss.model_dump(mode="json", exclude={"kind"})
    params: dict[str, object] = {
        **loss,
        "layer": config.layer,
        "loss": config.loss.kind,
        "seed": config.seed,
        "lr": config.train.lr,
        "d_sae": config.sae.d_sae(d_model),
        "tokens": config.train.tokens,
        "n_steps": config.n_steps,
        "model": config.model.name,
        "dataset": config.data.dataset,
        "context": config.data.context,
        "data_seed": config.data.seed,
        "eval_rows": config.data.eval_rows,
        "hookpoint": config.hookpoint,
        **config.sae.model_dump(mode="json"),
        **config.train.model_dump(mode="json"),
        **config.eval.model_dump(mode="json"),
    }
    tags = {"trial_id": config.trial_id, "layer": config.layer, "loss": config.loss.kind, "seed": config.seed}
    return TrialRun(
        trial_id=config.trial_id,
        run_name=config.run_name,
        tags={**{name: str(value) for name, value in tags.items()}, "pack_id": pack_id},
        params={name: str(value)[:MAX_TEXT] for name, value in params.items()},
    )
