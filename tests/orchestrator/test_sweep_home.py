"""Which run folder a sweep goes on in, when it is refused, and what is said of changes. With folders made by hand."""

import os
from pathlib import Path

import pytest

from orchestrator.folder.run_folder import RunFolder
from orchestrator.planning.kept_packs import saved_plan
from orchestrator.planning.plan import plan
from orchestrator.sweep.sweep_file import Sweep
from orchestrator.sweep.sweep_home import another_meaning, changes_text, count, find_home, refuse_another_meaning
from tests.orchestrator.rows import a_row
from tests.orchestrator.sweeps import SHAPES, small_sweep
from trainer.errors import BadInput


def trial_ids(sweep: Sweep) -> list[str]:
    return [trial.trial_id for trial in plan(sweep, SHAPES["builtin"]).trials]


def run(folder: Path, *overrides: str, n_done: int = 0, name: str = "") -> RunFolder:
    """A run folder of the small sweep, its first `n_done` trials done."""
    sweep = small_sweep(folder, *overrides)
    made = RunFolder(folder / "runs" / (name or sweep.sweep_id))
    planned = plan(sweep, SHAPES["builtin"])
    made.write_sweep(sweep.to_yaml())
    made.write_plan(saved_plan(planned, {}))
    for trial in planned.trials[:n_done]:
        made.write_row(a_row(trial.config))
    return made


def test_the_first_launch_of_a_name_has_a_new_folder_and_nothing_to_ask(tmp_path: Path) -> None:
    run(tmp_path, "name=other")
    home = find_home(small_sweep(tmp_path), tmp_path / "runs")
    assert home.is_new
    assert home.changes == ()
    refuse_another_meaning(home, [], allowed=False)


@pytest.mark.parametrize(
    "overrides",
    [
        ["grid.sparsity_coeff=[0.5, 1, 12]"],
        ["grid.layer=[3]"],
        ["grid.loss=[local, e2e]"],
        ["grid.loss=[local, e2e]", "loss={}"],
        ["resources.cpus_per_pack=2"],
    ],
)
def test_a_grown_or_shrunk_grid_goes_on_in_its_folder(tmp_path: Path, overrides: list[str]) -> None:
    made = run(tmp_path)
    home = find_home(small_sweep(tmp_path, *overrides), tmp_path / "runs")
    assert home.folder.path == made.path
    assert home.sweep.sweep_id == made.path.name
    assert home.changes
    refuse_another_meaning(home, [], allowed=False)


def test_a_loss_that_comes_later_joins_the_folder_of_the_others(tmp_path: Path) -> None:
    made = run(tmp_path, "grid.loss=[local, e2e]", "loss={}")
    sweep = small_sweep(tmp_path)
    assert sweep.sweep_id != made.path.name
    home = find_home(sweep, tmp_path / "runs")
    assert (home.folder.path, home.other) == (made.path, None)


def test_another_meaning_is_refused_with_the_difference_and_its_price(tmp_path: Path) -> None:
    made = run(tmp_path, n_done=5)
    sweep = small_sweep(tmp_path, "train.tokens=200_000")
    home = find_home(sweep, tmp_path / "runs")
    with pytest.raises(BadInput) as caught:
        refuse_another_meaning(home, trial_ids(sweep), allowed=False)
    said = str(caught.value)
    assert "  train.tokens: 1000 -> 200_000\n" in said
    assert "none of its 12 trials (5 done) would be kept: all 12 would train anew" in said
    assert "--allow-changed" in said
    assert f"resume {made.path}" in said
    refuse_another_meaning(home, trial_ids(sweep), allowed=True)
    assert home.is_new


def test_once_allowed_a_meaning_is_not_asked_about_again(tmp_path: Path) -> None:
    run(tmp_path)
    second = run(tmp_path, "train.tokens=200_000")
    home = find_home(small_sweep(tmp_path, "train.tokens=200_000"), tmp_path / "runs")
    assert (home.folder.path, home.other, home.changes) == (second.path, None, ())


def test_the_newest_run_of_the_name_is_the_one_that_is_compared_with(tmp_path: Path) -> None:
    older, newer = run(tmp_path, "train.tokens=2_000"), run(tmp_path, "train.tokens=3_000")
    os.utime(older.path / "plan.json", (1, 1))
    home = find_home(small_sweep(tmp_path), tmp_path / "runs")
    assert home.other is not None
    assert home.other.folder.path == newer.path


def test_a_run_whose_sweep_cannot_be_read_is_not_taken_for_another_or_the_same(tmp_path: Path) -> None:
    made = run(tmp_path, "train.tokens=2_000")
    made.write_sweep("name: small\nmodel: {")
    home = find_home(small_sweep(tmp_path), tmp_path / "runs")
    assert "cannot be told" in another_meaning(home, [])
    with pytest.raises(BadInput, match="--allow-changed"):
        refuse_another_meaning(home, [], allowed=False)


def test_only_folders_named_after_the_sweep_are_looked_at(tmp_path: Path) -> None:
    run(tmp_path, "name=small-x", "train.tokens=2_000")
    run(tmp_path, "train.tokens=2_000", name="small-backup")
    (tmp_path / "runs" / "small-0123abcd").mkdir()
    assert find_home(small_sweep(tmp_path), tmp_path / "runs").other is None


def test_a_given_folder_is_gone_on_with_whatever_its_name(tmp_path: Path) -> None:
    made = run(tmp_path, name="copied here")
    home = find_home(small_sweep(tmp_path), tmp_path / "elsewhere", folder=made.path)
    assert home.folder.path == made.path
    assert home.sweep.sweep_id == small_sweep(tmp_path).sweep_id


def test_trials_are_counted_as_kept_added_and_removed(tmp_path: Path) -> None:
    made = run(tmp_path, n_done=5)
    wanted = trial_ids(small_sweep(tmp_path, "grid.sparsity_coeff=[1, 12]", "grid.loss=[local, e2e]"))
    counts = count(made, wanted)
    assert (counts.kept, counts.kept_done) == (4, 2)
    assert (counts.added, counts.removed, counts.removed_done) == (4, 8, 3)
    home = find_home(small_sweep(tmp_path, "grid.sparsity_coeff=[1, 12]", "grid.loss=[local, e2e]"), tmp_path / "runs")
    said = changes_text(home, wanted)
    assert "  grid.sparsity_coeff: +12 -0.5\n" in said
    assert "trials: 4 kept (2 done), 4 added, 8 removed" in said
    assert "--include-removed" in said


def test_trials_that_come_back_are_counted_as_done_before(tmp_path: Path) -> None:
    made = run(tmp_path, n_done=12)
    plan_ = made.plan()
    assert plan_ is not None
    gone = trial_ids(small_sweep(tmp_path))[:3]
    made.write_plan(plan_.model_copy(update={"removed": gone}))
    counts = count(made, trial_ids(small_sweep(tmp_path)))
    assert (counts.kept, counts.added, counts.added_done, counts.removed) == (9, 3, 3, 0)
