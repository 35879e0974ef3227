"""A loss that becomes another on the way: before the switch it is the one, after it the other, to the bit."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import CONTEXT, D_MODEL, N_LAYERS, VOCAB, make_trial
from trainer.checkpoint import load_state, save_state
from trainer.clean import clean_run
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, LocalThenE2ELoss, LossConfig, MixedLoss
from trainer.models import FrozenModel
from trainer.pack import Finished, Pack, Stepping, Trained, TrialResult
from trainer.sae.bank import Bank
from trainer.spec import bank_specs
from trainer.step import loss_terms

N_STEPS, SWITCH = 12, 9
PLAIN = LocalThenE2ELoss(sparsity_coeff=0.3, switch_at=0.75)
SCALED = LocalThenE2ELoss(sparsity_coeff=0.3, switch_at=0.75, local_coeff=0.5, kl_coeff=0.5, kl_scale="as_local")
ALL_TERMS = LocalThenE2ELoss(
    sparsity_coeff=0.3, switch_at=0.75, sparsity_factor=0.5, local_coeff=0.2, kl_coeff=0.5, downstream_coeff=2.0
)
KINDS = (PLAIN, SCALED, ALL_TERMS)


def pack_of(losses: Sequence[LossConfig], model: FrozenModel, rows: Rows, **options: int) -> Pack:
    return Pack([make_trial(loss, n_steps=N_STEPS) for loss in losses], model=model, rows=rows, **options)  # type: ignore[arg-type]


def train_to(pack: Pack, step: int) -> None:
    for event in pack.train():
        if isinstance(event, Stepping) and event.step == step:
            return


def results_of(pack: Pack) -> list[TrialResult]:
    """In the order of the pack's trials."""
    (*_, last) = pack.train()
    assert isinstance(last, Finished)
    return [last.results[trial.trial_id] for trial in pack.trials]


def assert_bitwise(ours: TrialResult, theirs: TrialResult) -> None:
    assert all(torch.equal(tensor, theirs.sae[name]) for name, tensor in ours.sae.items())
    assert ours.metrics == theirs.metrics


def parameters_of(pack: Pack) -> list[torch.Tensor]:
    [state] = pack.state.banks
    return [tensor.detach().clone() for tensor in state.bank.parameters.values()]


@pytest.mark.parametrize("loss", KINDS, ids=("plain", "scaled", "all"))
def test_before_the_switch_it_is_a_local_run_to_the_bit_and_after_it_no_longer(
    loss: LossConfig, model: FrozenModel, rows: Rows
) -> None:
    ours, local = pack_of([loss], model, rows), pack_of([LocalLoss(sparsity_coeff=0.3)], model, rows)
    for step, same in ((1, True), (SWITCH, True), (SWITCH + 1, False)):
        train_to(ours, step)
        train_to(local, step)
        pairs = zip(parameters_of(ours), parameters_of(local), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) == same


@pytest.mark.parametrize(
    ("switch_at", "other"), [(0.0, E2ELoss(sparsity_coeff=0.3)), (1.0, LocalLoss(sparsity_coeff=0.3))]
)
def test_switched_at_once_it_is_e2e_and_never_switched_it_is_local(
    switch_at: float, other: LossConfig, model: FrozenModel, rows: Rows
) -> None:
    loss = PLAIN.model_copy(update={"switch_at": switch_at})
    [ours], [theirs] = (results_of(pack_of([each], model, rows)) for each in (loss, other))
    assert_bitwise(ours, theirs)


