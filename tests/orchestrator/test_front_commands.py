"""`frontier`, `export`, `compare` and `plot` on a run folder: what they print and write, and how they refuse."""

import csv
import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from orchestrator.commands.compare import compare
from orchestrator.commands.export_command import export
from orchestrator.commands.frontier_command import frontier
from orchestrator.commands.plot import plot
from orchestrator.folder.records import SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.export import metadata_of, read_frontier
from orchestrator.fronts.external import write_external
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.fronts.test_others import an_external
from tests.orchestrator.rows import a_config, a_row

SWEEP = """
name: {name}
model: {{name: builtin}}
data: {{dataset: builtin, context: 64}}
train: {{tokens: 100_000, batch_rows: 8, lr: {lr}}}
sae: {{ratio: 4}}
grid: {{layer: [0, 1], loss: [local, e2e], sparsity_coeff: [1, 2], seed: [0, 1, 2]}}
frontier: {{reference: {{l0: 100, ce_loss_increase: 5, n_alive_elements: 1000}}, match: {{ce_loss_increase: [0.2]}}}}
"""


def made(path: Path, *, lr: float = 1e-3, seeds: int = 3) -> Path:
    folder = RunFolder(path)
    rows = fake_rows(layers=2, coeffs=4, seeds=seeds, losses=("local", "e2e"))
    for row in rows:
        folder.write_row(row)
    folder.write_sweep(SWEEP.format(name=path.name, lr=lr))
    names = {row.trial_id: row.run_name for row in rows}
    configs = {row.trial_id: row.config for row in rows}
    folder.write_plan(SavedPlan(sweep_id=path.name, trials=configs, run_names=names, packs={"p000": list(names)}))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("runs") / "sweep-00000001")


