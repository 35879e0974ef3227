"""A pack in this process: rows, curves, weights and status, and what becomes of each kind of trouble."""

from pathlib import Path

import pytest
import torch

from orchestrator.folder.records import PackState, RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.packs.jobs import PackJob
from orchestrator.packs.worker import run_pack_here
from orchestrator.running.earlier_rows import kept_rows
from orchestrator.running.pack_jobs import make_jobs, write_plan
from orchestrator.running.planned import LaunchOptions
from orchestrator.running.prepare import read_and_plan
from tests.tiny import Bench


def jobs_of(bench: Bench, *overrides: str) -> list[PackJob]:
    """The sweep's packs, planned and written down."""
    always = (f"model.name={bench.model}", f"data.dataset={bench.data}")
    planned = read_and_plan(LaunchOptions(bench.sweep, (*always, *overrides), bench.runs, tracking=False, n_slots=1))
    jobs = make_jobs(planned, kept_rows(planned))
    write_plan(planned, jobs)
    return [job.model_copy(update={"launch_id": ""}) for job in jobs]  # nobody holds the lease


def folder_of(job: PackJob) -> RunFolder:
    return RunFolder(Path(job.folder))


def go_on() -> bool:
    return False


@pytest.fixture(autouse=True)
def nothing_held() -> None:
    forget()


def test_a_pack_leaves_a_row_weights_and_curves_of_every_trial(bench: Bench):
    (job,) = jobs_of(bench)
    outcome = run_pack_here(job, stop=go_on)
    folder = folder_of(job)
    assert (outcome.state, outcome.error) == (PackState.DONE, None)
    assert {row.trial_id for row in folder.rows()} == set(job.trial_ids)
    for row in folder.rows():
        assert row.status is RowStatus.DONE
        assert row.facts is not None
        assert (row.facts.d_sae, row.facts.n_train_tokens, row.facts.n_eval_tokens) == (32, 640, 32)
        assert {"l0", "ce_loss_increase", "n_alive_elements"} <= row.metrics.keys()
        assert {"train_wall_s", "device_s", "tokens_per_s", "peak_memory_bytes"} <= row.cost.keys()
        assert row.started_at <= row.finished_at
        saved = folder.read_sae(row.trial_id)
        assert saved is not None
        assert {name: tuple(tensor.shape) for name, tensor in saved[0].items()} == {
            "w_enc": (32, 16),
            "b_enc": (32,),
            "dictionary": (32, 16),
            "b_dec": (16,),
        }
        curve = folder.curve(row.trial_id)
        assert [point.step for point in curve if "train/loss" in point.metrics] == [5, 10, 15, 20]
        assert [point.step for point in curve if "eval/l0" in point.metrics] == [0, 10]


def test_a_status_tells_the_last_step_and_the_newest_numbers(bench: Bench):
    (job,) = jobs_of(bench)
    run_pack_here(job, stop=go_on)
    status = folder_of(job).pack_status(job.pack_id)
    assert status is not None
    assert (status.state, status.step, status.n_steps) == (PackState.DONE, 20, 20)
    for row in folder_of(job).rows():
        assert status.latest[row.trial_id]["l0"] == row.metrics["l0"]


def test_a_trial_that_diverges_is_a_failed_row_and_the_others_train_on(bench: Bench):
    alone = jobs_of(bench, "train.lr={local: 1e-2, e2e: 1e-3}", "grid.loss=local")
    for job in alone:
        run_pack_here(job, stop=go_on)
    fine = {row.trial_id: row for row in folder_of(alone[0]).rows()}
    jobs = jobs_of(bench, "train.lr={local: 1e-2, e2e: 1e38}")
    for job in jobs:
        run_pack_here(job, stop=go_on)
    rows = folder_of(jobs[0]).rows()
    failed = [row for row in rows if row.status is RowStatus.FAILED]
    assert {row.config.loss.kind for row in failed} == {"e2e"}
    assert len(failed) == 4
    for row in failed:
        assert row.error is not None
        assert row.error.startswith("diverged at step ")
        assert "not finite" in row.error
    done = {row.trial_id: row for row in rows if row.status is RowStatus.DONE}
    assert done.keys() == fine.keys()
    for trial_id, row in done.items():
        assert row.metrics["l0"] == pytest.approx(fine[trial_id].metrics["l0"], rel=1e-3)


