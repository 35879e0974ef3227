"""Regions of one kind: planted ones are found with their points, and hardly ever one where labels mean nothing."""

from typing import NamedTuple

import numpy as np
import pytest

from trainer.analysis.regions import FIRST, SECOND, letters, one_sided_regions


class Cloud(NamedTuple):
    points: np.ndarray
    is_first: np.ndarray


def mixed(n: int = 600, *, share: float = 0.5, seed: int = 0) -> Cloud:
    dice = np.random.default_rng(seed)
    return Cloud(dice.normal(size=(n, 2)), dice.random(n) < share)


def with_clusters(*, seed: int = 0, strangers: int = 0) -> Cloud:
    """A mixed cloud, 90 points of the first kind on its right, 60 of the second on its left; `strangers` of the second
    among the first ones."""
    dice = np.random.default_rng(seed + 100)
    cloud = mixed(seed=seed)
    right, left = dice.normal((8, 0), 0.5, (90, 2)), dice.normal((-8, 0), 0.5, (60, 2))
    kinds = np.concatenate([cloud.is_first, np.arange(90) >= strangers, np.zeros(60, dtype=bool)])
    return Cloud(np.concatenate([cloud.points, right, left]), kinds)


def test_two_planted_clusters_are_found_and_nothing_else() -> None:
    cloud = with_clusters(strangers=2)
    first, second = one_sided_regions(*cloud)
    assert (first.kind, second.kind) == (FIRST, SECOND)
    assert first.members.tolist() == list(range(600, 690))
    assert second.members.tolist() == list(range(690, 750))
    assert (first.n_first, first.n_second) == (88, 2)
    assert (second.n_first, second.n_second) == (0, 60)
    assert first.p_value <= 0.05 >= second.p_value
    n_first, n_second = cloud.is_first.sum(), (~cloud.is_first).sum()
    assert first.density_ratio == pytest.approx((88.5 / n_first) / (2.5 / n_second))


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_in_a_mixed_cloud_nothing_is_found_more_often_than_alpha(share: float) -> None:
    n_found = sum(bool(one_sided_regions(*mixed(300, share=share, seed=seed), n_permutations=99)) for seed in range(60))
    assert n_found <= 7  # 3 expected; more than 7 has a chance of 1 %


def test_a_kind_that_is_everywhere_is_no_region_where_the_other_is_rare_too() -> None:
    cloud = mixed(600, share=0.97)
    assert one_sided_regions(*cloud) == []


def test_the_same_seed_finds_the_same_and_the_order_of_kinds_does_not_matter() -> None:
    points, is_first = with_clusters(seed=3)
    ours, again = one_sided_regions(points, is_first), one_sided_regions(points, is_first)
    assert [one.members.tolist() for one in ours] == [one.members.tolist() for one in again]
    assert [one.p_value for one in ours] == [one.p_value for one in again]
    swapped = one_sided_regions(points, ~is_first)
    assert [one.members.tolist() for one in swapped] == [one.members.tolist() for one in ours]
    assert [one.kind for one in swapped] == [1 - one.kind for one in ours]


def test_points_on_one_spot_are_found_too() -> None:
    points, is_first = with_clusters()
    points[600:690] = (8.0, 0.0)
    found = [set(one.members.tolist()) for one in one_sided_regions(points, is_first) if one.kind == FIRST]
    assert set(range(600, 690)) >= set.union(*found)
    assert len(set.union(*found)) > 40


def test_what_is_called_a_region_is_one_sided_itself() -> None:
    dice = np.random.default_rng(1)
    points, is_first = with_clusters()
    patch = dice.normal(8, 0.5, (60, 2))  # two kinds in turn, with just enough of the first around each
    found = one_sided_regions(
        np.concatenate([points, patch]), np.concatenate([is_first, np.arange(60) % 6 > 0]), min_ratio=5.5
    )
    n_first, n_second = is_first.sum() + 50, (~is_first).sum() + 10
    assert found
    assert all(
        (one.n_first / n_first, one.n_second / n_second)[one.kind]
        >= 5.5 * (one.n_second / n_second, one.n_first / n_first)[one.kind]
        for one in found
    )


def test_too_few_points_or_one_kind_have_no_region() -> None:
    cloud = mixed(20)
    assert one_sided_regions(*cloud) == []
    assert one_sided_regions(mixed(100).points, np.ones(100, dtype=bool)) == []


def test_regions_have_letters() -> None:
    assert [letters(number) for number in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
