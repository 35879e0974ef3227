"""Norms and cosines: known for a scaled identity, and position 0 apart from the rest."""

import pytest
import torch

from tests.trainer.analysis.known import constant_sae, identity_sae, random_sae
from tests.trainer.conftest import CONTEXT
from trainer.analysis import input_output_norms
from trainer.clean import Capture, clean_run
from trainer.data import Rows
from trainer.models import FrozenModel


@pytest.mark.parametrize(("scale", "bin"), [(0.3, 199), (2.0, 199), (-0.5, 0)])
def test_a_scaled_identity_has_its_scale_as_ratio_and_its_sign_as_cosine(
    model: FrozenModel, rows: Rows, scale: float, bin: int
) -> None:
    sae = identity_sae(scale=abs(scale))
    turned = type(sae)(sae.w_enc, sae.b_enc, sae.dictionary * (1 if scale > 0 else -1), sae.b_dec, sae.config)
    found = input_output_norms(turned, model, rows.evaluation)
    for part, n_tokens in ((found.first, 5), (found.rest, 25)):
        assert part.n_tokens == n_tokens
        assert part.l2_ratio == pytest.approx((abs(scale), 0, 0), abs=1e-7)
        assert part.cosine.mean == pytest.approx(1 if scale > 0 else -1)
        assert part.cosine_counts[bin] == n_tokens
        assert part.norm_out.mean == pytest.approx(abs(scale) * part.norm_in.mean)


def test_the_identity_changes_no_prediction(model: FrozenModel, rows: Rows) -> None:
    found = input_output_norms(identity_sae(), model, rows.evaluation)
    assert found.first.kl.mean == pytest.approx(0, abs=1e-12)
    assert input_output_norms(random_sae(), model, rows.evaluation).rest.kl.mean > 0.01


def test_position_0_is_apart_from_the_rest(model: FrozenModel, rows: Rows) -> None:
    tokens = rows.evaluation.take(slice(None))
    x = clean_run(model, tokens, Capture(frozenset({1}), output=False)).residuals[1]
    value = torch.ones(x.shape[-1], dtype=x.dtype)
    found = input_output_norms(constant_sae(value), model, rows.evaluation)
    lengths = x.norm(dim=-1)
    assert found.first.norm_in.mean == pytest.approx(float(lengths[:, 0].mean()))
    assert found.rest.l2_ratio.mean == pytest.approx(float((value.norm() / lengths[:, 1:]).mean()))
    assert found.rest.l2_ratio.std == pytest.approx(float((value.norm() / lengths[:, 1:]).std(correction=0)))
    by_row = (value.norm() / lengths[:, 1:]).mean(dim=1)
    assert found.rest.l2_ratio.stderr == pytest.approx(float(by_row.std()) / len(by_row) ** 0.5)


def test_points_are_tokens_of_both_kinds_each_once(model: FrozenModel, rows: Rows) -> None:
    every = input_output_norms(random_sae(), model, rows.evaluation).points
    assert every.position.tolist() == [0] * 5 + [1, 2, 3, 4, 5] * 5
    some = input_output_norms(random_sae(), model, rows.evaluation, n_points=8).points
    assert some.position.tolist().count(0) == 4
    assert len(some.norm_out) == 8
    assert some.position.max() < CONTEXT
    assert len(set(some.norm_in.tolist())) == 8  # rows differ, so no token came twice
