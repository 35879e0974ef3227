"""Calibration: real steps of each kind of SAE give rates; what goes wrong costs the measurement only."""

import json
from dataclasses import replace

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.display.screen import Nobody
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.planning.cost import pack_cost
from orchestrator.planning.rates import Rates, factor_name, guessed
from orchestrator.planning.shape import kind_label
from orchestrator.planning.timed import Timed, TimingJob, TimingTask
from orchestrator.planning.timing import make_sparse, timings
from orchestrator.planning.timing_fit import rates_from
from orchestrator.planning.work import TYPICAL_L0
from orchestrator.running import calibrate
from orchestrator.running.calibrate import calibrated, n_processes, shares, tasks_of
from orchestrator.running.pack_jobs import make_jobs
from orchestrator.running.planned import LaunchOptions, Planned
from orchestrator.running.prepare import read_and_plan
from tests.tiny import Bench
from trainer.clean import clean_run
from trainer.data import default_cache, prepare_rows, rows_in_memory
from trainer.models import load_model
from trainer.pack import Pack


class Notes(Nobody):
    """A screen that remembers what it is told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: dict[str, str] = {}

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def note(self, label: str, text: str) -> None:
        self.notes[label] = text


def planned(bench: Bench, *overrides: str, n_slots: int = 1) -> Planned:
    always = (f"model.name={bench.model}", f"data.dataset={bench.data}")
    options = LaunchOptions(bench.sweep, (*always, *overrides), bench.runs, tracking=False, n_slots=n_slots, local=True)
    return read_and_plan(options)


def fit(found: list[Timed], tasks: list[TimingTask], plan: Planned) -> Rates:
    return rates_from(found, tasks, plan.costing, guess=guessed("cpu"))


def job_of(plan: Planned, tasks: list[TimingTask], *, budget_s: float = 1e6) -> TimingJob:
    first = plan.plan.trials[0].config
    prepare_rows(first.data, model=first.model, d_vocab=plan.facts.d_vocab)
    return TimingJob(tasks=tuple(tasks), cache=str(default_cache()), gpus=0, n_threads=1, budget_s=budget_s)


def timed(task: TimingTask, *, seconds: float) -> Timed:
    return Timed(
        kind=task.kind, n_saes=len(task.trials), micro_batch_rows=task.micro_batch_rows, clean_s=seconds,
        dense_s=3 * seconds, sparse_s=seconds, evaluation_s=seconds, evaluation_tokens=64, start_s=2.0, peak_bytes=7e8,
    )  # fmt: skip


def test_each_kind_is_timed_once_with_its_largest_bank(bench: Bench) -> None:
    tasks = tasks_of(planned(bench))
    assert sorted(task.kind for task in tasks) == sorted(
        {kind_label(trial.config) for trial in planned(bench).plan.trials}
    )
    assert len(tasks) == 4
    assert all(len(task.trials) == 2 for task in tasks)


def test_a_loss_that_becomes_another_is_timed_as_the_two_that_it_is(bench: Bench) -> None:
    plain, both = planned(bench, "grid.loss=[local, e2e]"), planned(bench, "grid.loss=local_then_e2e")
    assert {task.kind for task in tasks_of(both)} == {task.kind for task in tasks_of(plain)}
    assert all(len(trial.stages) == 1 for task in tasks_of(both) for trial in task.trials)
    factors = {factor_name(task.kind, phase): 1.0 for task in tasks_of(plain) for phase in ("sparse", "evaluation")}
    rates = guessed("cpu").model_copy(update={"factors": factors, "is_measured": True})
    for found in (both, plain):
        costs = [pack_cost("x", [t.config for t in found.plan.trials], replace(found.costing, rates=rates))]
        assert costs[0].basis == "measured"


def test_real_steps_of_each_kind_are_timed(bench: Bench) -> None:
    plan = planned(bench)
    tasks = tasks_of(plan)
    found = list(timings(job_of(plan, tasks)))
    assert [each.kind for each in found] == [task.kind for task in tasks]
    rates = fit(found, tasks, plan)
    assert all(rates.basis(task.kind) == "measured" for task in tasks)
    assert {factor_name(task.kind, phase) for task in tasks for phase in ("sparse", "dense", "evaluation")} == set(
        rates.factors
    )
    assert rates.base_bytes > 1e8  # a process with PyTorch


def test_no_further_kind_is_begun_once_time_is_up(bench: Bench) -> None:
    plan = planned(bench)
    assert len(list(timings(job_of(plan, tasks_of(plan), budget_s=0.0)))) == 1


def test_estimates_give_back_what_was_timed(bench: Bench) -> None:
    """A machine on which all takes twice as long is estimated to need twice as long."""
    plan = planned(bench)
    tasks = tasks_of(plan)
    once, twice = (
        calibrate.with_rates(plan, fit([timed(task, seconds=s) for task in tasks], tasks, plan)).cost
        for s in (0.5, 1.0)
    )
    assert twice.slot_seconds == pytest.approx(2 * once.slot_seconds, rel=0.05)
    # 20 steps of four banks at a second each, and of one clean run
    assert 20 * 4 * 0.8 < twice.slot_seconds < 20 * 6
    assert twice.basis == "measured"


def test_a_shifted_encoder_has_as_many_positive_latents_as_a_trained_one(bench: Bench) -> None:
    config = planned(bench, "sae.ratio=20").plan.trials[0].config
    model = load_model(config.model, device=torch.device("cpu"), dtype=torch.float32)
    rows = rows_in_memory(n_train=64, n_eval=4, context=8, d_vocab=model.d_vocab)
    pack = Pack([config], model=model, rows=rows)
    tokens = rows.train_batch(0, 16)
    make_sparse(pack, model, tokens)
    state = pack.state.banks[0]
    x = clean_run(model, tokens[:1], pack.specs[0].capture).residuals[config.layer].flatten(0, 1)
    positive = ((x @ state.bank.w_enc[0].detach().T + state.bank.b_enc[0].detach()) > 0).sum(-1)
    assert state.switch.path == "sparse"
    assert 0.5 * TYPICAL_L0 < positive.float().mean() < 1.5 * TYPICAL_L0


def test_every_process_gets_something_to_time_and_every_kind_is_timed(bench: Bench) -> None:
    tasks = tasks_of(planned(bench))
    for n in (1, 2, 3, 9):
        parts = shares(tasks, n)
        assert len(parts) == n
        assert all(parts)
        assert {task.kind for part in parts for task in part} == {task.kind for task in tasks}


def test_as_many_are_timed_at_once_as_packs_run_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "n_cpus", lambda: 8)
    assert n_processes(planned(bench, n_slots=3)) == 3
    assert n_processes(planned(bench, "resources.cpus_per_pack=4", n_slots=3)) == 2
    assert n_processes(planned(bench, "resources.gpus_per_pack=0.5", n_slots=8)) == 2
    assert n_processes(planned(bench, "resources.gpus_per_pack=1", n_slots=8)) == 1


def test_a_calibration_that_fails_says_why_and_leaves_the_guess(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, screen = planned(bench), Notes()
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert calibrated(plan, screen) is plan
    assert "no step could be timed" in screen.notes["not calibrated"]
    assert "stay guessed" in screen.notes["not calibrated"]


def test_what_was_measured_is_kept_for_later_plans(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def quick(plan: Planned, tasks: list[TimingTask], say: object) -> list[Timed]:
        return [timed(task, seconds=0.01) for task in tasks]

    assert planned(bench).cost.basis == "guessed"
    monkeypatch.setattr(calibrate, "_run", quick)
    measured = calibrated(planned(bench), Notes())
    assert measured.cost.basis == "measured"
    again = planned(bench)
    assert again.cost == measured.cost
    assert planned(bench, "sae.ratio=3").cost.basis == "measured on other SAEs"
    assert planned(bench, n_slots=2).cost.basis == "guessed"  # side by side they are slower


def launch(bench: Bench, *more: str) -> Result:
    forget()
    return CliRunner().invoke(app, ["launch", *bench.arguments("--local", "--no-tracking", "--plain", *more)])


@pytest.mark.slow
def test_calibrate_times_steps_before_a_plan_is_shown_and_before_a_launch(bench: Bench) -> None:
    ran = launch(bench, "--calibrate", "--dry-run", "--slots", "1")
    assert ran.exit_code == 0, ran.output
    assert "timing 4 kinds of SAEs, 1 at a time: 4 done" in ran.stderr
    assert "these SAEs were timed on this machine" in ran.stdout
    assert not bench.runs.exists()
    as_json = json.loads(launch(bench, "--dry-run", "--json", "--slots", "1").stdout)
    assert as_json["estimate"]["basis"] == "measured"
    ran = launch(bench, "--calibrate", "--slots", "1")
    assert ran.exit_code == 0, ran.output
    plan = RunFolder(bench.run_folder).plan()
    assert plan is not None
    assert {estimate.basis for estimate in plan.estimates.values()} == {"measured"}
    assert set(plan.estimates) == set(plan.packs)


def test_the_plan_and_the_result_say_what_was_estimated_and_what_happened(bench: Bench) -> None:
    result = json.loads(launch(bench, "--json", "--slots", "1").stdout)["estimates"]
    folder = RunFolder(bench.run_folder)
    plan = folder.plan()
    assert plan is not None
    (pack_id,) = plan.packs
    costs = [row.cost for row in folder.rows()]  # written one after another, each with its worker's peak until then
    assert result["basis"] == "guessed"
    assert result["packs"][pack_id]["estimated_s"] == round(plan.estimates[pack_id].seconds, 1)
    assert result["actual_s"] == round(max(cost["pack_s"] or 0.0 for cost in costs), 1)
    assert result["actual_memory_bytes"] == max(cost["peak_memory_bytes"] or 0.0 for cost in costs)
    (done,) = [event for event in folder.events() if event.event == "pack_done"]
    assert done.fields["estimated_memory_bytes"] == result["estimated_memory_bytes"]
    assert "estimated" in launch(bench, "--slots", "1").stdout.split("took")[1]


def test_packs_are_planned_with_the_batch_that_fits(bench: Bench) -> None:
    assert [job.micro_batch_rows for job in make_jobs(planned(bench), [])] == [4]


def test_a_calibration_of_the_dense_path_says_nothing_of_the_sparse_one(bench: Bench) -> None:
    plan = planned(bench)
    tasks = [task.model_copy(update={"path": "dense"}) for task in tasks_of(plan)[:1]]
    (found,) = timings(job_of(plan, tasks))
    assert found.sparse_s is None
    rates = fit([found], tasks, plan)
    assert rates.basis(found.kind, "dense") == "measured"
    assert rates.basis(found.kind) == "measured on other SAEs"
