"""`orchestrator.load` gives a run's tables, trials and pictures, read anew at each call."""

from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from matplotlib.figure import Figure

import orchestrator
from orchestrator.folder.run_folder import RunFolder
from tests.dashboards.shown import export, shown_run
from tests.orchestrator.made_run import TRIALS
from tests.orchestrator.rows import a_row


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return shown_run(tmp_path / "runs", n_done=6)


def test_a_run_is_found_by_folder_id_and_name(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path.parents[1])
    for wanted in (folder.path, str(folder.path), "demo-12345678", "demo"):
        assert orchestrator.load(wanted).path.resolve() == folder.path
    with pytest.raises(ValueError, match=r"no run 'nothing': expected .* there are demo-12345678"):
        orchestrator.load("nothing")


def test_its_tables_come_for_pandas_polars_and_arrow(folder: RunFolder) -> None:
    run = orchestrator.load(folder.path)
    assert isinstance(run.pandas(), pd.DataFrame)
    assert isinstance(run.polars(), pl.DataFrame)
    assert len(run.pandas()) == len(run.polars()) == run.arrow().num_rows == 6
    assert set(run.pandas("summary")["front"]) == {"l0", "alive"}
    assert run.polars("matched").height > 0
    assert run.facts["schema_version"].startswith("1.")
    with pytest.raises(ValueError, match="expected one of frontier, summary, matched, surfaces"):
        run.arrow("nothing")  # pyright: ignore[reportArgumentType]


def test_its_curves_and_trials_are_found_by_name(folder: RunFolder) -> None:
    run = orchestrator.load(folder.path)
    curves = run.curves(TRIALS[0].run_name)
    assert list(curves.columns) == ["train/loss"]
    assert curves.loc[1, "train/loss"] == 0.5
    assert run.trial(TRIALS[0].trial_id)["run_name"] == TRIALS[0].run_name
    with pytest.raises(ValueError, match=r"Run\.trials lists those that there are"):
        run.trial("L9-nothing")


def test_it_draws_its_figures_and_its_report(folder: RunFolder) -> None:
    run = orchestrator.load(folder.path)
    assert isinstance(run.figure(), Figure)
    assert isinstance(run.paper_figure(layers=(1,)), Figure)
    assert run.report().startswith("<!doctype html>")


def test_what_is_new_is_seen_at_the_next_call(folder: RunFolder) -> None:
    run = orchestrator.load(folder.path)
    assert len(run.pandas()) == 6
    folder.write_row(a_row(TRIALS[6]))
    export(folder)
    assert len(run.pandas()) == 7


def test_it_shows_itself_as_text_and_safely_as_html(folder: RunFolder) -> None:
    folder.write_sweep("name: <img src=x onerror=alert(1)>\n")
    run = orchestrator.load(folder.path)
    assert repr(run).endswith("done, 6 of 8 trials done>")
    assert "<img" not in run._repr_html_()


def test_a_run_without_a_table_says_so(tmp_path: Path) -> None:
    folder = shown_run(tmp_path, n_done=1)
    folder.frontier.unlink()
    with pytest.raises(ValueError, match=r"has no frontier\.parquet yet"):
        orchestrator.load(folder.path).pandas()
