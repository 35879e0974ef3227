"""Principal directions of planted activations, and what an SAE keeps along them."""

import math

import pytest
import torch
from torch import Tensor

from tests.trainer.analysis.known import identity_sae, projecting_sae, random_sae
from tests.trainer.conftest import CONTEXT, D_MODEL, VOCAB
from trainer.analysis import (
    TokenKind,
    along_directions,
    by_position,
    correlation,
    histograms,
    principal_directions,
    spliced,
)
from trainer.analysis.along import Along
from trainer.clean import Capture, clean_run
from trainer.data import Rows
from trainer.models import FrozenModel
from trainer.models.decoder import Decoder

OUTLIER, WIDE = 5, 2


class Planted(Decoder):
    """A stream that is made up: far out on one axis at position 0, wide on a second, little on the others."""

    def embed(self, tokens: Tensor) -> Tensor:
        dice = torch.Generator().manual_seed(int(tokens.sum()))
        x = torch.randn(*tokens.shape, D_MODEL, generator=dice, dtype=torch.float64)
        x[..., WIDE] *= 5
        x[:, 0, OUTLIER] -= 300
        return x

    def block(self, index: int, residual: Tensor) -> Tensor:
        del index
        return residual


@pytest.fixture(scope="module")
def planted(model: FrozenModel) -> FrozenModel:
    decoder = Planted()
    decoder.stream_dtype = torch.float64
    return FrozenModel(
        decoder, name="planted", facts=model.facts, device=model.device, dtype=torch.float64, weight_files=()
    )  # fmt: skip


def test_planted_directions_are_found_in_order_and_point_to_position_0(planted: FrozenModel) -> None:
    tokens = torch.randint(0, VOCAB, (400, CONTEXT), generator=torch.Generator().manual_seed(2))
    rows = Rows.from_tokens(tokens[:1], tokens, seed=0)
    found = principal_directions(planted, rows.evaluation, layer=1, n_rows=None)
    outlier, wide = torch.eye(D_MODEL, dtype=torch.float64)[[OUTLIER, WIDE]]
    assert float(found.directions[0] @ -outlier) == pytest.approx(1, abs=1e-3)
    assert abs(float(found.directions[1] @ wide)) == pytest.approx(1, abs=1e-2)
    assert float(found.cosine_to_first[0]) == pytest.approx(1, abs=1e-3)
    assert float(found.cosine_to_difference[0]) == pytest.approx(1, abs=1e-3)
    assert found.variances[1] == pytest.approx(25, rel=0.1)
    assert float(found.variance_shares.sum()) == pytest.approx(1)


def test_directions_are_those_of_the_covariance_however_rows_are_cut(
    model: FrozenModel, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spliced, "chunk_elements", lambda _: 400)
    found = principal_directions(model, rows.evaluation, layer=2, n_directions=4)
    tokens = rows.evaluation.take(slice(None))
    x = clean_run(model, tokens, Capture(frozenset({2}), output=False)).residuals[2]
    covariance = x.flatten(0, 1).T.cov(correction=0)
    assert found.directions.shape == (4, D_MODEL)
    torch.testing.assert_close(found.directions @ covariance, found.variances[:, None] * found.directions)
    assert found.total_variance == pytest.approx(float(covariance.trace()))
    torch.testing.assert_close(found.mean, x.mean((0, 1)))
    torch.testing.assert_close(found.first_mean, x[:, 0].mean(0))
    torch.testing.assert_close(found.rest_mean, x[:, 1:].mean((0, 1)))
    assert ((found.first_mean - found.mean) @ found.directions.T >= 0).all()


def test_an_sae_that_keeps_one_direction_correlates_along_that_one_alone(model: FrozenModel, rows: Rows) -> None:
    directions = torch.eye(D_MODEL, dtype=torch.float64)[:3]
    saes = [identity_sae(scale=0.5), projecting_sae(directions[1])]
    along = along_directions(directions, saes, model, rows.evaluation, layer=1)
    halved, one = (correlation(clean=along.clean, sae=sae) for sae in along.saes)
    torch.testing.assert_close(halved.rest, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(halved.first, torch.ones(3, dtype=torch.float64))
    assert one.rest[1] == pytest.approx(1)
    assert all(math.isnan(one.rest[other]) for other in (0, 2))  # nothing comes out: no correlation, and no 0


def test_correlations_are_pearsons_with_position_0_apart() -> None:
    clean, sae = torch.randn(2, 30, 4, 2, generator=torch.Generator().manual_seed(0))
    found = correlation(clean=clean, sae=sae)
    for part, positions in ((found.first, slice(0, 1)), (found.rest, slice(1, None))):
        for direction in range(2):
            pair = torch.stack([each[:, positions, direction].flatten().double() for each in (clean, sae)])
            assert part[direction] == pytest.approx(float(torch.corrcoef(pair)[0, 1]))


END = 7


def made_up() -> Along:
    """Position 0 at 100 and 101, end of text at -4 and -3, others at 1 to 6; the SAE halves."""
    clean = torch.tensor([[100.0, 1, 2, -4], [101, 4, -3, 6]])[..., None]
    tokens = torch.tensor([[END, 1, 2, END], [3, 4, END, 6]])
    return Along(clean, (clean / 2,), tokens)


def test_kinds_of_tokens_are_apart_and_position_0_comes_first() -> None:
    along = made_up()
    kinds = {kind: along.of_kind(kind, end_id=END) for kind in TokenKind}
    assert [int(mask.sum()) for mask in kinds.values()] == [2, 2, 4]
    assert torch.stack(list(kinds.values())).sum(0).eq(1).all()
    assert not along.of_kind(TokenKind.END, end_id=None).any()


def test_histograms_hold_every_token_once_in_bins_that_compare() -> None:
    found = histograms(made_up(), which=0, direction=0, end_id=END)
    assert {kind: (int(one.clean.sum()), int(one.sae.sum())) for kind, one in found.items()} == {
        TokenKind.FIRST: (2, 2), TokenKind.END: (2, 2), TokenKind.OTHER: (4, 4),
    }  # fmt: skip
    assert found[TokenKind.END].edges.equal(found[TokenKind.OTHER].edges)  # few of both, so as many bins
    first = found[TokenKind.FIRST]
    assert first.edges[0] == pytest.approx(50, abs=0.1)
    assert first.edges[-1] == pytest.approx(101, abs=0.1)
    assert first.clean.tolist() == [0] * 9 + [2]
    assert first.sae.tolist() == [2] + [0] * 9


def test_a_kind_without_tokens_has_no_histogram() -> None:
    assert set(histograms(made_up(), which=0, direction=0, end_id=None)) == {TokenKind.FIRST, TokenKind.OTHER}


def test_means_by_position_are_over_rows(model: FrozenModel, rows: Rows) -> None:
    along = along_directions(
        torch.eye(D_MODEL, dtype=torch.float64), [random_sae()], model, rows.evaluation, layer=1
    )  # fmt: skip
    found = by_position(clean=along.clean, sae=along.saes[0])
    x = clean_run(model, rows.evaluation.take(slice(None)), Capture(frozenset({1}), output=False)).residuals[1]
    torch.testing.assert_close(found.clean, x.mean(0), atol=1e-6, rtol=1e-5)
    assert found.sae.shape == found.clean.shape
