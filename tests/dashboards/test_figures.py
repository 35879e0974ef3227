"""The picture of a frontier shows what is in the file, for any number of layers, and is the same bytes twice."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dashboards.figures import frontier_figure, write_figures
from orchestrator.folder.records import Row, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier
from orchestrator.fronts.external import write_external
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, EXTERNAL, Objective, objective_columns
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.test_others import an_external
from tests.orchestrator.rows import NOON, a_config, a_row
from trainer.losses import LOSS_KINDS

STYLE = json.loads((Path(__file__).parents[2] / "dashboards" / "style.json").read_text())


def exported(folder: Path, rows: Sequence[Row], objectives: Sequence[Objective] = DEFAULT_OBJECTIVES) -> Path:
    run = RunFolder(folder)
    for row in rows:
        run.write_row(row)
    return export_frontier(run, sweep_id="s-1", state=SweepState.COMPLETE, now=NOON, objectives=objectives).path


def drawn(figure: Figure) -> Figure:
    """With its layout settled; warnings are errors, so a layout that does not fit fails here."""
    figure.draw_without_rendering()
    return figure


def titles(figure: Figure) -> list[str]:
    return [panel.get_title() for panel in figure.axes if panel.get_title()]


def points(panel: Axes, loss: str, *, faint: bool) -> set[tuple[float, float]]:
    color = STYLE["losses"][loss]["color"]
    lines = [
        line for line in panel.lines if to_hex(line.get_color()) == color and (line.get_alpha() is not None) == faint
    ]
    return {(float(x), float(y)) for line in lines for x, y in np.asarray(line.get_xydata())}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize(
    ("layers", "rows_and_columns"),
    [(1, (1, 2)), (2, (2, 2)), (3, (2, 3)), (4, (2, 4)), (5, (4, 3)), (8, (4, 4)), (12, (6, 4))],
)
def test_each_layer_has_two_panels_in_bands_of_at_most_four(
    tmp_path: Path, layers: int, rows_and_columns: tuple[int, int]
):
    figure = drawn(frontier_figure(exported(tmp_path, fake_rows(layers=layers, coeffs=2, seeds=1))))
    assert len(figure.axes) == 2 * layers
    assert list(dict.fromkeys(titles(figure))) == [f"layer {layer}" for layer in range(layers)]
    grid = figure.axes[0].get_subplotspec()
    assert grid is not None
    assert grid.get_gridspec().get_geometry() == rows_and_columns


def test_frontier_and_dominated_trials_are_where_the_file_says(tmp_path: Path):
    path = exported(tmp_path, fake_rows(layers=1, coeffs=4, seeds=3))
    trials: list[dict[str, Any]] = pq.ParquetFile(path).read().to_pylist()
    left, right = frontier_figure(path).axes
    for panel, x, flag in ((left, "l0", "on_front_l0"), (right, "n_alive_elements", "on_front_alive")):
        for loss in ("local", "e2e", "e2e_downstream"):
            for on_front in (True, False):
                group = [trial for trial in trials if trial["loss"] == loss and trial[flag] == on_front]
                assert points(panel, loss, faint=not on_front) == {(t[x], t["ce_loss_increase"]) for t in group}


def test_a_frontier_goes_down_in_steps_that_no_trial_is_below(tmp_path: Path):
    figure = frontier_figure(exported(tmp_path, fake_rows(layers=1, losses=("local",))))
    (line,) = (line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post")
    x, y = np.asarray(line.get_xydata()).T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) < 0).all()


def test_panels_of_one_pair_of_metrics_share_their_limits(tmp_path: Path):
    figure = frontier_figure(exported(tmp_path, fake_rows(layers=3)))
    for number in (0, 1):
        panels = figure.axes[number::2]
        assert len({panel.get_xlim() for panel in panels}) == 1
    assert len({panel.get_ylim() for panel in figure.axes}) == 1


def test_axes_say_metric_and_unit_and_l0_is_logarithmic(tmp_path: Path):
    upper, lower = frontier_figure(exported(tmp_path, fake_rows(layers=2))).axes[:2]
    assert upper.get_xlabel() == "L0 (elements per token)"
    assert lower.get_xlabel() == "Alive dictionary elements"
    assert upper.get_ylabel() == "CE loss increase\n(nats per token)"
    assert (upper.get_xscale(), lower.get_xscale()) == ("log", "linear")


@pytest.mark.parametrize("span", [(20.0, 21.0), (20.0, 45.0), (5.0, 90.0), (3.0, 800.0), (0.01, 3000.0)])
def test_ticks_of_l0_are_few_and_do_not_touch(tmp_path: Path, span: tuple[float, float]):
    rows = [a_row(a_config(layer=layer, seed=i), l0=l0) for layer in range(4) for i, l0 in enumerate(span)]
    figure = drawn(frontier_figure(exported(tmp_path, rows)))
    panel = figure.axes[0]
    low, high = panel.get_xlim()
    shown = [label for label in panel.get_xticklabels(which="both") if low <= label.get_position()[0] <= high]
    boxes = sorted((label.get_window_extent() for label in shown if label.get_text()), key=lambda box: box.x0)
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_ce_loss_increase_of_0_or_below_is_shown_against_a_line_at_0(tmp_path: Path):
    rows = [a_row(a_config(seed=seed), l0=10.0 + seed, ce=ce) for seed, ce in enumerate([0.2, 0.0, -0.1])]
    panel = drawn(frontier_figure(exported(tmp_path, rows))).axes[0]
    assert points(panel, "local", faint=False) == {(10.0, 0.2), (11.0, 0.0), (12.0, -0.1)}
    assert panel.get_ylim()[0] < -0.1
    assert any(list(np.asarray(line.get_ydata())) == [0, 0] for line in panel.lines)


def test_one_trial_makes_a_picture(tmp_path: Path):
    figure = drawn(frontier_figure(exported(tmp_path, [a_row(l0=20.0, ce=0.1)])))
    assert points(figure.axes[0], "local", faint=False) == {(20.0, 0.1)}
    assert "1 SAE on gpt2" in texts(figure)


def test_trials_that_a_log_axis_cannot_show_are_counted(tmp_path: Path):
    rows = [a_row(a_config(seed=0), l0=0.0, ce=3.0), a_row(a_config(seed=1), l0=5.0, ce=0.1)]
    left, right = drawn(frontier_figure(exported(tmp_path, rows))).axes
    assert [text.get_text() for text in left.texts] == ["not shown: 1 at 0"]
    assert [text.get_text() for text in right.texts] == []


def test_only_trials_at_l0_0_make_a_picture(tmp_path: Path):
    figure = drawn(frontier_figure(exported(tmp_path, [a_row(l0=0.0, ce=3.0, alive=0.0)])))
    assert "not shown: 1 at 0" in texts(figure)


def test_an_empty_table_says_so(tmp_path: Path):
    written = write_figures(exported(tmp_path, []), tmp_path)
    assert "no finished trial to draw" in texts(frontier_figure(tmp_path / "frontier.parquet"))
    assert all(path.stat().st_size > 0 for path in written)


def test_dictionary_sizes_and_models_are_told_apart(tmp_path: Path):
    rows = fake_rows(layers=1, coeffs=2, ratios=(4.0, 8.0), losses=("local",))
    rows += [a_row(a_config(model="/models/tiny", layer=0))]
    figure = drawn(frontier_figure(exported(tmp_path, rows)))
    assert titles(figure) == ["tiny, layer 0", "gpt2, layer 0"]
    assert {"256 elements", "512 elements"} <= set(texts(figure).splitlines())
    styles = {line.get_linestyle() for panel in figure.axes for line in panel.lines if "steps" in line.get_drawstyle()}
    assert styles == {"-", "--"}


def test_other_objectives_are_drawn_too(tmp_path: Path):
    rows = [a_row(a_config(seed=seed), mse=1.0 + seed, cosine=0.8 + 0.1 * seed) for seed in range(2)]
    objectives = [Objective("mse", "cosine"), Objective("cosine", "l0")]
    left, right = drawn(frontier_figure(exported(tmp_path, rows, objectives))).axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("mse (activation squared)", "cosine")
    assert (right.get_xlabel(), right.get_ylabel()) == ("cosine", "L0\n(elements per token)")
    assert right.get_yscale() == "log"
    assert "Down and to the left is better" not in texts(left.figure.get_figure(root=True))


def test_png_and_svg_are_whole_and_the_same_bytes_in_another_process(tmp_path: Path):
    path = exported(tmp_path, fake_rows(layers=2, coeffs=2))
    written = write_figures(path, tmp_path / "here")
    assert written.png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(written.svg).getroot().tag.endswith("svg")
    assert sorted(file.name for file in (tmp_path / "here").iterdir()) == ["frontier.png", "frontier.svg"]
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nlines.linewidth: 9\nsvg.hashsalt: other\n")
    code = f"""
