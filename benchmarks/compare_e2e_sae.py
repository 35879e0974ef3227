"""Our step against e2e_sae's own training code: `python -m benchmarks.compare_e2e_sae --e2e-sae PATH --out FILE`.

PATH is a checkout of ApolloResearch/e2e_sae at commit 83b4add; docs/performance.md says what it needs. Its `train()`
runs as it is (its SAETransformer, losses, clipping, Adam, schedule), one SAE at a time as its users do, on the same
frozen model, the same rows and the same SAE weights as ours. A step is timed from one question for a batch to the next,
the first step of each turn apart. Its logging, saving, evaluation and counting of firings are off; ours log and count.

Before anything is timed, both compute the loss of one SAE on one batch: they must agree.
"""

import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.compare import STEPS_PER_TURN, parser_of, run
from benchmarks.peer_model import hooked_transformer, peer, silent
from benchmarks.setting import LOSSES, LR, OurPack, Setting, model_of, tokens_of, trials_of
from benchmarks.timing import Clock, Stamped, Turn
from trainer.errors import BadInput

LOSSES_AGREE = {"float32": 1e-3, "bfloat16": 5e-2}
"""Relative; the two run the frozen model in another order of sums, and e2e_sae always in float32."""
SCRIPT = "e2e_sae.scripts.train_tlens_saes.run_train_tlens_saes"
NOTES = {
    "e2e_sae": "train() of commit 83b4add, one SAE at a time, fp32; no logging, evaluation, saving, firing counts",
    "autocast": "the same under torch.autocast(bfloat16), with TF32, put on from outside (GPU only)",
}


class E2ESae(NamedTuple):
    """e2e_sae with one SAE, ready to train."""

    script: Any
    config: Any
    model: Any
    cache_positions: list[str] | None
    tokens: Tensor

    def train(self, batches: Any) -> None:
        self.script.train(
            config=self.config, model=self.model, train_loader=batches, device=self.tokens.device,
            trainable_param_names=[name for name, _ in self.model.saes.named_parameters()],
            cache_positions=self.cache_positions,
        )  # fmt: skip

    def loss(self) -> float:
        """Of its SAE on the batch, as `train()` computes it."""
        local = self.config.loss.logits_kl is None and self.cache_positions is None
        last = int(self.model.raw_sae_positions[0].split(".")[1]) + 1 if local else None
        clean_logits, clean = self.model.forward_raw(
            tokens=self.tokens, run_entire_model=not local, final_layer=last, cache_positions=self.cache_positions
        )
        logits, spliced = self.model.forward(
            tokens=self.tokens, sae_positions=self.model.raw_sae_positions, cache_positions=self.cache_positions,
            orig_acts=clean if local else None,
        )  # fmt: skip
        total, _ = self.script.calc_loss(
            orig_acts=clean, new_acts=spliced, orig_logits=None if logits is None else clean_logits,
            new_logits=logits, loss_configs=self.config.loss,
        )  # fmt: skip
        return float(total.detach())

    def turn(self, *, autocast: bool = False) -> Turn:
        """Its median step over one short call of `train()`."""

        def run(clock: Clock) -> float:
            batches = Stamped([{"input_ids": self.tokens}] * STEPS_PER_TURN, clock)
            if autocast:
                torch.set_float32_matmul_precision("high")
            with silent(), torch.autocast(self.tokens.device.type, dtype=torch.bfloat16, enabled=autocast):
                self.train(batches)
            batches.stamps.append(clock.now())
            return batches.step_seconds()

        return run


