"""MLflow equals the run folder, whatever is killed, lost, deleted or sent twice; on each kind of store."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.folder.records import CurvePoint, SweepState
from orchestrator.tracking import Mirror, TrialRun, copier, store
from orchestrator.tracking.cursor import read_cursor
from orchestrator.tracking.publication import Publication
from orchestrator.tracking.tally import Done
from tests.orchestrator.tracking.a_sweep import T0, ASweep, assert_equal, history, publish
from tests.orchestrator.tracking.servers import wait_for

MlflowClient = Any
COMPLETE = Publication(state=SweepState.COMPLETE, time_ms=T0)


def copied(sweep: ASweep, uri: str) -> Done:
    """Everything, by one more copier, as at the end of a launch."""
    last = sweep.copier(uri)
    last.run.publication = COMPLETE
    last.copy(ended=True)
    assert last.behind() is None
    return last.done


def status(client: MlflowClient, sweep: ASweep, trial_id: str) -> str:
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    return str(client.get_run(runs.trials[trial_id]).info.status)


def test_mlflow_gets_everything_point_by_point_while_the_sweep_runs_and_at_its_end(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    mirror = sweep.mirror(uri)
    mirror.start()
    assert mirror.wait_until_open(60)
    assert status(client, sweep, sweep.ids[0]) == "SCHEDULED"
    sweep.train(3)
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    wait_for(lambda: history(client, runs.trials[sweep.ids[2]]) == sweep.points(sweep.ids[2]))
    assert status(client, sweep, sweep.ids[0]) == "RUNNING"
    sweep.train(4)
    sweep.end_all()
    publish(mirror, sweep)
    assert mirror.close(60) is None
    assert_equal(client, sweep)
    parent = client.get_run(runs.parent_run_id)
    assert parent.data.metrics == {"n_done": 1.0}
    assert [file.path for file in client.list_artifacts(runs.parent_run_id)] == ["frontier.parquet"]
    assert sweep.said == []


class Killed(BaseException):
    """In place of SIGKILL."""


class Mortal:
    """A client whose process dies at a call: before MLflow hears of it, or before the answer comes."""

    def __init__(self, client: MlflowClient, n_calls: int, *, heard: bool) -> None:
        self._client, self._left, self._heard = client, n_calls, heard

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._client, name)

        def call(*args: object, **options: object) -> object:
            self._left -= 1
            if self._left > 0 or (self._left == 0 and self._heard):
                answer = method(*args, **options)
                if self._left > 0:
                    return answer
            raise Killed

        return call


def lives(sweep: ASweep, uri: str, monkeypatch: pytest.MonkeyPatch, n_calls: int, *, heard: bool) -> bool:
    """One life of a copier of so many calls. True if it got to its end."""
    with monkeypatch.context() as patch:
        patch.setattr(copier, "create_store", lambda uri: Mortal(store.create_store(uri), n_calls, heard=heard))
        patch.setattr(copier, "SAVE_EVERY_S", 0.0)
        try:
            copied(sweep, uri)
        except Killed:
            return False
    return True


@pytest.mark.parametrize("heard", [False, True])
def test_killed_again_and_again_after_a_few_calls_mlflow_equals_the_run_folder_in_the_end(
    uri: str, client: MlflowClient, sweep: ASweep, monkeypatch: pytest.MonkeyPatch, *, heard: bool
) -> None:
    sweep.train(4)
    sweep.end_all()
    # Each life begins with a few calls that look for what is there, and has only the rest for something new.
    for n_lives, _ in enumerate(iter(lambda: lives(sweep, uri, monkeypatch, 8, heard=heard), True), start=1):
        assert n_lives < 40
    assert_equal(client, sweep)


@pytest.mark.slow
@pytest.mark.parametrize("heard", [False, True])
def test_killed_between_any_two_calls_and_started_again_mlflow_equals_the_run_folder(
    sqlite: str, runs: Any, monkeypatch: pytest.MonkeyPatch, *, heard: bool
) -> None:
    for n_calls in itertools.count(1):
        sweep = ASweep(runs, f"killed-{n_calls}", n_trials=3)
        sweep.train(3)
        sweep.end_all()
        reached_the_end = lives(sweep, sqlite, monkeypatch, n_calls, heard=heard)
        sweep.train(2, only=sweep.ids[:1])
        copied(sweep, sqlite)
        assert_equal(store.open_client(sqlite), sweep)
        if reached_the_end:
            break
    assert n_calls > 20


def test_a_second_copy_finds_nothing_to_do(uri: str, sweep: ASweep) -> None:
    sweep.train()
    sweep.end_all()
    assert copied(sweep, uri).points == sum(map(len, map(sweep.folder.curve, sweep.ids))) // 7 * 17
    assert copied(sweep, uri) == Done()


def test_without_the_cursor_everything_is_sent_again_and_nothing_is_doubled(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    sweep.train()
    sweep.end_all()
    first = copied(sweep, uri)
    (sweep.folder.mlflow / "cursor.json").write_text("{ torn")
    assert copied(sweep, uri).points == first.points
    assert_equal(client, sweep)


@pytest.mark.parametrize("cursor_too", [False, True])
def test_points_that_were_lost_and_made_again_are_there_once(
    uri: str, client: MlflowClient, sweep: ASweep, *, cursor_too: bool
) -> None:
    """MLflow has them with the times that they had before, and a point cannot be taken out of a run."""
    sweep.train()
    sweep.end_all()
    copied(sweep, uri)
    path = sweep.folder.journal(sweep.ids[0])
    first, second, third, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, third, *rest]))
    again = CurvePoint.model_validate_json(second).model_copy(update={"time_ms": T0 + 10**6})
    sweep.folder.add_curve_points(sweep.ids[0], [again])
    row = sweep.folder.row(sweep.ids[0])
    assert row is not None
    sweep.folder.write_row(row.model_copy(update={"finished_at": row.finished_at + timedelta(hours=1)}))
    if cursor_too:
        (sweep.folder.mlflow / "cursor.json").unlink()
    copy = sweep.copier(uri)
    copy.copy()
    assert copy.done.runs_made == 0  # while packs train nothing is thrown away
    assert copied(sweep, uri).runs_made == 1
    assert_equal(client, sweep)
    name = sweep.configs[0].run_name
    assert sweep.said == [("info", f"the run of {name} had points that were made again since; made anew")]
    assert copied(sweep, uri).runs_made == 0


def test_what_mlflow_lost_since_is_sent_again(uri: str, client: MlflowClient, sweep: ASweep) -> None:
    sweep.train()
    copied(sweep, uri)
    claims = read_cursor(sweep.folder)
    (sweep.folder.mlflow / "cursor.json").unlink()
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    client.delete_run(runs.trials[sweep.ids[0]])  # the new run in its place is as empty as one of an older backup
    sweep.copier(uri).open()
    again = sweep.folder.mlflow_runs()
    assert again is not None
    trials = {id_: sent.model_copy(update={"run_id": again.trials[id_]}) for id_, sent in claims.trials.items()}
    (sweep.folder.mlflow / "cursor.json").write_text(claims.model_copy(update={"trials": trials}).model_dump_json())
    copied(sweep, uri)
    assert_equal(client, sweep)


def test_a_trial_that_is_run_again_runs_in_mlflow_too_and_forgets_its_error(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    sweep.train(3)
    sweep.end_all()
    failed, stopped = sweep.ids[1:]
    copied(sweep, uri)
    assert [status(client, sweep, trial_id) for trial_id in (failed, stopped)] == ["FAILED", "KILLED"]
    sweep.train(3, only=[failed, stopped], late_ms=600_000)
    again = sweep.copier(uri)
    for _ in range(2):
        again.copy()
    assert [status(client, sweep, trial_id) for trial_id in sweep.ids] == ["FINISHED", "RUNNING", "RUNNING"]
    assert "error" not in client.get_run(again.trials[failed].run_id).data.tags
    sweep.end(failed)
    copied(sweep, uri)
    assert [status(client, sweep, trial_id) for trial_id in sweep.ids] == ["FINISHED", "FINISHED", "KILLED"]
    assert_equal(client, sweep)


def test_what_a_worker_takes_back_at_once_is_never_sent(uri: str, client: MlflowClient, sweep: ASweep) -> None:
    copy = sweep.copier(uri)
    sweep.train(2)
    journal = sweep.folder.journal(sweep.ids[0])
    size = journal.stat().st_size
    sweep.train(2, only=sweep.ids[:1])
    copy.copy()
    assert copy.done.points == 0
    with journal.open("ab") as file:  # a full disk: a worker cuts off what it could not write whole
        file.truncate(size)
    sweep.step -= 2
    sweep.train(2, only=sweep.ids[:1], late_ms=999)
    copy.copy()
    sweep.end_all()
    copied(sweep, uri)
    assert_equal(client, sweep)


def test_a_trial_that_was_cut_off_without_a_row_is_killed_in_mlflow_once_nobody_trains(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    sweep.train(3, only=sweep.ids[:1])
    copied(sweep, uri)
    assert [status(client, sweep, trial_id) for trial_id in sweep.ids] == ["KILLED", "SCHEDULED", "SCHEDULED"]


def test_runs_that_were_deleted_are_made_again_before_a_launch_and_during_one(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    sweep.train(2)
    copied(sweep, uri)
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    client.delete_run(runs.trials[sweep.ids[0]])
    mirror = sweep.mirror(uri)
    mirror.start()
    assert mirror.wait_until_open(60)
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    client.delete_run(runs.trials[sweep.ids[1]])
    sweep.train(2)
    sweep.end_all()
    publish(mirror, sweep)
    assert mirror.close(60) is None
    assert_equal(client, sweep)


def test_of_two_runs_for_one_trial_the_younger_goes(uri: str, client: MlflowClient, sweep: ASweep) -> None:
    sweep.train(2)
    copied(sweep, uri)
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    run = client.get_run(runs.trials[sweep.ids[0]])
    client.create_run(runs.experiment_id, tags=run.data.tags, start_time=run.info.start_time + 1000)
    assert copied(sweep, uri).doubles_removed == 1
    assert_equal(client, sweep)


def test_another_sweep_of_the_same_name_shares_the_experiment_and_nothing_else(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    other = ASweep(sweep.runs / "other", sweep.name)
    other.sweep_id = f"{sweep.name}-99999999"
    for each in (sweep, other):
        each.train(2)
        each.end_all()
        copied(each, uri)
    assert_equal(client, sweep)
    assert_equal(client, other)


def test_more_points_params_and_trials_than_one_call_takes_all_arrive(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    sweep.train(700)
    sweep.end_all()
    copied(sweep, uri)
    assert_equal(client, sweep)
    wide = TrialRun(sweep.ids[0], "wide", tags={}, params={f"p{n}": str(n) for n in range(230)})
    other = replace(sweep.tracked(uri), sweep_name="wide", sweep_id=f"wide-{sweep.name}", trials=[wide])
    made = copier.Copier(other)
    made.open()
    assert client.get_run(made.trials[sweep.ids[0]].run_id).data.params == wide.params


def test_an_error_is_told_without_the_password_in_it(uri: str, client: MlflowClient, sweep: ASweep) -> None:
    sweep.end_all()
    copied(sweep, uri)
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    assert "http://u:***@host/x" in client.get_run(runs.trials[sweep.ids[1]]).data.tags["error"]


def test_a_mirror_that_is_closed_without_a_word_about_the_sweep_leaves_it_killed(
    uri: str, client: MlflowClient, sweep: ASweep
) -> None:
    mirror = sweep.mirror(uri)
    mirror.start()
    sweep.train(2)
    assert mirror.close(60) is None
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    assert client.get_run(runs.parent_run_id).info.status == "KILLED"
    again: Mirror = sweep.mirror(uri)
    again.start()
    wait_for(lambda: client.get_run(runs.parent_run_id).info.status == "RUNNING")
    publish(again, sweep)
    assert again.close(60) is None
    assert client.get_run(runs.parent_run_id).info.status == "FINISHED"
