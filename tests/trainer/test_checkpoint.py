"""A resumed run is bitwise the run that was never cut."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from tests.trainer.conftest import make_trial
from trainer.checkpoint import _tensors as tensors_of
from trainer.checkpoint import load_state, save_state, state_bytes
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.losses import E2EDownstreamLoss, LocalLoss
from trainer.models import FrozenModel
from trainer.pack import Finished, Pack, Stepping

LOSSES = (LocalLoss(sparsity_coeff=0.7), E2EDownstreamLoss(sparsity_coeff=0.2, downstream_coeff=2.5))


def new_pack(model: FrozenModel, rows: Rows, *, seed: int = 0) -> Pack:
    return Pack([make_trial(loss, seed=seed, n_steps=6) for loss in LOSSES], model=model, rows=rows)


def last_of(pack: Pack) -> Finished:
    (*_, last) = pack.train()
    assert isinstance(last, Finished)
    return last


def train_to(pack: Pack, step: int) -> None:
    for event in pack.train():
        if isinstance(event, Stepping) and event.step == step:
            return
    raise AssertionError(f"step {step} was never reached")


@pytest.mark.parametrize("cut_at", [0, 1, 3, 6])
def test_six_steps_equal_three_save_restore_and_three_more(
    cut_at: int, model: FrozenModel, rows: Rows, tmp_path: Path
) -> None:
    whole = last_of(new_pack(model, rows))
    cut = new_pack(model, rows)
    if cut_at:
        train_to(cut, cut_at)
    save_state(tmp_path / "state.safetensors", cut.state, trial_ids=cut.trial_ids)
    resumed = new_pack(model, rows)
    load_state(tmp_path / "state.safetensors", resumed.state, trial_ids=resumed.trial_ids)
    assert resumed.state.step == cut_at
    again = last_of(resumed)
    for trial_id, result in whole.results.items():
        assert again.results[trial_id].metrics == result.metrics
        assert all(torch.equal(again.results[trial_id].sae[name], tensor) for name, tensor in result.sae.items())


def test_a_checkpoint_of_other_trials_is_refused_and_changes_nothing(
    model: FrozenModel, rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    other = new_pack(model, rows, seed=1)
    save_state(path, other.state, trial_ids=other.trial_ids)
    pack = new_pack(model, rows)
    before = pack.state.banks[0].bank.w_enc.detach().clone()
    with pytest.raises(BadInput, match="other trials"):
        load_state(path, pack.state, trial_ids=pack.trial_ids)
    assert torch.equal(pack.state.banks[0].bank.w_enc, before)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:4] + b"x" * 8 + b[12:]])
def test_a_broken_checkpoint_is_refused(damage: object, model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    pack = new_pack(model, rows)
    save_state(path, pack.state, trial_ids=pack.trial_ids)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BadInput, match="not a whole checkpoint"):
        load_state(path, pack.state, trial_ids=pack.trial_ids)


def slots_of(pack: Pack) -> dict[str, list[torch.Tensor]]:
    """By trial, everything in the state that is that trial's."""
    return {
        trial_id: [tensor[slot].detach().clone() for tensor in tensors_of(bank).values()]
        for ids, bank in zip(pack.trial_ids, pack.state.banks, strict=True)
        for slot, trial_id in enumerate(ids)
    }


@pytest.mark.parametrize("chosen", [[0], [3], [1, 2], [3, 0], [0, 1, 2, 3, 4]])
def test_some_trials_of_a_pack_are_taken_out_of_its_checkpoint_bit_by_bit(
    chosen: list[int], model: FrozenModel, rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    trials = [make_trial(loss, seed=seed, n_steps=6) for loss in LOSSES for seed in range(3)]
    whole = Pack(trials, model=model, rows=rows)
    train_to(whole, 3)
    save_state(path, whole.state, trial_ids=whole.trial_ids)
    part = Pack([trials[index] for index in chosen], model=model, rows=rows)
    load_state(path, part.state, trial_ids=part.trial_ids)
    assert part.state.step == 3
    wanted, found = slots_of(whole), slots_of(part)
    assert found.keys() == {trials[index].trial_id for index in chosen}
    for trial_id, tensors in found.items():
        assert all(torch.equal(a, b) for a, b in zip(tensors, wanted[trial_id], strict=True))
    for bank in part.state.banks:
        assert bank.grad_norm_steps == whole.state.banks[0].grad_norm_steps


def test_the_hash_that_is_returned_is_that_of_the_file(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    pack = new_pack(model, rows)
    path = tmp_path / "state.safetensors"
    sha256 = save_state(path, pack.state, trial_ids=pack.trial_ids)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert state_bytes(pack.state) <= path.stat().st_size <= state_bytes(pack.state) + 8192


def test_a_checkpoint_is_a_file_that_safetensors_reads(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    """It is written piece by piece by ourselves."""
    pack = new_pack(model, rows)
    save_state(tmp_path / "x", pack.state, trial_ids=pack.trial_ids)
    found = load((tmp_path / "x").read_bytes())
    for number, bank in enumerate(pack.state.banks):
        for name, tensor in tensors_of(bank).items():
            assert torch.equal(found[f"{number}/{name}"], tensor)


def test_of_every_tensor_of_a_state_each_trial_has_its_own_slot(model: FrozenModel, rows: Rows) -> None:
    """What `load_state` counts on when it takes some trials out."""
    for bank in new_pack(model, rows).state.banks:
        assert all(tensor.shape[0] == bank.bank.n_saes for tensor in tensors_of(bank).values())
