"""A frozen model small enough for float64, its transformers twin, and seeded token rows."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from trainer.config import DataConfig, EvalConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.data import Rows
from trainer.losses import LossConfig
from trainer.models import FrozenModel, load_model

N_LAYERS, D_MODEL, VOCAB, CONTEXT = 3, 8, 23, 6


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2, biases and norms included, saved to disk."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=CONTEXT, n_embd=D_MODEL, n_layer=N_LAYERS, n_head=2, bos_token_id=0,
        eos_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # transformers starts biases at 0 and norms at 1: nothing would depend on them
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(tiny_folder: Path) -> FrozenModel:
    return load_model(ModelConfig(name=str(tiny_folder)), dtype=torch.float64)


@pytest.fixture(scope="session")
def hf_model(tiny_folder: Path) -> GPT2LMHeadModel:
    """The same weights as transformers runs them: what references are computed with."""
    return GPT2LMHeadModel.from_pretrained(tiny_folder, dtype=torch.float64).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def rows() -> Rows:
    generator = torch.Generator().manual_seed(1)
    train = torch.randint(0, VOCAB, (40, CONTEXT), generator=generator)
    evaluation = torch.randint(0, VOCAB, (5, CONTEXT), generator=generator)
    return Rows.from_tokens(train, evaluation, seed=0)


def make_trial(
    loss: LossConfig,
    *,
    layer: int = 1,
    seed: int = 0,
    n_steps: int = 10,
    ratio: float = 2.0,
    train: dict[str, object] | None = None,
    model_name: str = "tiny",
) -> TrialConfig:
    settings: dict[str, object] = {
        "tokens": n_steps * 4 * CONTEXT,
        "lr": 1e-2,
        "compute_dtype": "float64",
        **(train or {}),
    }
    return TrialConfig(
        model=ModelConfig(name=model_name),
        data=DataConfig(dataset="seeded", context=CONTEXT, eval_rows=5),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=ratio),
        loss=loss,
        train=TrainConfig(batch_rows=4, **settings),  # type: ignore[arg-type]
        eval=EvalConfig(alive_window_tokens=60),
        seed=seed,
    )
