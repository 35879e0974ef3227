"""The chaos run sees what it looks for: a comparison that could not find a difference would say nothing."""

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import chaos_report
from benchmarks.chaos_compare import Found, compared, is_close, is_equal
from benchmarks.chaos_faults import KINDS, memory_faults, random_faults
from benchmarks.chaos_sweep import SWEEP
from orchestrator.folder.records import CurvePoint
from orchestrator.folder.run_folder import RunFolder
from orchestrator.sweep.sweep_file import load_sweep
from tests.orchestrator.made_run import TRIALS, made_run
from tests.tiny import ROOT

FIRST = TRIALS[0].trial_id
ALL = ("ray", "mlflow", "disk", "clock")


def test_a_seed_gives_the_same_faults_and_each_kind_at_least_once() -> None:
    faults = random_faults(60, dice=random.Random(3), there=ALL)
    assert faults == random_faults(60, dice=random.Random(3), there=ALL)
    assert faults != random_faults(60, dice=random.Random(4), there=ALL)
    assert {fault.kind.name for fault in faults} == {kind.name for kind in KINDS}
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert not any(fault.kind.needs for fault in random_faults(60, dice=random.Random(3), there=()))
    assert [fault.kind.name for fault in memory_faults(6, dice=random.Random(0))].count("out of memory") == 3


def test_its_sweep_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "chaos.yaml"
    path.write_text(SWEEP.replace("TOKENS", "10240").replace("EVERY", "2560"))
    assert load_sweep(path).name == "chaos"


def two_runs(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """Equal in everything."""
    ours = made_run(tmp_path / "ours")
    for trial in TRIALS:
        ours.write_sae(trial.trial_id, {"b_dec": torch.ones(3)}, trial)
        ours.add_curve_points(trial.trial_id, [CurvePoint(step=1, tokens=9, time_ms=5, metrics={"loss": 0.5})])
    shutil.copytree(tmp_path / "ours", tmp_path / "twin")
    return ours, RunFolder(tmp_path / "twin" / ours.path.name)


def of(ours: RunFolder, twin: RunFolder) -> Found:
    return compared(ours.path, twin.path, uri=None, twin_uri=None)


def test_equal_runs_are_equal(tmp_path: Path) -> None:
    found = of(*two_runs(tmp_path))
    assert (found["trials"], found["curve_points"]) == (8, 8)
    assert is_equal(found)
    assert is_close(found)


def another_metric(folder: RunFolder) -> None:
    row = folder.row(FIRST)
    assert row is not None
    folder.write_row(row.model_copy(update={"metrics": row.metrics | {"l0": 10.000001}}))


def another_point(folder: RunFolder) -> None:
    folder.add_curve_points(FIRST, [CurvePoint(step=2, tokens=9, time_ms=5, metrics={"loss": 0.5})])


def the_same_point(folder: RunFolder) -> None:
    folder.add_curve_points(FIRST, [CurvePoint(step=1, tokens=9, time_ms=6, metrics={"loss": 0.5})])


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (another_metric, "rows_differ"),
        (lambda folder: folder.result(FIRST).unlink(), "rows_of_another_end"),
        (lambda folder: folder.write_sae(FIRST, {"b_dec": torch.zeros(3)}, TRIALS[0]), "weights_differ"),
        (another_point, "curves_differ"),
        (the_same_point, "points_twice_in_journals"),
        (lambda folder: (folder.path / "x.tmp").write_text(""), "left_over"),
    ],
)
def test_whatever_differs_is_seen(tmp_path: Path, change: Callable[[RunFolder], object], seen: str) -> None:
    ours, twin = two_runs(tmp_path)
    change(ours)
    found = of(ours, twin)
    assert found[seen]
    assert not is_equal(found)


def test_every_table_of_the_page_is_one_that_can_be_made() -> None:
    document = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    assert set(re.findall(r"<!-- table: ([\w-]+) -->", document)) == {"chaos", "chaos-kinds", "mlflow-load"}
    assert set(chaos_report.tables()) <= {"chaos", "chaos-kinds", "mlflow-load"}
    assert chaos_report.filled(document, {}) == document
