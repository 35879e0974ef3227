"""The tokenizer that belongs to a model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import ModelConfig
from trainer.errors import BadInput
from trainer.models.quiet import quiet_transformers
from trainer.models.source import BUILTIN, model_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
_NO_LIMIT = 1 << 60


def load_tokenizer(config: ModelConfig) -> "PreTrainedTokenizerFast":
    """The tokenizer saved with the model. It takes texts of any length; cutting them is up to the caller.

    Raises:
        BadInput: the model has no tokenizer, or one that cannot be read or is not a fast one.
        EnvironmentProblem: the hub cannot be reached and its local cache does not have the tokenizer.
    """
    folder = model_folder(config, "tokenizer")
    names = ("tokenizer.json", "merges.txt", "tokenizer.model")
    if not any((folder / name).is_file() for name in names):
        raise BadInput(
            f"model {config.name!r} has no tokenizer: {folder} holds none of {', '.join(names)}. Save the model's "
            "tokenizer there (tokenizer.save_pretrained), or use data that is tokenised already"
        )
    with quiet_transformers():
        tokenizer = _read(folder, builtin=config.name == BUILTIN)
    if not tokenizer.is_fast:
        raise BadInput(f"the tokenizer in {folder} is not a fast one: save it as tokenizer.json")
    tokenizer.model_max_length = _NO_LIMIT  # else transformers warns about each document longer than the context
    return tokenizer


def _read(folder: Path, *, builtin: bool) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if builtin:
        file = str(folder / "tokenizer.json")
        return PreTrainedTokenizerFast(tokenizer_file=file, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers, json and transformers each have their own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BadInput(f"the tokenizer in {folder} cannot be read: {reason}") from error
