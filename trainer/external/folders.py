"""Whether a folder holds an SAE as SAELens saves it. Loads no PyTorch: wrong paths are said soon."""

from pathlib import Path

from trainer.errors import BadInput

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"


def check_folder(folder: Path) -> None:
    """Raise BadInput where its files are not there, and say what to do."""
    if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
        return
    if not folder.is_dir():
        hub = "" if folder.is_absolute() or len(folder.parts) < 2 else (
            f". For one of the Hugging Face hub:  hf download {'/'.join(folder.parts[:2])} --local-dir DIR  first"
        )  # fmt: skip
        is_file = " is a file" if folder.is_file() else ": no such folder"
        raise BadInput(f"{folder}{is_file}; expected an SAE as SAELens saves it, with {CONFIG} and {WEIGHTS}{hub}")
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
    hint = f". It has folders that do: {', '.join(inside[:5])}" if inside else ""
    raise BadInput(f"{folder} has no {CONFIG} with {WEIGHTS} beside it: expected an SAE as SAELens saves it{hint}")
