"""Training that starts from trained SAEs: read, refused with a reason, and gone on with."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.trainer.conftest import D_MODEL, make_trial
from tests.trainer.export.saes import a_trial, an_sae
from trainer.checkpoint import load_state, save_state
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.export import save_sae
from trainer.external.given import misfit, read_given
from trainer.losses import E2ELoss, LocalLoss
from trainer.models import FrozenModel
from trainer.pack import Finished, Pack, Stepping, TrialResult
from trainer.sae.weights import SAEWeights


def ours(folder: Path, *, config: TrialConfig | None = None, tensors: Mapping[str, Tensor] | None = None) -> Path:
    """As a run folder has it."""
    sae = an_sae(config)
    folder.mkdir(exist_ok=True)
    whole = {name: getattr(sae, name) for name in ("w_enc", "b_enc", "dictionary", "b_dec")} | dict(tensors or {})
    save_file(whole, folder / "sae.safetensors")
    (folder / "config.json").write_text(sae.config.model_dump_json())
    return folder


def test_an_sae_is_the_same_from_a_run_and_from_saelens(tmp_path: Path) -> None:
    save_sae(an_sae(), tmp_path / "theirs")
    run, theirs = read_given(ours(tmp_path / "ours")), read_given(tmp_path / "theirs")
    for name in ("w_enc", "b_enc", "dictionary", "b_dec"):
        assert torch.equal(getattr(run, name), getattr(an_sae(), name))
        torch.testing.assert_close(getattr(run, name), getattr(theirs, name))
    assert run.weights_id == an_sae().weights_id
    assert (theirs.hook, theirs.centred) == (run.hook, run.centred)
    assert (run.hook, run.model, run.centred) == ("blocks.2.hook_resid_pre", "gpt2", False)


def test_any_other_number_is_another_sae(tmp_path: Path) -> None:
    bias = an_sae().b_dec.clone()
    bias[3] += 1e-6
    assert read_given(ours(tmp_path / "a", tensors={"b_dec": bias})).weights_id != an_sae().weights_id


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (a_trial(), ""),
        (a_trial(layer=3), "sits at the input of block 2, expected block 3"),
        (a_trial(model="gpt2-medium"), "was made for 'gpt2', expected an SAE of 'gpt2-medium'"),
        (a_trial(model="somebody/gpt2"), ""),
        (a_trial(centred=True), "reads the plain residual stream"),
    ],
)
def test_what_does_not_fit_is_said(trial: TrialConfig, said: str, tmp_path: Path) -> None:
    found = misfit(read_given(ours(tmp_path / "a")), model=trial.model, n_layers=12, d_model=16, trial=trial)
    assert (said in found) if said else found == ""


def test_another_width_or_size_is_said(tmp_path: Path) -> None:
    sae, trial = read_given(ours(tmp_path / "a")), a_trial()
    assert "of width 16, expected 32" in misfit(sae, model=trial.model, n_layers=12, d_model=32, trial=trial)
    larger = trial.model_copy(update={"sae": trial.sae.model_copy(update={"ratio": 4.0})})
    text = misfit(sae, model=trial.model, n_layers=12, d_model=16, trial=larger)
    assert "has 37 dictionary elements, and sae.ratio=4 asks for 64; expected sae.ratio=2.3125" in text


def test_what_is_no_sae_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    half = ours(tmp_path / "half")
    (half / "config.json").write_text("{}")
    zero = an_sae().dictionary.clone()
    zero[5] = 0
    nan = torch.full((37,), torch.nan)
    for folder, said in (
        (tmp_path / "nowhere", "is no folder; expected scratch, or a folder"),
        (tmp_path / "empty", "has no SAE in it"),
        (half, "no whole SAE of a run folder"),
        (ours(tmp_path / "zero", tensors={"dictionary": zero}), "1 dictionary elements of length 0"),
        (ours(tmp_path / "nan", tensors={"b_enc": nan}), "values in b_enc that are not finite"),
        (ours(tmp_path / "shape", tensors={"b_enc": nan[:9]}), "does not hold"),
    ):
        with pytest.raises(BadInput, match=said):
            read_given(folder)


def trained(model: FrozenModel, rows: Rows) -> SAEWeights:
    trial = make_trial(LocalLoss(sparsity_coeff=0.7), n_steps=5)
    (*_, last) = Pack([trial], model=model, rows=rows).train()
    assert isinstance(last, Finished)
    return SAEWeights(**last.results[trial.trial_id].sae)


def going_on(sae: SAEWeights, *, coeff: float = 0.3, **train: object) -> TrialConfig:
    trial = make_trial(E2ELoss(sparsity_coeff=coeff), n_steps=6, train=train)
    return trial.model_copy(update={"sae": trial.sae.model_copy(update={"start_from": sae.weights_id})})


def result_of(pack: Pack, trial: TrialConfig) -> TrialResult:
    (*_, last) = pack.train()
    assert isinstance(last, Finished)
    return last.results[trial.trial_id]


def test_a_trial_starts_as_the_sae_it_was_given_with_decoder_rows_as_long_as_new_ones(
    model: FrozenModel, rows: Rows
) -> None:
    sae = trained(model, rows)
    trials = [going_on(sae), going_on(sae, coeff=0.9)]
    pack = Pack(trials, model=model, rows=rows, starts={sae.weights_id: sae})
    [state] = pack.state.banks
    for index in range(2):
        start = state.bank.export(index)
        assert torch.equal(start["w_enc"], sae.w_enc)
        torch.testing.assert_close(start["dictionary"], sae.dictionary, rtol=0, atol=1e-15)
    torch.testing.assert_close(state.bank.w_dec.norm(dim=-1), torch.full((2, 2 * D_MODEL), 0.5**0.5).double())
    new = Pack([make_trial(LocalLoss(sparsity_coeff=1))], model=model, rows=rows).state.banks[0].bank
    assert new.w_dec.square().sum(-1).mean().item() == pytest.approx(0.5)


def test_it_is_trained_on_and_goes_on_after_a_cut_bitwise(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    sae = trained(model, rows)
    trial, starts = going_on(sae), {sae.weights_id: sae}
    whole = result_of(Pack([trial], model=model, rows=rows, starts=starts), trial)
    assert not torch.equal(whole.sae["w_enc"], sae.w_enc)
    cut = Pack([trial], model=model, rows=rows, starts=starts)
    next(event for event in cut.train() if isinstance(event, Stepping) and event.step == 3)
    save_state(tmp_path / "state", cut.state, trial_ids=cut.trial_ids)
    again = Pack([trial], model=model, rows=rows, starts=starts)
    load_state(tmp_path / "state", again.state, trial_ids=again.trial_ids)
    resumed = result_of(again, trial)
    assert resumed.metrics == whole.metrics
    assert all(torch.equal(tensor, whole.sae[name]) for name, tensor in resumed.sae.items())


def test_what_a_trial_starts_from_has_to_be_given(model: FrozenModel, rows: Rows) -> None:
    sae = trained(model, rows)
    with pytest.raises(BadInput, match="not among the SAEs that were given: none"):
        Pack([going_on(sae)], model=model, rows=rows)
    other = an_sae()
    with pytest.raises(BadInput, match=r"of shape \(37, 16\), expected \(16, 8\)"):
        Pack([going_on(sae)], model=model, rows=rows, starts={sae.weights_id: other})


def test_what_a_trial_starts_from_is_in_its_id_and_only_then() -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=2.0))
    assert trial.trial_id == "58097786cffeb830"
    assert "start_from" not in trial.model_dump_json()
    started = going_on(an_sae())
    assert started.sae.start_from in started.model_dump_json()
    assert started.trial_id != going_on(an_sae(d_sae=38)).trial_id
    assert TrialConfig.model_validate_json(started.model_dump_json()) == started
