"""A GPT2-small with random weights, to time its shape: `python -m benchmarks.random_model FOLDER`."""

import argparse
from pathlib import Path

from trainer.models.quiet import quiet_transformers


def save_random_gpt2(folder: Path, **changes: int) -> None:
    """As transformers saves models. `changes` are fields of its `GPT2Config`."""
    with quiet_transformers():
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(bos_token_id=None, eos_token_id=None, **changes)  # pyright: ignore[reportArgumentType]
        GPT2LMHeadModel(config).save_pretrained(folder)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    save_random_gpt2(parser.parse_args().folder)


if __name__ == "__main__":
    main()
