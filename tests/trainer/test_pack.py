"""Packing never changes the science, and one SAE's trouble is its own."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from tests.trainer.conftest import CONTEXT, D_MODEL, N_LAYERS, make_trial
from trainer import step
from trainer.checkpoint import load_state, save_state
from trainer.config import ModelConfig, TrialConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, MixedLoss, kl_cpu
from trainer.models import FrozenModel, load_model
from trainer.pack import Diverged, Evaluated, Event, Finished, Pack, Stepping, Trained, TrialResult
from trainer.sae import forward
from trainer.sae.density import PathChoice

LOSSES = (
    LocalLoss(sparsity_coeff=0.7),
    E2ELoss(sparsity_coeff=0.3),
    E2EDownstreamLoss(sparsity_coeff=0.2, downstream_coeff=2.5),
    MixedLoss(sparsity_coeff=0.1, local_coeff=0.5, kl_coeff=0.5),
)


def events_of(
    trials: Sequence[TrialConfig], model: FrozenModel, rows: Rows, *, path: PathChoice = "auto", **options: int
) -> list[Event]:
    micro = options.pop("micro_batch_rows", None)
    return list(Pack(trials, model=model, rows=rows, micro_batch_rows=micro, path=path).train(**options))


def results_of(
    trials: Sequence[TrialConfig], model: FrozenModel, rows: Rows, *, path: PathChoice = "auto", **options: int
) -> dict[str, TrialResult]:
    last = events_of(trials, model, rows, path=path, **options)[-1]
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


def quieter(pack: Pack) -> Pack:
    """With biases so low that less than half of the elements fire: the sparse path pays."""
    with torch.no_grad():
        for state in pack.state.banks:
            state.bank.b_enc.sub_(0.3)
    return pack


@pytest.mark.parametrize(("path", "n_dense", "n_sparse"), [("dense", 12, 0), ("sparse", 0, 12), ("auto", 1, 11)])
def test_the_path_asked_for_is_the_one_taken_and_the_numbers_are_the_same(
    path: PathChoice, n_dense: int, n_sparse: int, model: FrozenModel, rows: Rows
) -> None:
    trials = [make_trial(loss, n_steps=12) for loss in LOSSES]
    (*_, expected) = quieter(Pack(trials, model=model, rows=rows, path="dense")).train()
    assert isinstance(expected, Finished)
    pack = quieter(Pack(trials, model=model, rows=rows, path=path))
    with (
        patch.object(forward, "dense_forward", wraps=forward.dense_forward) as dense,
        patch.object(forward, "sparse_bank", wraps=forward.sparse_bank) as sparsely,
    ):
        for event in pack.train():
            if isinstance(event, Stepping) and event.step == 12:
                break
    assert dense.call_count == n_dense * len(pack.specs)
    assert sparsely.call_count == n_sparse * len(pack.specs)
    (last,) = pack.train()  # nothing is left but to measure
    assert isinstance(last, Finished)
    for trial in trials:
        assert_same(last.results[trial.trial_id], expected.results[trial.trial_id], atol=1e-10)


def test_a_resumed_pack_takes_the_path_it_is_asked_for(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    trials = [make_trial(LOSSES[0], n_steps=12)]
    sparsely = Pack(trials, model=model, rows=rows, path="sparse")
    save_state(tmp_path / "state.safetensors", sparsely.state, trial_ids=sparsely.trial_ids)
    paths: tuple[PathChoice, ...] = ("auto", "dense")
    for path, expected in zip(paths, ("sparse", "dense"), strict=True):
        pack = Pack(trials, model=model, rows=rows, path=path)
        load_state(tmp_path / "state.safetensors", pack.state, trial_ids=pack.trial_ids)
        assert pack.state.banks[0].switch.path == expected


def test_the_sparse_path_is_refused_to_a_norm_it_does_not_know(model: FrozenModel, rows: Rows) -> None:
    trial = make_trial(MixedLoss(sparsity_coeff=0.1, sparsity_p=0.5, local_coeff=1.0))
    with pytest.raises(BadInput, match=r"loss\.sparsity_p=0\.5 cannot take the sparse path"):
        Pack([trial], model=model, rows=rows, path="sparse")


@pytest.fixture
def unreadable_model(tiny_folder: Path) -> FrozenModel:
    """On a device that has shapes and no numbers: whatever reads one fails."""
    return load_model(ModelConfig(name=str(tiny_folder)), device="meta")


@pytest.mark.parametrize("path", ["dense", "auto"])
def test_off_the_cpu_no_step_makes_the_host_wait_but_those_that_look_at_density(
    path: PathChoice, unreadable_model: FrozenModel, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "LOOK_EVERY_STEPS", 4)
    trials = [make_trial(loss, n_steps=100, train={"compute_dtype": "float32"}) for loss in LOSSES]
    pack = Pack(trials, model=unreadable_model, rows=rows, path=path, micro_batch_rows=2)
    events = pack.train(log_every_steps=1000)
    for _ in range(3):
        assert isinstance(next(events), Stepping)
    if path == "auto":
        with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):
            next(events)
    else:
        assert next(events) == Stepping(4)


def diverging(pack: Pack, *, at: int, until: int | None = None) -> list[Event]:
    """Events of a pack whose host does not wait, with the second SAE broken after step `at`."""
    pack.may_wait = False
    events: list[Event] = []
    for event in pack.train(log_every_steps=4):
        events.append(event)
        if isinstance(event, Stepping) and event.step == at:
            with torch.no_grad():
                pack.state.banks[0].bank.b_enc[1, 0] = float("nan")
        if isinstance(event, Stepping) and event.step == until:
            break
    return events


def test_where_the_host_does_not_wait_divergence_is_told_with_the_next_curves(model: FrozenModel, rows: Rows) -> None:
    trials = [make_trial(E2ELoss(sparsity_coeff=c), n_steps=12) for c in (0.1, 0.5, 2.0)]
    untouched = results_of(trials, model, rows)
    events = diverging(Pack(trials, model=model, rows=rows, path="dense"), at=5)
    (diverged,) = [event for event in events if isinstance(event, Diverged)]
    assert (diverged.step, diverged.trial_id) == (6, trials[1].trial_id)
    assert "loss=nan" in diverged.reason
    told = events.index(diverged)
    assert isinstance(events[told + 1], Trained)
    assert events[told + 1].step == 8
    last = events[-1]
    assert isinstance(last, Finished)
    assert set(last.results) == {trials[0].trial_id, trials[2].trial_id}
    for trial in (trials[0], trials[2]):
        assert_same(last.results[trial.trial_id], untouched[trial.trial_id], atol=1e-10)


def test_a_divergence_that_was_not_told_yet_survives_a_restart(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    trials = [make_trial(E2ELoss(sparsity_coeff=c), n_steps=12) for c in (0.1, 0.5, 2.0)]
    cut = Pack(trials, model=model, rows=rows)
    assert not any(isinstance(event, Diverged) for event in diverging(cut, at=5, until=7))
    save_state(tmp_path / "state.safetensors", cut.state, trial_ids=cut.trial_ids)
    resumed = Pack(trials, model=model, rows=rows)
    load_state(tmp_path / "state.safetensors", resumed.state, trial_ids=resumed.trial_ids)
    (diverged,) = [event for event in resumed.train() if isinstance(event, Diverged)]
    assert (diverged.step, diverged.trial_id) == (6, trials[1].trial_id)
    assert "loss=nan" in diverged.reason


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_with_every_fast_kernel_two_runs_are_bitwise_equal(dtype: str, tiny_folder: Path, rows: Rows) -> None:
    fast = load_model(ModelConfig(name=str(tiny_folder)), dtype=getattr(torch, dtype))
    trials = [make_trial(loss, n_steps=9, train={"compute_dtype": dtype}) for loss in LOSSES]
    with patch.object(kl_cpu, "kl_and_gradient", wraps=kl_cpu.kl_and_gradient) as compiled_kl:
        first, second = (results_of(trials, fast, rows, path="sparse") for _ in range(2))
    assert compiled_kl.call_count >= 2 * 9
    for trial in trials:
        assert_same(first[trial.trial_id], second[trial.trial_id], atol=0.0)
