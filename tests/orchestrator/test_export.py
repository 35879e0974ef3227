"""frontier.parquet: its golden schema, its bytes, its readers, and what happens while it is replaced."""

import json
import multiprocessing
from datetime import timedelta
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.folder.files import write_parquet
from orchestrator.folder.records import RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.columns import FILES
from orchestrator.fronts.export import Exported, export_frontier, metadata_of, read_frontier, with_facts
from orchestrator.fronts.schema import METADATA_KEY, SCHEMA_VERSION, columns
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.rows import NOON, a_config, a_row
from trainer.errors import BadInput

GOLDEN = Path(__file__).with_name("frontier_schema.json")


def filled(path: Path, *, layers: int = 2) -> RunFolder:
    folder = RunFolder(path)
    for row in fake_rows(layers=layers, coeffs=3, seeds=1):
        folder.write_row(row)
    return folder


def export(
    folder: RunFolder, *, minutes: int = 0, state: SweepState = SweepState.COMPLETE, **options: bool
) -> Exported:
    return export_frontier(folder, sweep_id="s-1", state=state, now=NOON + timedelta(minutes=minutes), **options)


def test_the_schema_is_the_golden_one():
    """If this fails on purpose: raise SCHEMA_VERSION as its docstring says, and write the new schema to the file."""
    files = {"frontier.parquet": columns(), **FILES}
    found = {
        "schema_version": SCHEMA_VERSION,
        "files": {
            name: [
                {"name": column.name, "type": str(column.type), "nullable": column.nullable, **column.described}
                for column in wanted
            ]
            for name, wanted in files.items()
        },
    }
    assert found == json.loads(GOLDEN.read_text())


def test_names_are_snake_case_and_units_that_are_no_sentence():
    for column in [*columns(), *(column for wanted in FILES.values() for column in wanted)]:
        assert column.name == column.name.lower()
        assert column.name.isidentifier()
        assert column.description.endswith(".")
        assert "." not in column.unit


def test_what_was_exported_is_read_back_with_what_it_says_about_itself(tmp_path: Path):
    folder = filled(tmp_path)
    exported = export(folder)
    assert exported.changed
    assert exported.n_rows == 18
    table = read_frontier(exported.path)
    facts = metadata_of(table, exported.path)
    assert table.num_rows == facts["rows"] == 18
    assert facts["sweep_id"] == "s-1"
    assert facts["state"] == "complete"
    assert facts["created_at"] == NOON.isoformat()
    assert facts["sequence"] == 1
    assert facts["hypervolume_reference"] is None
    assert facts["objectives"] == [
        {
            "metrics": [x, "ce_loss_increase"],
            "x": x,
            "y": "ce_loss_increase",
            "better": ["lower", "lower"],
            "label": label,
        }
        for x, label in (("l0", "l0"), ("n_alive_elements", "alive"))
    ]
    assert facts["columns"] == {column.name: column.described for column in columns()}


def test_pandas_polars_and_duckdb_read_the_same_frontier(tmp_path: Path):
    path = export(filled(tmp_path)).path
    expected = read_frontier(path)
    front = [line["trial_id"] for line in expected.to_pylist() if line["on_front_l0"]]
    frame = pd.read_parquet(path)
    assert frame[frame.on_front_l0].trial_id.tolist() == front
    assert str(frame.dtypes["n_alive_elements"]) == "int32"
    assert str(frame.dtypes["finished_at"]) == "datetime64[us, UTC]"
    polars = pl.read_parquet(path)
    assert polars.filter(pl.col("on_front_l0"))["trial_id"].to_list() == front
    assert polars.schema["loss"] == pl.String
    assert json.loads(pl.read_parquet_metadata(path)["sae_frontier"])["rows"] == 18
    with duckdb.connect() as connection:
        query = f"SELECT trial_id FROM '{path}' WHERE on_front_l0"
        assert [trial_id for (trial_id,) in connection.sql(query).fetchall()] == front
        (facts,) = connection.sql(
            f"SELECT decode(value) FROM parquet_kv_metadata('{path}') WHERE decode(key) = 'sae_frontier'"
        ).fetchall()
    assert json.loads(facts[0])["columns"]["l0"]["unit"] == "elements per token"


def test_the_same_rows_give_the_same_bytes(tmp_path: Path):
    assert export(filled(tmp_path / "a")).path.read_bytes() == export(filled(tmp_path / "b")).path.read_bytes()


def test_the_file_is_written_again_only_when_something_changed(tmp_path: Path):
    folder = filled(tmp_path)
    before = export(folder).path.read_bytes()
    assert not export(folder, minutes=5).changed
    assert folder.frontier.read_bytes() == before
    folder.write_row(a_row(a_config(seed=99)))
    assert export(folder, minutes=6).changed
    assert metadata_of(read_frontier(folder.frontier), folder.frontier)["sequence"] == 2


