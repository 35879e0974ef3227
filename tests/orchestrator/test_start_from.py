"""`sae.start_from`: a sweep that trains the SAEs of another one further, for real, in this process."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import Result
from safetensors.torch import load_file
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.planning.plan import plan
from orchestrator.running.calibrate import tasks_of
from orchestrator.running.planned import LaunchOptions
from orchestrator.running.prepare import read_and_plan
from orchestrator.sweep.sweep_file import load_sweep
from tests.orchestrator.sweeps import SHAPES, small_sweep
from tests.tiny import Bench, science
from trainer.errors import BadInput
from trainer.external.given import read_given

FIRST = ("--set", "grid.layer=[0]", "--set", "grid.loss=local", "--set", "train.tokens=320")
SECOND = ("name=second", "grid.layer=[0]", "grid.loss=e2e", "grid.sparsity_coeff=1", "train.tokens=320")


def command(*words: str) -> Result:
    forget()
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("trained"), tiny_model, tiny_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(bench.folder / "cache"))
        ran = command("launch", *bench.arguments("--local", "--no-tracking", "--plain", *FIRST))
        assert ran.exit_code == 0, ran.output
    return bench


@pytest.fixture
def saes(bench: Bench, trained: Bench) -> list[Path]:
    """Folders of two trained SAEs, copied beside another bench."""
    return [
        Path(shutil.copytree(path, bench.folder / "given" / path.name))
        for path in sorted((trained.run_folder / "saes").iterdir())
    ]


def second(bench: Bench, start: str, *more: str) -> Result:
    sets = [word for each in (*SECOND, f"sae.start_from={start}", *more) for word in ("--set", each)]
    return command("launch", *bench.arguments("--local", "--no-tracking", "--plain", *sets))


@pytest.mark.slow
def test_a_given_sae_is_trained_further_and_kept_with_the_run(bench: Bench, saes: list[Path]) -> None:
    ran = second(bench, str(saes[0]))
    assert ran.exit_code == 0, ran.output
    folder, given = RunFolder(bench.run_folder), read_given(saes[0])
    [row] = folder.rows()
    assert row.config.sae.start_from == given.weights_id
    assert torch.equal(folder.read_start(given.weights_id).w_enc, given.w_enc)
    assert not torch.equal(load_file(folder.sae(row.trial_id) / "sae.safetensors")["w_enc"], given.w_enc)
    before = science(folder.path)

    shutil.rmtree(saes[0])
    folder.result(row.trial_id).unlink()
    shutil.rmtree(folder.path / "packs")
    again = command("resume", str(folder.path), "--plain")
    assert again.exit_code == 0, again.output
    assert science(folder.path) == before


@pytest.mark.slow
def test_a_trial_is_the_same_wherever_its_sae_was_copied_to(bench: Bench, saes: list[Path]) -> None:
    assert second(bench, str(saes[0])).exit_code == 0
    moved = saes[0].rename(bench.folder / "moved")
    ran = second(bench, str(moved))
    assert ran.exit_code == 0
    assert len(bench.run_folders) == 1
    assert "1 of 1 trials" in ran.stdout


def test_several_saes_are_an_axis(bench: Bench, saes: list[Path]) -> None:
    axis = f"grid.sae.start_from=[{saes[0]}, {saes[1]}, scratch]"
    sweep = load_sweep(bench.sweep, [*SECOND, f"model.name={bench.model}", axis])
    found = plan(sweep, SHAPES["builtin"]._replace(d_model=16, n_layers=2))
    starts = {trial.config.sae.start_from for trial in found.trials}
    assert starts == {*sweep.starts, "scratch"}
    assert len(starts) == len({trial.run_name for trial in found.trials}) == 3


def test_the_sweep_file_of_a_run_names_weights_and_says_the_same(bench: Bench, saes: list[Path]) -> None:
    sweep = load_sweep(bench.sweep, [*SECOND, f"sae.start_from={saes[0]}"])
    copy = bench.folder / "copy.yaml"
    copy.write_text(sweep.to_yaml())
    assert yaml.safe_load(sweep.to_yaml())["sae"]["start_from"] == read_given(saes[0]).weights_id
    assert load_sweep(copy) == sweep
    assert load_sweep(copy).sweep_id == sweep.sweep_id


def test_scratch_is_the_sweep_that_does_not_speak_of_it(tmp_path: Path) -> None:
    plain, said = small_sweep(tmp_path), small_sweep(tmp_path, "sae.start_from=scratch")
    assert plain.sweep_id == said.sweep_id
    assert plan(plain, SHAPES["builtin"]) == plan(said, SHAPES["builtin"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["grid.layer=[1]"], "sits at the input of block 0, expected block 1"),
        (["sae.ratio=4"], "has 32 dictionary elements, and sae.ratio=4 asks for 64; expected sae.ratio=2"),
        (["grid.seed=[0, 1]"], "is the same with every seed; keep one seed, or vary data.seed"),
        (["sae.start_from=/nowhere"], "/nowhere is no folder; expected scratch, or a folder with a trained SAE"),
        (["sae.start_from=0123456789abcdef"], "no SAE to start from is known as 0123456789abcdef"),
        (
            ["search={kind: random, budget: 1, space: {sparsity_coeff: {low: 1, high: 2}, sae.start_from: [scratch]}}"],
            "search.space.sae.start_from: is no field to search: make it an axis of the grid",
        ),
        (["sae.start_from=3"], "sae.start_from: came 3, expected text"),
    ],
)
def test_what_cannot_be_started_from_is_said_before_anything_starts(
    more: list[str], said: str, bench: Bench, saes: list[Path]
) -> None:
    ran = second(bench, str(saes[0]), *more)
    assert ran.exit_code == 2
    assert said in " ".join(ran.output.split())
    assert not bench.runs.exists() or bench.run_folders == []


@pytest.mark.slow
def test_a_damaged_copy_is_said_and_made_again_from_the_folder(bench: Bench, saes: list[Path]) -> None:
    assert second(bench, str(saes[0])).exit_code == 0
    folder, start = RunFolder(bench.run_folder), read_given(saes[0]).weights_id
    for content in (b"", folder.start(start).read_bytes()[:-8] + b"12345678"):
        folder.start(start).write_bytes(content)
        with pytest.raises(BadInput, match="damaged"):
            folder.read_start(start)
    for result in (folder.path / "results").glob("*.json"):
        result.unlink()
    ran = command("resume", str(folder.path), "--plain")
    assert ran.exit_code == 2
    assert "Give its folder again: --set sae.start_from=FOLDER" in " ".join(ran.output.split())
    assert second(bench, str(saes[0])).exit_code == 0
    assert folder.read_start(start).weights_id == start


def test_calibration_times_new_saes_in_their_place(bench: Bench, saes: list[Path]) -> None:
    always = (f"model.name={bench.model}", f"data.dataset={bench.data}", f"sae.start_from={saes[0]}", *SECOND)
    planned = read_and_plan(LaunchOptions(bench.sweep, always, bench.runs, tracking=False, n_slots=1, local=True))
    [task] = tasks_of(planned)
    assert {trial.sae.start_from for trial in task.trials} == {"scratch"}
