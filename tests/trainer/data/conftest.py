"""A tokenizer of bytes, small data sets on disk, and a way to prepare rows with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from trainer.config import DataConfig, ModelConfig
from trainer.data import Rows, prepare_rows

D_VOCAB = 257
END = 256
MODEL = ModelConfig(name="unused")


def byte_tokenizer(*, end: str | None = "<end>") -> Any:
    """One token per byte, in the order of the byte alphabet; token 256 ends a text."""
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={**{c: i for i, c in enumerate(alphabet)}, "<end>": END}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return byte_tokenizer()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def prepare(cache: Path, tokenizer: Any) -> Callable[..., Rows]:
    """`prepare(dataset, context=8, ...)`: rows made with the byte tokenizer; other keywords are fields of the data."""

    def rows(dataset: Path | str, *, context: int = 8, d_vocab: int = D_VOCAB, **settings: Any) -> Rows:
        passed_on = {name: settings.pop(name) for name in ("progress", "n_context", "tokenizer") if name in settings}
        data = DataConfig(dataset=str(dataset), context=context, **{"eval_rows": 1, **settings})
        return prepare_rows(
            data, model=MODEL, d_vocab=d_vocab, cache=cache, **{"tokenizer": lambda: tokenizer, **passed_on}
        )

    return rows
