"""Passages of elements: the strongest as they are, quiet ones quiet; and scores with known answers."""

import itertools

import pytest
import torch

from tests.trainer.analysis.known import identity_sae, random_sae
from tests.trainer.conftest import CONTEXT
from trainer.analysis import (
    detection_score,
    mean_interval,
    passages_of,
    permutation_p,
    simulation_score,
)
from trainer.clean import Capture, clean_run
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.export import TrainedSAE
from trainer.models import FrozenModel


@pytest.fixture(scope="module")
def sae() -> TrainedSAE:
    """Whose elements fire seldom enough to be quiet in some rows."""
    random = random_sae()
    return TrainedSAE(random.w_enc, random.b_enc - 3, random.dictionary, random.b_dec, random.config)


def latents(sae: TrainedSAE, model: FrozenModel, rows: Rows) -> torch.Tensor:
    tokens = rows.evaluation.take(slice(None))
    return sae.encode(clean_run(model, tokens, Capture(frozenset({1}), output=False)).residuals[1])


def test_passages_are_the_strongest_of_each_row_and_places_where_nothing_fires(
    sae: TrainedSAE, model: FrozenModel, rows: Rows
) -> None:
    true = latents(sae, model, rows)
    elements = [7, 0, 13]
    found = passages_of(sae, model, rows.evaluation, elements, n_strongest=3, n_quiet=2, seed=0)
    assert [one.element for one in found] == elements
    assert any(one.quiet for one in found)
    assert any(len(one.strongest) == 3 for one in found)
    for one in found:
        per_row = true[..., one.element].amax(1)
        best = [value for value in per_row.sort(descending=True).values.tolist() if value > 0][:3]
        assert [each.activation for each in one.strongest] == pytest.approx(best)
        assert one.density == pytest.approx(float((true[..., one.element] > 0).double().mean()))
        assert one.max_activation == pytest.approx(float(per_row.max()))
        for each in one.quiet:
            assert float(per_row[each.row]) == 0
            assert list(each.tokens) == rows.evaluation.take(slice(each.row, each.row + 1))[0].tolist()
        assert len({each.row for each in one.quiet}) == len(one.quiet)
        n_quiet_rows = int((per_row == 0).sum())
        assert len(one.quiet) == min(2, n_quiet_rows)
        assert all(len(each.tokens) == len(each.activations) == CONTEXT for each in (*one.quiet, *one.strongest))


def test_they_are_the_same_again_and_rows_can_be_fewer(sae: TrainedSAE, model: FrozenModel, rows: Rows) -> None:
    def found(seed: int = 0, n_rows: int | None = None):
        return passages_of(sae, model, rows.evaluation, range(20), n_strongest=4, n_quiet=2, seed=seed, n_rows=n_rows)

    assert found() == found()
    assert [one.strongest for one in found()] == [one.strongest for one in found(seed=1)]
    assert [one.quiet for one in found()] != [one.quiet for one in found(seed=1)]
    few = found(n_rows=2)
    assert {each.row for one in few for each in (*one.strongest, *one.quiet)} <= {0, 1}
    with pytest.raises(BadInput, match="of width 5"):
        passages_of(identity_sae(d_model=5), model, rows.evaluation, [0], n_strongest=1, n_quiet=1, seed=0)


def test_detection_is_balanced_accuracy() -> None:
    def score(said: set[int]) -> float:
        return detection_score(said=said, firing={0, 1}, n_passages=6)

    assert score({0, 1}) == 1
    assert score(set()) == score(set(range(6))) == 0.5
    assert score({2, 3, 4, 5}) == 0
    assert score({0}) == 0.75
    assert score({0, 1, 5}) == pytest.approx((1 + 3 / 4) / 2)


def test_simulation_is_a_correlation() -> None:
    true = [0.0, 0.0, 3.0, 1.0]
    assert simulation_score(said=[1.0, 1.0, 7.0, 3.0], activations=true) == pytest.approx(1)
    assert simulation_score(said=[7.0, 7.0, 1.0, 5.0], activations=true) == pytest.approx(-1)
    assert simulation_score(said=[2.0, 2.0, 2.0, 2.0], activations=true) is None


def test_the_permutation_test_is_that_of_all_permutations() -> None:
    ours, theirs = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 1.5, 0.5, 1.0])
    pooled, measured = torch.cat([ours, theirs]), float(ours.mean() - theirs.mean())
    splits = list(itertools.combinations(range(7), 3))
    large = 0
    for some in splits:
        rest = [at for at in range(7) if at not in some]
        large += abs(float(pooled[list(some)].mean() - pooled[rest].mean())) >= abs(measured) - 1e-9
    p = permutation_p(ours, theirs, n_permutations=20_000)
    assert p == pytest.approx(large / len(splits), abs=0.015)
    assert p == permutation_p(ours, theirs, n_permutations=20_000) != permutation_p(ours, theirs, seed=1)
    assert permutation_p(theirs, ours, n_permutations=20_000) == pytest.approx(p, abs=0.015)


def test_p_is_1_for_equal_scores_and_never_0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert permutation_p(torch.ones(4), torch.ones(5), n_permutations=99) == 1
    monkeypatch.setattr("trainer.analysis.scores.CHUNK", 100)
    assert permutation_p(torch.arange(20.0) + 100, torch.arange(20.0), n_permutations=99) == 0.01


def test_the_interval_of_a_mean_holds_it_and_is_that_of_its_seed() -> None:
    scores = torch.rand(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    low, high = mean_interval(scores, n_resamples=2000, seed=0)
    assert low < float(scores.mean()) < high
    spread = float(scores.std()) / 60**0.5
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert (low, high) == mean_interval(scores, n_resamples=2000, seed=0)
    assert mean_interval(torch.tensor([0.4]), n_resamples=10, seed=0) == pytest.approx((0.4, 0.4))
