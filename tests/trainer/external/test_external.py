"""SAEs of others: read, refused with a reason, placed, and measured as our own are."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.trainer.conftest import N_LAYERS, make_trial
from tests.trainer.export.saes import activations, an_sae
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.export import TrainedSAE, save_sae
from trainer.external import layer_of_hook, measure, place, read_saelens
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss
from trainer.models import FrozenModel
from trainer.pack import Finished, Pack
from trainer.sae.weights import SAEWeights

REFUSED = {
    "jumprelu": ({"architecture": "jumprelu"}, "architecture 'jumprelu'.*measures 'standard'"),
    "topk": ({"architecture": "topk", "k": 8}, "architecture 'topk'"),
    "transcoder": ({"architecture": "transcoder"}, "architecture 'transcoder'"),
    "other activation": ({"activation_fn_str": "tanh-relu"}, "activation function 'tanh-relu'"),
    "layer norm": ({"normalize_activations": "layer_norm"}, "normalised by 'layer_norm'.*fold"),
    "heads": ({"reshape_activations": "hook_z"}, "reshaped by 'hook_z'"),
    "scaled": ({"finetuning_scaling_factor": True}, "finetuning scaling factor"),
    "other shape": ({"d_sae": 38}, "says d_in=16 and d_sae=38"),
}


def saved(folder: Path, *, config: dict[str, object] | None = None, tensors: dict[str, Tensor] | None = None) -> Path:
    """A folder of SAELens with some things changed."""
    save_sae(an_sae(), folder)
    path = folder / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
    weights = folder / "sae_weights.safetensors"
    save_file(load_file(weights) | (tensors or {}), weights)
    return folder


def with_metadata(folder: Path, **changes: object) -> Path:
    path = folder / "cfg.json"
    config = json.loads(path.read_text())
    config["metadata"] |= changes
    path.write_text(json.dumps(config))
    return folder


def outputs(sae: SAEWeights, x: Tensor) -> tuple[Tensor, Tensor]:
    """Latents > 0, and what comes out."""
    latents = sae.encode(x)
    return latents > 0, sae.decode(latents)


def test_what_we_export_is_read_back_bitwise_with_where_it_sits(tmp_path: Path) -> None:
    sae = an_sae()
    save_sae(sae, tmp_path / "mine")
    read = read_saelens(tmp_path / "mine")
    assert (read.name, read.hook, read.model, read.context) == ("mine", "blocks.2.hook_resid_pre", "gpt2-small", 32)
    assert read.model_hash == "ab" * 32
    assert torch.equal(read.b_dec, sae.b_dec)
    for name in ("w_enc", "b_enc", "dictionary"):
        torch.testing.assert_close(getattr(read, name), getattr(sae, name), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("subtracts", [False, True])
def test_decoder_norms_and_a_subtracted_bias_move_into_the_encoder(tmp_path: Path, subtracts: bool) -> None:
    w_dec = torch.randn(37, 16, generator=torch.Generator().manual_seed(3)) * torch.linspace(0, 9, 37)[:, None]
    read = read_saelens(saved(tmp_path, config={"apply_b_dec_to_input": subtracts}, tensors={"W_dec": w_dec}))
    w, x = load_file(tmp_path / "sae_weights.safetensors"), activations()
    latents = ((x - w["b_dec"] * subtracts) @ w["W_enc"] + w["b_enc"]).relu()
    fires, output = outputs(read, x)
    assert torch.equal(fires, latents > 0)
    torch.testing.assert_close(output, latents @ w["W_dec"] + w["b_dec"], atol=1e-3, rtol=1e-5)
    norms = read.dictionary.norm(dim=1)
    torch.testing.assert_close(norms, torch.where(w_dec.norm(dim=1) > 0, 1.0, 0.0))


def test_a_file_of_before_version_6_subtracts_the_bias_and_says_all_at_the_top(tmp_path: Path) -> None:
    saved(tmp_path, tensors={"scaling_factor": torch.ones(37)})
    old = {
        "d_in": 16, "d_sae": 37, "dtype": "torch.float32", "model_name": "gpt2-small", "activation_fn_str": "relu",
        "hook_point": "blocks.6.hook_resid_pre", "hook_point_head_index": None, "context_size": 128,
        "prepend_bos": True, "normalize_activations": False,
    }  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    read = read_saelens(tmp_path)
    assert (read.hook, read.model) == ("blocks.6.hook_resid_pre", "gpt2-small")
    assert (read.context, read.prepend_bos) == (128, True)
    w = load_file(tmp_path / "sae_weights.safetensors")
    torch.testing.assert_close(read.b_enc, w["b_enc"] - w["b_dec"] @ w["W_enc"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_exactly_is_refused_by_name(case: str, tmp_path: Path) -> None:
    config, message = REFUSED[case]
    with pytest.raises(BadInput, match=message):
        read_saelens(saved(tmp_path, config=config))


def test_a_folder_that_is_none_or_broken_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such folder.*hf download jbloom/sae --local-dir"):
        read_saelens(Path("jbloom/sae"))
    with pytest.raises(BadInput, match="no such folder; expected an SAE as SAELens saves it"):
        read_saelens(tmp_path / "nothing")
    saved(tmp_path / "all" / "one")
    with pytest.raises(BadInput, match="It has folders that do: one"):
        read_saelens(tmp_path / "all")
    (tmp_path / "all" / "one" / "cfg.json").write_text("{")
    with pytest.raises(BadInput, match="is not JSON"):
        read_saelens(tmp_path / "all" / "one")
    torn = saved(tmp_path / "torn") / "sae_weights.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    with pytest.raises(BadInput, match="is it whole"):
        read_saelens(tmp_path / "torn")
    with pytest.raises(BadInput, match="W_enc that are not finite"):
        read_saelens(saved(tmp_path / "nan", tensors={"W_enc": torch.full((16, 37), torch.nan)}))
    with pytest.raises(BadInput, match="scaling_factor that is not 1"):
        read_saelens(saved(tmp_path / "scale", tensors={"scaling_factor": torch.full((37,), 2.0)}))


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.0.hook_resid_pre", 0),
        ("blocks.2.hook_resid_pre", 2),
        ("blocks.1.hook_resid_post", 2),
        ("transformer.h.1", 2),
        ("model.layers.0", 1),
        ("gpt_neox.layers.1", 2),
        ("transformer.drop", 0),
    ],
)
def test_an_output_is_the_input_of_the_next_block(hook: str, layer: int) -> None:
    assert layer_of_hook(hook, n_layers=3, where="x") == layer


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("blocks.2.hook_resid_post", "after the last of 3 blocks"),
        ("blocks.3.hook_resid_pre", "after the last of 3 blocks"),
        ("blocks.6.hook_resid_pre", "the model has 3 blocks: it is another model's"),
        ("blocks.1.hook_mlp_out", "expected the residual stream between blocks"),
        ("blocks.1.attn.hook_z", "expected the residual stream between blocks"),
    ],
)
def test_places_that_are_no_input_of_a_block_are_refused(hook: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        layer_of_hook(hook, n_layers=3, where="x")


def trained(trials: list[TrialConfig], model: FrozenModel, rows: Rows) -> dict[str, TrainedSAE]:
    """By trial id, after a few steps."""
    (finished,) = [event for event in Pack(trials, model=model, rows=rows).train() if isinstance(event, Finished)]
    about = {"model_hash": model.content_hash}
    return {
        trial.trial_id: TrainedSAE.of(result.sae, trial, metrics=result.metrics, about=about)
        for trial in trials
        if (result := finished.results[trial.trial_id])
    }


def test_our_own_sae_taken_out_and_brought_back_has_the_metrics_of_its_trial(
    model: FrozenModel, rows: Rows, tmp_path: Path
) -> None:
    trials = [
        make_trial(LocalLoss(sparsity_coeff=3.0), layer=0),
        make_trial(E2EDownstreamLoss(sparsity_coeff=2.0, downstream_coeff=1.0), ratio=3.0),
        make_trial(E2ELoss(sparsity_coeff=5.0), layer=N_LAYERS - 1, seed=4),
    ]
    saes = trained(trials, model, rows)
    for trial_id, sae in saes.items():
        save_sae(sae, tmp_path / trial_id)
    back = [read_saelens(tmp_path / trial.trial_id) for trial in trials]
    layers = [place(sae, model=model, like=trials[0]).layer for sae in back]
    assert layers == [0, 1, N_LAYERS - 1]
    for metrics, trial in zip(measure(back, layers, like=trials[0], model=model, rows=rows), trials, strict=True):
        expected = dict(saes[trial.trial_id].metrics)
        del expected["grad_norm"]
        assert metrics.keys() == expected.keys()
        for name, value in expected.items():
            assert metrics[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


def test_an_sae_of_another_model_width_or_stream_is_refused(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=3.0))
    (sae,) = trained([trial], model, rows).values()

    def refused(message: str, **metadata: object) -> None:
        save_sae(sae, tmp_path)
        with pytest.raises(BadInput, match=message):
            place(read_saelens(with_metadata(tmp_path, **metadata)), model=model, like=trial)

    refused("trained on other weights", sae_frontier={"model_hash": "0" * 64})
    refused(r"was made for 'pythia-70m'.*--same-model", sae_frontier=None, model_name="pythia-70m")
    refused("reads the mean-centred residual stream", model_from_pretrained_kwargs={"center_writing_weights": True})
    refused(r"does not say where it sits.*--layer", hook_name=None)
    save_sae(an_sae(), tmp_path)
    with pytest.raises(BadInput, match=r"width 16, and the residual stream of .* has 8"):
        place(read_saelens(tmp_path), model=model, like=trial)


def test_what_is_unlike_but_no_reason_to_refuse_is_noted(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=3.0))
    (sae,) = trained([trial], model, rows).values()
    save_sae(sae, tmp_path)
    read = read_saelens(with_metadata(tmp_path, context_size=128, prepend_bos=True))
    assert place(read, model=model, like=trial).notes == (
        "trained on rows of 128 tokens, measured on rows of 6",
        "trained on rows that begin with a BOS token, measured on rows without",
    )
    unplaced = replace(read, hook=None, model="pythia-70m", model_hash=None)
    assert place(unplaced, model=model, like=trial, layer=2, same_model=True).layer == 2
    with pytest.raises(BadInput, match="leave --layer 2 out"):
        place(read, model=model, like=trial, layer=2)
    with pytest.raises(BadInput, match="has the layers 0 to 2"):
        place(unplaced, model=model, like=trial, layer=3, same_model=True)


def test_names_of_one_model_are_taken_for_the_same(model: FrozenModel, rows: Rows, tmp_path: Path) -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=3.0))
    (sae,) = trained([trial], model, rows).values()
    save_sae(sae, tmp_path)
    read = replace(read_saelens(tmp_path), model_hash=None)
    named = FrozenModel.__new__(FrozenModel)
    named.__dict__ |= model.__dict__ | {"name": "openai-community/gpt2"}
    assert place(replace(read, model="gpt2-small"), model=named, like=trial).layer == 1
    with pytest.raises(BadInput, match="was made for 'gpt2-xl'"):
        place(replace(read, model="gpt2-xl"), model=named, like=trial)


def test_weights_of_a_folder_in_bfloat16_are_read_in_float32(tmp_path: Path) -> None:
    save_sae(an_sae(), tmp_path)
    weights = tmp_path / "sae_weights.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(weights).items()}, weights)
    assert read_saelens(tmp_path).w_enc.dtype == torch.float32
