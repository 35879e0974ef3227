"""What MLflow is told about a trial before it trains. Pure: a config in, names and strings out."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.folder.records import SavedPlan
from orchestrator.tracking.address import masked
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


def describe_plan(plan: SavedPlan, *, d_model: int | None) -> list[TrialRun]:
    """All trials of a plan, removed ones too, under the names they have in it."""
    packs = {trial_id: pack_id for pack_id, trial_ids in plan.packs.items() for trial_id in trial_ids}
    return [
        describe_trial(config, d_model=d_model, pack_id=packs[trial_id], run_name=plan.run_names[trial_id])
        for trial_id, config in plan.trials.items()
    ]


def describe_trial(config: TrialConfig, *, d_model: int | None, pack_id: str, run_name: str | None = None) -> TrialRun:
    """The tags and params of a trial in a model of width `d_model`; without it `d_sae` is left for later."""
    loss = config.loss.model_dump(mode="json", exclude={"kind"})
    params: dict[str, object] = {
        **loss,
        "layer": config.layer,
        "loss": config.loss.kind,
        "seed": config.seed,
        "lr": config.train.lr,
        **({} if d_model is None else {"d_sae": config.sae.d_sae(d_model)}),
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
        run_name=run_name or config.run_name,
        tags={**{name: str(value) for name, value in tags.items()}, "pack_id": pack_id},
        params={name: masked(str(value))[:MAX_TEXT] for name, value in params.items()},
    )