def test_a_change_of_state_alone_is_a_change(tmp_path: Path):
    folder = filled(tmp_path)
    export(folder, state=SweepState.RUNNING)
    assert export(folder, state=SweepState.COMPLETE).changed


def test_what_is_left_out_is_reported(tmp_path: Path):
    folder = RunFolder(tmp_path)
    row = a_row(status=RowStatus.FAILED, error="not finite at step 37")
    folder.write_row(row)
    exported = export(folder)
    assert exported.n_rows == read_frontier(exported.path).num_rows == 0
    assert exported.left_out == {row.trial_id: "failed: not finite at step 37"}


def test_a_broken_row_stops_the_export_and_keeps_the_old_file(tmp_path: Path):
    folder = filled(tmp_path)
    before = export(folder).path.read_bytes()
    broken = tmp_path / "results" / "0123456789abcdef.json"
    broken.write_text("{")
    with pytest.raises(BadInput, match=r"0123456789abcdef\.json"):
        export(folder)
    assert folder.frontier.read_bytes() == before


def test_snapshots_never_change_and_the_manifest_names_the_newest(tmp_path: Path):
    folder = filled(tmp_path)
    first = export(folder, snapshot=True).snapshot
    assert first is not None
    content = first.read_bytes()
    assert export(folder, minutes=1, snapshot=True).snapshot == first
    folder.write_row(a_row(a_config(seed=99)))
    second = export(folder, minutes=2, snapshot=True).snapshot
    assert second is not None
    assert second != first
    assert first.read_bytes() == content
    assert second.read_bytes() == folder.frontier.read_bytes()
    assert [shot.n_rows for shot in folder.manifest().snapshots] == [18, 19]
    newest = folder.manifest().newest
    assert newest is not None
    assert tmp_path / newest.file == second
    assert second.name.startswith(f"frontier-000002-{newest.content_sha256[:6]}")


@pytest.mark.parametrize("grown", [False, True])
def test_a_damaged_manifest_is_made_again_from_the_snapshots(tmp_path: Path, grown: bool):
    folder = filled(tmp_path)
    export(folder, snapshot=True)
    folder.write_row(a_row(a_config(seed=99)))
    export(folder, minutes=1, snapshot=True)
    before = folder.manifest().snapshots
    manifest = folder.path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20] + b"\xff\xfe")
    if grown:
        folder.write_row(a_row(a_config(seed=98)))
    export(folder, minutes=2, snapshot=True)
    assert folder.manifest().snapshots[: len(before)] == before
    assert len(folder.manifest().snapshots) == len(before) + grown


def test_a_broken_frontier_is_replaced(tmp_path: Path):
    folder = filled(tmp_path)
    folder.frontier.write_bytes(b"PAR1 and no more")
    assert export(folder).changed
    assert read_frontier(folder.frontier).num_rows == 18


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and no more PAR1", b"{}"])
def test_what_is_no_parquet_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "frontier.parquet"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"cannot read .*frontier\.parquet as Parquet"):
        read_frontier(path)


def test_a_missing_a_foreign_and_a_newer_table_are_refused_in_words(tmp_path: Path):
    path = tmp_path / "frontier.parquet"
    with pytest.raises(BadInput, match=r"no frontier at .*frontier\.parquet"):
        read_frontier(path)
    write_parquet(path, pa.table({"x": [1]}))
    with pytest.raises(BadInput, match="is no frontier table: its metadata has no key 'sae_frontier'"):
        read_frontier(path)
    write_parquet(path, with_facts(pa.table({"x": [1]}), {"schema_version": "2.0"}))
    with pytest.raises(BadInput, match=r"has schema version 2\.0, and this program reads 1\.2"):
        read_frontier(path)
    write_parquet(path, with_facts(pa.table({"x": [1]}), {"schema_version": "1.7"}))
    assert read_frontier(path).column_names == ["x"]


def replace_until_told(path: str, sizes: tuple[int, ...], n_writes: int) -> None:
    """In another process: tables of these sizes, again and again, each with its size in every row."""
    tables = [with_facts(pa.table({"n": [size] * size}), {"schema_version": "1.0", "n": size}) for size in sizes]
    for number in range(n_writes):
        write_parquet(Path(path), tables[number % len(tables)])


