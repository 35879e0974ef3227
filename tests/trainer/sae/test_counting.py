"""Counts of positive latents, piece by piece, against counts of all at once."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.sae import counting
from trainer.sae.counting import count_positive


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(0, 9), st.integers(1, 7)),
    density=st.sampled_from([0.0, 0.3, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    piece=st.sampled_from([1, 20, 2**18]),
    seed=st.integers(0, 100),
)
def test_pieces_come_to_the_whole(
    shape: tuple[int, int, int], density: float, dtype: torch.dtype, piece: int, seed: int
) -> None:
    dice = torch.Generator().manual_seed(seed)
    latents = torch.rand(shape, generator=dice, dtype=dtype) * (torch.rand(shape, generator=dice) < density)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(counting.PIECE, "cpu", piece)
        found = count_positive(latents)
    assert found.per_token.dtype == found.per_element.dtype == torch.int64
    assert torch.equal(found.per_token, (latents > 0).sum(-1))
    assert torch.equal(found.per_element, (latents > 0).sum(1))


def test_what_is_no_number_is_not_positive() -> None:
    latents = torch.tensor([[[float("nan"), 1.0, float("inf"), 0.0]]])
    assert count_positive(latents).per_element.tolist() == [[0, 1, 1, 0]]


def test_latents_in_any_layout_are_counted() -> None:
    latents = torch.rand(5, 3, 4).sub(0.5).relu().transpose(0, 1)
    assert torch.equal(count_positive(latents).per_element, (latents > 0).sum(1))
