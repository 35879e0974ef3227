"""A run folder with SAEs in it, written as a sweep writes it, without training: random weights, invented metrics."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from orchestrator.folder.records import Facts, Row, RowStatus, SavedPlan, SweepState, Versions
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier
from tests.tiny import Bench
from trainer.config import DataConfig, EvalConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.data import prepare_rows
from trainer.losses import LocalLoss
from trainer.models import load_model
from trainer.sae.init import initial_parameters

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
D_MODEL = 16
METRICS = {0.1: (20.0, 0.1), 0.2: (10.0, 0.2), 0.3: (15.0, 0.3)}
"""l0 and CE loss increase by coefficient: the third is behind both of the others."""


def a_trial(bench: Bench, *, layer: int = 1, coeff: float = 0.1, context: int = 8) -> TrialConfig:
    return TrialConfig(
        model=ModelConfig(name=str(bench.model)),
        data=DataConfig(dataset=str(bench.data), context=context, eval_rows=4),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=2),
        loss=LocalLoss(sparsity_coeff=coeff),
        train=TrainConfig(tokens=640, batch_rows=4),
        eval=EvalConfig(alive_window_tokens=256),
    )


def make_run(bench: Bench, *, layers: tuple[int, ...] = (0, 1), failed: bool = True) -> RunFolder:
    """The sweep `made-0123`: per layer the trials of `METRICS`, and one that failed."""
    trials = [a_trial(bench, layer=layer, coeff=coeff) for layer in layers for coeff in METRICS]
    lost = [a_trial(bench, coeff=9.0)] if failed else []
    folder = RunFolder(bench.runs / "made-0123")
    every = [*trials, *lost]
    folder.write_plan(
        SavedPlan(
            sweep_id="made-0123",
            trials={trial.trial_id: trial for trial in every},
            run_names={trial.trial_id: trial.run_name for trial in every},
            packs={"p0": [trial.trial_id for trial in every]},
        )
    )
    facts = facts_of(trials[0])
    for trial in trials:
        parameters = initial_parameters(trial.sae, d_model=D_MODEL, seed=len(trial.trial_id))
        norm = parameters["w_dec"].norm(dim=-1, keepdim=True)
        tensors = {**parameters, "dictionary": parameters.pop("w_dec") / norm}
        folder.write_sae(trial.trial_id, {n: tensors[n] for n in ("w_enc", "b_enc", "dictionary", "b_dec")}, trial)
        l0, increase = METRICS[trial.loss.sparsity_coeff]
        folder.write_row(a_row(trial, facts, {"l0": l0, "ce_loss_increase": increase, "n_alive_elements": 30.0 - l0}))
    for trial in lost:
        folder.write_row(a_row(trial, None, {}))
    export_frontier(folder, sweep_id="made-0123", state=SweepState.COMPLETE, now=NOON)
    return folder


@cache
def facts_of(trial: TrialConfig) -> Facts:
    """What the model and the text really are. Both are the same for all tests of a session."""
    model = load_model(trial.model)
    rows = prepare_rows(trial.data, model=trial.model, d_vocab=model.d_vocab)
    return Facts(
        d_model=D_MODEL,
        d_sae=2 * D_MODEL,
        n_train_tokens=640,
        n_eval_tokens=len(rows.evaluation) * rows.context,
        data_hash=rows.data_hash,
        eval_hash=rows.eval_hash,
        model_hash=model.content_hash,
    )


def a_row(trial: TrialConfig, facts: Facts | None, metrics: dict[str, float]) -> Row:
    return Row(
        trial_id=trial.trial_id,
        run_name=trial.run_name,
        pack_id="p0",
        status=RowStatus.FAILED if facts is None else RowStatus.DONE,
        error="diverged" if facts is None else None,
        config=trial,
        facts=facts,
        metrics=dict(metrics),
        versions=Versions(code="0.1.0", python="3.11", torch="2.13", device="cpu"),
        started_at=NOON,
        finished_at=NOON,
    )


def below(folder: Path) -> set[str]:
    """Its files, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
