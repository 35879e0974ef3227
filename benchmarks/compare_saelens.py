"""Our step against SAELens' `MultiSAETrainingRunner`: `python -m benchmarks.compare_saelens --out FILE`.

SAELens 6.54 trains many SAEs from one forward pass of the model. Its runner runs as it is (`runner.run()`): its model
(TransformerLens, the same weights), its activation store on the same rows, its standard L1 SAEs, its Adam. A step is
timed from one question for activations to the next, the first step of each turn apart. To its favour: no shuffling
buffer, no logging, no saving, no evaluation. Local losses only, all that it trains.
"""

import contextlib
import logging
import signal
import tempfile
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.compare import STEPS_PER_TURN, parser_of, run
from benchmarks.peer_model import hooked_transformer, peer, silent
from benchmarks.setting import LR, OurPack, Setting, tokens_of
from benchmarks.timing import Clock, Stamped, Turn

NOTES = {
    "saelens": "MultiSAETrainingRunner.run() of 6.54, fp32, all SAEs in one run; no mixing, logging, saving",
}


def saelens(setting: Setting) -> Turn:
    """A turn of a whole short run."""
    package = peer("sae_lens", package="sae-lens")
    runner_module = peer("sae_lens.multi_sae_training_runner", package="sae-lens")
    logging.getLogger("sae_lens").setLevel(logging.ERROR)
    with silent():
        model = hooked_transformer(setting)
    datasets = peer("datasets", package="datasets")
    rows = datasets.Dataset.from_dict({"input_ids": tokens_of(setting).cpu().numpy()})

    def turn(clock: Clock) -> float:
        with silent(), signals_kept(), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
            warnings.simplefilter("ignore")
            runner = runner_module.MultiSAETrainingRunner(
                config_of(setting, package, folder), override_dataset=rows, override_model=model
            )
            batches = stamp_batches(runner, clock)
            runner.run()
            batches[0].stamps.append(clock.now())
            return batches[0].step_seconds()

    return turn


@contextlib.contextmanager
def signals_kept() -> Generator[None]:
    """The runner puts handlers of its own in place and leaves them there."""
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)


def config_of(setting: Setting, package: Any, folder: str) -> Any:
    """`setting.n_saes` L1 SAEs at one hookpoint; one batch of ours is one of theirs."""
    sizes = {"d_in": setting.d_model, "d_sae": round(setting.ratio * setting.d_model), "device": setting.device}
    module = peer("sae_lens.multi_sae_training_runner", package="sae-lens")
    return module.MultiSAETrainingRunnerConfig(
        saes={f"sae_{i}": package.StandardTrainingSAEConfig(**sizes, l1_coefficient=1.0 + 0.1 * i)
              for i in range(setting.n_saes)},
        hook_names=f"blocks.{setting.layer}.hook_resid_pre",
        context_size=setting.context, streaming=False, training_tokens=STEPS_PER_TURN * setting.tokens_per_step,
        store_batch_size_prompts=setting.batch_rows, n_batches_in_buffer=setting.batch_rows,
        activations_mixing_fraction=0.0, train_batch_size_tokens=setting.tokens_per_step, prepend_bos=False, lr=LR,
        device=setting.device, logger=package.LoggingConfig(log_to_wandb=False),
        checkpoint_path=str(Path(folder) / "checkpoints"), output_path=None,
    )  # fmt: skip


def stamp_batches(runner: Any, clock: Clock) -> list[Stamped[Any]]:
    """Have the runner's activation loader note when it is asked for a batch. The list is filled once it runs."""
    made: list[Stamped[Any]] = []
    loader = runner.activations_store.get_multi_hook_data_loader

    def stamped() -> Stamped[Any]:
        made.append(Stamped(loader(), clock))
        return made[0]

    runner.activations_store.get_multi_hook_data_loader = stamped
    return made


def turns_of(setting: Setting, ours: OurPack) -> dict[str, Turn]:
    """Its turn. It takes no weights of ours: its time does not depend on how many latents fire."""
    del ours
    return {"saelens": saelens(setting)}


def main() -> None:
    """See the top of this file."""
    run(parser_of(__doc__, losses=("local",)).parse_args(), turns_of, notes=NOTES)


if __name__ == "__main__":
    main()
