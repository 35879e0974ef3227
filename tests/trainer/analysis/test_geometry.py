"""Largest cosines, known by construction and by brute force; and the interval of a difference of means."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from trainer.analysis import geometry
from trainer.analysis.geometry import (
    N_BINS,
    chance_cosine,
    difference_of_means,
    nearest_across,
    nearest_within,
    summary_of,
)


def directions(n: int, d: int = 12, *, seed: int = 0) -> Tensor:
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def all_of(dictionary: Tensor) -> Tensor:
    return torch.ones(len(dictionary), dtype=torch.bool)


def some_of(dictionary: Tensor, seed: int = 5) -> Tensor:
    return torch.rand(len(dictionary), generator=torch.Generator().manual_seed(seed)) < 0.6


def test_planted_duplicates_have_cosine_one_and_name_each_other() -> None:
    dictionary = torch.cat([torch.eye(12, dtype=torch.float64), torch.eye(12, dtype=torch.float64)[[3, 7]]])
    found = nearest_within(dictionary.float() * 2.5, all_of(dictionary))
    twins = {3: 12, 7: 13, 12: 3, 13: 7}
    assert {i: int(found.nearest[i]) for i in twins} == twins
    assert found.cosine[[3, 7, 12, 13]].tolist() == pytest.approx([1.0] * 4, abs=1e-12)
    assert found.cosine[[0, 1, 2, 4]].tolist() == pytest.approx([0.0] * 4, abs=1e-12)


def test_an_orthogonal_dictionary_has_cosine_zero() -> None:
    dictionary, _ = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)).double())
    assert nearest_within(dictionary, all_of(dictionary)).cosine.tolist() == pytest.approx([0.0] * 16, abs=1e-12)


@pytest.mark.parametrize("numbers", [1, 100, 2**22])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosines_are_those_of_brute_force_however_they_are_cut(
    numbers: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "chunk_elements", lambda _: numbers)
    dictionary, other = directions(57).to(dtype), directions(43, seed=1).to(dtype)
    alive, other_alive = some_of(dictionary), some_of(other, 6)
    within = nearest_within(dictionary, alive)
    cosines = dictionary.double() @ dictionary.double().T
    cosines[~alive] = cosines[:, ~alive] = -2.0
    cosines.fill_diagonal_(-2.0)
    assert within.elements.tolist() == alive.nonzero().flatten().tolist()
    torch.testing.assert_close(within.cosine, cosines.max(1).values[alive], atol=1e-7, rtol=0)
    assert within.nearest.tolist() == cosines.argmax(1)[alive].tolist()
    across = nearest_across(dictionary, alive, other=other, other_alive=other_alive)
    best = (dictionary.double() @ other.double()[other_alive].T)[alive].max(1).values
    torch.testing.assert_close(across.cosine, best, atol=1e-7, rtol=0)
    assert other_alive[across.nearest].all()


def test_no_product_is_larger_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(geometry, "chunk_elements", lambda _: 1000)
    product = Tensor.__matmul__

    def watched(left: Tensor, right: Tensor) -> Tensor:
        sizes.append((found := product(left, right)).numel())
        return found

    monkeypatch.setattr(Tensor, "__matmul__", watched)
    nearest_within(directions(300), torch.ones(300, dtype=torch.bool))
    assert 0 < max(sizes) <= 1000
    assert sum(sizes) == 300 * 300


def test_a_permuted_copy_is_found_element_by_element() -> None:
    dictionary = directions(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    found = nearest_across(dictionary, all_of(dictionary), other=dictionary[order], other_alive=all_of(dictionary))
    assert found.cosine.tolist() == pytest.approx([1.0] * 40, abs=1e-12)
    assert order[found.nearest].tolist() == list(range(40))


def test_opposite_directions_are_not_alike() -> None:
    pair = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert nearest_within(pair, all_of(pair)).cosine.tolist() == [-1.0, -1.0]


def test_dead_elements_are_neither_looked_at_nor_found() -> None:
    dictionary = torch.eye(4)[[0, 0, 1, 2]]
    found = nearest_within(dictionary, torch.tensor([True, False, True, True]))
    assert found.elements.tolist() == [0, 2, 3]
    assert found.cosine.tolist() == [0.0, 0.0, 0.0]
    assert 1 not in found.nearest


@pytest.mark.parametrize("n_alive", [0, 1])
def test_an_element_without_another_has_no_cosine(n_alive: int) -> None:
    dictionary = directions(3)
    alive = torch.arange(3) < n_alive
    found = nearest_within(dictionary, alive)
    assert found.cosine.isnan().all()
    assert found.nearest.tolist() == [-1] * n_alive
    summary = summary_of(found.cosine)
    assert summary.n_elements == 0
    assert math.isnan(summary.mean)
    nothing = nearest_across(dictionary, all_of(dictionary), other=dictionary, other_alive=torch.zeros(3).bool())
    assert nothing.cosine.isnan().all()
    assert nothing.nearest.tolist() == [-1] * 3


def test_progress_is_told_to_the_last_element(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "chunk_elements", lambda _: 200)
    told: list[tuple[int, int]] = []
    nearest_within(directions(20), torch.ones(20, dtype=torch.bool), heard=lambda *far: told.append(far))
    assert told == [(10, 20), (20, 20)]


def test_a_summary_counts_every_element_once() -> None:
    found = summary_of(torch.tensor([-1.0, 0.0, 0.6, 0.95, 1.0, float("nan")]))
    assert found.n_elements == 5
    assert found.mean == pytest.approx(1.55 / 5)
    assert found.median == pytest.approx(0.6)
    assert found.shares_above == pytest.approx((0.6, 0.4, 0.4))
    assert int(found.counts.sum()) == 5
    assert [int(found.counts[i]) for i in (0, N_BINS // 2, N_BINS - 1)] == [1, 1, 1]


@pytest.mark.parametrize(("n_others", "d_model"), [(1, 3), (30, 3), (400, 16)])
def test_the_cosine_by_chance_is_that_of_drawn_directions(n_others: int, d_model: int) -> None:
    drawn = [
        nearest_within(d, all_of(d)).cosine for d in (directions(n_others + 1, d_model, seed=s) for s in range(40))
    ]
    means = torch.stack([cosine.mean() for cosine in drawn])
    assert chance_cosine(n_others, d_model) == pytest.approx(float(means.mean()), abs=4 * float(means.std()) / 40**0.5)


def test_the_cosine_by_chance_grows_with_elements_and_is_nothing_without_them() -> None:
    assert chance_cosine(1, 8) == pytest.approx(0, abs=1e-6)
    assert 0 < chance_cosine(100, 768) < chance_cosine(46_080, 768) < chance_cosine(46_080, 64) < 1
    assert math.isnan(chance_cosine(0, 8))


def test_the_interval_of_a_difference_is_that_of_the_normal_approximation_and_of_its_seed() -> None:
    dice = torch.Generator().manual_seed(1)
    ours, theirs = (torch.randn(n, generator=dice, dtype=torch.float64) * 0.1 for n in (900, 400))
    found = difference_of_means(ours + 0.05, theirs, n_resamples=2000, seed=4)
    error = float((ours.var() / 900 + theirs.var() / 400).sqrt())
    assert found.mean == pytest.approx(float(ours.mean() + 0.05 - theirs.mean()))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.15 * error)
    assert difference_of_means(ours + 0.05, theirs, n_resamples=2000, seed=4) == found
    assert difference_of_means(ours + 0.05, theirs, n_resamples=2000, seed=5) != found


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    dice = torch.Generator().manual_seed(2)
    hits = 0
    for number in range(200):
        ours, theirs = (torch.rand(80, generator=dice, dtype=torch.float64) for _ in range(2))
        found = difference_of_means(ours, theirs, n_resamples=200, seed=number)
        hits += found.low <= 0 <= found.high
    assert 180 <= hits <= 198


def test_without_elements_there_is_no_difference() -> None:
    assert all(math.isnan(value) for value in difference_of_means(torch.tensor([]), torch.ones(3)))
