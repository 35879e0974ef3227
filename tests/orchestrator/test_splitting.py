"""A pack that does not fit is split where it stands, and what was done stays done."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.planning.kept_packs import saved_plan, split, with_kept_packs
from orchestrator.planning.plan import plan
from orchestrator.planning.planned import Plan
from tests.orchestrator.packs import SmallPack, folder_of, run, stopped_after
from tests.orchestrator.sweeps import SHAPES, small_sweep
from tests.tiny import Bench
from trainer.faults import injected


def launch(bench: Bench, *more: str) -> Result:
    forget()
    return CliRunner().invoke(app, ["launch", *bench.arguments("--local", "--no-tracking", "--plain", *more)])


def no_memory_for_more_than(bench: Bench, n_trials: int) -> Callable[[str, int | None], None]:
    """At step 5, where the pack that is at it has more trials than that."""

    def hook(place: str, number: int | None) -> None:
        if (place, number) == ("step", 5):
            folder = RunFolder(bench.run_folder)
            found = folder.plan()
            assert found is not None
            running = [s for pack_id in found.packs if (s := folder.pack_status(pack_id)) and s.state == "running"]
            if len(running[-1].trial_ids) > n_trials:
                raise MemoryError("injected")

    return hook


@pytest.fixture
def few_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_FRONTIER_CHECKPOINT_S", "0")


@pytest.mark.usefixtures("few_checkpoints")
def test_a_pack_that_runs_out_of_memory_is_split_until_it_fits_and_goes_on_where_it_was(bench: Bench):
    with injected(no_memory_for_more_than(bench, 2)):
        ran = launch(bench)
    assert ran.exit_code == 0, ran.output
    folder = RunFolder(bench.run_folder)
    found = folder.plan()
    assert found is not None
    assert max(len(trials) for trials in found.packs.values()) <= 2
    events = folder.events()
    splits = [event for event in events if event.event == "pack_split"]
    assert len(splits) >= 3
    assert all(event.fields["step"] == 4 for event in splits)
    assert [event.event for event in events].count("pack_resumed") == 2 * len(splits)
    apart = {row.trial_id: row for row in folder.rows()}
    assert {row.status for row in apart.values()} == {RowStatus.DONE}
    bench.runs = bench.folder / "runs-whole"
    launch(bench)
    for row in RunFolder(bench.run_folder).rows():
        for name in ("l0", "ce_loss_increase", "explained_variance"):
            assert apart[row.trial_id].metrics[name] == pytest.approx(row.metrics[name], rel=1e-4)
        ours, theirs = folder.curve(row.trial_id), RunFolder(bench.run_folder).curve(row.trial_id)
        assert [point.key for point in ours] == [point.key for point in theirs]
    for pack_id in found.packs:
        assert not folder.checkpoints(pack_id).exists()


def test_a_trial_that_does_not_fit_alone_is_a_failed_row(bench: Bench):
    with injected(no_memory_for_more_than(bench, 0)):
        ran = launch(bench, "--set", "grid.layer=0", "--set", "grid.sparsity_coeff=1")
    assert ran.exit_code == 3
    rows = RunFolder(bench.run_folder).rows()
    assert len(rows) == 2
    for row in rows:
        assert row.status is RowStatus.FAILED
        assert (row.error or "").startswith("out of memory on cpu: injected (the machine has ")


def test_halves_of_a_pack_continue_with_their_own_slots(bench: Bench):
    """Against the same halves from the start: equal up to reassociation, and far from what a wrong slot would give."""
    whole = SmallPack(bench)
    job = whole.fresh()
    stopped_after(job, 6)
    halved, halves = split(whole.planned.plan, job.pack_id)
    folder = folder_of(job)
    from orchestrator.packs import checkpoints

    folder.write_plan(saved_plan(halved, {}))
    for half in halves:
        checkpoints.copy(folder.checkpoints(job.pack_id), folder.checkpoints(half.pack_id))
        outcome = run(job.model_copy(update={"pack_id": half.pack_id, "trial_ids": list(half.trial_ids)}))
        assert outcome.state == "done"
        (resumed,) = [event for event in folder.pack_events(half.pack_id) if event.event == "pack_resumed"]
        assert resumed.fields["step"] == 6
    twin = whole.fresh()
    run(twin)
    for row in folder_of(twin).rows():
        ours = folder.row(row.trial_id)
        assert ours is not None
        assert ours.metrics["l0"] == pytest.approx(row.metrics["l0"], rel=1e-5)
        assert ours.metrics["ce_loss_increase"] == pytest.approx(row.metrics["ce_loss_increase"], rel=1e-4)


# Plans that are made again


def two_plans(folder: Path) -> tuple[Plan, Plan]:
    """Of a sweep before and after a coefficient was added and a layer taken away."""
    before = plan(small_sweep(folder), SHAPES["builtin"])
    after = plan(small_sweep(folder, "grid.layer=3", "grid.sparsity_coeff=[0.5, 1, 2]"), SHAPES["builtin"])
    return before, after


def test_a_plan_for_another_machine_keeps_the_packs_that_there_are(tmp_path: Path):
    before = plan(small_sweep(tmp_path), SHAPES["builtin"], n_slots=1)
    elsewhere = plan(small_sweep(tmp_path), SHAPES["builtin"], n_slots=4)
    assert elsewhere.packs != before.packs
    kept = with_kept_packs(elsewhere, saved_plan(before, {}), is_begun=lambda _: False)
    assert kept.packs == before.packs


def test_a_grid_that_changed_keeps_packs_that_were_begun_and_plans_the_rest(tmp_path: Path):
    before, after = two_plans(tmp_path)
    saved = saved_plan(before, {})
    kept = with_kept_packs(after, saved, is_begun=lambda _: True)
    assert kept.trials == after.trials
    assert kept.packs[: len(before.packs)] == before.packs
    again = saved_plan(kept, {}, saved)
    gone = {trial.trial_id for trial in before.trials} - {trial.trial_id for trial in after.trials}
    assert set(again.removed) == gone
    assert again.wanted == {trial.trial_id for trial in after.trials}
    fresh = with_kept_packs(after, saved, is_begun=lambda _: False)
    packed = [trial for pack in fresh.packs for trial in pack.trials]
    assert sorted(trial.trial_id for trial in packed) == sorted(trial.trial_id for trial in after.trials)


def test_a_removed_trial_that_comes_back_is_in_its_pack_again(tmp_path: Path):
    before, after = two_plans(tmp_path)
    saved = saved_plan(with_kept_packs(after, saved_plan(before, {}), is_begun=lambda _: True), {})
    back = with_kept_packs(before, saved, is_begun=lambda _: True)
    assert saved_plan(back, {}).wanted == {trial.trial_id for trial in before.trials}
    assert back.packs[: len(before.packs)] == before.packs
