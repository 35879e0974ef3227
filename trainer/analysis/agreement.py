"""Subject-verb agreement with an SAE in the model: how much of it is kept, and by which elements (appendix I).

m is the mean over prompts of the logit of the right verb form minus that of the wrong one, at the last position:

    faithfulness      = (m(SAE) - m(ablated)) / (m(model) - m(ablated))    as the paper writes it
    faithfulness_code =  m(SAE) / m(model)                                 as its code has it (discrepancy X14)

Ablated: the whole residual stream at the SAE's layer is, at each position, its mean over the prompts. Nothing then
tells the prompts apart, so with prompts that come in pairs m(ablated) is 0 and the two are the same. No error term is
added back to the SAE's output. Elements are ablated in the same way: at each position to their mean over the prompts.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trainer.analysis.agreement_prompts import Prompts
from trainer.analysis.spliced import CHUNK, Heard, batch_rows, common_layer, latent_chunks, reconstruct, unheard
from trainer.clean import Capture, clean_run, run_above
from trainer.errors import BadInput
from trainer.export import TrainedSAE
from trainer.models import FrozenModel
from trainer.pulse import pulse

Effects = Literal["gradients", "exact"]
GRADIENT_STEPS = 10
"""Points between the SAE's output and its mean at which gradients are taken."""


class Differences(NamedTuple):
    """Logit of the right verb form minus the wrong one's, per prompt, float64."""

    model: Float[Tensor, " prompts"]
    sae: Float[Tensor, " prompts"]
    ablated: Float[Tensor, " prompts"]
    """The residual stream at its mean."""
    elements_ablated: Float[Tensor, " prompts"]
    """Every element at its mean: what the code has for "all ablated"."""


class Faithfulness(NamedTuple):
    """Shares: 1 is as good as the model alone, 0 as good as nothing; None where the model itself does not agree."""

    paper: float | None
    code: float | None


class Kept(NamedTuple):
    """The SAE with its most important elements alone."""

    n_elements: int
    difference: float
    """m, in logits."""
    faithfulness: Faithfulness


class Agreement(NamedTuple):
    """What one SAE does to agreement in one template."""

    differences: Differences
    faithfulness: Faithfulness
    effects: Float[Tensor, " d_sae"]
    """By element: the change of m when it is ablated, in logits; below 0 where it helps."""
    is_active: Bool[Tensor, " d_sae"]
    """Whether it fires in any prompt."""
    order: Int[Tensor, " n_active"]
    """The active elements, the one with the largest effect, whichever way, first."""
    curve: tuple[Kept, ...]
    """From no element to all active ones."""


class _Streams(NamedTuple):
    """What the prompts come to at the SAE's layer."""

    clean: Float[Tensor, "prompts pos d_model"]
    sae: Float[Tensor, "prompts pos d_model"]
    means: Float[Tensor, "pos d_sae"]
    """Of the latents, over prompts."""
    is_active: Bool[Tensor, " d_sae"]


def faithfulness(*, model: float, sae: float, ablated: float) -> Faithfulness:
    """Of mean logit differences, both ways."""
    return Faithfulness(
        paper=(sae - ablated) / (model - ablated) if model > ablated else None,
        code=sae / model if model > 0 else None,
    )


def kept_numbers(n_active: int) -> list[int]:
    """How many elements are kept at each place of the curve: 0, 1, 2, 3, 5, 7, 10, ... and all."""
    steps = [factor * 10**power for power in range(7) for factor in (1, 2, 3, 5, 7)]
    return [0, *(step for step in steps if step < n_active), *([n_active] if n_active else [])]


def agreement_of(
    sae: TrainedSAE,
    model: FrozenModel,
    prompts: Prompts,
    *,
    effects: Effects = "gradients",
    most_kept: int = 500,
    heard: Heard = unheard,
) -> Agreement:
    """Of an SAE in one template.

    `effects`: "gradients" integrates the gradient of m from the SAE's output to its mean, a few passes for all elements
    together; "exact" is a forward pass per active element, as in the paper. `most_kept`: elements up to which the curve
    is drawn, before its end at all of them.

    Raises:
        BadInput: the SAE does not fit the model, or the model does not know the tokens.
    """
    common_layer([sae], model)
    if int(prompts.tokens.max()) >= model.d_vocab:
        raise BadInput(f"token {int(prompts.tokens.max())} of the tokenizer: {model.name} has {model.d_vocab} tokens")
    streams = _streams(sae, model, prompts)
    middle = streams.sae.mean(0, keepdim=True)
    measured = Differences(
        model=_differences(model, sae.layer, streams.clean, prompts),
        sae=_differences(model, sae.layer, streams.sae, prompts),
        ablated=_differences(model, sae.layer, streams.clean.mean(0, keepdim=True), prompts),
        elements_ablated=_differences(model, sae.layer, middle, prompts),
    )
    if effects == "exact":
        found = _exact_effects(sae, model, prompts, streams, measured.sae, heard)
    else:
        found = _gradient_effects(sae, model, prompts, streams, heard)
    active = streams.is_active.nonzero().flatten()
    order = active[found[active].abs().sort(descending=True, stable=True).indices]
    curve = _curve(sae, model, prompts, streams, order, measured, most_kept)
    return Agreement(measured, _faithful(measured, measured.sae), found, streams.is_active, order, tuple(curve))