def test_at_the_switch_adam_knows_what_that_of_a_new_e2e_run_at_the_same_weights_knows(
    model: FrozenModel, rows: Rows
) -> None:
    trials = [make_trial(loss, n_steps=N_STEPS) for loss in (PLAIN, E2ELoss(sparsity_coeff=0.3))]
    ours, e2e = (Pack([trial], model=model, rows=rows, path="dense") for trial in trials)
    train_to(ours, SWITCH)
    with torch.no_grad():
        for mine, its in zip(parameters_of(ours), e2e.state.banks[0].bank.parameters.values(), strict=True):
            its.copy_(mine)
    e2e.state.step = SWITCH
    train_to(ours, SWITCH + 1)
    train_to(e2e, SWITCH + 1)
    [mine], [its] = ours.state.banks, e2e.state.banks
    for name in mine.moments:
        assert torch.equal(mine.moments[name].mean, its.moments[name].mean)
        assert torch.equal(mine.moments[name].square, its.moments[name].square)
    assert torch.equal(mine.grad_norm_sum, its.grad_norm_sum)
    assert mine.grad_norm_steps == its.grad_norm_steps == 1


def test_the_first_step_after_the_switch_is_a_first_step_of_adam(model: FrozenModel, rows: Rows) -> None:
    """Which moves every number that has a gradient by the learning rate."""
    pack = pack_of([PLAIN], model, rows)
    train_to(pack, SWITCH)
    before = parameters_of(pack)
    [(lr, gradient)] = [
        (event.metrics[pack.trials[0].trial_id]["train/lr"], pack.state.banks[0].moments["b_dec"].mean / 0.1)
        for event in itertools.islice(pack.train(log_every_steps=1), 1)
        if isinstance(event, Trained)
    ]
    names = list(pack.state.banks[0].bank.parameters)
    moved = parameters_of(pack)[names.index("b_dec")] - before[names.index("b_dec")]
    torch.testing.assert_close(moved, -lr * gradient.sign(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("cut_at", [SWITCH - 1, SWITCH, SWITCH + 1])
def test_a_run_that_is_cut_around_the_switch_ends_as_one_that_was_not(
    cut_at: int, model: FrozenModel, rows: Rows, tmp_path: Path
) -> None:
    whole = results_of(pack_of(KINDS, model, rows))
    cut = pack_of(KINDS, model, rows)
    train_to(cut, cut_at)
    save_state(tmp_path / "state", cut.state, trial_ids=cut.trial_ids)
    resumed = pack_of(KINDS, model, rows)
    load_state(tmp_path / "state", resumed.state, trial_ids=resumed.trial_ids)
    for ours, theirs in zip(results_of(resumed), whole, strict=True):
        assert_bitwise(ours, theirs)


def test_company_and_micro_batches_change_nothing(model: FrozenModel, rows: Rows) -> None:
    losses = [*KINDS, SCALED.model_copy(update={"sparsity_coeff": 0.9}), LocalLoss(sparsity_coeff=0.3)]
    together = results_of(pack_of(losses, model, rows, micro_batch_rows=1))
    for loss, result in zip(losses, together, strict=True):
        [alone] = results_of(pack_of([loss], model, rows))
        for name, tensor in alone.sae.items():
            torch.testing.assert_close(result.sae[name], tensor, rtol=0, atol=1e-9)


def test_trials_that_switch_at_other_steps_are_other_banks() -> None:
    later = PLAIN.model_copy(update={"switch_at": 0.9})
    stronger = PLAIN.model_copy(update={"sparsity_factor": 2.0, "sparsity_coeff": 5.0})
    trials = tuple(make_trial(loss, n_steps=N_STEPS) for loss in (PLAIN, later, stronger, SCALED))
    specs = bank_specs(trials, n_layers=N_LAYERS)
    assert [[trial.loss for trial in spec.trials] for spec in specs] == [[PLAIN, stronger], [later], [SCALED]]


def test_nothing_above_the_sae_is_run_before_the_switch() -> None:
    (spec,) = bank_specs((make_trial(ALL_TERMS, n_steps=N_STEPS),), n_layers=N_LAYERS)
    before, after = spec.at(SWITCH - 1), spec.at(SWITCH)
    assert (before.since, after.since) == (0, SWITCH)
    assert (before.capture.layers, before.capture.output) == ({1}, False)
    assert (after.capture.layers, after.capture.output) == ({1, 2}, True)


def terms_of(loss: LossConfig, model: FrozenModel) -> tuple[torch.Tensor, list[torch.Tensor], tuple[float, float]]:
    (spec,) = bank_specs((make_trial(loss, n_steps=N_STEPS),), n_layers=N_LAYERS)
    spec = spec.at(N_STEPS - 1)
    bank: Bank = spec.initial_state(d_model=D_MODEL, device=torch.device("cpu")).bank
    tokens = torch.randint(0, VOCAB, (4, CONTEXT), generator=torch.Generator().manual_seed(3))
    terms = loss_terms(spec, bank, clean_run(model, tokens, spec.capture), model)
    assert terms.kl is not None
    gradients = torch.autograd.grad(terms.loss.sum(), list(bank.parameters.values()))
    return terms.loss, list(gradients), (terms.local_mse.item(), terms.kl.item())


@pytest.mark.parametrize(
    ("loss", "same"),
    [
        (PLAIN, E2ELoss(sparsity_coeff=0.3)),
        (ALL_TERMS, MixedLoss(sparsity_coeff=0.15, local_coeff=0.2, kl_coeff=0.5, downstream_coeff=2.0)),
        (ALL_TERMS.model_copy(update={"local_coeff": 0.0}),
         E2EDownstreamLoss(sparsity_coeff=0.15, kl_coeff=0.5, downstream_coeff=2.0)),
    ],
    ids=("e2e", "mixed", "e2e_downstream"),
)  # fmt: skip
def test_after_the_switch_loss_and_gradient_are_those_of_the_loss_that_it_becomes(
    loss: LossConfig, same: LossConfig, model: FrozenModel
) -> None:
    ours, theirs = terms_of(loss, model), terms_of(same, model)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-14)
    for mine, its in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-14)