def call(command: Callable[..., Any], *arguments: object) -> tuple[int, str, str]:
    """Exit code, output, words for people."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_frontier_says_how_large_and_sure_the_frontiers_are_and_who_is_ahead(run: Path):
    code, out, _ = call(frontier, run)
    assert code == 0
    assert "Frontiers in L0 and CE increase" in out
    assert "Frontiers in alive elements and CE increase" in out
    assert re.search(r"layer 1: .*e2e .* local at L0 \d+", out)
    assert "3 paired seeds" in out
    assert "L1-e2e-" not in out
    assert re.search(r"L1-e2e-c[\d.]+-s0", call(frontier, run, "--trials")[1])


def test_frontier_as_json_is_the_tables(run: Path):
    code, out, _ = call(frontier, run, "--json", "--at-l0", "30")
    found = json.loads(out)
    assert code == 0
    assert len(found["frontiers"]) == 2 * 2 * 2
    assert {line["target"] for line in found["matched"] if line["matched"] == "l0"} == {30}
    assert {line["target"] for line in found["matched"] if line["matched"] == "ce_loss_increase"} == {0.2}
    assert all(0 < line["hypervolume_mean"] < 1 for line in found["frontiers"])


def test_export_writes_the_files_of_the_run_folder_and_a_snapshot(run: Path):
    code, out, _ = call(export, run)
    assert (code, out.strip()) == (0, str(run / "frontier.parquet"))
    facts = metadata_of(read_frontier(run / "frontier.parquet"), run)
    assert (facts["sweep_id"], facts["rows"], facts["match"]) == ("sweep-00000001", 48, {"ce_loss_increase": [0.2]})
    assert RunFolder(run).manifest().newest is not None
    assert {path.name for path in run.glob("*.parquet")} == {
        "frontier.parquet", "frontier_summary.parquet", "frontier_matched.parquet", "frontier_surfaces.parquet",
    }  # fmt: skip


@pytest.mark.parametrize("table", ["frontier", "summary", "matched", "surfaces"])
def test_every_table_leaves_as_csv_and_as_parquet(run: Path, tmp_path: Path, table: str):
    code, out, _ = call(export, run, "--format", "csv", "--table", table)
    lines = list(csv.DictReader(StringIO(out)))
    path = tmp_path / "there" / "table.parquet"
    assert (code, call(export, run, "-o", path, "--table", table)[0]) == (0, 0)
    frame = pl.read_parquet(path)
    assert frame.columns == list(lines[0])
    assert len(lines) == len(frame) == metadata_of(read_frontier(path), path)["rows"]


def test_export_makes_the_tables_of_a_paper(run: Path, tmp_path: Path):
    code, out, _ = call(export, run, "--format", "markdown")
    assert code == 0
    assert "**At matched CE increase**" in out
    assert "**CE increase as a share of local's at equal L0**" in out
    assert call(export, run, "--format", "latex", "-o", tmp_path / "t.tex")[0] == 0
    text = (tmp_path / "t.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 5
    for block in text.split(r"\midrule")[1:]:
        heads = text.split(r"\toprule")[1].count("&")
        assert heads > 2
        rows = block.split(r"\bottomrule")[0].strip().splitlines()
        assert len({row.count("&") for row in rows}) == 1


def test_removed_trials_are_in_it_only_if_asked_for(tmp_path: Path):
    run = made(tmp_path / "grown-00000001")
    RunFolder(run).write_row(a_row(a_config(loss="e2e_downstream")))
    assert "e2e_downstream" not in call(frontier, run)[1]
    assert "e2e_downstream" in call(frontier, run, "--include-removed")[1]


def test_compare_shows_what_differs_and_refuses_other_reference_points(run: Path, tmp_path: Path):
    other = made(tmp_path / "other-00000001", lr=2e-3)
    code, out, _ = call(compare, run, other, "--at-ce", "0.2")
    assert code == 0
    assert "Hypervolume in L0 and CE increase" in out
    assert "differs  train.lr: 0.001 -> 0.002" in out
    found = json.loads(call(compare, run, other, "--json")[1])
    assert found["readings"]
    assert found["volumes"][0]["objective"] == ["l0", "ce_loss_increase"]
    assert found["volumes"][0]["loss_of_volume"]["verdict"] == "cannot_tell"
    assert r"\begin{tabular}" in call(compare, run, other, "--format", "latex")[1]
    (other / "sweep.yaml").write_text((other / "sweep.yaml").read_text().replace("l0: 100", "l0: 90"))
    code, _, said = call(compare, run, other)
    assert code == 2
    assert "different reference points" in said
    assert call(compare, run, other, "--reference", "l0=100")[0] == 0


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_plot_draws_the_same_bytes_twice_and_leaves_the_run_alone(run: Path, tmp_path: Path, suffix: str):
    before = sorted(path.name for path in run.iterdir())
    made = [tmp_path / name / f"figure.{suffix}" for name in ("a", "b")]
    for path in made:
        assert call(plot, run, "-o", path, "--inverted-y")[0] == 0
    one, other = (path.read_bytes() for path in made)
    assert one == other
    assert one[:4] in (b"%PDF", b"<?xm", b"\x89PNG")
    assert sorted(path.name for path in run.iterdir()) == before


def test_the_format_is_that_of_the_files_name(run: Path, tmp_path: Path):
    opens = {"parquet": b"PAR1", "csv": b'"sweep_id"', "md": b"**At matched", "tex": b"\\begin{table}"}
    for suffix, beginning in opens.items():
        assert call(export, run, "-o", tmp_path / f"table.{suffix}")[0] == 0
        assert (tmp_path / f"table.{suffix}").read_bytes().startswith(beginning)
    assert call(export, run, "-o", tmp_path / "noname", "--format", "csv")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "x.csv", "--format", "parquet"], "x.csv is a name of a csv file, and --format says parquet"),
        (["-o", "x.dat"], "cannot tell the format from its name"),
        (["--table", "summary"], "--table summary without -o"),
        (["--table", "matched", "--format", "latex"], "latex holds the comparisons of a paper"),
        (["--table", "matched", "-o", "x.md"], "markdown holds the comparisons of a paper"),
        (["--format", "html", "--at-ce", "0.2"], "--at-ce cannot be with --format html"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused_and_nothing_is_written(
    run: Path, tmp_path: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(export, run, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_what_was_asked_for_and_cannot_be_told_is_said(run: Path, tmp_path: Path):
    arguments = ["--at-ce", "99", "--reference", "l0=200"]
    _, out, _ = call(frontier, run, *arguments)
    assert "layer 0 (256): no frontier reaches CE increase 99 (" in out
    notes = json.loads(call(frontier, run, *arguments, "--json")[1])["notes"]
    assert len(notes) == 2
    assert "no frontier reaches CE increase 99" in call(export, run, "--format", "latex", "--at-ce", "99")[2]
    half = made(tmp_path / "half-00000001")
    text = (half / "sweep.yaml").read_text()
    (half / "sweep.yaml").write_text(re.sub(r"reference: \{.*?\}, ", "", text))
    _, out, _ = call(frontier, half, "--reference", "l0=200")
    assert "no hypervolume in L0 and CE increase: there is no reference for CE increase" in " ".join(out.split())
    assert "there is no reference" not in call(frontier, half)[1]


def test_saes_of_others_are_told_wherever_frontiers_are(tmp_path: Path):
    run, other = made(tmp_path / "a-00000001"), made(tmp_path / "b-00000001", lr=2e-3)
    write_external(RunFolder(run), [an_external("clever", l0=30.0, ce=0.0001), an_external("dull", l0=90.0, ce=9.0)])
    out = call(frontier, run)[1]
    assert re.search(r"clever +layer 1 \(256\) .* on the frontier, ahead of \d+ of 24", out)
    assert re.search(r"dull +layer 1 \(256\) .* behind L1-", out)
    standing = json.loads(call(frontier, run, "--json")[1])["external"]
    assert {(one["name"], one["behind"] is None) for one in standing} == {("clever", True), ("dull", False)}
    assert "| external: clever |" in call(export, run, "--format", "markdown", "--at-l0", "30")[1]
    out = call(compare, run, other)[1]
    assert "SAEs of others in L0 and CE increase" in out
    assert re.search(r"clever .* on the frontier, ahead of \d+ of 24 +on the frontier, ahead of \d+ of 24", out)
    rows = list(csv.DictReader(StringIO(call(export, run, "--format", "csv")[1])))
    assert sorted(row["run_name"] for row in rows if row["source"] == "external") == ["clever", "dull"]


def test_a_run_is_not_compared_with_itself(run: Path):
    code, out, said = call(compare, run, run)
    assert (code, out) == (2, "")
    assert "A and B are the same run" in said


def test_with_one_seed_it_is_said_once_that_nothing_is_sure(tmp_path: Path):
    one = made(tmp_path / "one-00000001", seeds=1)
    out = call(frontier, one)[1]
    assert out.count("that takes 3 seeds") == 1
    assert "cannot tell" not in out
    assert re.search(r"layer 0: e2e differs from local at L0 \S+ by \S+ in CE increase: \S+, \S+ of local's", out)


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (frontier, ["nosuch"], "no run 'nosuch'"),
        (frontier, ["--reference", "l0"], "--reference l0: expected METRIC=NUMBER"),
        (frontier, ["--reference", "size=3"], "--reference size=3: expected METRIC=NUMBER"),
        (frontier, ["--reference", "l0=0.5"], "l0=0.5, expected a number above 1"),
        (frontier, ["--at-l0", "0"], "cannot compare at l0 0: expected a number above 0"),
        (export, ["--format", "csv", "-o", "/dev/null/x.csv"], "cannot write /dev/null/x.csv"),
        (plot, ["-o", "figure.gif"], "expected a name that ends in .png, .svg, .pdf"),
        (plot, ["-o", "figure.pdf", "--layer", "7"], "no trial of layer 7: expected layers among 0, 1"),
        (plot, ["-o", "/dev/null/x.pdf"], "cannot write /dev/null/x.pdf"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    run: Path, command: Callable[..., Any], arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(run.parent)
    code, out, err = call(command, *([] if "nosuch" in arguments else [run]), *arguments)
    assert code == (4 if "cannot write" in said else 2)
    assert out == ""
    assert said in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_a_run_without_a_finished_trial_is_refused(tmp_path: Path):
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(name="new", lr=1e-3))
    for command in (frontier, export):
        code, _, said = call(command, tmp_path)
        assert code == 2
        assert f"no trial of {tmp_path} is done" in said
