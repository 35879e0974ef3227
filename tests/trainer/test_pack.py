"""Packing never changes the science, and one SAE's trouble is its own."""

import itertools
from collections.abc import Sequence

import pytest
import torch

from tests.trainer.conftest import CONTEXT, D_MODEL, N_LAYERS, make_trial
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, MixedLoss
from trainer.models import FrozenModel
from trainer.pack import Diverged, Evaluated, Event, Finished, Pack, Trained, TrialResult

LOSSES = (
    LocalLoss(sparsity_coeff=0.7),
    E2ELoss(sparsity_coeff=0.3),
    E2EDownstreamLoss(sparsity_coeff=0.2, downstream_coeff=2.5),
    MixedLoss(sparsity_coeff=0.1, local_coeff=0.5, kl_coeff=0.5),
)


def events_of(trials: Sequence[TrialConfig], model: FrozenModel, rows: Rows, **options: int) -> list[Event]:
    micro = options.pop("micro_batch_rows", None)
    return list(Pack(trials, model=model, rows=rows, micro_batch_rows=micro).train(**options))


def results_of(trials: Sequence[TrialConfig], model: FrozenModel, rows: Rows, **options: int) -> dict[str, TrialResult]:
    last = events_of(trials, model, rows, **options)[-1]
    assert isinstance(last, Finished)
    return last.results


def assert_same(ours: TrialResult, theirs: TrialResult, *, atol: float) -> None:
    assert ours.metrics.keys() == theirs.metrics.keys()
    for name, value in ours.metrics.items():
        actual, expected = torch.tensor(value), torch.tensor(theirs.metrics[name])
        torch.testing.assert_close(actual, expected, rtol=0, atol=atol, equal_nan=True, msg=name)
    for name, tensor in ours.sae.items():
        torch.testing.assert_close(tensor, theirs.sae[name], rtol=0, atol=atol)


def test_a_trial_gives_the_same_numbers_alone_and_in_any_pack(model: FrozenModel, rows: Rows) -> None:
    trials = [
        make_trial(loss, layer=layer, seed=seed, n_steps=50)
        for loss, layer, seed in itertools.product(LOSSES, (0, 1), (0, 1))
    ]
    together = results_of(trials, model, rows)
    assert len(together) == len(trials)
    for trial in trials[::3]:
        alone = results_of([trial], model, rows)[trial.trial_id]
        assert_same(together[trial.trial_id], alone, atol=1e-9)


def test_a_bank_of_three_equals_three_banks_of_one(model: FrozenModel, rows: Rows) -> None:
    trials = [make_trial(E2ELoss(sparsity_coeff=c), n_steps=20) for c in (0.1, 0.5, 2.0)]
    together = results_of(trials, model, rows)
    for trial in trials:
        alone = results_of([trial], model, rows)[trial.trial_id]
        assert_same(together[trial.trial_id], alone, atol=1e-11)


def test_micro_batches_change_nothing(model: FrozenModel, rows: Rows) -> None:
    trials = [make_trial(loss, n_steps=12) for loss in LOSSES]
    whole, parts = results_of(trials, model, rows), results_of(trials, model, rows, micro_batch_rows=2)
    for trial in trials:
        assert_same(whole[trial.trial_id], parts[trial.trial_id], atol=1e-10)


def test_two_runs_are_bitwise_equal_and_do_not_depend_on_who_listens(model: FrozenModel, rows: Rows) -> None:
    trials = [make_trial(loss, n_steps=9) for loss in LOSSES]
    quiet = results_of(trials, model, rows, log_every_steps=1000)
    heard = results_of(trials, model, rows, log_every_steps=1, eval_every_tokens=2 * 4 * CONTEXT)
    for trial in trials:
        assert_same(quiet[trial.trial_id], heard[trial.trial_id], atol=0.0)


