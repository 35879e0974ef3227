"""Where a model's files are: `builtin`, a folder, or the cache of the hub."""

import re
from pathlib import Path

from trainer.builtin import builtin_model_folder
from trainer.config import ModelConfig
from trainer.errors import BadInput
from trainer.models.hub import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    WEIGHTS_INDEX,
    Want,
    cached_folder,
    download_folder,
    no_safetensors,
    shard_names,
)

BUILTIN = "builtin"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


def model_folder(config: ModelConfig, want: Want) -> Path:
    """Folder with what is wanted of the model: its config.json, and its weights or its tokenizer.

    Raises:
        BadInput: the folder is missing or lacks something, or the hub has no such model.
        EnvironmentProblem: the hub cannot be reached, and its local cache does not have the model.
    """
    folder = local_folder(config) or cached_folder(config.name, config.revision, want)
    return folder or download_folder(config.name, config.revision, want)


def local_folder(config: ModelConfig) -> Path | None:
    """The built-in model's folder or the one that `name` is; None if `name` can only be a hub id.

    Raises:
        BadInput: `name` is neither, or the folder has no config.json.
    """
    if config.name == BUILTIN:
        return builtin_model_folder()
    path = Path(config.name).expanduser()
    if path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise BadInput(
                f"model.name={config.name!r}: the folder {path.resolve()} has no config.json; "
                "expected a model as transformers' save_pretrained writes it"
            )
        return path
    if path.exists() or not _HUB_ID.fullmatch(config.name) or ".." in config.name:
        found = "is a file" if path.exists() else "does not exist"
        raise BadInput(
            f"model.name={config.name!r}: {path.resolve()} {found}; expected `builtin`, a folder with a transformers "
            "model, or a hub id such as gpt2 or EleutherAI/pythia-70m"
        )
    return None


def weight_files(folder: Path, name: str) -> tuple[Path, ...]:
    """The safetensors files of a model's folder, by name.

    Raises:
        BadInput: there are none, or not all.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return (folder / WEIGHTS_FILE,)
    if (folder / WEIGHTS_INDEX).is_file():
        files = tuple(folder / shard for shard in shard_names(folder / WEIGHTS_INDEX))
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise BadInput(f"model {name!r}: {folder} lacks {', '.join(missing)}, which its {WEIGHTS_INDEX} names")
        return files
    if list(folder.glob("*.bin")):
        raise BadInput(no_safetensors(f"model {name!r}: the folder {folder}", str(folder), None))
    raise BadInput(f"model {name!r}: the folder {folder} has no weights: expected {WEIGHTS_FILE} or {WEIGHTS_INDEX}")
