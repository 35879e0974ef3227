"""UMAP of two dictionaries, with the regions that follow: planted bundles are found, and none where there are none."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from trainer.analysis import one_sided_regions, umap_of
from trainer.errors import BadInput


def directions(n: int, *, seed: int, d: int = 24) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


def bundle(n: int, *, seed: int) -> Tensor:
    """Directions around one."""
    return normalize(directions(1, seed=seed) + 0.5 * directions(n, seed=seed + 1), dim=-1)


def regions_of(ours: Tensor, theirs: Tensor) -> tuple[list[Tensor], list[tuple[int, list[int]]]]:
    planes = umap_of([ours, theirs])
    points = torch.cat(planes).double().numpy()
    found = one_sided_regions(points, np.arange(len(points)) < len(ours), n_permutations=99)
    return planes, [(one.kind, one.members.tolist()) for one in found]


@pytest.mark.slow
def test_two_planted_bundles_are_found_and_none_among_directions_of_one_kind() -> None:
    ours = torch.cat([directions(200, seed=1), bundle(60, seed=10)])
    theirs = torch.cat([directions(200, seed=2), bundle(50, seed=20)])
    planes, found = regions_of(ours, theirs)
    bundles = {0: set(range(200, 260)), 1: set(range(460, 510))}
    assert sorted(kind for kind, _ in found) == [0, 1]
    for kind, members in found:
        assert len(bundles[kind] & {*members}) > 0.75 * len(bundles[kind])
        assert len(bundles[kind] & {*members}) > 0.75 * len(members)  # the rest are directions that happen to lie near
    again, _ = regions_of(ours, theirs)
    assert all(torch.equal(one, other) for one, other in zip(planes, again, strict=True))
    assert [tuple(plane.shape) for plane in planes] == [(260, 2), (250, 2)]
    assert regions_of(directions(250, seed=3), directions(250, seed=4))[1] == []


def test_fewer_elements_than_neighbours_are_refused() -> None:
    with pytest.raises(BadInput, match="needs more than 16 elements, and these SAEs have 16 alive ones together"):
        umap_of([directions(10, seed=0), directions(6, seed=1)])