def test_curves_and_evaluations_come_when_asked_for(model: FrozenModel, rows: Rows) -> None:
    trials = [make_trial(LOSSES[2], n_steps=10)]
    events = events_of(trials, model, rows, log_every_steps=4, eval_every_tokens=5 * 4 * CONTEXT)
    assert [event.step for event in events if isinstance(event, Trained)] == [4, 8, 10]
    assert [event.step for event in events if isinstance(event, Evaluated)] == [0, 5]
    assert isinstance(events[-1], Finished)
    curves = next(event for event in events if isinstance(event, Trained)).metrics[trials[0].trial_id]
    assert curves["train/loss"] == pytest.approx(
        0.2 * curves["train/sparsity"] + 0.5 * curves["train/kl"] + 2.5 * curves["train/downstream_mse"]
    )
    assert set(curves) == {
        "train/loss", "train/sparsity", "train/local_mse", "train/kl", "train/downstream_mse", "train/l0",
        "train/n_alive", "train/grad_norm", "train/lr",
    }  # fmt: skip


def test_training_lowers_the_loss(model: FrozenModel, rows: Rows) -> None:
    for loss in LOSSES:
        trial = make_trial(loss, n_steps=100, train={"warmup_fraction": 0.0})
        events = events_of([trial], model, rows, log_every_steps=1)
        curves = [event.metrics[trial.trial_id] for event in events if isinstance(event, Trained)]
        first, last = (sum(c["train/loss"] for c in part) / 10 for part in (curves[:10], curves[-10:]))
        assert last < first


def test_the_first_step_of_a_warm_up_does_not_move_the_weights(model: FrozenModel, rows: Rows) -> None:
    pack = Pack([make_trial(LOSSES[0], n_steps=40)], model=model, rows=rows)
    before = pack.state.banks[0].bank.w_enc.detach().clone()
    steps = (event for event in pack.train(log_every_steps=1) if isinstance(event, Trained))
    next(steps)
    assert torch.equal(pack.state.banks[0].bank.w_enc, before)
    next(steps)
    assert not torch.equal(pack.state.banks[0].bank.w_enc, before)


def test_an_sae_that_diverges_stops_before_its_step_and_the_others_do_not_notice(
    model: FrozenModel, rows: Rows
) -> None:
    trials = [make_trial(E2ELoss(sparsity_coeff=c), n_steps=12) for c in (0.1, 0.5, 2.0)]
    untouched = results_of(trials, model, rows)
    pack = Pack(trials, model=model, rows=rows)
    events: list[Event] = []
    for event in pack.train(log_every_steps=1):
        events.append(event)
        if isinstance(event, Trained) and event.step == 5:
            with torch.no_grad():
                pack.state.banks[0].bank.b_enc[1, 0] = float("nan")
    (diverged,) = [event for event in events if isinstance(event, Diverged)]
    assert diverged.trial_id == trials[1].trial_id
    assert diverged.step == 6
    assert "loss=nan" in diverged.reason
    last = events[-1]
    assert isinstance(last, Finished)
    assert set(last.results) == {trials[0].trial_id, trials[2].trial_id}
    for trial in (trials[0], trials[2]):
        assert_same(last.results[trial.trial_id], untouched[trial.trial_id], atol=0.0)
    later = [event for event in events if isinstance(event, Trained) and event.step > 6]
    assert all(trials[1].trial_id not in event.metrics for event in later)


def test_the_saved_sae_is_the_trained_one_with_a_unit_norm_dictionary(model: FrozenModel, rows: Rows) -> None:
    trial = make_trial(LOSSES[0], n_steps=5)
    pack = Pack([trial], model=model, rows=rows)
    last = list(pack.train())[-1]
    assert isinstance(last, Finished)
    sae = last.results[trial.trial_id].sae
    assert sae["dictionary"].shape == (2 * D_MODEL, D_MODEL)
    torch.testing.assert_close(sae["dictionary"].norm(dim=1), torch.ones(2 * D_MODEL, dtype=torch.float64))
    assert torch.equal(sae["w_enc"], pack.state.banks[0].bank.w_enc[0])


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        ([make_trial(LOSSES[0], n_steps=2), make_trial(LOSSES[0], n_steps=3)], "must share"),
        ([make_trial(LOSSES[0], layer=N_LAYERS)], "has blocks.0.hook_resid_pre to blocks.2.hook_resid_pre"),
        ([make_trial(LOSSES[2], layer=N_LAYERS - 1)], "last hookpoint"),
        ([make_trial(LOSSES[0], train={"tokens": 5})], "less than one step"),
    ],
)
def test_a_pack_that_cannot_train_is_refused(
    trials: list[TrialConfig], message: str, model: FrozenModel, rows: Rows
) -> None:
    with pytest.raises(BadInput, match=message):
        Pack(trials, model=model, rows=rows)
