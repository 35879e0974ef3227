"""Our files in the tools they are for, loaded by the tools' own code. Each test skips, and says why, without its tool.

pip install sae-lens==6.54.12
pip install --no-deps dictionary-learning==0.1.0     only its file of classes is loaded: it needs nothing else
git clone https://github.com/ApolloResearch/e2e_sae && export E2E_SAE_FOLDER=.../e2e_sae    (commit 83b4add)
"""

import importlib
import os
import re
import warnings
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from tests.trainer.export.saes import DOWNSTREAM, a_trial, activations, an_sae
from trainer.export import TrainedSAE, save_sae
from trainer.external import read_saelens

TOLERANCE = {"atol": 1e-6, "rtol": 1e-6}


def quiet(what: str) -> Any:
    """Import it; what it warns of is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(what)


def from_file(path: Path, name: str) -> ModuleType:
    """One file of a package, without the package's other imports."""
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sae_lens() -> Any:
    if find_spec("sae_lens") is None:
        pytest.skip("needs sae-lens: pip install sae-lens==6.54.12")
    return quiet("sae_lens")


@pytest.fixture(scope="module")
def dictionary_learning() -> Any:
    spec = find_spec("dictionary_learning")
    if spec is None or spec.origin is None:
        pytest.skip("needs dictionary-learning: pip install --no-deps dictionary-learning==0.1.0")
    return from_file(Path(spec.origin).with_name("dictionary.py"), "dictionary_learning_classes")


@pytest.fixture(scope="module")
def e2e_sae() -> Any:
    folder = os.environ.get("E2E_SAE_FOLDER")
    if not folder:
        pytest.skip("needs a checkout of github.com/ApolloResearch/e2e_sae, named by E2E_SAE_FOLDER")
    return from_file(Path(folder) / "e2e_sae" / "models" / "sparsifiers.py", "e2e_sae_sparsifiers")


def same(sae: TrainedSAE, x: Tensor, *, latents: Tensor, output: Tensor, scale: float = 1.0) -> None:
    """Their latents and their output are ours, to a millionth of the largest number on the way."""
    for theirs, ours in ((latents, sae.encode(x)), (output, sae.decode(sae.encode(x)))):
        largest = max(1.0, ours.abs().max().item())
        torch.testing.assert_close(theirs.detach() / largest, ours / largest, atol=1e-6 * scale, rtol=0)