import sys
from itertools import pairwise
from pathlib import Path
from dashboards.figures import write_figures
write_figures(Path({str(path)!r}), Path({str(tmp_path / "there")!r}))
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {**os.environ, "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"), "PYTHONHASHSEED": "7"}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=root)
    for file in written:
        assert file.read_bytes() == (tmp_path / "there" / file.name).read_bytes()


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path: Path):
    before = dict(mpl.rcParams)
    write_figures(exported(tmp_path, [a_row()]), tmp_path)
    assert dict(mpl.rcParams) == before


def test_saes_of_others_are_counted_apart_and_drawn_as_stars(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for row in fake_rows(layers=1):
        folder.write_row(row)
    write_external(folder, [an_external(l0=30.0, ce=0.05, layer=0, d_sae=64)])
    export_frontier(folder, sweep_id="s-1", state=SweepState.COMPLETE, now=NOON)
    figure = frontier_figure(folder.frontier)
    stars = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert [np.asarray(line.get_xydata()).tolist() for line in stars] == [[[30.0, 0.05]]]
    assert "30 SAEs and 1 of others on gpt2" in texts(figure)
    assert "64 elements" not in {text.get_text() for text in figure.legends[0].get_texts()}


def test_a_foreign_file_is_refused_in_words(tmp_path: Path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet is no frontier table"):
        frontier_figure(tmp_path / "x.parquet")


def test_the_style_knows_every_loss_and_only_metrics_that_exist():
    assert set(STYLE["losses"]) == {*LOSS_KINDS, EXTERNAL}
    assert set(STYLE["metrics"]) <= set(objective_columns())
    for part in ("color", "marker"):
        assert len({look[part] for look in STYLE["losses"].values()}) == len(STYLE["losses"])
