"""Regions of a plane where points of one kind are dense and those of the other absent, found by a rule (paper, app.
G.1, where they are boxes drawn by hand).

1. A point is *one-sided* where, among its k nearest neighbours, one kind is at least `min_ratio` times as dense as the
   other, each counted as a share of all points of its kind.
2. One-sided points of the same kind that are mutual neighbours belong together.
3. Such a component is a region where the ratio holds for its own points too, and where it is larger than chance makes
   any: labels are permuted among all points, and it is held against the largest component of each permutation. So the
   chance that anything at all is found among points whose labels mean nothing is at most `alpha`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from trainer.pulse import pulse

FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class Region:
    """One of them."""

    kind: int
    """Which kind is dense: `FIRST` or `SECOND`."""
    members: Int[np.ndarray, " members"]
    """Numbers of its points, of either kind, rising."""
    n_first: int
    n_second: int
    density_ratio: float
    """Share of all points of the dense kind that lie in it, over that of the other kind, with half a point added to
    each count so that it is finite."""
    p_value: float
    """Share of permutations with a component of that kind as large, for two kinds: at most `alpha`."""


def one_sided_regions(
    points: Float[np.ndarray, "points 2"],
    is_first: Bool[np.ndarray, " points"],
    *,
    n_neighbors: int = 20,
    min_ratio: float = 10.0,
    alpha: float = 0.05,
    n_permutations: int = 499,
    seed: int = 0,
) -> list[Region]:
    """The largest first. None where there are not more than `n_neighbors` points, or only one kind.

    Points that were laid out without their labels are exchangeable among kinds if kinds do not differ; that elements of
    one dictionary keep apart from each other makes kinds alternate, and so the test stricter.
    """
    totals = np.array([is_first.sum(), (~is_first).sum()], dtype=np.float64)
    if len(points) <= n_neighbors or not totals.all():
        return []
    graph = _Neighbours(points, n_neighbors)
    found = {kind: graph.components(is_first, kind, totals, min_ratio) for kind in (FIRST, SECOND)}
    dice = np.random.default_rng(seed)
    n_as_large = {kind: np.zeros(len(components), dtype=np.int64) for kind, components in found.items()}
    for number in range(n_permutations):
        shuffled = dice.permutation(is_first)
        for kind, components in found.items():
            if components:
                largest = graph.largest(shuffled, kind, totals, min_ratio)
                n_as_large[kind] += np.array([len(members) for members in components]) <= largest
        if number % 20 == 0:
            pulse("paper")
    regions = (
        _region(kind, members, is_first, totals, min(1.0, 2 * (1 + int(n)) / (1 + n_permutations)))
        for kind, components in found.items()
        for members, n in zip(components, n_as_large[kind], strict=True)
    )
    found_ones = (one for one in regions if one.p_value <= alpha and _is_one_sided(one, totals, min_ratio))
    return sorted(found_ones, key=lambda one: (-len(one.members), int(one.members[0])))


def letters(number: int) -> str:
    """Names of regions: A to Z, then AA, AB, ..."""
    name = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def _is_one_sided(region: Region, totals: np.ndarray, min_ratio: float) -> bool:
    counts = np.array([region.n_first, region.n_second]) / totals
    return bool(counts[region.kind] >= min_ratio * counts[1 - region.kind])


def _region(kind: int, members: np.ndarray, is_first: np.ndarray, totals: np.ndarray, p_value: float) -> Region:
    n_first = int(is_first[members].sum())
    counts = np.array([n_first, len(members) - n_first])
    shares = (counts + 0.5) / totals
    return Region(
        kind=kind,
        members=members,
        n_first=n_first,
        n_second=len(members) - n_first,
        density_ratio=float(shares[kind] / shares[1 - kind]),
        p_value=p_value,
    )


class _Neighbours:
    """Who is near whom: fixed, whatever the labels."""

    def __init__(self, points: np.ndarray, n_neighbors: int) -> None:
        near = np.asarray(KDTree(points).query(points, k=n_neighbors + 1)[1], dtype=np.int64)
        own = near == np.arange(len(points))[:, None]
        own[~own.any(1), -1] = True  # among more equal points than neighbours a point may not find itself
        self._near = near[~own].reshape(len(points), n_neighbors)
        heads, tails = np.repeat(np.arange(len(points)), n_neighbors), self._near.ravel()
        graph = coo_array((np.ones(len(heads), dtype=np.int8), (heads, tails)), shape=(len(points),) * 2).tocsr()
        mutual = graph.multiply(graph.T).tocoo()
        self._edges = np.stack([mutual.row, mutual.col])

    def components(self, is_first: np.ndarray, kind: int, totals: np.ndarray, min_ratio: float) -> list[np.ndarray]:
        """Members of each component of points at which that kind is dense."""
        core, labels = self._labels(is_first, kind, totals, min_ratio)
        order = np.argsort(labels, kind="stable")
        parts = np.split(core[order], np.flatnonzero(np.diff(labels[order])) + 1)
        return [part for part in parts if len(part)]

    def largest(self, is_first: np.ndarray, kind: int, totals: np.ndarray, min_ratio: float) -> int:
        _, labels = self._labels(is_first, kind, totals, min_ratio)
        return int(np.bincount(labels).max()) if len(labels) else 0

    def _labels(
        self, is_first: np.ndarray, kind: int, totals: np.ndarray, min_ratio: float
    ) -> tuple[np.ndarray, np.ndarray]:
        is_kind = is_first if kind == FIRST else ~is_first
        own = is_kind[self._near].sum(1)
        other = self._near.shape[1] - own
        is_core = own * totals[1 - kind] >= min_ratio * other * totals[kind]
        core = np.flatnonzero(is_core)
        place = np.cumsum(is_core) - 1
        heads, tails = self._edges[:, is_core[self._edges[0]] & is_core[self._edges[1]]]
        edges = (np.ones(len(heads), dtype=np.int8), (place[heads], place[tails]))
        _, labels = connected_components(coo_array(edges, shape=(len(core),) * 2), directed=False)
        return core, labels
