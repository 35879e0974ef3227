"""What is known of a model before its weights are read: its shape, from `config.json` alone.

Read as plain JSON, so that planning a sweep needs neither transformers nor, for models of the shipped sweeps, a hub.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import BadInput


@dataclass(frozen=True)
class ModelFacts:
    """Shape of a model. `family` is transformers' `model_type`."""

    n_layers: int
    d_model: int
    d_vocab: int
    n_context: int
    """Longest row of tokens the model reads."""
    family: str
    d_mlp: int
    """Width between the two (gated: three) matrices of a block's MLP."""
    n_parameters: int
    """All weights, a tied embedding once."""


_GPT2: Mapping[str, object] = {
    "model_type": "gpt2",
    "n_layer": 12,
    "n_embd": 768,
    "n_head": 12,
    "vocab_size": 50257,
    "n_positions": 1024,
}
KNOWN_CONFIGS: Mapping[str, Mapping[str, object]] = {
    # https://huggingface.co/openai-community/gpt2/blob/main/config.json
    "gpt2": _GPT2,
    "openai-community/gpt2": _GPT2,
    # https://huggingface.co/roneneldan/TinyStories-1M/blob/main/config.json
    "roneneldan/TinyStories-1M": {
        "model_type": "gpt_neo",
        "num_layers": 8,
        "hidden_size": 64,
        "num_heads": 16,
        "vocab_size": 50257,
        "max_position_embeddings": 2048,
        "window_size": 256,
        "attention_types": [[["global", "local"], 4]],
    },
}
"""Hub models of the shipped sweeps, so that `--dry-run` plans them offline. Loading always reads the real file."""


class RawConfig:
    """A model's `config.json`, read with care: a wrong value is the user's error, with the file and the key."""

    def __init__(self, values: Mapping[str, object], *, where: str) -> None:
        self.values = values
        self.where = where

    @classmethod
    def read(cls, path: Path) -> "RawConfig":
        """
        Raises:
            BadInput: not readable, or not a JSON object.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: cannot be read as a model's config.json: {error}") from None
        if not isinstance(values, dict):
            raise BadInput(f"{path}: expected a JSON object, as transformers' save_pretrained writes it")
        return cls(values, where=str(path))

    @property
    def model_type(self) -> str:
        return str(self.values.get("model_type", ""))

    def integer(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there and not null, a whole number of at least 1, else `default`.

        Raises:
            BadInput: something else is there, or nothing and there is no default.
        """
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise BadInput(f"{self.where}: {key} is {value!r}, expected a whole number of at least 1")
            return value
        if default is None:
            raise BadInput(
                f"{self.where}: {keys[0]} is missing, expected a whole number (is this a whole config.json?)"
            )
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false.

        Raises:
            BadInput: something else is there.
        """
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise BadInput(f"{self.where}: {key} is {value!r}, expected true or false")
        return value
