"""Downstream reconstruction: 0 and 1 for the identity, 0 for the mean, the evaluation's numbers for any SAE."""

import math
from dataclasses import astuple

import pytest
import torch
from torch.nn import functional

from tests.trainer.analysis.known import constant_sae, identity_sae, random_sae
from tests.trainer.conftest import D_MODEL, N_LAYERS
from trainer.analysis import downstream_reconstruction, spliced
from trainer.clean import Capture, clean_run, run_above
from trainer.data import Rows
from trainer.models import FrozenModel


def residuals(model: FrozenModel, rows: Rows, layer: int) -> torch.Tensor:
    tokens = rows.evaluation.take(slice(None))
    return clean_run(model, tokens, Capture(frozenset({layer}), output=False)).residuals[layer]


def test_the_identity_has_no_error_and_explains_all_at_every_layer(model: FrozenModel, rows: Rows) -> None:
    found = downstream_reconstruction(identity_sae(), model, rows.evaluation)
    assert [fit.layer for fit in found] == [1, 2, N_LAYERS]
    for at in found:
        for fit in (at.raw, at.layer_normed):
            assert astuple(fit) == pytest.approx((0, 0, 1, 0, 1, 0), abs=1e-12)


def test_predicting_the_mean_explains_nothing_where_it_is_put(model: FrozenModel, rows: Rows) -> None:
    x = residuals(model, rows, 1)
    own, *_ = downstream_reconstruction(constant_sae(x.mean((0, 1))), model, rows.evaluation)
    assert own.raw.explained_variance == pytest.approx(0, abs=1e-12)
    assert own.raw.explained_variance_per_token == pytest.approx(0, abs=1e-12)
    assert own.raw.mse == pytest.approx(float(x.flatten(0, 1).var(0, correction=0).mean()))


def test_what_is_explained_is_the_input_and_the_other_order_is_told_apart(model: FrozenModel, rows: Rows) -> None:
    """An SAE that keeps 0.2 of the activation explains 1 - 0.8² = 0.36 of a stream with zero mean. With the arguments
    in the other order the same SAE gives 1 - 4² = -15."""
    x = residuals(model, rows, 1)
    mean = x.mean((0, 1))
    sae = identity_sae(scale=0.2)
    around_mean = type(sae)(sae.w_enc, -sae.w_enc @ mean, sae.dictionary, mean, sae.config)
    own, *_ = downstream_reconstruction(around_mean, model, rows.evaluation)
    assert own.raw.explained_variance == pytest.approx(0.36)
    assert own.raw.explained_variance_per_token == pytest.approx(0.36)
    assert own.swapped_per_token == pytest.approx(-15)


def test_any_sae_gives_what_the_formulas_say(model: FrozenModel, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spliced, "chunk_elements", lambda _: 400)  # two rows at a time, the last alone
    sae = random_sae()
    found = downstream_reconstruction(sae, model, rows.evaluation)
    x = residuals(model, rows, 1)
    x_hat = sae.decode(sae.encode(x))
    above = {1: x_hat, **run_above(model, x_hat, layer=1, keep=(2, 3), output=False).residuals}
    for at in found:
        for fit, form in ((at.raw, lambda t: t), (at.layer_normed, lambda t: functional.layer_norm(t, (D_MODEL,)))):
            target, prediction = form(residuals(model, rows, at.layer)), form(above[at.layer])
            error = (prediction - target).square().sum(-1)
            spread = (target - target.mean((0, 1))).square().sum(-1)
            per_token = (1 - error / spread).flatten()
            rest = error.sum(1) - error.sum() / spread.sum() * spread.sum(1)
            expected = (
                error.mean() / D_MODEL,
                error.mean(1).std() / D_MODEL / 5**0.5,
                1 - error.sum() / spread.sum(),
                rest.std(correction=1) * 5**0.5 / spread.sum(),  # its mean is 0
                per_token.mean(),
                per_token.std(correction=0),
            )
            assert astuple(fit) == pytest.approx([float(each) for each in expected])
    assert [at.swapped_per_token is None for at in found] == [False, True, True]
    assert all(math.isfinite(at.raw.mse) and at.n_tokens == 30 for at in found)
