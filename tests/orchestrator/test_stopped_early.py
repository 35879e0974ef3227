"""Trials that others dominate are stopped, if that is asked for: their rows say so, nobody else's numbers change, and a
decision that was taken stays taken, whatever is killed."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.folder.records import CurvePoint, Dominated, PackState, Row, RowStatus, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.dominance import Better, Judge, at_tokens, is_better
from orchestrator.packs.jobs import PackJob
from orchestrator.search.sampled import Sampled
from orchestrator.search.space import Group, Range
from orchestrator.search.tried import Series, Tried, fruitless, pending
from tests.orchestrator.forked import launched
from tests.orchestrator.packs import SmallPack, folder_of, killed_at, outcome_of, passing, run, stopped_after
from tests.orchestrator.rows import a_config, a_row
from tests.orchestrator.sweeps import small_sweep
from tests.tiny import Bench
from trainer.config import TrialConfig
from trainer.errors import BadInput

JUDGED = ("frontier.stop_dominated=0.1", "frontier.objectives=[[l0, ce_loss_increase]]")
LOWER: dict[str, Better] = {"l0": "lower", "ce_loss_increase": "lower"}
TWO_EACH = ("grid.layer=1", "grid.sparsity_coeff=1", "grid.seed=[0,1]")
"""Banks of two: where one of them stays, the other's numbers are equal to the bit only if the machine's sums are."""
STOPPED_AT = 4
"""The first evaluation after a quarter of the 12 steps."""


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_sync)


def no_sync(_: int) -> None:
    """A kill within this process cannot lose what was not synced."""


def a_point(tokens: int, l0: float, ce: float, *, alive: float | None = None) -> CurvePoint:
    metrics: dict[str, float | None] = {"eval/l0": l0, "eval/ce_loss_increase": ce}
    return CurvePoint(
        step=tokens // 32, tokens=tokens, time_ms=0, metrics=metrics | ({"train/n_alive": alive} if alive else {})
    )


def like(
    config: TrialConfig, *, coeff: float = 77.0, seed: int | None = None, tokens: int | None = None
) -> TrialConfig:
    """Another trial of its frontier."""
    loss = config.loss.model_copy(update={"sparsity_coeff": coeff})
    train = config.train.model_copy(update={"tokens": tokens or config.train.tokens})
    return config.model_copy(update={"loss": loss, "train": train, "seed": config.seed if seed is None else seed})


@pytest.fixture
def pack(bench: Bench) -> SmallPack:
    return SmallPack(bench, *JUDGED, *TWO_EACH)


def undisturbed(pack: SmallPack) -> tuple[PackJob, Row]:
    """The pack with nobody to stop its trials, and one of its rows."""
    whole = pack.fresh()
    assert run(whole).state is PackState.DONE
    return whole, next(row for row in folder_of(whole).rows() if row.config.loss.kind == "e2e")


def put_rival(folder: RunFolder, whole: PackJob, victim: Row) -> Row:
    """A trial that is done, and that was better than the victim whenever that was evaluated."""
    rival = a_row(like(victim.config)).model_copy(update={"facts": victim.facts})
    evaluated = [point for point in folder_of(whole).curve(victim.trial_id) if "eval/l0" in point.metrics]
    folder.add_curve_points(rival.trial_id, [a_point(point.tokens, 1e-6, -1e6) for point in evaluated])
    folder.write_row(rival)
    return rival


def with_rival(pack: SmallPack, whole: PackJob, victim: Row) -> PackJob:
    """A fresh folder in which the rival is done."""
    job = pack.fresh()
    put_rival(folder_of(job), whole, victim)
    return job


def without_rival(job: PackJob, victim: Row) -> None:
    """Asked again, the answer would be another."""
    (folder_of(job).path / "results" / f"{like(victim.config).trial_id}.json").unlink()


def test_a_dominated_trial_is_stopped_and_the_others_are_as_without_it(pack: SmallPack):
    whole, victim = undisturbed(pack)
    job = with_rival(pack, whole, victim)
    assert run(job).state is PackState.DONE
    row = folder_of(job).row(victim.trial_id)
    assert row is not None
    assert row.status is RowStatus.DOMINATED
    assert row.dominated is not None
    rival = like(victim.config)
    assert (row.dominated.step, row.dominated.by) == (STOPPED_AT, rival.trial_id)
    assert row.facts is not None
    assert row.facts.n_train_tokens == STOPPED_AT * victim.config.tokens_per_step
    assert rival.run_name in (row.error or "")
    assert not row.metrics
    assert folder_of(job).read_sae(victim.trial_id) is None
    assert max(point.step for point in folder_of(job).curve(victim.trial_id)) == STOPPED_AT
    for other in folder_of(whole).rows():
        if other.trial_id != victim.trial_id:
            ours = folder_of(job).row(other.trial_id)
            assert ours is not None
            assert ours.status is RowStatus.DONE
            for name in ("l0", "ce_loss_increase", "mse", "n_alive_elements"):
                assert ours.metrics[name] == pytest.approx(other.metrics[name], rel=1e-5), (other.run_name, name)


def test_without_the_field_nobody_is_stopped(bench: Bench):
    pack = SmallPack(bench, JUDGED[1])
    whole, victim = undisturbed(pack)
    job = with_rival(pack, whole, victim)
    run(job)
    assert {row.status for row in folder_of(job).rows()} == {RowStatus.DONE}


@pytest.mark.slow
def test_killed_anywhere_it_ends_as_if_nothing_had_been(pack: SmallPack):
    whole, victim = undisturbed(pack)
    job = with_rival(pack, whole, victim)
    places = passing(job)
    wanted = outcome_of(job)
    written = places.index("dominated.written")
    for number in (written - 4, written - 2, written, written + 1, written + 5, len(places) - 40):
        job = with_rival(pack, whole, victim)
        assert killed_at(job, number), places[number]
        folder_of(job).clear_leftovers()
        assert run(job).state is PackState.DONE
        assert outcome_of(job) == wanted, places[number]


def test_killed_between_the_decision_and_what_follows_the_trial_stays_stopped(bench: Bench):
    pack = SmallPack(bench, *JUDGED, *TWO_EACH, checkpoint_every_s=1e6)
    whole, victim = undisturbed(pack)
    job = with_rival(pack, whole, victim)
    wanted_job = with_rival(pack, whole, victim)
    places = passing(wanted_job)
    assert killed_at(job, places.index("dominated.written"))
    decided = folder_of(job).row(victim.trial_id)
    assert decided is not None
    assert decided.status is RowStatus.DOMINATED
    without_rival(job, victim)
    assert run(job).state is PackState.DONE
    assert folder_of(job).row(victim.trial_id) == decided
    without_rival(wanted_job, victim)
    assert outcome_of(job) == outcome_of(wanted_job)


def test_a_trial_that_went_on_is_not_asked_again_where_it_did(bench: Bench):
    pack = SmallPack(bench, *JUDGED, *TWO_EACH, checkpoint_every_s=1e6)
    whole, victim = undisturbed(pack)
    job = pack.fresh()
    places = passing(pack.fresh())
    late = [number for number, place in enumerate(places) if place == "step"][STOPPED_AT + 3]
    assert killed_at(job, late)
    journal = folder_of(job).curve(victim.trial_id)
    if max((point.step for point in journal), default=0) <= STOPPED_AT:  # not written down yet: say it went on
        earlier = [point for point in folder_of(whole).curve(victim.trial_id) if point.step <= STOPPED_AT + 2]
        folder_of(job).add_curve_points(victim.trial_id, earlier)
    put_rival(folder_of(job), whole, victim)
    assert run(job).state is PackState.DONE
    row = folder_of(job).row(victim.trial_id)
    assert row is not None
    assert row.dominated is not None
    assert row.dominated.step == 2 * STOPPED_AT


def test_a_damaged_row_of_a_stopped_trial_comes_again_from_the_checkpoint(pack: SmallPack):
    whole, victim = undisturbed(pack)
    job = with_rival(pack, whole, victim)
    stopped_after(job, STOPPED_AT + 3)
    before = folder_of(job).row(victim.trial_id)
    assert before is not None
    folder_of(job).set_row_aside(victim.trial_id)
    without_rival(job, victim)
    assert run(job).state is PackState.DONE
    after = folder_of(job).row(victim.trial_id)
    assert after is not None
    assert (after.status, after.dominated) == (RowStatus.DOMINATED, before.dominated)


@pytest.mark.slow
def test_a_sweep_stops_what_is_hopeless_and_is_complete_without_it(bench: Bench):
    hopeless = 1e-9  # a learning rate with which an SAE stays what it was at first
    # packs of equal length run in no order that one may rely on; the longer ones come first
    options = ["train.lr=[1e-2,1e-9]", "train.tokens=[1280,640]", "layer=1", "sparsity_coeff=1", "loss=local"]
    more = [f"grid.{option}" for option in options] + [JUDGED[0], "frontier.objectives=[[l0, mse]]"]
    arguments = [word for option in [*more, "resources.trials_per_pack=1"] for word in ("--set", option)]
    code, said = launched(bench, *arguments)
    assert code == 0, said
    folder = RunFolder(bench.run_folder)
    rows = {(row.config.train.lr, row.config.train.tokens): row for row in folder.rows()}
    stopped = {key for key, row in rows.items() if row.status is RowStatus.DOMINATED}
    assert (hopeless, 640) in stopped
    assert {lr for lr, _ in stopped} == {hopeless}
    status = folder.status()
    assert status is not None
    assert (status.state, status.n_done, status.n_dominated) == (SweepState.COMPLETE, 4 - len(stopped), len(stopped))
    assert status.n_waiting == 0
    assert f"{4 - len(stopped)} of 4 trials are done, {len(stopped)} stopped early, dominated" in said
    table = pq.read_table(folder.frontier)
    assert set(table["trial_id"].to_pylist()) == {row.trial_id for key, row in rows.items() if key not in stopped}
    code, again = launched(bench, *arguments)  # nothing is left to do
    assert code == 0, again
    assert {row.trial_id: row.finished_at for row in folder.rows()} == {
        row.trial_id: row.finished_at for row in rows.values()
    }


def test_a_stopped_trial_without_its_row_is_trained_to_its_end_where_nobody_judges_any_more(pack: SmallPack):
    whole, victim = undisturbed(pack)
    job = with_rival(pack, whole, victim)
    run(job)
    folder_of(job).set_row_aside(victim.trial_id)
    assert run(job.model_copy(update={"stop_dominated": None, "trial_ids": [victim.trial_id]})).state is PackState.DONE
    row = folder_of(job).row(victim.trial_id)
    assert row is not None
    assert (row.status, row.sae_sha256) == (RowStatus.DONE, victim.sae_sha256)


def test_better_is_in_every_objective_by_the_margin():
    mine = {"l0": 50.0, "ce_loss_increase": 0.2}
    assert is_better({"l0": 45.0, "ce_loss_increase": 0.18}, mine, LOWER, margin=0.1)
    assert not is_better({"l0": 45.5, "ce_loss_increase": 0.1}, mine, LOWER, margin=0.1)
    assert not is_better(mine, mine, LOWER, margin=1e-9)
    assert is_better({"l0": 40.0, "ce_loss_increase": -0.3}, mine | {"ce_loss_increase": -0.2}, LOWER, margin=0.1)
    assert not is_better({"l0": 40.0, "ce_loss_increase": -0.21}, mine | {"ce_loss_increase": -0.2}, LOWER, margin=0.1)
    higher: dict[str, Better] = {"l0": "lower", "cosine": "higher"}
    assert is_better({"l0": 40.0, "cosine": 0.9}, {"l0": 50.0, "cosine": 0.8}, higher, margin=0.1)
    assert not is_better({"l0": 40.0, "cosine": 0.85}, {"l0": 50.0, "cosine": 0.8}, higher, margin=0.1)


def test_others_count_as_they_were_after_as_many_tokens():
    curve = [a_point(100, 40.0, 0.5, alive=90.0), a_point(200, 20.0, 0.2, alive=60.0)]
    names = ["ce_loss_increase", "l0", "n_alive_elements"]
    assert at_tokens(curve, 199, names) == (100, {"l0": 40.0, "ce_loss_increase": 0.5, "n_alive_elements": 90.0})
    assert at_tokens(curve, 99, names) is None


@pytest.mark.parametrize(
    ("rival", "stops"),
    [
        (like(a_config()), True),
        (like(a_config(), seed=1), False),
        (like(a_config(), tokens=50_000), False),
        (like(a_config(), tokens=200_000), True),
        (like(a_config(loss="e2e")), False),
        (like(a_config(layer=2)), False),
        (like(a_config(ratio=8.0)), False),
    ],
)
def test_only_trials_of_its_frontier_and_seed_that_train_as_long_can_stop_a_trial(
    tmp_path: Path, rival: TrialConfig, stops: bool
):
    folder, config = RunFolder(tmp_path), a_config()
    folder.write_row(a_row(rival))
    folder.add_curve_points(rival.trial_id, [a_point(10_240, 5.0, 0.01)])
    judge = Judge(folder, LOWER, 0.1)
    latest = {"eval/l0": 50.0, "eval/ce_loss_increase": 0.5}
    verdict = judge.verdict(config, config.n_steps // 2, latest, eval_hash="e" * 16)
    assert (verdict is not None) == stops
    assert judge.verdict(config, config.n_steps // 5, latest, eval_hash="e" * 16) is None
    assert judge.verdict(config, config.n_steps // 2, latest, eval_hash="other") is None


def test_a_trial_is_not_judged_before_its_loss_is_the_last_one(tmp_path: Path):
    folder, config = RunFolder(tmp_path), a_config(loss="local_then_e2e")
    rival = like(config)
    folder.write_row(a_row(rival))
    folder.add_curve_points(rival.trial_id, [a_point(10_240, 5.0, 0.01)])
    judge, latest = Judge(folder, LOWER, 0.1), {"eval/l0": 50.0, "eval/ce_loss_increase": 0.5}
    switch = config.stages[-1].start
    assert judge.verdict(config, switch - 1, latest, eval_hash="e" * 16) is None
    assert judge.verdict(config, switch, latest, eval_hash="e" * 16) is not None


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (["frontier.stop_dominated=0.1"], "eval_every_tokens"),
        (["frontier.stop_dominated=1.5"], "between 0 and 1"),
        (["frontier.stop_dominated=0.1", "frontier.objectives=[[l0, device_s]]"], "device_s is not"),
        (["frontier.stop_dominated=0.1", "search={kind: match, target: 0.1}"], "match"),
    ],
)
def test_what_cannot_be_compared_on_the_way_is_refused(tmp_path: Path, override: list[str], said: str):
    with pytest.raises(BadInput, match=said):
        small_sweep(tmp_path, *override)


def test_searches_take_a_stopped_trial_for_tried_and_worse():
    series = Series(3, "e2e")
    stopped = Tried(series, 1.0, 0, dominated={"l0": 90.0, "ce_loss_increase": 0.9}, search="tpe", round=1)
    done = Tried(series, 2.0, 0, {"l0": 30.0, "ce_loss_increase": 0.1}, search="tpe", round=1)
    assert not pending([stopped], series)
    assert not fruitless([stopped], series, "l0")
    group = Group(3, "e2e", {"sparsity_coeff": Range(0.1, 10.0, log=True)})
    planner = Sampled((group,), "tpe", (("l0", "minimize"), ("ce_loss_increase", "minimize")))
    study = planner.study(group, [stopped, done])
    assert [trial.values for trial in study.trials] == [[90.0, 0.9], [30.0, 0.1]]
    assert study.trials[0].user_attrs["stopped_early"]
    assert all(proposal.sparsity_coeff != 1.0 for proposal in planner.ask([stopped, done], 4))


def test_only_a_dominated_row_says_by_whom():
    why = Dominated(step=1, tokens=8, metrics={}, by="0" * 16, by_name="x", by_tokens=8, by_metrics={}, margin=0.1)
    row = a_row().model_dump()
    with pytest.raises(ValueError, match="dominated"):
        Row.model_validate(row | {"status": "dominated"})
    with pytest.raises(ValueError, match="dominated"):
        Row.model_validate(row | {"dominated": why.model_dump()})
