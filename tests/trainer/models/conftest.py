"""Fixtures of the tests of models; the models themselves are in `tiny_models.py`."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.models.tiny_models import D_VOCAB, Saved, save_tiny_model


class _Float64Torch:
    """The torch module to a family's source, except that what it calls float32 is float64."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Saved]]:
    """`saved(case)`: a random float64 model, made once.

    GPT-Neo's attention and Llama's norm go through float32 in transformers even in a float64 model; that is switched
    off, so that both sides can be compared to 1e-10.
    """
    from transformers.models.gpt_neo import modeling_gpt_neo
    from transformers.models.llama import modeling_llama

    made: dict[str, Saved] = {}

    def make(case: str) -> Saved:
        if case not in made:
            made[case] = save_tiny_model(case, tmp_path_factory.mktemp("models") / case)
        return made[case]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_gpt_neo, "torch", _Float64Torch())
        patch.setattr(modeling_llama, "torch", _Float64Torch())
        yield make


@pytest.fixture
def tokens() -> Tensor:
    """3 rows of 19 tokens."""
    return torch.randint(0, D_VOCAB, (3, 19), generator=torch.Generator().manual_seed(1))
