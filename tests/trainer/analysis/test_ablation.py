"""Resample ablation: a direction that the model does not read costs nothing, the others something."""

import pytest
import torch

from tests.trainer.conftest import D_MODEL
from trainer.analysis import divergence, resample_ablation, spliced
from trainer.clean import Capture, clean_run, run_above
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.models import FrozenModel

IGNORED = torch.full((D_MODEL,), D_MODEL**-0.5, dtype=torch.float64)
"""The mean over d_model, which LayerNorm takes away wherever a GPT-2 reads its stream."""


def test_a_direction_that_the_model_ignores_costs_nothing_and_others_cost_something(
    model: FrozenModel, rows: Rows
) -> None:
    read = torch.eye(D_MODEL, dtype=torch.float64)[:2]
    found = resample_ablation(torch.cat([IGNORED[None], read]), model, rows.evaluation, layer=1)
    assert found.kl[0] == pytest.approx(0, abs=1e-12)
    assert found.kl_reversed[0] == pytest.approx(0, abs=1e-12)
    assert (found.kl[1:] > 1e-3).all()
    assert (found.kl_stderr[1:] > 0).all()


def test_the_divergence_is_of_the_original_to_the_ablated(model: FrozenModel, rows: Rows) -> None:
    """Done by hand: every token after position 0 gets another one's activation along one axis."""
    axis = torch.eye(D_MODEL, dtype=torch.float64)[3]
    found = resample_ablation(axis[None], model, rows.evaluation, layer=1, seed=4)
    clean = clean_run(model, rows.evaluation.take(slice(None)), Capture(frozenset({1}), output=True))
    x = clean.residuals[1].clone()
    values = x[:, 1:, 3].flatten()
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(4))
    x[:, 1:, 3] = values[order].view(x.shape[0], -1)
    changed = run_above(model, x, layer=1, keep=(), output=True).normed
    assert clean.normed is not None
    assert changed is not None
    expected = divergence(original=clean.normed, changed=changed, unembedding=model.unembedding)
    assert expected.original_to_changed[:, 0].abs().max() < 1e-12  # position 0 reads nothing that was changed
    assert found.kl[0] == pytest.approx(float(expected.original_to_changed[:, 1:].mean()))
    assert found.kl_reversed[0] == pytest.approx(float(expected.changed_to_original[:, 1:].mean()))
    assert found.kl[0] != pytest.approx(float(found.kl_reversed[0]), rel=1e-3)


def test_the_seed_decides_and_batches_do_not(model: FrozenModel, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    axis = torch.eye(D_MODEL, dtype=torch.float64)[3:4]
    whole, other = (resample_ablation(axis, model, rows.evaluation, layer=1, seed=seed) for seed in (0, 1))
    monkeypatch.setattr(spliced, "chunk_elements", lambda _: 400)
    pieces = resample_ablation(axis, model, rows.evaluation, layer=1, seed=0)
    torch.testing.assert_close(whole.kl, pieces.kl)
    assert whole.kl != other.kl


def test_rows_of_one_token_have_nothing_to_resample(model: FrozenModel) -> None:
    short = Rows.from_tokens(torch.zeros(2, 1).long(), torch.ones(2, 1).long(), seed=0)
    with pytest.raises(BadInput, match="positions after 0"):
        resample_ablation(IGNORED[None], model, short.evaluation, layer=1)
