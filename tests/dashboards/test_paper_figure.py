"""The picture of a paper shows the trials and surfaces that are in the files, and is the same bytes twice."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dashboards.paper_figure import paper_figure, write_paper_figure
from orchestrator.folder.records import SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier
from orchestrator.fronts.external import write_external
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, Objective
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.test_others import an_external
from tests.orchestrator.rows import NOON

STYLE = json.loads((Path(__file__).parents[2] / "dashboards" / "style.json").read_text())


def exported(
    path: Path, *, layers: int = 2, seeds: int = 4, objectives: tuple[Objective, ...] = DEFAULT_OBJECTIVES
) -> tuple[Path, Path]:
    folder = RunFolder(path)
    for row in fake_rows(layers=layers, coeffs=4, seeds=seeds):
        folder.write_row(row)
    export_frontier(folder, sweep_id="s-1", state=SweepState.COMPLETE, now=NOON, objectives=objectives)
    return folder.frontier, path / "frontier_surfaces.parquet"


def drawn(figure: Figure) -> Figure:
    """With its layout settled; warnings are errors, so a layout that does not fit fails here."""
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize(("layers", "grid"), [(1, (1, 2)), (3, (3, 2)), (4, (4, 2)), (5, (3, 4)), (12, (4, 6))])
def test_each_layer_is_a_row_of_two_panels(tmp_path: Path, layers: int, grid: tuple[int, int]):
    figure = drawn(paper_figure(*exported(tmp_path, layers=layers, seeds=1)))
    assert len(figure.axes) == 2 * layers
    place = figure.axes[0].get_subplotspec()
    assert place is not None
    assert place.get_gridspec().get_geometry() == grid
    assert [panel.get_title() for panel in figure.axes[::2]] == [f"layer {layer}" for layer in range(layers)]


def test_the_line_is_the_median_surface_and_the_marks_are_the_trials(tmp_path: Path):
    frontier, surfaces = exported(tmp_path, layers=1)
    panel = drawn(paper_figure(frontier, surfaces)).axes[0]
    color = STYLE["losses"]["e2e"]["color"]
    lines = [line for line in panel.lines if to_hex(line.get_color()) == color]
    (median,) = (line for line in lines if line.get_drawstyle() == "steps-post")
    table = pl.read_parquet(surfaces).filter(loss="e2e", front="l0", level=0.5).sort("x")
    assert np.asarray(median.get_xydata()).tolist() == table.select("x", "y").to_numpy().tolist()
    marks = {(x, y) for line in lines if line is not median for x, y in np.asarray(line.get_xydata()).tolist()}
    trials = pl.read_parquet(frontier).filter(loss="e2e").select("l0", "ce_loss_increase")
    assert marks == set(trials.iter_rows())


def test_bands_are_between_the_quartile_surfaces_and_one_seed_has_none(tmp_path: Path):
    frontier, surfaces = exported(tmp_path / "four", layers=1)
    for panel, front in zip(drawn(paper_figure(frontier, surfaces)).axes, ("l0", "alive"), strict=True):
        assert len(panel.collections) == 3
        table = pl.read_parquet(surfaces).filter(front=front, loss="local")
        corners = {(row["x"], row["y"]) for row in table.filter(pl.col("level") != 0.5).iter_rows(named=True)}
        band = {(float(x), float(y)) for path in panel.collections[0].get_paths() for x, y in path.vertices}
        assert len(corners & band) >= len(corners) - 2
    figure = drawn(paper_figure(*exported(tmp_path / "one", layers=1, seeds=1)))
    assert [len(panel.collections) for panel in figure.axes] == [0, 0]
    assert "seeds" not in " ".join(text.get_text() for text in figure.legends[0].get_texts())


def test_inverted_low_values_are_on_top(tmp_path: Path):
    files = exported(tmp_path)
    for inverted in (False, True):
        for panel in paper_figure(*files, inverted_y=inverted).axes:
            low, high = panel.get_ylim()
            assert (low > high) == inverted


def test_chosen_layers_alone_are_drawn_and_others_are_refused(tmp_path: Path):
    files = exported(tmp_path, layers=3)
    assert [panel.get_title() for panel in paper_figure(*files, layers=[1]).axes] == ["layer 1", ""]
    with pytest.raises(ValueError, match="no trial of layer 5: expected layers among 0, 1, 2"):
        paper_figure(*files, layers=[1, 5])


def test_three_objectives_are_drawn_in_pairs_without_a_line_that_is_none(tmp_path: Path):
    figure = drawn(
        paper_figure(
            *exported(tmp_path, layers=1, objectives=(Objective("l0", "n_alive_elements", "ce_loss_increase"),))
        )
    )
    assert len(figure.axes) == 2
    assert {line.get_drawstyle() for panel in figure.axes for line in panel.lines} == {"default"}


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_tables_give_the_same_bytes_without_a_date(tmp_path: Path, suffix: str):
    files = exported(tmp_path)
    paths = [tmp_path / f"{name}.{suffix}" for name in ("a", "b")]
    for path in paths:
        write_paper_figure(*files, path)
    one, other = (path.read_bytes() for path in paths)
    assert one == other
    assert b"Date" not in one
    assert b"matplotlib.org" not in one or suffix == "svg"


def test_a_name_of_another_format_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"cannot draw figure\.gif"):
        write_paper_figure(*exported(tmp_path, layers=1, seeds=1), tmp_path / "figure.gif")


def test_saes_of_others_are_stars_without_a_line_and_move_no_line_of_ours(tmp_path: Path):
    frontier, surfaces = exported(tmp_path, layers=1)
    before = drawn(paper_figure(frontier, surfaces)).axes[0]
    write_external(RunFolder(tmp_path), [an_external(l0=30.0, ce=0.05, layer=0), an_external(l0=60.0, ce=9.0, layer=0)])
    export_frontier(RunFolder(tmp_path), sweep_id="s-1", state=SweepState.COMPLETE, now=NOON)
    figure = drawn(paper_figure(frontier, surfaces))
    panel = figure.axes[0]
    look = STYLE["losses"]["external"]
    (stars,) = (line for line in panel.lines if line.get_marker() == look["marker"])
    assert (to_hex(stars.get_color()), stars.get_linestyle()) == (look["color"], "None")
    assert sorted(np.asarray(stars.get_xydata()).tolist()) == [[30.0, 0.05], [60.0, 9.0]]
    assert look["label"] in {text.get_text() for text in figure.legends[0].get_texts()}
    ours = {to_hex(line.get_color()) for line in panel.lines} - {look["color"]}
    for color in ours:
        was, is_ = (
            [np.asarray(line.get_xydata()).tolist() for line in one.lines if to_hex(line.get_color()) == color]
            for one in (before, panel)
        )
        assert was == is_
    assert look["marker"] not in {line.get_marker() for line in before.lines}


def test_a_table_of_before_there_were_others_is_drawn(tmp_path: Path):
    frontier, surfaces = exported(tmp_path, layers=1)
    old = pq.read_table(frontier)
    pq.write_table(old.drop_columns(["source"]).replace_schema_metadata(old.schema.metadata), frontier)
    assert len(drawn(paper_figure(frontier, surfaces)).axes) == 2


def test_alive_elements_have_no_tick_between_two_counts(tmp_path: Path):
    frontier, surfaces = exported(tmp_path, layers=1, seeds=1)
    table = pq.read_table(frontier)
    few = pa.array([1021 + row % 3 for row in range(table.num_rows)], pa.int32())
    place = table.column_names.index("n_alive_elements")
    pq.write_table(table.set_column(place, table.schema.field(place), few), frontier)
    ticks = drawn(paper_figure(frontier, surfaces)).axes[1].get_xticks()
    assert all(tick == round(tick) for tick in ticks)
