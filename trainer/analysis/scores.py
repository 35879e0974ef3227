"""Scores of explanations: how well what is said about an element tells where it fires, and whether two kinds differ."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 2**22


def detection_score(*, said: Collection[int], firing: Collection[int], n_passages: int) -> float:
    """Balanced accuracy of the passages that were `said` to have the element among all: the mean of the shares that are
    right where it fires, and where it does not. 1 is always right, 0.5 chance."""
    quiet = set(range(n_passages)) - set(firing)
    hits = len(set(said) & set(firing)) / max(1, len(set(firing)))
    return (hits + len(quiet - set(said)) / max(1, len(quiet))) / 2


def simulation_score(*, said: Sequence[float], activations: Sequence[float]) -> float | None:
    """Pearson correlation of simulated and true activations over tokens, as the paper's scorer. None where all of one
    of them are equal."""
    both = torch.tensor([list(said), list(activations)], dtype=torch.float64)
    centred = both - both.mean(1, keepdim=True)
    scale = centred.square().sum(1).prod().sqrt()
    return float((centred[0] * centred[1]).sum() / scale) if float(scale) > 0 else None


def permutation_p(
    ours: Float[Tensor, " ours"], theirs: Float[Tensor, " theirs"], *, n_permutations: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p of the difference of means, labels dealt anew: (1 + as large ones) / (1 + n), so it is never 0."""
    ours, theirs = ours.double().cpu(), theirs.double().cpu()
    pooled, n = torch.cat([ours, theirs]), len(ours)
    measured = abs(float(ours.mean() - theirs.mean()))
    dice, at_once, as_large, total = torch.Generator().manual_seed(seed), max(1, CHUNK // len(pooled)), 0, pooled.sum()
    for start in range(0, n_permutations, at_once):
        draws = min(at_once, n_permutations - start)
        order = torch.rand(draws, len(pooled), generator=dice, dtype=torch.float64).argsort(dim=1)
        first = pooled[order[:, :n]].sum(1)
        differences = (first / n - (total - first) / (len(pooled) - n)).abs()
        as_large += int((differences >= measured - 1e-12).sum())
    return (1 + as_large) / (1 + n_permutations)


def mean_interval(
    scores: Float[Tensor, " scores"], *, n_resamples: int, seed: int, coverage: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean. `scores` has at least one."""
    scores, dice = scores.double().cpu(), torch.Generator().manual_seed(seed)
    at_once, means = max(1, CHUNK // len(scores)), list[Tensor]()
    for start in range(0, n_resamples, at_once):
        drawn = torch.randint(len(scores), (min(at_once, n_resamples - start), len(scores)), generator=dice)
        means.append(scores[drawn].mean(1))
    tail = (1 - coverage) / 2
    low, high = torch.cat(means).quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high
