"""`evaluate`: SAEs of others in the table of a run, printed or kept."""

import json
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from orchestrator.commands.evaluate import evaluate
from orchestrator.commands.export_sae import export_sae
from orchestrator.folder.records import SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.external import read_external
from orchestrator.fronts.schema import METRIC_COLUMNS, columns
from orchestrator.packs.held import forget
from tests.orchestrator.sae_run import a_row, a_trial, below, facts_of, make_run
from tests.tiny import Bench


@pytest.fixture(autouse=True)
def nothing_held() -> None:
    forget()


@pytest.fixture
def run(bench: Bench) -> RunFolder:
    return make_run(bench, failed=False)


@pytest.fixture
def theirs(ours: list[Path]) -> list[Path]:
    """Two SAEs of layer 1 and one of layer 0, in SAELens' folders, that nobody here trained."""
    for number, folder in enumerate(ours):
        weights = load_file(folder / "sae_weights.safetensors")
        save_file({name: w * (1.01 + 0.01 * number) for name, w in weights.items()}, folder / "sae_weights.safetensors")
    return ours


@pytest.fixture
def ours(run: RunFolder, tmp_path: Path) -> list[Path]:
    """Three of the run's own."""
    asked = ["--trial", "L1-local-c0.1-s0", "--trial", "L1-local-c0.2-s0", "--trial", "L0-local-c0.1-s0"]
    result = called(export_sae, str(run.path), "--to", str(tmp_path / "theirs"), "--no-sparsity", *asked)
    assert result.exit_code == 0, result.output
    return [tmp_path / "theirs" / f"L{layer}-local-c{c}-s0" for layer, c in ((1, 0.1), (1, 0.2), (0, 0.1))]


def called(command: object, *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command)  # pyright: ignore[reportArgumentType]
    return CliRunner().invoke(app, [*arguments])


def evaluated(run: RunFolder, saes: list[Path], *more: str) -> Result:
    named = [argument for sae in saes for argument in ("--sae", str(sae))]
    return called(evaluate, *named, "--like", str(run.path), *more)


def changed(sae: Path, **metadata: object) -> Path:
    path = sae / "cfg.json"
    config = json.loads(path.read_text())
    config["metadata"] |= metadata
    path.write_text(json.dumps(config))
    return sae


def test_a_table_shows_theirs_beside_the_frontier_of_ours_and_the_run_is_not_touched(
    run: RunFolder, theirs: list[Path]
) -> None:
    before = below(run.path)
    result = evaluated(run, theirs)
    assert result.exit_code == 0, result.stderr
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in result.stdout.splitlines()]
    assert lines[0][:5] == ["SAE", "hookpoint", "d_sae", "l0", "ce_loss_increase"]
    shown = {(line[0], line[1]) for line in lines[2:]}
    assert {(f"**{sae.name}**", f"blocks.{sae.name[1]}.hook_resid_pre") for sae in theirs} <= shown
    ours_on_the_front = {line[0] for line in lines[2:] if not line[0].startswith("**")}
    assert ours_on_the_front <= {f"L{layer}-local-c{c}-s0" for layer in (0, 1) for c in (0.1, 0.2)}
    assert ours_on_the_front
    assert {line[-1].split()[0] for line in lines[2:]} <= {"on", "behind"}
    assert below(run.path) == before


def test_json_has_all_metrics_of_a_trial_and_who_dominates(run: RunFolder, theirs: list[Path]) -> None:
    result = evaluated(run, theirs[:1], "--json")
    (row,) = json.loads(result.stdout)
    trained_only = {"grad_norm"}
    assert {column.name for column in METRIC_COLUMNS} - trained_only <= row["metrics"].keys()
    assert (row["loss"], row["layer"], row["hookpoint"]) == ("external", 1, "blocks.1.hook_resid_pre")
    own = {(10.0, 0.2): "L1-local-c0.2-s0", (20.0, 0.1): "L1-local-c0.1-s0", (15.0, 0.3): "L1-local-c0.3-s0"}
    here = (row["metrics"]["l0"], row["metrics"]["ce_loss_increase"])
    better = {name for (l0, ce), name in own.items() if l0 <= here[0] and ce <= here[1]}
    assert row["dominated_by"] in (better or {None})


def test_what_is_kept_is_in_the_table_of_the_frontier_once_per_sae(run: RunFolder, theirs: list[Path]) -> None:
    before, own = below(run.path), pq.read_table(run.frontier)
    assert evaluated(run, theirs, "--add").exit_code == 0
    assert evaluated(run, theirs[:1], "--add").exit_code == 0
    kept, problems = read_external(run)
    assert problems == ()
    assert sorted(row.name for row in kept) == sorted(sae.name for sae in theirs)
    pictures = {"frontier.png", "frontier.svg"}
    assert below(run.path) - before == {*(f"external/{row.sae_id}.json" for row in kept), *pictures}
    table = pq.read_table(run.frontier)
    assert table.column_names == [column.name for column in columns()]
    others = table.filter(pc.field("source") == "external")
    assert sorted(others["trial_id"].to_pylist()) == sorted(row.sae_id for row in kept)
    assert set(others["loss"].to_pylist()) == {"external"}
    for same in ("model", "model_hash", "eval_hash"):
        assert set(others[same].to_pylist()) == set(own[same].to_pylist())
    assert others["sparsity_coeff"].null_count == others["seed"].null_count == 3
    assert others["l0"].null_count == others["ce_loss_increase"].null_count == 0
    assert table.filter(pc.field("source") == "own").equals(own)


