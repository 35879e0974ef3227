"""What comes with the package: a small language model, its tokenizer, the script that made them, and the built-in text.

The text itself is not here; `corpus.py` reads it from another installed package. Nothing here knows SAEs.
"""

from pathlib import Path

from trainer.errors import EnvironmentProblem

ASSETS = Path(__file__).resolve().parent / "assets"
"""Folder with `config.json`, `model.safetensors` (fp16), `tokenizer.json` and `MODEL_CARD.md`."""


def builtin_model_folder() -> Path:
    """Folder of the built-in model, as transformers saves models.

    Raises:
        EnvironmentProblem: the package was installed without its assets.
    """
    missing = [name for name in ("config.json", "model.safetensors", "tokenizer.json") if not (ASSETS / name).is_file()]
    if missing:
        raise EnvironmentProblem(
            f"the built-in model is not complete: {ASSETS} lacks {', '.join(missing)}. "
            "Install the package again, or name a model of your own: --set model.name=FOLDER"
        )
    return ASSETS
