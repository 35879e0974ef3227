"""The switch between paths: dense first, no flapping, every change on record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.sae.density import DensitySwitch, Switch

START = DensitySwitch(sparse_below=0.1, dense_above=0.3)


def walked(densities: list[float]) -> DensitySwitch:
    switch = START
    for step, density in enumerate(densities):
        switch = switch.after(step=step, density=density)
    return switch


def test_a_bank_starts_dense_and_turns_sparse_when_few_latents_are_left() -> None:
    assert START.path == "dense"
    assert walked([0.5, 0.3, 0.1]).path == "dense"
    assert walked([0.5, 0.3, 0.09]).path == "sparse"


def test_a_bank_turns_dense_again_only_above_the_upper_density() -> None:
    assert walked([0.05, 0.2, 0.3]).path == "sparse"
    assert walked([0.05, 0.2, 0.31]).path == "dense"


def test_each_change_is_recorded_with_its_step_and_density() -> None:
    assert walked([0.5, 0.05, 0.2, 0.4]).switches == (Switch(1, 0.05, "sparse"), Switch(3, 0.4, "dense"))


@given(st.lists(st.floats(0.1, 0.3)), st.sampled_from([0.05, 0.4]))
def test_between_the_two_densities_nothing_changes(densities: list[float], first: float) -> None:
    assert walked([first, *densities]) == walked([first])


def test_a_density_that_is_not_a_number_changes_nothing() -> None:
    assert walked([float("nan")]) == START
    assert walked([0.05, float("nan")]) == walked([0.05])


@pytest.mark.parametrize(("below", "above"), [(0.3, 0.1), (0.2, 0.2), (-0.1, 0.2)])
def test_densities_in_the_wrong_order_are_refused(below: float, above: float) -> None:
    with pytest.raises(ValueError, match="expected 0 <= sparse_below < dense_above"):
        DensitySwitch(sparse_below=below, dense_above=above)