def test_a_reader_with_one_handle_never_sees_half_a_table(tmp_path: Path):
    path = tmp_path / "frontier.parquet"
    sizes = (1, 5_000, 300)
    replace_until_told(str(path), sizes, 1)
    writer = multiprocessing.get_context("spawn").Process(target=replace_until_told, args=(str(path), sizes, 100))
    writer.start()
    seen: set[int] = set()
    while writer.is_alive():
        table = read_frontier(path)
        size = json.loads(table.schema.metadata[METADATA_KEY])["n"]
        assert table["n"].to_pylist() == [size] * size
        seen.add(size)
    writer.join()
    assert writer.exitcode == 0
    assert seen
    assert seen <= set(sizes)
    assert [entry.name for entry in tmp_path.iterdir()] == ["frontier.parquet"]
    assert pq.ParquetFile(path).metadata.num_row_groups == 1


def newest(folder: RunFolder) -> Path:
    snapshot = folder.manifest().newest
    assert snapshot is not None
    return folder.path / snapshot.file


def read_with_duckdb(path: Path) -> list[str]:
    with duckdb.connect() as connection:
        return [one for (one,) in connection.sql(f"SELECT trial_id FROM '{path}'").fetchall()]


def export_until_told(path: str, n_exports: int) -> None:
    """In another process: a sweep that grows, its frontier and a snapshot of it after each trial."""
    folder = RunFolder(Path(path))
    for number in range(n_exports):
        folder.write_row(a_row(a_config(seed=1000 + number), l0=10.0 + number))
        export(folder, minutes=number, state=SweepState.RUNNING, snapshot=True)


def test_pyarrow_pandas_polars_and_duckdb_read_while_a_sweep_writes(tmp_path: Path):
    """Through one handle, or a snapshot: each reads a whole table of some moment, and what it says of itself fits."""
    folder = filled(tmp_path)
    export(folder, snapshot=True)
    writer = multiprocessing.get_context("spawn").Process(target=export_until_told, args=(str(tmp_path), 12))
    writer.start()
    sizes: set[int] = set()
    while writer.is_alive():
        table = read_frontier(folder.frontier)
        assert metadata_of(table, folder.frontier)["rows"] == table.num_rows
        with folder.frontier.open("rb") as file:
            frame = pd.read_parquet(file)
        with folder.frontier.open("rb") as file:
            polars = pl.read_parquet(file)
        snapshot = newest(folder)
        for ids in (table["trial_id"].to_pylist(), frame.trial_id.tolist(), polars["trial_id"].to_list(),
                    read_with_duckdb(snapshot), pl.read_parquet(snapshot)["trial_id"].to_list()):  # fmt: skip
            assert len(ids) == len(set(ids))
            assert 18 <= len(ids) <= 30
            sizes.add(len(ids))
        for name in FILES:
            beside = read_frontier(tmp_path / name)
            assert metadata_of(beside, tmp_path / name)["sequence"]
    writer.join()
    assert writer.exitcode == 0
    assert len(sizes) > 1
    assert read_frontier(folder.frontier).num_rows == len(read_with_duckdb(newest(folder))) == 30


def test_the_files_beside_say_of_which_frontier_they_are(tmp_path: Path):
    folder = filled(tmp_path)
    export(folder)
    whole = metadata_of(read_frontier(folder.frontier), folder.frontier)
    for name, wanted in FILES.items():
        table = read_frontier(tmp_path / name)
        facts = metadata_of(table, tmp_path / name)
        assert facts["content_sha256"] == whole["content_sha256"]
        assert table.column_names == [column.name for column in wanted]
        assert facts["rows"] == table.num_rows > 0
        for column in wanted:
            assert column.nullable or table[column.name].null_count == 0


def test_a_file_beside_that_is_missing_or_old_is_written_again_and_the_frontier_stays(tmp_path: Path):
    folder = filled(tmp_path)
    export(folder)
    before = folder.frontier.read_bytes()
    summary = tmp_path / "frontier_summary.parquet"
    content = summary.read_bytes()
    for break_it in (summary.unlink, lambda: summary.write_bytes(b"PAR1")):
        break_it()
        assert not export(folder, minutes=3).changed
        assert summary.read_bytes() == content
        assert folder.frontier.read_bytes() == before


def test_other_targets_make_another_file(tmp_path: Path):
    folder = filled(tmp_path)
    export(folder)
    options = {"sweep_id": "s-1", "state": SweepState.COMPLETE, "now": NOON}
    assert export_frontier(folder, targets={"l0": [33.0]}, **options).changed
    matched = pl.read_parquet(tmp_path / "frontier_matched.parquet")
    assert matched.filter(pl.col("asked"))["target"].unique().to_list() == [33.0]


def test_only_wanted_trials_are_in_the_table(tmp_path: Path):
    folder = filled(tmp_path)
    wanted = [row.trial_id for row in folder.rows()[:5]]
    exported = export_frontier(folder, sweep_id="s-1", state=SweepState.COMPLETE, now=NOON, trial_ids=wanted)
    assert sorted(read_frontier(exported.path)["trial_id"].to_pylist()) == sorted(wanted)
    assert exported.fronts.missing == {}