def test_a_pack_whose_trials_all_diverge_ends_without_waiting_for_its_steps(bench: Bench):
    job, *_ = jobs_of(bench, "train.lr=1e38", "train.tokens=1_000_000")
    assert run_pack_here(job, stop=go_on).state is PackState.DONE
    status = folder_of(job).pack_status(job.pack_id)
    assert status is not None
    assert status.step < 100


def test_trouble_with_the_whole_pack_fails_each_trial_and_leaves_a_traceback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    (job,) = jobs_of(bench)

    def broken(*_: object, **__: object) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("orchestrator.packs.training.Pack", broken)
    outcome = run_pack_here(job, stop=go_on)
    assert (outcome.state, outcome.reason) == (PackState.FAILED, None)
    rows = folder_of(job).rows()
    assert len(rows) == 8
    for row in rows:
        assert row.status is RowStatus.FAILED
        assert row.error == "KeyError: 'a mistake of ours'"
    assert "Traceback" in folder_of(job).pack_log(job.pack_id).read_text()


@pytest.mark.parametrize(
    "problem",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        MemoryError("this process has 3 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_pack_that_does_not_fit_leaves_its_trials_open_and_says_what_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, problem: Exception
):
    def out_of_memory(*_: object, **__: object) -> None:
        raise problem

    (job,) = jobs_of(bench)
    monkeypatch.setattr("orchestrator.packs.training.Pack", out_of_memory)
    outcome = run_pack_here(job, stop=go_on)
    assert (outcome.state, outcome.reason) == (PackState.FAILED, "memory")
    assert folder_of(job).rows() == []


def test_a_single_trial_that_does_not_fit_is_a_failed_row_with_what_there_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7.00 GiB. GPU 0 has 2 GiB")

    job, *_ = jobs_of(bench, "resources.trials_per_pack=1")
    monkeypatch.setattr("orchestrator.packs.training.Pack", out_of_memory)
    assert run_pack_here(job, stop=go_on).reason is None
    (row,) = folder_of(job).rows()
    assert row.status is RowStatus.FAILED
    assert row.error is not None
    for words in ("out of memory on cpu", "Tried to allocate 7.00 GiB", "the machine has", "this process has"):
        assert words in row.error


def test_a_stop_is_obeyed_after_the_current_step(bench: Bench):
    (job,) = jobs_of(bench)
    asked = iter([False] * 8)
    outcome = run_pack_here(job, stop=lambda: next(asked, True))
    assert outcome.state is PackState.STOPPED
    rows = folder_of(job).rows()
    assert {row.status for row in rows} == {RowStatus.STOPPED}
    assert {row.error for row in rows} == {"stopped at step 8"}


def test_a_stop_that_comes_with_the_last_step_costs_no_result(bench: Bench):
    (job,) = jobs_of(bench)
    asked = iter([False] * 20)
    assert run_pack_here(job, stop=lambda: next(asked, True)).state is PackState.DONE


def test_a_second_attempt_leaves_what_the_first_got_done(bench: Bench):
    (job,) = jobs_of(bench)
    first = job.model_copy(update={"trial_ids": job.trial_ids[:3]})
    run_pack_here(first, stop=go_on)
    before = {row.trial_id: row.finished_at for row in folder_of(job).rows()}
    run_pack_here(job, stop=go_on)
    after = {row.trial_id: row.finished_at for row in folder_of(job).rows()}
    assert len(after) == 8
    assert before.items() < after.items()