@torch.no_grad()
def _streams(sae: TrainedSAE, model: FrozenModel, prompts: Prompts) -> _Streams:
    tokens = prompts.tokens.to(model.device)
    size = batch_rows(model, tokens.shape[1])
    capture = Capture(frozenset({sae.layer}), output=False)
    clean = torch.cat([clean_run(model, part, capture).residuals[sae.layer] for part in tokens.split(size)])
    n_pos = tokens.shape[1]
    means = torch.zeros(n_pos, sae.d_sae, dtype=torch.float64, device=sae.w_enc.device)
    is_active = torch.zeros(sae.d_sae, dtype=torch.bool, device=sae.w_enc.device)
    for position in range(n_pos):
        for _, latents in latent_chunks(sae, clean[:, position]):
            means[position] += latents.sum(0, dtype=torch.float64)
            is_active |= (latents > 0).any(0)
    return _Streams(clean, reconstruct(sae, clean), (means / len(tokens)).to(sae.w_enc.dtype), is_active)


def _differences(model: FrozenModel, layer: int, x: Tensor, prompts: Prompts) -> Float[Tensor, " prompts"]:
    """With `x` "prompts pos d_model" as the input of the block `layer`; of one row for all prompts alike."""
    found: list[Tensor] = []
    for rows in _batches(model, x):
        pulse("paper")
        with torch.no_grad():
            found.append(_normed(model, layer, x[rows]))
    return _logits(model, torch.cat(found).expand(len(prompts.tokens), -1), prompts, slice(None)).double()


def _batches(model: FrozenModel, x: Tensor, *, share: int = 1) -> Iterator[slice]:
    size = max(1, batch_rows(model, x.shape[1]) // share)
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x)))


def _normed(model: FrozenModel, layer: int, x: Tensor) -> Float[Tensor, "batch d_model"]:
    """At the last position."""
    normed = run_above(model, x, layer=layer, keep=(), output=True).normed
    assert normed is not None
    return normed[:, -1]


def _logits(model: FrozenModel, normed: Tensor, prompts: Prompts, rows: slice) -> Float[Tensor, " batch"]:
    """Right minus wrong."""
    weight, bias = model.unembedding.weight, model.unembedding.bias
    right, wrong = prompts.correct[rows].to(weight.device), prompts.wrong[rows].to(weight.device)
    dtype = torch.promote_types(normed.dtype, torch.float32)
    found = (normed.to(dtype) * (weight[right].to(dtype) - weight[wrong].to(dtype))).sum(-1)
    return found if bias is None else found + (bias[right] - bias[wrong]).to(dtype)


def _gradient_effects(
    sae: TrainedSAE, model: FrozenModel, prompts: Prompts, streams: _Streams, heard: Heard
) -> Float[Tensor, " d_sae"]:
    """Integrated gradients: the decoder is linear, so a straight line of latents is one of outputs."""
    slopes = torch.zeros_like(streams.sae)
    towards = streams.sae.mean(0, keepdim=True) - streams.sae
    batches = list(_batches(model, streams.sae, share=8))  # gradients keep what each block had
    for number, rows in enumerate(batches):
        for step in range(GRADIENT_STEPS):
            pulse("paper")
            share = (step + 0.5) / GRADIENT_STEPS
            x = (streams.sae[rows] + share * towards[rows]).detach().requires_grad_(True)
            with torch.enable_grad():
                total = _logits(model, _normed(model, sae.layer, x), prompts, rows).sum()
                slopes[rows] += torch.autograd.grad(total, x)[0] / GRADIENT_STEPS
        heard(number + 1, len(batches))
    return _along(sae, streams, slopes) / len(streams.sae)