def test_a_kl_term_that_is_scaled_has_the_size_of_the_local_one_and_the_direction_of_its_own(
    model: FrozenModel,
) -> None:
    """As in the code of Karvonen 2025: half of MSE + KL * (MSE / KL), the bracket without a gradient."""
    loss, gradients, (mse, kl) = terms_of(SCALED, model)
    sparsity = MixedLoss(sparsity_coeff=0.3, local_coeff=0.5, kl_coeff=0.5 * mse / kl)
    expected, theirs, _ = terms_of(sparsity, model)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    for mine, its in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-12)


@given(st.floats(0, 1), st.integers(1, 1000))
def test_stages_follow_one_another_from_the_first_step_to_the_last(switch_at: float, n_steps: int) -> None:
    trial = make_trial(PLAIN.model_copy(update={"switch_at": switch_at}), n_steps=n_steps)
    stages = trial.stages
    assert [stage.start for stage in stages] == [0, *(stage.stop for stage in stages[:-1])]
    assert stages[-1].stop == n_steps
    assert all(stage.n_steps for stage in stages)
    assert sum(stage.n_steps for stage in stages if stage.trial.loss.kind == "local") == round(switch_at * n_steps)


def test_a_loss_that_stays_what_it_is_has_one_stage_the_trial_itself() -> None:
    trial = make_trial(MixedLoss(sparsity_coeff=1, kl_coeff=1), n_steps=7)
    assert trial.stages == ((0, 7, trial),)


def test_trials_of_before_this_loss_keep_their_ids() -> None:
    """Their rows and checkpoints are found by these."""
    losses = (
        LocalLoss(sparsity_coeff=0.7), E2ELoss(sparsity_coeff=0.3),
        E2EDownstreamLoss(sparsity_coeff=0.2, downstream_coeff=2.5),
        MixedLoss(sparsity_coeff=0.1, local_coeff=0.5, kl_coeff=0.5),
    )  # fmt: skip
    trials: list[TrialConfig] = [make_trial(loss) for loss in losses]
    assert [trial.trial_id for trial in trials] == [
        "66636367ce10c713",
        "af16a7e39f6858cf",
        "7ade7b8ed8706b47",
        "aa24e77ac59e93bc",
    ]
