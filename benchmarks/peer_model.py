"""The frozen model of a setting as the peers run it: a TransformerLens `HookedTransformer` with the same weights.

TransformerLens is not a dependency of this project; it is imported when asked for.
"""

import contextlib
import importlib
import io
from collections.abc import Generator
from typing import Any

import torch

from benchmarks.setting import Setting
from trainer.errors import EnvironmentProblem
from trainer.models.quiet import quiet_transformers

HOW = "install it into an environment of its own, as docs/performance.md says"


def peer(module: str, *, package: str) -> Any:
    """Import a peer.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(f"{module} cannot be imported ({error}): {package} is needed; {HOW}") from error


@contextlib.contextmanager
def silent() -> Generator[None]:
    """Without the progress bars and lines of the peers."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def hooked_transformer(setting: Setting) -> Any:
    """LayerNorm weights folded into the matrices that follow, as TransformerLens does by default: the same activations
    and logits, and less work for it.
    """
    lens = peer("transformer_lens", package="transformer-lens")
    conversions = peer("transformer_lens.pretrained.weight_conversions", package="transformer-lens")
    with quiet_transformers():
        import transformers

        source = transformers.AutoModelForCausalLM.from_pretrained(setting.model_folder, dtype=torch.float32)
    config = source.config
    cfg = lens.HookedTransformerConfig(
        n_layers=config.n_layer, d_model=config.n_embd, n_ctx=config.n_positions, n_heads=config.n_head,
        d_head=config.n_embd // config.n_head, d_mlp=config.n_inner or 4 * config.n_embd, d_vocab=config.vocab_size,
        act_fn=config.activation_function, normalization_type="LNPre", eps=config.layer_norm_epsilon,
        device=setting.device, seed=0,
    )  # fmt: skip
    model = lens.HookedTransformer(cfg)
    model.load_and_process_state_dict(
        conversions.convert_gpt2_weights(source, cfg), fold_ln=True, center_writing_weights=False,
        center_unembed=False,
    )  # fmt: skip
    return model.eval().requires_grad_(False)