def test_an_sae_of_the_run_itself_is_known_and_not_added_again(run: RunFolder, ours: list[Path]) -> None:
    before = below(run.path)
    result = evaluated(run, ours, "--add")
    assert result.exit_code == 0, result.stderr
    stands = [line.rsplit("|", 2)[1].strip() for line in result.stdout.splitlines() if "**" in line]
    assert stands == ["this run's own: on it"] * 3
    assert result.stderr.count("is this run's own, and in its table already") == 3
    assert below(run.path) == before
    (row,) = json.loads(evaluated(run, ours[:1], "--json").stdout)
    own = next(row for row in run.rows() if row.run_name == ours[0].name)
    assert (row["own_trial_id"], row["dominated_by"]) == (own.trial_id, None)


def test_a_run_whose_frontier_cannot_be_made_is_refused_before_anything_is_measured(
    run: RunFolder, theirs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.commands.trained.model_and_rows_of", None)
    run.write_sweep("name: [")
    result = evaluated(run, theirs[:1], "--add")
    assert (result.exit_code, result.stdout) == (2, "")
    assert not (run.path / "external").exists()


def test_an_output_of_a_block_is_measured_as_the_input_of_the_next(run: RunFolder, theirs: list[Path]) -> None:
    plain = json.loads(evaluated(run, theirs[:1], "--json").stdout)[0]
    changed(theirs[0], hook_name="blocks.0.hook_resid_post")
    post = json.loads(evaluated(run, theirs[:1], "--json").stdout)[0]
    assert post["metrics"] == plain["metrics"]
    changed(theirs[0], hook_name=None)
    placed = json.loads(evaluated(run, theirs[:1], "--json", "--layer", "1").stdout)[0]
    assert placed["metrics"] == plain["metrics"]


@pytest.mark.parametrize(
    ("metadata", "more", "message"),
    [
        ({"sae_frontier": {"model_hash": "0" * 64}}, (), "trained on other weights"),
        ({"sae_frontier": None, "model_name": "pythia-70m"}, (), "was made for 'pythia-70m'"),
        ({"hook_name": "blocks.1.hook_mlp_out"}, (), "expected the residual stream between blocks"),
        ({"hook_name": "blocks.1.hook_resid_post"}, (), "after the last of 2 blocks"),
        ({"hook_name": None}, (), "give --layer"),
    ],
)
def test_an_sae_that_does_not_fit_is_one_message_and_nothing_is_kept(
    run: RunFolder, theirs: list[Path], metadata: dict[str, object], more: tuple[str, ...], message: str
) -> None:
    changed(theirs[0], **metadata)
    before = below(run.path)
    result = evaluated(run, theirs, "--add", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert below(run.path) == before


def test_a_name_at_the_hub_says_how_to_get_it(run: RunFolder) -> None:
    result = evaluated(run, [Path("jbloom/GPT2-Small-SAEs-Reformatted")])
    assert result.exit_code == 2
    assert "hf download jbloom/GPT2-Small-SAEs-Reformatted --local-dir DIR" in result.stderr


def test_notes_say_what_is_unlike(run: RunFolder, theirs: list[Path]) -> None:
    changed(theirs[0], context_size=128, prepend_bos=True)
    result = evaluated(run, theirs[:1])
    assert "trained on rows of 128 tokens, measured on rows of 8" in result.stderr
    assert "begin with a BOS token" in result.stderr


def test_a_run_whose_trials_are_measured_in_several_ways_wants_to_know_which(
    run: RunFolder, theirs: list[Path], bench: Bench
) -> None:
    longer = a_trial(bench, context=16)
    run.write_row(a_row(longer, facts_of(longer), {"l0": 5.0, "ce_loss_increase": 0.5, "n_alive_elements": 9.0}))
    result = evaluated(run, theirs[:1])
    assert result.exit_code == 2
    assert "measured in 2 ways" in result.stderr
    chosen = evaluated(run, theirs[:1], "--json", "--trial", longer.trial_id)
    assert json.loads(chosen.stdout)[0]["like"]["data"]["context"] == 16


def test_a_run_without_results_has_nothing_to_compare_with(bench: Bench, tmp_path: Path, theirs: list[Path]) -> None:
    empty = RunFolder(tmp_path / "empty")
    empty.write_plan(SavedPlan(sweep_id="empty", trials={}, run_names={}, packs={}))
    result = evaluated(empty, theirs[:1])
    assert result.exit_code == 2
    assert "nothing to compare with" in result.stderr