def e2e_sae(checkout: Path, setting: Setting, ours: OurPack) -> E2ESae:
    """Built as its `main()` builds it, and given the weights of our first SAE.

    Raises:
        BadInput: no checkout there.
    """
    if not (checkout / "e2e_sae" / "losses.py").is_file():
        raise BadInput(f"--e2e-sae {checkout}: expected a checkout of ApolloResearch/e2e_sae (commit 83b4add)")
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    script = peer(SCRIPT, package="what e2e_sae imports")
    logging.getLogger("e2e_sae").setLevel(logging.WARNING)
    config = script.Config(**config_of(setting))
    position = f"blocks.{setting.layer}.hook_resid_pre"
    with silent():
        model = script.SAETransformer(
            tlens_model=hooked_transformer(setting), raw_sae_positions=[position], init_decoder_orthogonal=False,
            dict_size_to_input_ratio=setting.ratio,
        ).to(device=torch.device(setting.device))  # fmt: skip
    sae = model.saes[position.replace(".", "-")]
    with torch.no_grad():
        sae.encoder[0].weight.copy_(ours.tensors["w_enc"][0])
        sae.encoder[0].bias.copy_(ours.tensors["b_enc"][0])
        sae.decoder.weight.copy_(ours.tensors["w_dec"][0].T)
        sae.decoder.bias.copy_(ours.tensors["b_dec"][0])
    later = config.loss.in_to_orig.hook_positions if config.loss.in_to_orig else None
    return E2ESae(script, config, model, later, tokens_of(setting))


def config_of(setting: Setting) -> dict[str, object]:
    """Its YAML for our first trial: batch size, loss, coefficients, clipping and learning rate are the same."""
    weights = trials_of(setting)[0].loss.weights
    position = f"blocks.{setting.layer}.hook_resid_pre"
    later = [f"blocks.{layer}.hook_resid_pre" for layer in range(setting.layer + 1, model_of(setting).n_layers)]
    data = {
        "dataset_name": "none", "is_tokenized": True, "tokenizer_name": "none", "streaming": True, "split": "train",
        "n_ctx": setting.context, "column_name": "input_ids",
    }  # fmt: skip
    return {
        "tlens_model_name": "none", "save_dir": None, "save_every_n_samples": None, "eval_n_samples": None,
        "n_samples": STEPS_PER_TURN * setting.batch_rows, "batch_size": setting.batch_rows, "lr": LR,
        "max_grad_norm": 10.0, "collect_act_frequency_every_n_samples": 0, "train_data": data,
        "saes": {"dict_size_to_input_ratio": setting.ratio, "sae_positions": [position]},
        "loss": {
            "sparsity": {"coeff": weights.sparsity}, "out_to_orig": None,
            "out_to_in": {"coeff": weights.local} if weights.local else None,
            "logits_kl": {"coeff": weights.kl} if weights.kl else None,
            "in_to_orig": {"total_coeff": weights.downstream, "hook_positions": later} if weights.downstream else None,
        },
    }  # fmt: skip


def turns_of(checkout: Path, setting: Setting, ours: OurPack) -> dict[str, Turn]:
    """Its turns, once it is shown to compute the loss that we do.

    Raises:
        RuntimeError: it does not.
    """
    theirs = e2e_sae(checkout, setting, ours)
    loss, their_loss = OurPack(setting.of_one(), log_every_steps=1).last_loss, theirs.loss()
    if not abs(loss - their_loss) < LOSSES_AGREE[setting.compute_dtype] * abs(their_loss):
        raise RuntimeError(f"not the same computation: our {setting.loss} loss is {loss}, that of e2e_sae {their_loss}")
    turns = {"e2e_sae": theirs.turn()}
    if setting.device.startswith("cuda"):
        turns["e2e_sae_autocast"] = theirs.turn(autocast=True)
    return turns


def main() -> None:
    """See the top of this file."""
    parser = parser_of(__doc__, losses=LOSSES)
    parser.add_argument("--e2e-sae", type=Path, required=True, help="checkout at commit 83b4add")
    arguments = parser.parse_args()
    run(arguments, partial(turns_of, arguments.e2e_sae), saes_per_step=1, notes=NOTES)


if __name__ == "__main__":
    main()
