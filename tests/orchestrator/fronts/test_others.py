"""SAEs that others trained: in the table of a run, in its pictures' numbers, and never in what is said of its own."""

import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from orchestrator.folder.records import Facts, Row, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import export_frontier, lines_of_trials, read_frontier
from orchestrator.fronts.external import External, ExternalRow, read_external, write_external
from orchestrator.fronts.notes import notes
from orchestrator.fronts.others import standings
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, Objective
from orchestrator.fronts.summary import Fronts
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.made import REFERENCE, fronts_of, series_rows
from tests.orchestrator.rows import NOON, a_config, a_row

L0 = DEFAULT_OBJECTIVES[0]
OWN = [(10.0, 0.5), (20.0, 0.2), (40.0, 0.1)]


def an_external(
    name: str = "theirs", *, l0: float = 15.0, ce: float | None = 0.15, layer: int = 1, d_sae: int = 256
) -> ExternalRow:
    """Measured like the trials of `a_row`."""
    like = a_row(a_config(layer=layer))
    assert like.facts is not None
    facts: Facts = like.facts.model_copy(update={"d_sae": d_sae, "n_train_tokens": 0})
    return ExternalRow(
        sae_id=sha256(f"{name} {l0}".encode()).hexdigest()[:16], name=name, source=f"/theirs/{name}",
        hookpoint=f"blocks.{layer}.hook_resid_pre", layer=layer, like=like.config, facts=facts,
        metrics={"l0": l0, "ce_loss_increase": ce, "n_alive_elements": 50.0}, saelens={}, versions=like.versions,
        measured_at=NOON,
    )  # fmt: skip


def both(rows: list[Row], *others: ExternalRow, **options: object) -> Fronts:
    return fronts_of(rows, external=External(others, ()), **options)  # pyright: ignore[reportArgumentType]


def own_lines(fronts: Fronts) -> pa.Table:
    return fronts.table.filter(pc.field("source") == "own")


@pytest.mark.parametrize(("l0", "ce"), [(1.0, 0.001), (15.0, 0.15), (90.0, 3.0), (20.0, 0.2)])
def test_nothing_that_is_said_of_the_sweep_changes_with_them(l0: float, ce: float):
    rows = fake_rows(layers=2, seeds=3)
    alone = fronts_of(rows, reference=REFERENCE)
    beside = both(rows, an_external(l0=l0, ce=ce), an_external("small", l0=l0, ce=ce, d_sae=64), reference=REFERENCE)
    assert own_lines(beside).equals(alone.table)
    assert beside.warnings == alone.warnings
    assert beside.shares == alone.shares
    for table in ("summary_table", "matched_table"):
        ours = getattr(beside, table)().filter(pc.field("loss") != "external")
        assert ours.equals(getattr(alone, table)())
    assert beside.surfaces_table().equals(alone.surfaces_table())


def test_one_that_nobody_dominates_is_on_the_joint_front_and_one_that_ours_dominate_is_not():
    ahead, behind = an_external("ahead", l0=15.0, ce=0.15), an_external("behind", l0=45.0, ce=0.1, d_sae=64)
    fronts = both(series_rows(OWN), ahead, behind)
    on = {line["run_name"]: line for line in fronts.table.to_pylist() if line["source"] == "external"}
    assert (on["ahead"]["on_front_l0"], on["ahead"]["on_joint_front_l0"]) == (True, True)
    assert (on["behind"]["on_front_l0"], on["behind"]["on_joint_front_l0"]) == (True, False)
    assert on["ahead"]["dominated_by_l0"] is None
    texts = [one.text for one in standings(fronts.table.filter(pc.field("source") == "external"), fronts.own, L0)]
    assert sorted(texts) == ["behind L1-local-c3-s0", "on the frontier, ahead of 1 of 3"]


def test_one_at_another_layer_or_on_another_text_stands_against_nobody():
    elsewhere = an_external("elsewhere", layer=5)
    other_text = an_external("text").model_copy(
        update={"facts": elsewhere.facts.model_copy(update={"eval_hash": "0" * 16})}
    )
    fronts = both(series_rows(OWN), elsewhere, other_text)
    lines = fronts.table.filter(pc.field("source") == "external")
    assert {one.text for one in standings(lines, fronts.own, L0)} == {"no trial there"}
    assert {match.loss for match in fronts.matches} == {"local"}


