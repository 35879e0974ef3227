"""Nothing that goes wrong on the way to MLflow ends anything, or holds up what has nothing to do with it."""

from typing import Any

import pytest

from orchestrator.tracking import copier, store
from orchestrator.tracking.mirror import next_pause_s, rest_s
from tests.orchestrator.tracking.a_sweep import ASweep, assert_equal, history, publish

MlflowClient = Any


def test_never_reached_at_all_everything_is_missing(sweep: ASweep) -> None:
    mirror = sweep.mirror("http://127.0.0.1:9")
    mirror.start()
    sweep.train(2)
    behind = mirror.close(0.2)
    assert behind is not None
    assert (behind.n_lines, behind.n_trials) == (9, 3)


def test_whatever_is_raised_or_broken_on_the_way_the_mirror_goes_on(
    sqlite: str, sweep: ASweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubles = [ZeroDivisionError("a bug"), ImportError("half a module"), RuntimeError("no idea")]
    real = store.create_store

    def create(uri: str) -> MlflowClient:
        if troubles:
            raise troubles.pop()
        return real(uri)

    def tell(level: str, text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(copier, "create_store", create)
    monkeypatch.setattr(sweep, "tell", tell)
    (sweep.folder.mlflow / "cursor.json" / "in the way").mkdir(parents=True)
    mirror = sweep.mirror(sqlite)
    mirror.start()
    sweep.train(2)
    sweep.end_all()
    publish(mirror, sweep)
    assert mirror.close(60) is None
    assert_equal(store.open_client(sqlite), sweep)
    assert not troubles


def test_one_run_that_is_refused_holds_up_no_other(sqlite: str, sweep: ASweep, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    client, refused = store.open_client(sqlite), sweep.ids[0]
    copy = sweep.copier(sqlite)
    copy.open()
    real = client.log_batch

    def log_batch(run_id: str, *args: Any, **options: Any) -> None:
        if run_id == copy.trials[refused].run_id:
            raise MlflowException.invalid_parameter_value("no such thing")
        real(run_id, *args, **options)

    monkeypatch.setattr(copy.client, "log_batch", log_batch)
    sweep.train(3)
    copy.copy(ended=True)
    behind = copy.behind()
    assert behind is not None
    assert (behind.n_lines, behind.n_trials) == (4, 1)
    assert [level for level, _ in sweep.said] == ["warning"]
    for trial_id in sweep.ids[1:]:
        assert history(client, copy.trials[trial_id].run_id) == sweep.points(trial_id)


def test_files_that_cannot_be_stored_hold_up_no_points(
    sqlite: str, sweep: ASweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = sweep.copier(sqlite)
    copy.open()

    def log_dict(*_: Any) -> None:
        raise PermissionError("http://u:geheim@store says no")

    with monkeypatch.context() as patch:
        patch.setattr(copy.client, "log_dict", log_dict)
        sweep.train(2)
        sweep.end(sweep.ids[0])
        sweep.end(sweep.ids[1])
        copy.copy(ended=True)
        behind = copy.behind()
        assert behind is not None
        assert (behind.n_trials, behind.files, behind.reason) == (0, True, "http://u:***@store says no")
    copy.copy(ended=True)
    assert copy.behind() is None


def test_pauses_grow_from_a_second_to_a_minute_and_a_pass_is_followed_by_a_rest() -> None:
    pauses = [0.0]
    for _ in range(8):
        pauses.append(next_pause_s(pauses[-1]))
    assert pauses[1:] == [1, 2, 4, 8, 16, 32, 60, 60]
    rests = [rest_s(computed_s=cpu, took_s=took) for cpu, took in ((0.01, 0.1), (0.5, 0.6), (0.1, 5.0), (9.0, 9.0))]
    assert rests == [1.0, 2.0, 5.0, 30.0]
