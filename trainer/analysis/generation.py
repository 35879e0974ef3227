"""Text that the model writes with an SAE in it: transformers' `generate`, the SAE as a hook on one block (feature F21).

The model is transformers' own here, not `FrozenModel`, so that all that `generate` can do works. Which prompts, and how
tokens become text, is the caller's business.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainer.config import ModelConfig
from trainer.data.rows import RowSet
from trainer.errors import BadInput
from trainer.export import TrainedSAE
from trainer.models.quiet import quiet_transformers
from trainer.models.source import model_folder
from trainer.pulse import pulse


@dataclass(frozen=True)
class Writer:
    """A causal language model of transformers, and what of it the SAEs were trained on."""

    module: Any
    """`transformers.PreTrainedModel` with a `generate`."""
    center_residual: bool
    """Whether the SAEs read the residual stream less its mean over d_model. Putting back the centred stream changes no
    logits, since models that allow it normalise with LayerNorm wherever they read."""

    @property
    def n_context(self) -> int:
        return int(self.module.config.max_position_embeddings)

    def block(self, layer: int) -> torch.nn.Module:
        """Whose input an SAE of that layer replaces."""
        n_layers = int(self.module.config.num_hidden_layers)
        if not 0 <= layer < n_layers:
            raise BadInput(f"an SAE of layer {layer}: the model has the layers 0 to {n_layers - 1}")
        body: torch.nn.Module = self.module.base_model
        (blocks,) = [
            each for each in body.children() if isinstance(each, torch.nn.ModuleList) and len(each) == n_layers
        ]
        return blocks[layer]

    @contextmanager
    def spliced(self, sae: TrainedSAE | None) -> Generator[None]:
        """The SAE stands in for the input of its block while inside; with None nothing does."""
        if sae is None:
            yield
            return
        if sae.d_model != int(self.module.config.hidden_size):
            raise BadInput(
                f"an SAE of width {sae.d_model} ({sae.config.run_name}) in a model of width "
                f"{self.module.config.hidden_size}: name the model that it was trained on"
            )
        hook = self.block(sae.layer).register_forward_pre_hook(self._hook(sae), with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()

    def _hook(self, sae: TrainedSAE) -> Any:
        def replace(x: Tensor) -> Tensor:
            read = x - x.mean(-1, keepdim=True) if self.center_residual else x
            return sae.decode(sae.encode(read.to(sae.w_enc))).to(x)

        def hook(_block: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (replace(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": replace(kwargs["hidden_states"])}

        return hook


def load_writer(config: ModelConfig, *, device: torch.device | str = "cpu") -> Writer:
    """In float32, from where `load_model` reads it.

    Raises:
        BadInput: no such model, or its weights cannot be read.
        EnvironmentProblem: the hub cannot be reached and its local cache does not have the model.
    """
    folder = model_folder(config, "weights")
    with quiet_transformers():
        from transformers import AutoModelForCausalLM

        try:
            module: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # safetensors, json and transformers each have their own
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise BadInput(f"the model in {folder} cannot be read to write text with: {reason}") from error
    return Writer(module.to(device).eval().requires_grad_(False), config.center_residual)


@dataclass(frozen=True)
class Continuation:
    """What was written after one prompt."""

    prompt: Int[Tensor, " prompt"]
    written: Int[Tensor, " new"]
    """Ends with the end-of-text token where the model wrote one."""
    clean_nats_per_token: float
    """-log p of what was written, mean over its tokens, as the model without an SAE sees it: low for text that the
    model itself might write."""

    def n_same(self, other: "Continuation") -> int:
        """Tokens before the first one that differs."""
        both = min(len(self.written), len(other.written))
        differs = (self.written[:both] != other.written[:both]).nonzero()
        return int(differs[0]) if len(differs) else both


def prompts_of(rows: RowSet, *, n_prompts: int, n_tokens: int) -> list[Int[Tensor, " _"]]:
    """The first `n_tokens` tokens (half a row at most) of as many rows, evenly through them."""
    n_prompts = min(n_prompts, len(rows))
    length = max(1, min(n_tokens, rows.context // 2))
    return [rows.take(slice(at, at + 1))[0, :length] for at in (i * len(rows) // n_prompts for i in range(n_prompts))]


@torch.no_grad()
def continuations(
    writer: Writer,
    prompts: Sequence[Int[Tensor, " _"]],
    *,
    sae: TrainedSAE | None,
    n_new_tokens: int = 40,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Continuation]:
    """What the model writes after each prompt with the SAE in it (None: by itself), `n_new_tokens` tokens at most.

    `temperature` 0 takes the most likely token each time; above 0 tokens are drawn, from the same random numbers for
    every SAE.

    Raises:
        BadInput: the model cannot read that many tokens, or the SAE does not fit it.
    """
    longest = max((len(prompt) for prompt in prompts), default=0) + n_new_tokens
    if longest > writer.n_context:
        raise BadInput(
            f"prompt and text are {longest} tokens, but the model reads at most {writer.n_context}: ask for fewer"
        )
    found: list[Continuation] = []
    for number, prompt in enumerate(prompts):
        pulse("paper")
        with quiet_transformers(), torch.random.fork_rng(devices=_generators(writer)), writer.spliced(sae):
            torch.manual_seed(seed + number)
            written = _written(writer, prompt, n_new_tokens, temperature)
        found.append(Continuation(prompt, written, _nats(writer, prompt, written)))
    return found


def _generators(writer: Writer) -> list[torch.device]:
    device = torch.device(writer.module.device)
    return [device] if device.type == "cuda" else []


def _written(writer: Writer, prompt: Tensor, n_new_tokens: int, temperature: float) -> Tensor:
    read = prompt[None].to(writer.module.device)
    drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
    tokens: Tensor = writer.module.generate(
        read, attention_mask=torch.ones_like(read), max_new_tokens=n_new_tokens, do_sample=temperature > 0,
        num_beams=1, pad_token_id=0, **drawn,
    )  # fmt: skip
    return tokens[0, len(prompt) :].cpu()


def _nats(writer: Writer, prompt: Tensor, written: Tensor) -> float:
    tokens = torch.cat([prompt, written]).to(writer.module.device)
    logits: Float[Tensor, "pos vocab"] = writer.module(tokens[None]).logits[0, len(prompt) - 1 : -1]
    log_p = logits.double().log_softmax(-1)
    return -float(log_p.gather(-1, tokens[len(prompt) :, None]).mean())
