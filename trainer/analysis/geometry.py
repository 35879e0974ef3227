"""How close dictionary directions are to each other: within one dictionary, and from one to another (paper, Figures 3,
7 and 8, section 3.3.1).

Products are made in chunks: two dictionaries of 46,080 elements never meet as one matrix.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import betainc
from torch import Tensor
from torch.nn.functional import normalize

from trainer.analysis.spliced import Heard, unheard
from trainer.losses.terms import chunk_elements
from trainer.pulse import pulse

N_BINS = 200
"""Equal bins of cosines from -1 to 1."""
THRESHOLDS = (0.5, 0.7, 0.9)
"""Cosines above which elements are counted."""


class Nearest(NamedTuple):
    """Of each of some elements the one most in its direction. On the CPU."""

    elements: Int[Tensor, " elements"]
    """Their numbers in their dictionary, rising."""
    cosine: Float[Tensor, " elements"]
    """With the nearest one, float64; NaN where there is none to compare with."""
    nearest: Int[Tensor, " elements"]
    """Number of the nearest one in its dictionary, of equal ones any; -1 where there is none."""


def nearest_within(
    dictionary: Float[Tensor, "d_sae d_model"], alive: Bool[Tensor, " d_sae"], *, heard: Heard = unheard
) -> Nearest:
    """Of each alive element the largest cosine to any other alive element of the same dictionary.

    Signs count: opposite directions have -1. The largest is looked for in float32 and then told in float64.
    """
    return _nearest(dictionary, alive, dictionary, alive, same=True, heard=heard)


def nearest_across(
    dictionary: Float[Tensor, "d_sae d_model"],
    alive: Bool[Tensor, " d_sae"],
    *,
    other: Float[Tensor, "d_other d_model"],
    other_alive: Bool[Tensor, " d_other"],
    heard: Heard = unheard,
) -> Nearest:
    """Of each alive element the largest cosine to any alive element of another dictionary."""
    return _nearest(dictionary, alive, other, other_alive, same=False, heard=heard)


def chance_cosine(n_others: int, d_model: int) -> float:
    """The largest cosine to be expected between a direction and `n_others` others drawn evenly from the sphere.

    What similarity is compared with: the largest of many cosines is large by chance, and the more elements are alive,
    the larger. 1 - integral of F(t)^n over t from -1 to 1, F the distribution of one cosine; NaN without others.
    """
    if n_others < 1 or d_model < 2:
        return float("nan")
    shape = (d_model - 1) / 2
    t = np.linspace(-1.0, 1.0, 20_001)
    return float(1 - np.trapezoid(betainc(shape, shape, (1 + t) / 2) ** n_others, t))


class CosineSummary(NamedTuple):
    """Of largest cosines. NaN without elements."""

    n_elements: int
    mean: float
    std: float
    """Over elements, population."""
    median: float
    shares_above: tuple[float, ...]
    """Share of elements with a cosine above each of `THRESHOLDS`."""
    counts: Int[Tensor, " bins"]
    """Elements by cosine: `N_BINS` equal bins from -1 to 1."""


def summary_of(cosine: Float[Tensor, " elements"]) -> CosineSummary:
    """Elements without a cosine (NaN) are left out."""
    known = cosine[~cosine.isnan()].double().cpu()
    bins = ((known + 1) / 2 * N_BINS).long().clamp(0, N_BINS - 1)
    counts = torch.bincount(bins, minlength=N_BINS)
    if not len(known):
        nothing = float("nan")
        return CosineSummary(0, nothing, nothing, nothing, (nothing,) * len(THRESHOLDS), counts)
    return CosineSummary(
        n_elements=len(known),
        mean=float(known.mean()),
        std=float(known.std(correction=0)),
        median=float(known.quantile(0.5)) if len(known) < 2**24 else float(known.median()),
        shares_above=tuple(float((known > threshold).double().mean()) for threshold in THRESHOLDS),
        counts=counts,
    )


class MeanDifference(NamedTuple):
    """One mean less another, with a bootstrap interval over elements."""

    mean: float
    low: float
    high: float


def difference_of_means(
    ours: Float[Tensor, " ours"], theirs: Float[Tensor, " theirs"], *, n_resamples: int = 1000, seed: int = 0,
    coverage: float = 0.95,
) -> MeanDifference:  # fmt: skip
    """mean(ours) - mean(theirs), and its percentile bootstrap interval: elements of each are drawn with replacement.

    It says how sure the difference of these two SAEs is over their elements, nothing about other seeds. NaN where one
    has no elements. One resample is in memory at a time.
    """
    dice = torch.Generator().manual_seed(seed)
    sides = [side[~side.isnan()].double().cpu() for side in (ours, theirs)]
    if not all(len(side) for side in sides):
        return MeanDifference(float("nan"), float("nan"), float("nan"))
    means = torch.empty(2, n_resamples, dtype=torch.float64)
    for number in range(n_resamples):
        for side, values in enumerate(sides):
            means[side, number] = values[torch.randint(len(values), (len(values),), generator=dice)].mean()
        if number % 100 == 0:
            pulse("paper")
    tail = (1 - coverage) / 2
    low, high = torch.quantile(means[0] - means[1], torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return MeanDifference(float(sides[0].mean() - sides[1].mean()), low, high)


@torch.no_grad()
def _nearest(
    dictionary: Tensor, alive: Tensor, other: Tensor, other_alive: Tensor, *, same: bool, heard: Heard
) -> Nearest:
    elements, others = (mask.nonzero().flatten().to(dictionary.device) for mask in (alive, other_alive))
    exact = dictionary.dtype if dictionary.dtype.itemsize > 4 else torch.float32
    rows, columns = (
        normalize(weights[chosen].to(exact), dim=-1) for weights, chosen in ((dictionary, elements), (other, others))
    )
    n, found = len(elements), torch.full((len(elements),), -1, device=dictionary.device)
    if len(others) > same:
        chunk = max(1, chunk_elements(dictionary.device) // max(len(others), dictionary.shape[1]))
        for start in range(0, n, chunk):
            cosines = rows[start : start + chunk] @ columns.T
            if same:
                own = torch.arange(start, min(start + chunk, n), device=cosines.device)
                cosines[own - start, own] = -torch.inf
            found[start : start + chunk] = cosines.argmax(-1)
            pulse("paper")
            heard(min(start + chunk, n), n)
    cosine = torch.full((n,), float("nan"), dtype=torch.float64)
    if n and int(found[0]) >= 0:
        cosine = _cosines(dictionary, elements, other, others[found])
    nearest = torch.where(found >= 0, others[found.clamp(min=0)], -1) if len(others) else found
    return Nearest(elements.cpu(), cosine, nearest.cpu())


def _cosines(dictionary: Tensor, elements: Tensor, other: Tensor, nearest: Tensor) -> Tensor:
    """Of pairs, in float64, in chunks: an argmax in float32 says which, not how much to the last digit."""
    parts: list[Tensor] = []
    chunk = max(1, chunk_elements(dictionary.device) // dictionary.shape[1])
    for a, b in zip(elements.split(chunk), nearest.split(chunk), strict=True):
        left, right = normalize(dictionary[a].double(), dim=-1), normalize(other[b].double(), dim=-1)
        parts.append((left * right).sum(-1).clamp(-1, 1).cpu())
    return torch.cat(parts)