def loaded(sae_lens: Any, folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\s*This SAE has non-empty model_from_pretrained_kwargs")
        return sae_lens.SAE.load_from_disk(str(folder))


def test_what_is_needed_here_is_what_the_tests_environment_installs() -> None:
    root = Path(__file__).parents[3]
    installed = (root / "Makefile").read_text("utf-8") + (root / "pyproject.toml").read_text("utf-8")
    named = re.findall(r"^pip install .*?([a-z-]+==[\d.]+)", __doc__ or "", re.MULTILINE)
    assert len(named) == 2
    assert [name for name in named if name not in installed] == []
    assert "--no-deps dictionary-learning==" in installed  # its requirements are another torch


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saelens_loads_the_folder_and_encodes_and_decodes_as_we_do(
    sae_lens: Any, dtype: torch.dtype, tmp_path: Path
) -> None:
    sae, x = an_sae(dtype=dtype), activations(dtype=dtype)
    save_sae(sae, tmp_path)
    theirs = loaded(sae_lens, tmp_path)
    assert theirs.dtype == dtype
    same(sae, x, latents=theirs.encode(x), output=theirs(x))
    same(sae, x, latents=sae.encode(x), output=theirs.decode(sae.encode(x)))


@pytest.mark.slow
def test_saelens_keeps_what_we_say_of_the_sae_and_writes_it_again(sae_lens: Any, tmp_path: Path) -> None:
    sae = an_sae(a_trial(loss=DOWNSTREAM))
    save_sae(sae, tmp_path / "ours")
    theirs = loaded(sae_lens, tmp_path / "ours")
    metadata = theirs.cfg.metadata
    assert theirs.cfg.architecture() == "standard"
    assert (metadata.model_name, metadata.hook_name) == ("gpt2-small", "blocks.2.hook_resid_pre")
    assert (metadata.context_size, metadata.prepend_bos) == (32, False)  # what its ActivationsStore insists on
    assert (metadata.l0, metadata.ce_loss_increase) == (11.5, 0.125)
    assert metadata.sae_frontier["config"] == sae.config.model_dump(mode="json")
    theirs.save_model(tmp_path / "theirs")
    again = read_saelens(tmp_path / "theirs")
    assert (again.hook, again.model_hash, again.context) == ("blocks.2.hook_resid_pre", "ab" * 32, 32)
    assert torch.equal(again.w_enc, read_saelens(tmp_path / "ours").w_enc)


@pytest.mark.slow
def test_saelens_knows_our_model_names_and_our_sparsity(sae_lens: Any, tmp_path: Path) -> None:
    del sae_lens
    loading = quiet("transformer_lens.loading_from_pretrained")
    assert loading.get_official_model_name("gpt2-small") == "gpt2"
    files = quiet("sae_lens.constants")
    assert {path.name for path in save_sae(an_sae(), tmp_path)} == {
        files.SAE_WEIGHTS_FILENAME,
        files.SAE_CFG_FILENAME,
        files.SPARSITY_FILENAME,
    }
    assert load_file(tmp_path / files.SPARSITY_FILENAME)["sparsity"].shape == (37,)


@pytest.mark.slow
@pytest.mark.parametrize("subtracts", [False, True])
def test_an_sae_that_saelens_wrote_is_read_as_the_same_function(sae_lens: Any, subtracts: bool, tmp_path: Path) -> None:
    made = sae_lens.StandardSAE(sae_lens.StandardSAEConfig(d_in=16, d_sae=37, apply_b_dec_to_input=subtracts))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    made.cfg.metadata.hook_name = "blocks.3.hook_resid_post"
    made.save_model(tmp_path)
    read, x = read_saelens(tmp_path), activations()
    assert read.hook == "blocks.3.hook_resid_post"
    ours = TrainedSAE.of({n: getattr(read, n) for n in ("w_enc", "b_enc", "dictionary", "b_dec")}, a_trial())
    latents = made.encode(x).detach()
    assert torch.equal(ours.encode(x) > 0, latents > 0)
    same(ours, x, latents=latents * made.W_dec.detach().norm(dim=1), output=made(x))


@pytest.mark.slow
def test_an_architecture_of_saelens_that_we_do_not_measure_is_named(sae_lens: Any, tmp_path: Path) -> None:
    made = sae_lens.JumpReLUSAE(sae_lens.JumpReLUSAEConfig(d_in=16, d_sae=37))
    made.save_model(tmp_path)
    with pytest.raises(ValueError, match="architecture 'jumprelu'"):
        read_saelens(tmp_path)


def test_dictionary_learning_loads_the_file_and_encodes_and_decodes_as_we_do(
    dictionary_learning: Any, tmp_path: Path
) -> None:
    sae, x = an_sae(), activations()
    save_sae(sae, tmp_path, format="dictionary_learning")
    theirs = dictionary_learning.AutoEncoder.from_pretrained(tmp_path / "ae.pt")
    assert (theirs.activation_dim, theirs.dict_size) == (16, 37)
    same(sae, x, latents=theirs.encode(x), output=theirs(x))


def test_dictionary_learning_finds_nothing_to_normalise_in_our_decoder(
    dictionary_learning: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_sae(an_sae(d_model=48, d_sae=480), tmp_path, format="dictionary_learning")
    dictionary_learning.AutoEncoder.from_pretrained(tmp_path / "ae.pt", normalize_decoder=True)
    assert "Normalizing" not in capsys.readouterr().out


def test_e2e_sae_loads_the_file_and_computes_what_we_do(e2e_sae: Any, tmp_path: Path) -> None:
    sae, x = an_sae(), activations()
    save_sae(sae, tmp_path, format="e2e_sae")
    config = yaml.safe_load((tmp_path / "final_config.yaml").read_text())
    (position,), ratio = config["saes"]["sae_positions"], config["saes"]["dict_size_to_input_ratio"]
    saes = torch.nn.ModuleDict({position.replace(".", "-"): e2e_sae.SAE(16, int(ratio * 16))})
    (checkpoint,) = tmp_path.glob("*.pt")
    assert int(checkpoint.name.split(".pt")[0].split("_")[-1]) == 80  # as its loader picks the latest
    saes.load_state_dict(torch.load(checkpoint, map_location="cpu"))
    output, latents = saes["blocks-2-hook_resid_pre"](x)
    same(sae, x, latents=latents, output=output)
    torch.testing.assert_close(saes["blocks-2-hook_resid_pre"].dict_elements.T, sae.dictionary, **TOLERANCE)


@pytest.mark.slow
def test_the_lines_of_the_guide_load_what_is_exported(
    sae_lens: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del sae_lens
    guide = (Path(__file__).parents[3] / "docs" / "saes.md").read_text("utf-8")
    (lines,) = re.findall(r"^```py\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    save_sae(an_sae(), tmp_path / "published" / "L4-e2e-c3-s0")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(lines, "docs/saes.md", "exec"), {})
    assert capsys.readouterr().out.startswith("blocks.2.hook_resid_pre 11.5 {'sparsity_coeff': 0.8")