def test_of_a_matched_value_the_nearest_is_said_and_nothing_is_interpolated():
    rows = [*series_rows(OWN), *series_rows([(12.0, 0.3), (30.0, 0.1)], loss="e2e")]
    near, far = an_external("near", l0=21.0, ce=0.3), an_external("far", l0=90.0, ce=0.01)
    fronts = both(rows, near, far, an_external("wide", l0=19.0, d_sae=64), targets={"l0": [20.0]})
    found = {(m.name, m.place["d_sae"]): m for m in fronts.matches if m.matched == "l0" and m.loss == "external"}
    match = found["external: near", 256]
    assert (match.value, match.ratio, match.against, match.n_seeds) == (None, None, None, 0)
    assert match.nearest_ratio == pytest.approx(0.3 / 0.2)
    assert found["external: wide", 64].nearest_ratio is None  # local has another dictionary size
    assert len(found) == 2
    at_l0 = [m.name for m in fronts.matches if m.matched == "l0"]
    assert at_l0 == ["local", "e2e", "external: near", "external: wide"]
    line = next(line for line in fronts.matched_table().to_pylist() if line["nearest_run_name"] == "near")
    assert (line["nearest_seed"], line["nearest_sparsity_coeff"], line["statement"]) == (None, None, None)


def test_their_own_frontier_has_a_hypervolume_and_no_seeds():
    fronts = both(series_rows(OWN), an_external(l0=10.0, ce=0.5), reference=REFERENCE)
    lines = {line["loss"]: line for line in fronts.summary_table().to_pylist() if line["front"] == "l0"}
    assert (lines["external"]["n_seeds"], lines["external"]["hypervolume_mean"]) == (0, None)
    assert lines["external"]["hypervolume"] == pytest.approx((2 - 1) / 2 * 0.5)
    assert (lines["external"]["n_trials"], lines["external"]["widest_gap"]) == (1, None)


def test_one_that_lacks_an_objective_is_named_and_not_in_the_table():
    fronts = both(series_rows(OWN), an_external("half", ce=None))
    assert fronts.table.num_rows == 3
    assert notes(fronts) == ["half, an SAE of others, is not in the table: no finite ce_loss_increase"]


def filled(path: Path) -> RunFolder:
    folder = RunFolder(path)
    for row in series_rows(OWN):
        folder.write_row(row)
    return folder


def export(folder: RunFolder, *, minutes: int = 0) -> bool:
    return export_frontier(
        folder, sweep_id="s-1", state=SweepState.COMPLETE, now=NOON + timedelta(minutes=minutes)
    ).changed


def test_pandas_polars_and_duckdb_read_ours_and_theirs_from_one_file(tmp_path: Path):
    folder = filled(tmp_path)
    assert export(folder)
    write_external(folder, [an_external()])
    assert export(folder, minutes=1)
    assert not export(folder, minutes=2)
    path = folder.frontier
    assert json.loads(read_frontier(path).schema.metadata[b"sae_frontier"])["rows_external"] == 1
    frame = pd.read_parquet(path)
    assert frame[frame.source == "external"].run_name.tolist() == ["theirs"]
    assert str(frame.dtypes["n_alive_elements"]) == "int32"
    assert pl.read_parquet(path).filter(pl.col("source") == "own")["seed"].null_count() == 0
    with duckdb.connect() as connection:
        query = f"SELECT source, count(*) FROM '{path}' GROUP BY source ORDER BY source"
        assert connection.sql(query).fetchall() == [("external", 1), ("own", 3)]


def test_a_broken_file_of_one_keeps_no_sweep_from_its_frontier(tmp_path: Path):
    folder = filled(tmp_path)
    write_external(folder, [an_external()])
    (tmp_path / "external" / "0123456789abcdef.json").write_text("{")
    assert export(folder)
    assert read_frontier(folder.frontier).num_rows == 4
    (problem,) = read_external(folder).problems
    assert "0123456789abcdef.json is no measured SAE" in problem
    assert problem.endswith("delete it, and evaluate it again")


def test_searches_and_stopping_read_rows_and_so_see_none_of_them(tmp_path: Path):
    folder = filled(tmp_path)
    write_external(folder, [an_external()])
    assert len(folder.rows()) == len(lines_of_trials(folder)) == 3


def test_the_objectives_may_be_others_than_the_usual_ones():
    fronts = both(series_rows(OWN), an_external(), objectives=[Objective("l0", "n_alive_elements", "ce_loss_increase")])
    assert fronts.table["on_joint_front_l0_alive_ce"].to_pylist().count(True) == 4
    assert fronts.summary_table().num_rows == 2
