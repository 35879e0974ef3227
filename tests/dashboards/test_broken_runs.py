"""A run folder in whatever state: what can be read is shown, and the rest is a sentence, never an error."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboards import reading
from dashboards.report import Limits, report_of
from orchestrator.folder.run_folder import RunFolder
from tests.dashboards.shown import client_of, got, shown_run
from tests.orchestrator.made_run import TRIALS

ID, TRIAL = "demo-12345678", TRIALS[0].trial_id
JSON = ("plan.json", "status.json", "runs.json", f"results/{TRIAL}.json", "lease.json", "mlflow/links.json")
TABLES = ("frontier.parquet", "frontier_summary.parquet", "frontier_matched.parquet", "frontier_surfaces.parquet")


def shown(runs: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The line of the list, the sweep, and its first trial: all of them answered."""
    client = client_of(runs)
    [line] = got(client, "/api/sweeps")["sweeps"]
    return line, got(client, f"/api/sweeps/{ID}"), got(client, f"/api/sweeps/{ID}/trials/{TRIAL}")


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = shown_run(tmp_path)
    shutil.rmtree(folder.path / "spare", ignore_errors=True)  # else a plan is read from its second copy
    return folder


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b'{"trials": {"', b"null", b"[]", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b"{}",
        b'{"state": 5, "trials": [], "packs": 3, "run_names": "x", "config": [], "metrics": 1, "n_trials": "many"}',
        b'{"state": null, "trials": {"x": 1}, "packs": {"../..": [1]}, "trial_ids": 7, "metrics": {"l0": []}}',
        b'{"n_trials": 1e999, "n_done": NaN, "fraction": -Infinity, "started_at": 5, "tracking_uri": []}',
    ],
    ids=lambda content: repr(content[:24]),
)  # fmt: skip
def test_json_in_any_state_is_a_sentence_or_left_out(run: RunFolder, content: bytes) -> None:
    names = (*JSON, f"elements/{TRIAL}.json", "packs/aaaaaaaaaaaa/status.json", "search/found.json")
    for name in names:
        before = (run.path / name).read_bytes() if (run.path / name).exists() else None
        put(run.path / name, content)
        line, sweep, _ = shown(run.path.parent)
        assert line["n_rows"] == len(sweep["rows"]) == 8
        (run.path / name).unlink() if before is None else put(run.path / name, before)
    for name in names:
        put(run.path / name, content)
    assert report_of(run.path, limits=Limits(n_bytes=0))


@pytest.mark.parametrize("name", ["plan.json", "status.json", "runs.json"])
def test_json_that_was_cut_off_is_named(run: RunFolder, name: str) -> None:
    (run.path / name).write_bytes((run.path / name).read_bytes()[:40])
    _, sweep, _ = shown(run.path.parent)
    assert sweep["problems"] == [f"{name} is no JSON: it was cut off or damaged"]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_was_cut_off_is_named_and_the_others_are_shown(run: RunFolder, name: str) -> None:
    whole = (run.path / name).read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-7], b"PAR1" + b"\0" * 500 + b"PAR1"):
        (run.path / name).write_bytes(content)
        line, sweep, trial = shown(run.path.parent)
        assert sweep["problems"] == [f"{name} is no Parquet file: it was cut off or damaged"]
        assert (len(sweep["rows"]) == 8) == (name != "frontier.parquet")
        assert line["state"] == "done"
        assert trial["config"]


def newer_json(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))


def newer_table(path: Path) -> None:
    with path.open("rb") as file:
        table = pq.ParquetFile(file).read()
    facts = json.loads(table.schema.metadata[b"sae_frontier"]) | {"schema_version": "99.0"}
    pq.write_table(table.replace_schema_metadata({b"sae_frontier": json.dumps(facts)}), path)


@pytest.mark.parametrize(
    ("name", "make_newer"),
    [("plan.json", newer_json), ("status.json", newer_json)] + [(t, newer_table) for t in TABLES],
)
def test_a_file_of_a_newer_program_is_named_with_both_versions(
    run: RunFolder, name: str, make_newer: Callable[[Path], None]
) -> None:
    make_newer(run.path / name)
    _, sweep, _ = shown(run.path.parent)
    [problem] = sweep["problems"]
    assert problem.startswith(f"{name} has schema version 99")
    assert "this program reads 1: look at it with the version that wrote it" in problem


def test_a_table_that_is_not_ours_is_named(run: RunFolder) -> None:
    pq.write_table(pa.table({"a": [1]}), run.frontier)
    assert shown(run.path.parent)[1]["problems"] == [
        "frontier.parquet is no table of a sweep: it says nothing about itself"
    ]


def test_a_table_of_ours_with_columns_gone_is_shown_as_far_as_it_goes(run: RunFolder) -> None:
    with run.frontier.open("rb") as file:
        table = pq.ParquetFile(file).read()
    pq.write_table(table.drop_columns(["device_s", "mse", "config_json"]), run.frontier)
    line, sweep, _ = shown(run.path.parent)
    assert (line["device_h"], len(sweep["rows"]), sweep["problems"]) == (None, 8, [])


@pytest.mark.parametrize("name", ["plan.json", "status.json", "sweep.yaml", "results", "journal", "runs.json", *TABLES])
def test_whatever_is_missing_the_rest_is_shown_without_a_problem(run: RunFolder, name: str) -> None:
    path = run.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    line, sweep, trial = shown(run.path.parent)
    assert (line["problem"], sweep["problems"]) == (None, [])
    assert trial["config"] or name == "plan.json"


