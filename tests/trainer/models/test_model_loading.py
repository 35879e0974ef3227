"""Laws of finding a model's files: the built-in one, folders that are right, and folders that are wrong."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import trainer.builtin
from tests.trainer.models.tiny_models import CASES, D_MODEL, D_VOCAB, N_CONTEXT, N_LAYERS
from trainer.builtin import builtin_model_folder
from trainer.config import ModelConfig
from trainer.errors import BadInput, EnvironmentProblem
from trainer.models import FAMILIES, describe_model, hookpoint_name, layer_of, load_model, load_tokenizer

BUILTIN = ModelConfig(name="builtin")


def of(folder: Path) -> ModelConfig:
    return ModelConfig(name=str(folder))


@pytest.fixture
def broken(saved, tmp_path):
    """A copy of a good GPT-2 folder, to spoil."""
    return Path(shutil.copytree(saved("gpt2").folder, tmp_path / "model"))


@pytest.mark.parametrize("case", CASES)
def test_the_facts_are_those_of_the_loaded_model(saved, case):
    facts = describe_model(of(saved(case).folder))
    model = load_model(of(saved(case).folder))
    assert facts == model.facts
    assert (facts.n_layers, facts.d_model, facts.d_vocab, facts.n_context) == (N_LAYERS, D_MODEL, D_VOCAB, N_CONTEXT)
    assert (model.n_layers, model.d_model, model.d_vocab, model.n_context) == (N_LAYERS, D_MODEL, D_VOCAB, N_CONTEXT)
    assert model.family == facts.family == saved(case).reference.config.model_type
    assert facts.n_parameters == sum(parameter.numel() for parameter in saved(case).reference.parameters())


def test_every_family_is_tested():
    assert {case.partition("-")[0] for case in CASES} == set(FAMILIES)


def test_the_shipped_sweeps_models_are_known_without_files():
    gpt2, tiny = describe_model(ModelConfig(name="gpt2")), describe_model(ModelConfig(name="roneneldan/TinyStories-1M"))
    assert (gpt2.n_layers, gpt2.d_model, gpt2.n_context, gpt2.n_parameters) == (12, 768, 1024, 124_439_808)
    assert (tiny.n_layers, tiny.d_model, tiny.d_vocab, tiny.n_context, tiny.d_mlp) == (8, 64, 50257, 2048, 256)


def test_the_built_in_model_loads_and_reads_its_own_tokenizers_text():
    model, tokenizer = load_model(BUILTIN), load_tokenizer(BUILTIN)
    assert describe_model(BUILTIN) == model.facts
    assert len(tokenizer) == model.d_vocab
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    text = "The river Elbe flows through Hamburg. " * 100
    tokens = tokenizer(text)["input_ids"]
    assert tokenizer.decode(tokens) == text
    logits = model.logits(model.blocks(model.embed(torch.tensor(tokens)[None, : model.n_context]), 0, model.n_layers))
    assert logits.isfinite().all()
    weights = (builtin_model_folder() / "model.safetensors").read_bytes()
    assert model.content_hash == hashlib.sha256(weights).hexdigest()


def test_a_built_in_model_without_its_files_is_told_as_a_broken_install(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer.builtin, "ASSETS", tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"lacks config\.json, model\.safetensors, tokenizer\.json"):
        describe_model(BUILTIN)


def test_a_sharded_model_is_the_same_model(saved, tokens, tmp_path):
    saved("gpt2").reference.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    whole, sharded = load_model(of(saved("gpt2").folder)), load_model(of(tmp_path))
    assert torch.equal(whole.block(0, whole.embed(tokens)), sharded.block(0, sharded.embed(tokens)))
    assert len(sharded.content_hash) == 64
    sorted(tmp_path.glob("*.safetensors"))[0].unlink()
    with pytest.raises(BadInput, match="lacks model-00001"):
        load_model(of(tmp_path))


def test_loading_prints_nothing(saved, capfd):
    load_model(of(saved("gpt2").folder))
    load_model(BUILTIN)
    load_tokenizer(BUILTIN)(" many words" * 3000)
    assert capfd.readouterr() == ("", "")


def test_describing_a_model_does_not_import_transformers():
    code = (
        "import sys; from trainer.config import ModelConfig; from trainer.models import describe_model; "
        "describe_model(ModelConfig(name='builtin')); print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("name", ["/no/such/folder", "./models/none", "a/b/c", "gpt2/", "~/none", "über", "-x", "a..b"])
def test_a_name_that_can_be_no_hub_id_must_be_a_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for attempt in (describe_model, load_model, load_tokenizer):
        with pytest.raises(BadInput, match="does not exist; expected `builtin`, a folder"):
            attempt(ModelConfig(name=name))


def test_a_file_is_no_model_folder(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(BadInput, match=r"model\.safetensors is a file; expected"):
        describe_model(of(tmp_path / "model.safetensors"))


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"has no config\.json"):
        describe_model(of(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as a model's config.json"),
        ("[1]", "expected a JSON object"),
        ("{}", "of the family 'nothing'.*known families: gpt2, gpt_neo, gpt_neox, llama"),
        ('{"model_type": "bert"}', "of the family 'bert'.*known families: gpt2, gpt_neo, gpt_neox, llama"),
        ('{"model_type": "gpt2"}', "n_embd is missing"),
        ('{"model_type": "gpt2", "n_embd": "64"}', "n_embd is '64', expected a whole number"),
        ('{"model_type": "gpt2", "n_embd": true}', "n_embd is True, expected a whole number"),
        ('{"model_type": "gpt2", "n_embd": -3}', "n_embd is -3, expected a whole number"),
        ('{"model_type": "llama", "quantization_config": {"bits": 4}}', "is quantised"),
    ],
)
def test_a_wrong_config_is_told_with_its_key(broken, text, message):
    (broken / "config.json").write_text(text)
    for attempt in (describe_model, load_model):
        with pytest.raises(BadInput, match=message):
            attempt(of(broken))


def test_weights_in_a_format_that_can_run_code_are_refused(broken):
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(BadInput, match=r"has no safetensors.*Convert it once.*--set model\.name=FOLDER"):
        load_model(of(broken))


def test_a_folder_without_weights_is_refused(broken):
    (broken / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"has no weights: expected model\.safetensors"):
        load_model(of(broken))


def test_broken_weights_are_refused(broken):
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadInput, match="cannot be read"):
        load_model(of(broken))


def test_weights_that_do_not_fit_the_config_are_refused(broken):
    config = json.loads((broken / "config.json").read_text())
    for change, message in (
        ({"n_layer": N_LAYERS + 1}, "they lack .*h.4."),
        ({"n_embd": 2 * D_MODEL}, "cannot be read"),
    ):
        (broken / "config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(BadInput, match=message):
            load_model(of(broken))


def test_a_folders_tokenizer_is_read_and_a_missing_one_told(broken):
    with pytest.raises(BadInput, match="has no tokenizer"):
        load_tokenizer(of(broken))
    words = Tokenizer(models.WordLevel({"<end>": 0, "a": 1, "b": 2}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(broken)
    tokenizer = load_tokenizer(of(broken))
    assert tokenizer.eos_token_id == 0
    assert tokenizer("a b a")["input_ids"] == [1, 2, 1]
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        load_tokenizer(of(broken))


def test_hookpoints_are_named_and_counted():
    assert [layer_of(hookpoint_name(layer), n_layers=3, model="m") for layer in range(3)] == [0, 1, 2]
    for wrong in (
        "blocks.3.hook_resid_pre",
        "blocks.-1.hook_resid_pre",
        "blocks.1.hook_resid_post",
        "blocks.01.hook_resid_pre",
    ):
        with pytest.raises(BadInput, match=r"m has blocks\.0\.hook_resid_pre to blocks\.2\.hook_resid_pre"):
            layer_of(wrong, n_layers=3, model="m")
