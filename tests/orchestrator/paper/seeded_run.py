"""A run with three losses and two seeds at one layer, whose SAEs of one seed have the same weights."""

from orchestrator.folder.records import SavedPlan, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier
from tests.orchestrator.sae_run import D_MODEL, NOON, a_row, a_trial, facts_of
from tests.tiny import Bench
from trainer.config import TrialConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, LossConfig
from trainer.sae.init import initial_parameters

SWEEP = "seeded-0123"


def losses(coeff: float) -> list[LossConfig]:
    return [
        LocalLoss(sparsity_coeff=coeff),
        E2ELoss(sparsity_coeff=coeff),
        E2EDownstreamLoss(sparsity_coeff=coeff, downstream_coeff=2.5, kl_coeff=0.5),
    ]


def seeded_run(bench: Bench, *, seeds: tuple[int, ...] = (0, 1), only_local: bool = False) -> RunFolder:
    """Coefficients 0.1 and 0.2; what is measured differs a little between seeds."""
    trials = [
        with_loss(a_trial(bench), loss, seed)
        for coeff in (0.1, 0.2)
        for loss in losses(coeff)
        for seed in seeds
        if isinstance(loss, LocalLoss) or not only_local
    ]
    folder = RunFolder(bench.runs / SWEEP)
    ids = [trial.trial_id for trial in trials]
    folder.write_plan(
        SavedPlan(
            sweep_id=SWEEP,
            trials=dict(zip(ids, trials, strict=True)),
            run_names={trial.trial_id: trial.run_name for trial in trials},
            packs={"p0": ids},
        )
    )
    facts = facts_of(trials[0])
    for trial in trials:
        parameters = initial_parameters(trial.sae, d_model=D_MODEL, seed=trial.seed)
        dictionary = parameters["w_dec"] / parameters["w_dec"].norm(dim=-1, keepdim=True)
        tensors = {**{name: parameters[name] for name in ("w_enc", "b_enc", "b_dec")}, "dictionary": dictionary}
        folder.write_sae(trial.trial_id, tensors, trial)
        coeff = trial.loss.sparsity_coeff
        metrics = {"l0": 2 / coeff + trial.seed, "ce_loss_increase": coeff, "n_alive_elements": 30.0}
        folder.write_row(a_row(trial, facts, metrics))
    export_frontier(folder, sweep_id=SWEEP, state=SweepState.COMPLETE, now=NOON)
    return folder


def with_loss(trial: TrialConfig, loss: LossConfig, seed: int) -> TrialConfig:
    return TrialConfig.model_validate({**trial.model_dump(), "loss": loss.model_dump(), "seed": seed})
