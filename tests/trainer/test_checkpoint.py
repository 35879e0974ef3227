"""A resumed run is bitwise the run that was never cut."""

from pathlib import Path

import pytest
import torch

from tests.trainer.conftest import make_trial
from trainer.checkpoint import load_state, save_state
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
