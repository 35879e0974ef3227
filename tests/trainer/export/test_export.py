"""What is in the files, by the formulas of the tools that read them. The tools themselves are in the other test."""

import json
from io import BytesIO
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load

from tests.trainer.conftest import N_LAYERS, make_trial
from tests.trainer.export.saes import DOWNSTREAM, a_trial, activations, an_sae
from tests.trainer.models.tiny_models import CASES, save_tiny_model
from trainer.clean import Capture, clean_run
from trainer.config import ModelConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.export import (
    FORMATS,
    TrainedSAE,
    dictionary_learning_files,
    e2e_sae_files,
    firing_frequencies,
    saelens_files,
    save_sae,
)
from trainer.export.e2e_sae import ratio_that_gives
from trainer.export.names import module_before
from trainer.losses import E2ELoss, LocalLoss
from trainer.models import FrozenModel, load_model
from trainer.pack import Finished, Pack


def unpickled(content: bytes) -> dict[str, torch.Tensor]:
    return torch.load(BytesIO(content), weights_only=True)


def test_saelens_formula_gives_our_latents_and_our_output() -> None:
    sae, x = an_sae(), activations()
    files = saelens_files(sae)
    w, config = load(files["sae_weights.safetensors"]), json.loads(files["cfg.json"])
    assert {name: tuple(t.shape) for name, t in w.items()} == {
        "W_enc": (16, 37),
        "b_enc": (37,),
        "W_dec": (37, 16),
        "b_dec": (16,),
    }
    latents = ((x - w["b_dec"] * config["apply_b_dec_to_input"]) @ w["W_enc"] + w["b_enc"]).relu()
    torch.testing.assert_close(latents, sae.encode(x), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(latents @ w["W_dec"] + w["b_dec"], sae.decode(sae.encode(x)), atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(w["W_dec"].norm(dim=1), torch.ones(37))


def test_saelens_config_names_the_place_and_keeps_how_it_was_trained() -> None:
    sae = an_sae(a_trial(loss=DOWNSTREAM))
    config = json.loads(saelens_files(sae)["cfg.json"])
    metadata = config["metadata"]
    assert (config["d_in"], config["d_sae"], config["dtype"]) == (16, 37, "float32")
    assert metadata["sae_lens_version"] >= "6"
    assert (metadata["model_name"], metadata["hook_name"]) == ("gpt2-small", "blocks.2.hook_resid_pre")
    assert (metadata["hf_hook_name"], metadata["context_size"], metadata["prepend_bos"]) == (
        "transformer.h.1",
        32,
        False,
    )
    assert metadata["model_from_pretrained_kwargs"] == {"center_writing_weights": False}
    assert (metadata["l0"], metadata["ce_loss_increase"], metadata["num_dead_features"]) == (11.5, 0.125, 7)
    own = metadata["sae_frontier"]
    assert own["config"] == sae.config.model_dump(mode="json")
    assert (own["trial_id"], own["sweep_id"]) == (sae.config.trial_id, "a-sweep")
    assert own["metrics"]["cosine"] is None
    assert own["metrics"]["downstream_mse"] == [1.0, None]


def test_a_centred_stream_is_said_and_no_module_of_transformers_is_named_for_it() -> None:
    metadata = json.loads(saelens_files(an_sae(a_trial(centred=True)))["cfg.json"])["metadata"]
    assert metadata["model_from_pretrained_kwargs"] == {"center_writing_weights": True}
    assert "hf_hook_name" not in metadata


def test_sparsity_is_the_logarithm_of_the_frequency_and_minus_ten_for_the_dead() -> None:
    sparsity = load(saelens_files(an_sae())["sparsity.safetensors"])["sparsity"]
    assert sparsity.shape == (37,)
    assert sparsity[0].item() == pytest.approx(-10)
    assert sparsity[-1].item() == pytest.approx(0, abs=1e-6)
    assert sparsity[18].item() == pytest.approx(torch.log10(torch.tensor(0.5)).item())


def test_dictionary_learning_formula_gives_our_latents_and_our_output() -> None:
    sae, x = an_sae(), activations()
    w = unpickled(dictionary_learning_files(sae)["ae.pt"])
    latents = ((x - w["bias"]) @ w["encoder.weight"].T + w["encoder.bias"]).relu()
    torch.testing.assert_close(latents, sae.encode(x), atol=2e-6, rtol=1e-6)
    torch.testing.assert_close(
        latents @ w["decoder.weight"].T + w["bias"], sae.decode(sae.encode(x)), atol=1e-5, rtol=1e-6
    )


def test_dictionary_learning_names_the_block_whose_output_it_is_and_refuses_the_input_of_the_first() -> None:
    config = json.loads(dictionary_learning_files(an_sae(a_trial(layer=3)))["config.json"])
    assert (config["trainer"]["layer"], config["trainer"]["submodule_name"]) == (2, "resid_post_layer_2")
    assert config["buffer"]["ctx_len"] == 32
    with pytest.raises(BadInput, match=r"blocks\.0\.hook_resid_pre.*outputs of blocks"):
        dictionary_learning_files(an_sae(a_trial(layer=0)))


def test_e2e_sae_formula_gives_our_latents_and_our_output() -> None:
    sae, x = an_sae(), activations()
    w = unpickled(e2e_sae_files(sae)["samples_80.pt"])
    prefix = "blocks-2-hook_resid_pre"
    latents = (x @ w[f"{prefix}.encoder.0.weight"].T + w[f"{prefix}.encoder.0.bias"]).relu()
    elements = torch.nn.functional.normalize(w[f"{prefix}.decoder.weight"], dim=0)
    torch.testing.assert_close(latents, sae.encode(x), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        latents @ elements.T + w[f"{prefix}.decoder.bias"], sae.decode(sae.encode(x)), atol=2e-6, rtol=1e-6
    )


def test_e2e_sae_config_has_the_loss_and_the_ratio_that_gives_the_dictionary() -> None:
    config = yaml.safe_load(e2e_sae_files(an_sae(a_trial(layer=8, loss=DOWNSTREAM)))["final_config.yaml"])
    assert int(config["saes"]["dict_size_to_input_ratio"] * 16) == 37
    assert config["saes"]["sae_positions"] == ["blocks.8.hook_resid_pre"]
    assert config["loss"]["in_to_orig"] == {
        "hook_positions": [f"blocks.{layer}.hook_resid_pre" for layer in (9, 10, 11)],
        "total_coeff": 2.5,
    }
    assert (config["loss"]["logits_kl"], config["loss"]["out_to_in"]) == ({"coeff": 0.5}, {"coeff": 0.0})


def test_a_ratio_that_is_cut_off_gives_each_dictionary_size() -> None:
    sizes = [
        (d_sae, d_model) for d_model in (7, 48, 64, 768, 5120) for d_sae in range(1, 40 * d_model, 1 + d_model // 3)
    ]
    assert all(int(ratio_that_gives(d_sae, d_model=d_model) * d_model) == d_sae for d_sae, d_model in sizes)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_sae_gives_the_same_bytes_and_pickles_hold_tensors_only(format: str) -> None:
    files, again = FORMATS[format](an_sae()), FORMATS[format](an_sae())
    assert files == again
    for name in (name for name in files if name.endswith(".pt")):
        assert all(type(value) is torch.Tensor for value in unpickled(files[name]).values())


def test_an_unknown_format_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unknown format 'onnx': expected one of saelens, dictionary_learning, e2e_sae"):
        save_sae(an_sae(), tmp_path / "here", format="onnx")
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("case", ["gpt2", "gpt_neo", "gpt_neox", "llama"])
def test_the_module_that_is_named_gives_the_activations_that_the_sae_reads(case: str, tmp_path: Path) -> None:
    saved = save_tiny_model(case, tmp_path / case)
    module, ours = saved.reference.float(), load_model(ModelConfig(name=str(saved.folder)))
    tokens = torch.randint(0, ours.d_vocab, (2, 9), generator=torch.Generator().manual_seed(0))
    layers = range(ours.n_layers)
    expected = clean_run(ours, tokens, Capture(frozenset(layers), output=False)).residuals
    for layer in layers:
        seen: list[torch.Tensor] = []

        def keep(_module: object, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...], to=seen) -> None:
            to.append(output[0] if isinstance(output, tuple) else output)

        name = module_before(layer, family=ours.family)
        assert name is not None
        hook = module.get_submodule(name).register_forward_hook(keep)
        module(tokens, use_cache=False)
        hook.remove()
        torch.testing.assert_close(seen[0].detach(), expected[layer], atol=1e-5, rtol=1e-5)


def test_every_family_has_names_for_its_modules() -> None:
    assert {case.partition("-")[0] for case in CASES} <= {"gpt2", "gpt_neo", "gpt_neox", "llama"}
    assert module_before(3, family="mamba") is None


def test_frequencies_are_over_the_alive_window_and_agree_with_the_alive_elements(
    model: FrozenModel, rows: Rows
) -> None:
    trials = [
        make_trial(LocalLoss(sparsity_coeff=3.0), layer=0),
        make_trial(E2ELoss(sparsity_coeff=5.0), layer=N_LAYERS - 1, ratio=5.0),
    ]
    (finished,) = [event for event in Pack(trials, model=model, rows=rows).train() if isinstance(event, Finished)]
    results = [finished.results[trial.trial_id] for trial in trials]
    saes = [TrainedSAE.of(r.sae, trial, metrics=r.metrics) for r, trial in zip(results, trials, strict=True)]
    counted = firing_frequencies(saes, model=model, rows=rows, n_tokens=trials[0].eval.alive_window_tokens)
    for sae, frequency, result in zip(saes, counted, results, strict=True):
        assert (frequency > 0).sum().item() == result.metrics["n_alive_elements"]
        clean = clean_run(model, rows.train_rows(0, 10), Capture(frozenset({sae.layer}), output=False))
        expected = (sae.encode(clean.residuals[sae.layer]) > 0).double().mean((0, 1))
        torch.testing.assert_close(frequency, expected)
        assert 0 < frequency.mean() < 1
