"""What other settings do to the front, from rows; and its figure."""

from pathlib import Path

import numpy as np
import pytest

from dashboards import canvas
from dashboards.paper import settings as drawn
from orchestrator.folder.records import Row
from orchestrator.paper.settings import Settings, at, effects, front, lines_of, varied_settings
from tests.orchestrator.paper.test_training import chosen
from tests.orchestrator.rows import a_config, a_row
from trainer.errors import BadInput


def a_trial(*, lr: float, coeff: float, ce: float, loss: str = "local") -> Row:
    config = a_config(loss=loss, coeff=coeff)
    config = config.model_copy(update={"train": config.train.model_copy(update={"lr": lr})})
    return a_row(config, l0=100 / coeff, ce=ce * coeff, alive=1000 / coeff)


ROWS = [a_trial(lr=lr, coeff=coeff, ce=ce) for lr, ce in ((1e-3, 0.1), (1e-2, 0.2)) for coeff in (1.0, 2.0, 4.0)]


def test_only_what_varies_within_a_layer_and_loss_is_a_setting() -> None:
    assert varied_settings(ROWS) == ["train.lr"]
    assert varied_settings([a_trial(lr=1e-3, coeff=1, ce=1), a_trial(lr=1e-2, coeff=1, ce=1, loss="e2e")]) == []
    wider = a_row(a_config(ratio=8.0))
    assert varied_settings([a_row(a_config(ratio=4.0)), wider]) == ["sae.ratio"]


def test_the_front_is_what_nothing_dominates_and_is_read_in_log_l0() -> None:
    lines = [{"l0": l0, "ce_loss_increase": ce} for l0, ce in ((10.0, 0.4), (40.0, 0.2), (20.0, 0.5), (40.0, 0.3))]
    points = front(lines)
    assert points.tolist() == [[10.0, 0.4], [40.0, 0.2]]
    assert at(points, 20.0) == pytest.approx(0.3)
    assert at(points, 50.0) is None
    assert at(np.zeros((0, 2)), 20.0) is None


def test_the_effect_of_a_value_is_its_ratio_to_the_first_at_equal_l0() -> None:
    slow, fast = effects(lines_of(ROWS, "train.lr"))
    assert (slow["value"], fast["value"]) == ("0.001", "0.01")
    assert slow["at_l0"] == fast["at_l0"] == pytest.approx(50.0)
    assert slow["ce_loss_increase"] == pytest.approx(0.2)
    assert fast["ratio_to_first"] == pytest.approx(2.0)
    assert slow["n_alive_elements"] == pytest.approx((1000 + 500 + 250) / 3)


def test_a_sweep_in_which_nothing_else_varies_is_left_out_with_the_way_to_do_it() -> None:
    with pytest.raises(BadInput, match=r"sweeps/builtin_learning_rates\.yaml"):
        Settings().tasks(chosen(ROWS[:3]))
    assert Path(__file__).parents[3].joinpath("sweeps/builtin_learning_rates.yaml").exists()


def test_the_figure_is_the_same_bytes_twice(tmp_path: Path) -> None:
    each = lines_of(ROWS, "train.lr")
    for number in (1, 2):
        [(name, figure)] = drawn.figures({"settings_saes": each}).items()
        assert name == "settings_train_lr"
        for format in canvas.FORMATS:
            canvas.save(figure, tmp_path / f"{number}.{format}")
    for format in canvas.FORMATS:
        assert (tmp_path / f"1.{format}").read_bytes() == (tmp_path / f"2.{format}").read_bytes()
    assert drawn.figures({"settings_saes": []}) == {}
