"""Flags that change how trials are computed, and not what they are: `--dense`, `--no-share`."""

from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.folder.records import SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.packs.training import Pack
from orchestrator.running.planned import LaunchOptions
from orchestrator.running.prepare import read_and_plan
from tests.tiny import Bench
from trainer.sae import forward

SPARSE_AT_ONCE = ("--set", "sae.ratio=4", "--set", "train.lr=1e-2")


def launch(bench: Bench, *more: str) -> tuple[SavedPlan, RunFolder]:
    forget()
    ran = CliRunner().invoke(
        app, ["launch", *bench.arguments("--local", "--no-tracking", "--plain", "--slots", "1", *more)]
    )
    assert ran.exit_code == 0, ran.output
    folder = RunFolder(bench.run_folder)
    plan = folder.plan()
    assert plan is not None
    return plan, folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often SAEs were computed in which way; the sparse one is taken whenever it may be."""
    counts = {"dense_forward": 0, "sparse_bank": 0}

    def counted(name: str) -> Any:
        real = getattr(forward, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return real(*args, **kwargs)

        return call

    for name in counts:
        monkeypatch.setattr(forward, name, counted(name))
    return counts


def test_dense_computes_no_step_through_positive_latents_alone(bench: Bench, calls: dict[str, int]) -> None:
    plan, folder = launch(bench, "--dense", *SPARSE_AT_ONCE)
    assert calls["dense_forward"] > 0
    assert calls["sparse_bank"] == 0
    saved = folder.launch()
    assert saved is not None
    assert saved.path == "dense"
    assert set(plan.trials) == {row.trial_id for row in folder.rows()}


def test_without_it_most_steps_are_computed_through_positive_latents(bench: Bench, calls: dict[str, int]) -> None:
    launch(bench, *SPARSE_AT_ONCE)
    assert calls["sparse_bank"] > calls["dense_forward"]


def test_no_share_trains_each_trial_in_a_pack_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counted(Pack):
        def __init__(self, trials: Any, **kwargs: Any) -> None:
            sizes.append(len(trials))
            super().__init__(trials, **kwargs)

    monkeypatch.setattr("orchestrator.packs.training.Pack", Counted)
    plan, folder = launch(bench, "--no-share")
    assert sizes == [1] * 8
    assert [len(trial_ids) for trial_ids in plan.packs.values()] == [1] * 8
    saved = folder.launch()
    assert saved is not None
    assert not saved.share


def test_neither_flag_changes_which_trials_a_sweep_has(bench: Bench) -> None:
    overrides = (f"model.name={bench.model}", f"data.dataset={bench.data}")
    usual, alone, dense = (
        read_and_plan(LaunchOptions(bench.sweep, overrides, bench.runs, n_slots=1, share=share, path=path))
        for share, path in ((True, "auto"), (False, "auto"), (True, "dense"))
    )
    assert usual.trial_ids == alone.trial_ids == dense.trial_ids
    assert usual.folder.path == alone.folder.path == dense.folder.path
    assert len(alone.plan.packs) == 8
    assert len(usual.plan.packs) == 1
    assert alone.cost.slot_seconds > usual.cost.slot_seconds
