"""The run folder gives back what was written, at any moment of a run, and names what is broken."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from orchestrator.folder.records import (
    CurvePoint,
    Event,
    Manifest,
    MLflowRuns,
    PackState,
    PackStatus,
    Row,
    RowStatus,
    SavedLaunch,
    SavedPlan,
    Snapshot,
    SweepState,
    SweepStatus,
)
from orchestrator.folder.run_folder import RunFolder
from tests.orchestrator.rows import NOON, a_config, a_row
from trainer.errors import BadInput
from trainer.files import write_whole

NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.of_sweep(tmp_path, "quickstart-0123abcd")


def a_plan() -> SavedPlan:
    trials = [a_config(seed=0), a_config(seed=1), a_config(seed=2)]
    packs = {"p000": [trials[0].trial_id, trials[2].trial_id], "p001": [trials[1].trial_id]}
    return SavedPlan(
        sweep_id="quickstart-0123abcd",
        trials={t.trial_id: t for t in trials},
        run_names={t.trial_id: t.run_name for t in trials},
        packs=packs,
    )


def a_point(step: int) -> CurvePoint:
    return CurvePoint(step=step, tokens=step * 512, time_ms=1_700_000_000_000 + step, metrics={"train/loss": 0.5})


def test_before_anything_is_written_everything_is_missing_and_nothing_is_made(folder: RunFolder):
    trial_id = a_config().trial_id
    assert folder.sweep() is None
    assert folder.plan() is None
    assert folder.mlflow_runs() is None
    assert folder.status() is None
    assert folder.pack_status("p000") is None
    assert folder.row(trial_id) is None
    assert folder.read_sae(trial_id) is None
    assert folder.rows() == folder.events() == folder.curve(trial_id) == []
    assert folder.manifest() == Manifest()
    assert folder.mend_curve(trial_id) == ([], 0)
    assert not folder.path.exists()


def test_each_file_gives_back_what_was_written(folder: RunFolder):
    plan = a_plan()
    runs = MLflowRuns(
        tracking_uri="sqlite:///x", experiment_id="3", parent_run_id="p", trials={next(iter(plan.trials)): "r"}
    )
    status = SweepStatus(
        sweep_id=plan.sweep_id,
        state=SweepState.RUNNING,
        n_trials=9,
        n_done=3,
        n_failed=1,
        n_running=2,
        packs={"p000": PackState.DONE},
        pid=7,
        started_at=NOON,
        updated_at=NOON,
    )
    pack = PackStatus(
        pack_id="p000",
        state=PackState.RUNNING,
        trial_ids=plan.packs["p000"],
        step=4,
        n_steps=9,
        tokens_per_s=1e4,
        latest={plan.packs["p000"][0]: {"l0": 3.5}},
        updated_at=NOON,
    )
    shot = Snapshot(
        file="snapshots/x", sequence=1, content_sha256="a", n_rows=2, state=SweepState.COMPLETE, created_at=NOON
    )
    folder.write_sweep("name: größer\n")
    folder.write_plan(plan)
    folder.write_mlflow_runs(runs)
    folder.write_status(status)
    folder.write_pack_status(pack)
    folder.write_manifest(Manifest(snapshots=[shot]))
    assert folder.sweep() == "name: größer\n"
    assert folder.plan() == plan
    assert folder.mlflow_runs() == runs
    assert folder.status() == status
    assert folder.pack_status("p000") == pack
    assert folder.manifest().newest == shot
    assert status.n_waiting == 3


def test_a_plan_knows_the_trials_of_a_pack_in_order():
    plan = a_plan()
    assert [config.seed for config in plan.trials_of("p000")] == [0, 2]


def test_rows_come_back_sorted_by_trial_whatever_their_status(folder: RunFolder):
    done = a_row(a_config(seed=0), downstream_mse=[1.0, 2.0])
    failed = a_row(a_config(seed=1), status=RowStatus.FAILED, error="not finite at step 37")
    stopped = Row.model_validate({**dict(a_row(a_config(seed=2))), "status": RowStatus.STOPPED, "facts": None})
    for row in (stopped, failed, done):
        folder.write_row(row)
    assert folder.rows() == sorted([done, failed, stopped], key=lambda row: row.trial_id)
    assert folder.row(failed.trial_id) == failed


def test_numbers_that_are_not_finite_are_null_in_every_json(folder: RunFolder):
    row = a_row(l0=NAN, downstream_mse=[1.0, INFINITY])
    assert row.metrics["l0"] is None
    folder.write_row(row)
    folder.add_curve_points(row.trial_id, [CurvePoint(step=1, tokens=1, time_ms=1, metrics={"train/loss": NAN})])
    assert folder.row(row.trial_id) == row
    assert row.metrics["downstream_mse"] == [1.0, None]
    assert folder.curve(row.trial_id)[0].metrics == {"train/loss": None}
    for path in (file for file in folder.path.rglob("*.json*") if file.is_file()):
        assert not {"NaN", "Infinity"} & set(path.read_text().replace(",", " ").replace("}", " ").split())


def test_curves_and_events_grow_and_a_torn_last_line_is_left_out(folder: RunFolder):
    trial_id = a_config().trial_id
    folder.add_curve_points(trial_id, [a_point(1), a_point(2)])
    with (folder.path / "journal" / f"{trial_id}.jsonl").open("a") as file:
        file.write('{"step": 3, "tok')
    assert folder.curve(trial_id) == [a_point(1), a_point(2)]
    folder.add_curve_points(trial_id, [a_point(3)])
    assert folder.curve(trial_id) == [a_point(1), a_point(2), a_point(3)]
    events = [Event(time=NOON, event="pack_started", message=f"line\n\u2028{n}", pack_id="p000") for n in range(2)]
    for event in events:
        folder.add_event(event)
    assert folder.events() == events


def test_of_points_that_were_written_twice_the_first_counts(folder: RunFolder):
    trial_id = a_config().trial_id
    evaluated = CurvePoint(step=1, tokens=512, time_ms=9, metrics={"eval/l0": 1.0})
    again = a_point(1).model_copy(update={"time_ms": 10})
    folder.add_curve_points(trial_id, [a_point(1), evaluated, a_point(2), again, a_point(3)])
    assert folder.curve(trial_id) == [a_point(1), evaluated, a_point(2), a_point(3)]


def test_a_damaged_curve_is_mended_by_leaving_out_what_cannot_be_read(folder: RunFolder):
    trial_id = a_config().trial_id
    folder.add_curve_points(trial_id, [a_point(1)])
    with (folder.path / "journal" / f"{trial_id}.jsonl").open("a") as file:
        file.write("\0\0\0\n")
    folder.add_curve_points(trial_id, [a_point(2), a_point(3)])
    path = folder.path / "journal" / f"{trial_id}.jsonl"
    path.write_text(path.read_text().replace('"step":3', '"step":7'))
    assert folder.mend_curve(trial_id) == ([a_point(1), a_point(2)], 2)
    assert folder.curve(trial_id) == [a_point(1), a_point(2)]
    assert folder.mend_curve(trial_id) == ([a_point(1), a_point(2)], 0)


def test_a_row_of_which_one_bit_flipped_is_refused(folder: RunFolder):
    row = a_row(l0=20.0)
    folder.write_row(row)
    path = folder.path / "results" / f"{row.trial_id}.json"
    path.write_text(path.read_text().replace('"l0": 20.0', '"l0": 21.0'))
    with pytest.raises(BadInput, match="is not what was written"):
        folder.row(row.trial_id)
    aside = folder.set_row_aside(row.trial_id)
    assert folder.row(row.trial_id) is None
    assert aside.exists()
    assert folder.rows() == []


def test_an_sae_comes_back_and_is_missing_while_it_is_not_whole(folder: RunFolder):
    config = a_config()
    tensors = {"w_enc": torch.randn(4, 3).T, "b_dec": torch.randn(3)}
    folder.write_sae(config.trial_id, tensors, config)
    found = folder.read_sae(config.trial_id)
    assert found is not None
    assert found[1] == config
    assert found[0].keys() == tensors.keys()
    assert all(torch.equal(found[0][name], tensors[name]) for name in tensors)
    (folder.sae(config.trial_id) / "config.json").unlink()
    assert folder.read_sae(config.trial_id) is None


def test_weights_that_are_not_those_of_their_row_are_refused(folder: RunFolder):
    config = a_config()
    sha256 = folder.write_sae(config.trial_id, {"b_dec": torch.zeros(64)}, config)
    folder.write_row(a_row(config).model_copy(update={"sae_sha256": sha256}))
    assert folder.read_sae(config.trial_id) is not None
    path = folder.sae(config.trial_id) / "sae.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is not what was written"):
        folder.read_sae(config.trial_id)


def test_a_plan_is_read_from_whichever_copy_is_whole(folder: RunFolder):
    plan = a_plan()
    folder.write_plan(plan)
    first, second = folder.path / "plan.json", folder.path / "spare" / "plan.json"
    written = first.read_bytes()
    assert second.read_bytes() == written
    for place in range(0, len(written), 97):  # whatever bit it is
        damaged = bytearray(written)
        damaged[place] ^= 1
        first.write_bytes(damaged)
        assert folder.plan() == plan
    first.unlink()
    assert folder.plan() == plan
    assert folder.is_run
    assert folder.read_from_spares() == [f"{first} is gone"]
    second.write_bytes(written[:100])
    with pytest.raises(BadInput, match=r"plan\.json"):
        folder.plan()
    first.write_bytes(written)
    assert folder.plan() == plan
    assert folder.read_from_spares() == []


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../a", "/etc", ".hidden", "a\n", "a\0", "-a", "a" * 201])
def test_no_name_leaves_the_folder(tmp_path: Path, folder: RunFolder, name: str):
    for use in (
        lambda: RunFolder.of_sweep(tmp_path, name),
        lambda: folder.pack_status(name),
        lambda: folder.pack_log(name),
        lambda: folder.row(name),
        lambda: folder.curve(name),
        lambda: folder.sae(name),
        lambda: folder.mend_curve(name),
        lambda: folder.checkpoints(name),
        lambda: folder.owner(name),
    ):
        with pytest.raises(BadInput, match="cannot name a file of a run folder"):
            use()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 2}', '"text"', "\x00"])
def test_a_broken_row_is_named_in_one_message(folder: RunFolder, content: str):
    path = folder.path / "results" / f"{a_config().trial_id}.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(BadInput, match="is not a readable Row") as caught:
        folder.rows()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_line_in_the_middle_is_named_with_its_number(folder: RunFolder):
    trial_id = a_config().trial_id
    folder.add_curve_points(trial_id, [a_point(1)])
    with (folder.path / "journal" / f"{trial_id}.jsonl").open("a") as file:
        file.write("{broken}\n")
    folder.add_curve_points(trial_id, [a_point(2)])
    with pytest.raises(BadInput, match="line 2 is not a readable CurvePoint"):
        folder.curve(trial_id)


def test_a_row_of_a_newer_schema_is_refused_by_name(folder: RunFolder):
    row = a_row()
    folder.write_row(row)
    path = folder.path / "results" / f"{row.trial_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(BadInput, match="schema_version: Input should be 1"):
        folder.row(row.trial_id)


def test_a_done_row_needs_facts():
    with pytest.raises(ValueError, match="a done row needs facts"):
        Row.model_validate({**dict(a_row()), "facts": None})


def test_times_without_a_zone_are_refused():
    with pytest.raises(ValueError, match="timezone"):
        Event(time=datetime(2026, 1, 1), event="x", message="y")
    assert Event(time=datetime(2026, 1, 1, tzinfo=UTC), event="x", message="y").level == "info"


def test_a_plan_whose_ids_or_packs_do_not_fit_is_refused(folder: RunFolder):
    plan = a_plan()
    first, second, third = plan.trials
    for broken in (
        {"trials": {**plan.trials, first: plan.trials[second]}},
        {"packs": {"p000": [first, second]}},
        {"packs": {"p000": [first, second], "p001": [second, third]}},
    ):
        write_whole(
            _made(folder.path / "plan.json"), json.dumps(json.loads(plan.model_dump_json()) | _plain(broken)).encode()
        )
        with pytest.raises(BadInput, match="is not a readable SavedPlan"):
            folder.plan()


def test_files_that_are_being_written_are_no_rows(folder: RunFolder):
    row = a_row()
    folder.write_row(row)
    (folder.path / "results" / f".{row.trial_id}.json.7-abc.tmp").write_text("{")
    (folder.path / "results" / "notes.json").write_text("{")
    assert folder.rows() == [row]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _plain(part: dict[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(part, default=lambda config: config.model_dump(mode="json")))


def test_relative_paths_mean_what_they_meant_at_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    folder = RunFolder(tmp_path / "run")

    def seen() -> Path:
        with folder.where_launched():
            return Path.cwd()

    assert seen() == here  # nobody knows
    folder.write_launch(SavedLaunch(sweep_file="a.yaml", cwd=str(there)))
    assert seen() == there
    assert Path.cwd() == here
    for copy in folder.path.rglob("launch.json"):
        copy.write_text("{")
    assert seen() == here
    folder.write_launch(SavedLaunch(sweep_file="a.yaml", cwd=str(there)))
    there.rmdir()
    assert seen() == here