def test_a_run_folder_with_nothing_in_it_that_can_be_read_says_so(tmp_path: Path) -> None:
    put(tmp_path / ID / "plan.json", b"{")
    [line] = got(client_of(tmp_path), "/api/sweeps")["sweeps"]
    assert (line["state"], line["problem"]) == ("unreadable", "plan.json is no JSON: it was cut off or damaged")
    assert got(client_of(tmp_path), f"/api/sweeps/{ID}")["rows"] == []


def test_a_damaged_plan_is_read_from_its_spare_copy(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    assert (run.path / "spare" / "plan.json").is_file()
    (run.path / "plan.json").write_bytes(b"{")
    _, sweep, _ = shown(tmp_path)
    assert (len(sweep["trials"]), sweep["problems"]) == (8, [])


def test_a_file_that_may_not_be_read_is_named_with_what_to_do(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "status.json":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert shown(run.path.parent)[1]["problems"] == [
        "status.json may not be read: give the user of the dashboard the right to"
    ]


def test_torn_and_damaged_lines_of_a_journal_are_left_out(run: RunFolder) -> None:
    journal = run.journal(TRIAL)
    lines = journal.read_text().splitlines()
    journal.write_text(
        "\n".join([*lines[:10], '{"step": "x"', '{"step": 3, "metrics": 5}', "[]", *lines[10:]]) + '\n{"st'
    )
    curve = shown(run.path.parent)[2]["curves"]["train/loss"]
    assert curve["steps"] == list(range(50))


def test_a_journal_of_many_points_is_thinned_and_keeps_its_peaks(run: RunFolder) -> None:
    spike, n_points = 7_777, 20_000
    lines = [
        json.dumps({"step": n, "tokens": n, "time_ms": n, "metrics": {"train/loss": 99.0 if n == spike else 1.0}})
        for n in range(n_points)
    ]
    run.journal(TRIAL).write_text("\n".join(lines) + "\n")
    trial = shown(run.path.parent)[2]
    curve = trial["curves"]["train/loss"]
    assert trial["thinned"]
    assert len(curve["steps"]) <= 400
    assert (curve["steps"][0], curve["steps"][-1]) == (0, n_points - 1)
    assert curve["values"][curve["steps"].index(spike)] == 99.0


@pytest.mark.parametrize(
    "yaml",
    [
        "a: [", "- a\n- b", "just text", "a: &a [1, 2]\nb: *missing", "\x00\x01",
        "a: !!python/object/apply:os.system [x]",
        "x: &x [1,1,1,1,1,1,1,1]\n" + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else '*x'] * 9)}]\n"
                                               for n in range(9)),
        "a: " + "[" * 600,
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_a_sweep_file_in_any_state_is_a_sentence(run: RunFolder, yaml: str) -> None:
    (run.path / "sweep.yaml").write_text(yaml)
    _, sweep, _ = shown(run.path.parent)
    assert len(sweep["problems"]) == 1
    assert sweep["problems"][0].startswith("sweep.yaml ")
    assert (sweep["settings"], len(sweep["rows"])) == ({}, 8)


def test_links_out_of_the_run_folder_are_not_followed(run: RunFolder, tmp_path: Path) -> None:
    (secret := tmp_path / "secret.txt").write_text("name: secret")
    for name in ("sweep.yaml", "frontier.svg", "events.jsonl", f"elements/{TRIAL}.json"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).symlink_to(secret)
    _, sweep, trial = shown(run.path.parent)
    assert all("leads out of the run folder" in said for said in [*sweep["problems"], *trial["problems"]])
    assert len(sweep["problems"]) == 2
    answer = client_of(run.path.parent).get(f"/sweeps/{ID}/figure.svg")
    assert (answer.status_code, "secret" in answer.text) == (409, False)


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(run: RunFolder) -> None:
    for name in ("status.json", "frontier.parquet"):
        (run.path / name).unlink()
        os.mkfifo(run.path / name)
    assert shown(run.path.parent)[1]["problems"] == ["status.json is no file", "frontier.parquet is no file"]


def test_a_file_of_unlikely_size_is_not_read(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 100)
    assert all("is too large to show" in problem for problem in shown(run.path.parent)[1]["problems"])


def test_addresses_that_are_no_pages_are_no_links(run: RunFolder) -> None:
    put(run.path / "mlflow" / "links.json", json.dumps({"experiment_url": "javascript:alert(1)"}).encode())
    _, sweep, trial = shown(run.path.parent)
    assert (sweep["mlflow"], trial["mlflow_url"]) == (None, None)


def test_files_that_a_sweep_replaces_meanwhile_are_read_whole(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    names = ("frontier.parquet", "frontier_summary.parquet", "plan.json", "status.json")
    contents = {name: (run.path / name).read_bytes() for name in names}
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for name, content in contents.items():
                beside = run.path / f".{name}.tmp"
                beside.write_bytes(content)
                beside.replace(run.path / name)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(20):
            line, sweep, trial = shown(tmp_path)
            assert (line["problem"], sweep["problems"], trial["problems"]) == (None, [], [])
            assert len(sweep["rows"]) == 8
    finally:
        stop.set()
        writer.join()