@torch.no_grad()
def _along(sae: TrainedSAE, streams: _Streams, slopes: Tensor) -> Float[Tensor, " d_sae"]:
    """Sum over tokens of (mean - latent) times the slope along the element."""
    total = torch.zeros(sae.d_sae, dtype=torch.float64, device=sae.w_enc.device)
    for position in range(slopes.shape[1]):
        here = slopes[:, position].to(sae.w_enc)
        for some, latents in latent_chunks(sae, streams.clean[:, position]):
            change = streams.means[position] - latents
            total += (change * (here[some] @ sae.dictionary.T)).sum(0, dtype=torch.float64)
    return total


@torch.no_grad()
def _exact_effects(
    sae: TrainedSAE, model: FrozenModel, prompts: Prompts, streams: _Streams, whole: Tensor, heard: Heard
) -> Float[Tensor, " d_sae"]:
    effects = torch.zeros(sae.d_sae, dtype=torch.float64, device=sae.w_enc.device)
    active = streams.is_active.nonzero().flatten()
    at_once = max(1, CHUNK // streams.sae[..., 0].numel())
    for start in range(0, len(active), at_once):
        some = active[start : start + at_once]
        missing = -_over_mean(sae, streams, some)
        for number, element in enumerate(some.tolist()):
            x = streams.sae + (missing[..., number, None] * sae.dictionary[element]).to(streams.sae)
            effects[element] = (_differences(model, sae.layer, x, prompts) - whole).mean()
            heard(start + number + 1, len(active))
    return effects


def _over_mean(sae: TrainedSAE, streams: _Streams, elements: Tensor) -> Float[Tensor, "prompts pos elements"]:
    """Latents of some elements, less their means."""
    x = streams.clean.to(sae.w_enc)
    latents = (x @ sae.w_enc[elements].T + sae.b_enc[elements]).relu()
    return latents - streams.means[:, elements]


@torch.no_grad()
def _curve(
    sae: TrainedSAE, model: FrozenModel, prompts: Prompts, streams: _Streams, order: Tensor, measured: Differences,
    most_kept: int,
) -> Iterator[Kept]:  # fmt: skip
    yield _kept(0, measured, measured.elements_ablated)
    x, so_far = streams.sae.mean(0, keepdim=True).expand_as(streams.sae).clone(), 0
    at_once = max(1, CHUNK // streams.sae[..., 0].numel())
    for n in kept_numbers(len(order))[1:-1]:
        if n > most_kept:
            break
        for some in order[so_far:n].split(at_once):
            x += einsum(
                _over_mean(sae, streams, some), sae.dictionary[some],
                "prompts pos elements, elements d_model -> prompts pos d_model",
            ).to(x)  # fmt: skip
        so_far = n
        yield _kept(n, measured, _differences(model, sae.layer, x, prompts))
    if len(order):
        yield _kept(len(order), measured, measured.sae)


def _kept(n: int, measured: Differences, found: Tensor) -> Kept:
    return Kept(n, float(found.mean()), _faithful(measured, found))


def _faithful(measured: Differences, found: Tensor) -> Faithfulness:
    return faithfulness(
        model=float(measured.model.mean()), sae=float(found.mean()), ablated=float(measured.ablated.mean())
    )


def elements_needed(curve: Sequence[Kept], share: float) -> int | None:
    """Elements at the first place of the curve that has `share` of what all of them have together; None where they have
    nothing."""
    whole = curve[-1].difference
    return next((kept.n_elements for kept in curve if kept.difference >= share * whole), None) if whole > 0 else None


def faithfulness_interval(
    measured: Differences, *, n_resamples: int, seed: int, level: float = 0.95
) -> tuple[float | None, float | None]:
    """Bootstrap interval of the paper's faithfulness over prompts, twins (two in a row) drawn together.

    None where the model's own difference vanishes in a resample.
    """
    model, sae, ablated = (each.cpu().view(-1, 2).sum(-1) for each in (measured.model, measured.sae, measured.ablated))
    dice = torch.Generator().manual_seed(seed)
    found: list[float] = []
    for _ in range(n_resamples):
        drawn = torch.randint(0, len(model), (len(model),), generator=dice)
        base = ablated[drawn].sum()
        below = model[drawn].sum() - base
        if below <= 0:
            return None, None
        found.append(float((sae[drawn].sum() - base) / below))
    ends = torch.tensor(found, dtype=torch.float64).quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double())
    return float(ends[0]), float(ends[1])
