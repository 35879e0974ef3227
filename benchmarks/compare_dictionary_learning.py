"""Our step against dictionary_learning's `trainSAE`: `python -m benchmarks.compare_dictionary_learning --out FILE`.

dictionary_learning 0.1 hands one stream of activations to several trainers. `trainSAE` runs as it is, with one
`StandardTrainer` (L1, unit-norm decoder) per SAE and no logging or saving. The activations are made by our own run of
the frozen model up to the hookpoint, once per batch, and that is in its time as in ours; its own buffer on nnsight,
which would come on top, is not used. A step is timed from one question for activations to the next, the first step of
each turn apart. Local losses only, all that it trains.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.compare import STEPS_PER_TURN, parser_of, run
from benchmarks.peer_model import peer, silent
from benchmarks.setting import LR, OurPack, Setting, activations_of
from benchmarks.timing import Clock, Stamped, Turn

NOTES = {
    "dictionary_learning": "trainSAE of 0.1 with a StandardTrainer per SAE, fp32; activations from our own clean run",
    "autocast": "the same with its own autocast_dtype=bfloat16 (GPU only)",
}


def dictionary_learning(setting: Setting, *, dtype: torch.dtype = torch.float32) -> Turn:
    """A turn of a whole short training."""
    train = peer("dictionary_learning.training", package="dictionary-learning").trainSAE
    trainer = peer("dictionary_learning.trainers", package="dictionary-learning").StandardTrainer

    def batches() -> Iterator[Tensor]:
        for _ in range(STEPS_PER_TURN):
            yield activations_of(setting)

    def turn(clock: Clock) -> float:
        configs = [
            {
                "trainer": trainer, "steps": STEPS_PER_TURN + 2, "activation_dim": setting.d_model,
                "dict_size": round(setting.ratio * setting.d_model), "layer": setting.layer, "lm_name": "benchmark",
                "lr": LR, "l1_penalty": 0.1, "warmup_steps": 1, "sparsity_warmup_steps": 1, "seed": seed,
                "device": setting.device,
            }
            for seed in range(setting.n_saes)
        ]  # fmt: skip
        with silent():
            asked = Stamped(batches(), clock)
            train(asked, trainer_configs=configs, steps=STEPS_PER_TURN, device=setting.device, autocast_dtype=dtype)
            return asked.step_seconds()

    return turn


def turns_of(setting: Setting, ours: OurPack) -> dict[str, Turn]:
    """Its turns. It takes no weights of ours: its time does not depend on how many latents fire."""
    del ours
    turns = {"dictionary_learning": dictionary_learning(setting)}
    if setting.device.startswith("cuda"):
        turns["dictionary_learning_autocast"] = dictionary_learning(setting, dtype=torch.bfloat16)
    return turns


def main() -> None:
    """See the top of this file."""
    run(parser_of(__doc__, losses=("local",)).parse_args(), turns_of, notes=NOTES)


if __name__ == "__main__":
    main()
