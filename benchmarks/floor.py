"""The floor: what no way of training these SAEs can leave out, each part timed alone.

1. `encoder_product`: every element's weights times every token's activations, for every SAE.
2. `clean_run`: the frozen model once per batch, for local losses up to the hookpoint and else with its logits.
3. `blocks_above` (not for local losses): the blocks above the hookpoint, forward and backward to their input, and the
   two products of the unembedding (logits, and their gradient back), for every SAE. No softmax, no loss.

Products on a GPU are taken in bfloat16.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.setting import OurPack, Setting, activations_of, model_of, tokens_of

CHUNK_ROWS = (512, 4096)
"""Rows of weights per product on a CPU: fewer stay in a cache, more have less overhead. The faster one is the floor."""
LOGITS_AT_ONCE = 2**22


def floor_parts(setting: Setting, ours: OurPack) -> dict[str, Callable[[], object]]:
    """Each part as something to run. Names that differ only after a colon are alternatives."""
    parts = encoder_products(setting, ours.tensors["w_enc"]) | {"clean_run": clean_run_of(setting)}
    if setting.loss != "local":
        parts["blocks_above"] = blocks_above(setting)
    return parts


def fastest(seconds: dict[str, float]) -> dict[str, float]:
    """The faster of alternatives, under their common name."""
    result: dict[str, float] = {}
    for name, each in seconds.items():
        common = name.partition(":")[0]
        result[common] = min(each, result.get(common, each))
    return result


def encoder_products(setting: Setting, w_enc: Tensor) -> dict[str, Callable[[], object]]:
    on_gpu = setting.device.startswith("cuda")
    dtype = torch.bfloat16 if on_gpu else w_enc.dtype
    weights, x_t = w_enc.flatten(0, 1).to(dtype), activations_of(setting).T.contiguous().to(dtype)

    def product_in(n_rows: int) -> Callable[[], object]:
        out = torch.empty(min(n_rows, len(weights)), x_t.shape[1], dtype=dtype, device=x_t.device)

        def product() -> None:
            for rows in weights.split(len(out)):
                torch.mm(rows, x_t, out=out[: len(rows)])

        return product

    sizes = (len(weights),) if on_gpu else CHUNK_ROWS
    return {f"encoder_product:{size}": product_in(size) for size in sizes}


def clean_run_of(setting: Setting) -> Callable[[], object]:
    model, tokens = model_of(setting), tokens_of(setting)

    @torch.inference_mode()
    def run() -> None:
        if setting.loss == "local":
            model.blocks(model.embed(tokens), 0, setting.layer)
            return
        normed = model.final_norm(model.blocks(model.embed(tokens), 0, model.n_layers)).flatten(0, 1)
        for part in normed.split(max(1, LOGITS_AT_ONCE // model.d_vocab)):
            torch.mm(part, model.unembedding.weight.T)

    return run


def blocks_above(setting: Setting) -> Callable[[], object]:
    model = model_of(setting)
    stream = model.blocks(model.embed(tokens_of(setting)), 0, setting.layer)
    weight = model.unembedding.weight

    def run() -> None:
        for _ in range(setting.n_saes):  # one SAE's rows at a time stay in a cache
            leaf = stream.detach().requires_grad_()
            normed = model.final_norm(model.blocks(leaf, setting.layer, model.n_layers))
            flat = normed.detach().flatten(0, 1)
            grad = torch.empty_like(flat)
            chunk = max(1, LOGITS_AT_ONCE // len(weight))
            for part, to in zip(flat.split(chunk), grad.split(chunk), strict=True):
                torch.mm(torch.mm(part, weight.T), weight, out=to)
            torch.autograd.grad(normed, leaf, grad.view_as(normed))

    return run
