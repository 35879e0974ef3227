"""What packs took beside what was estimated."""

from orchestrator.folder.records import PackEstimate, Row, RowStatus, SavedPlan
from orchestrator.planning.estimates import as_json, compared_by_pack, compared_pack, in_all
from tests.orchestrator.rows import a_config, a_row

ESTIMATE = PackEstimate(seconds=100, memory_bytes=1e9, micro_batch_rows=4, basis="measured")


def row(seed: int, pack_id: str, *, seconds: float = 120, n_bytes: float = 1.2e9,
        status: RowStatus = RowStatus.DONE) -> Row:  # fmt: skip
    cost: dict[str, float | None] = {"pack_s": seconds, "peak_memory_bytes": n_bytes}
    return a_row(a_config(seed=seed), status=status).model_copy(update={"pack_id": pack_id, "cost": cost})


def plan_of(*packs: list[Row]) -> SavedPlan:
    rows = [each for pack in packs for each in pack]
    return SavedPlan(
        sweep_id="s",
        trials={each.trial_id: each.config for each in rows},
        run_names={each.trial_id: each.run_name for each in rows},
        packs={pack[0].pack_id: [each.trial_id for each in pack] for pack in packs},
        estimates={packs[0][0].pack_id: ESTIMATE, packs[-1][0].pack_id: ESTIMATE},
    )


def test_a_pack_took_what_each_of_its_rows_says() -> None:
    found = compared_pack(ESTIMATE, [row(0, "a"), row(1, "a", seconds=121)])
    assert found is not None
    assert (found.estimated_s, found.actual_s) == (100, 121)
    assert (found.estimated_bytes, found.actual_bytes) == (1e9, 1.2e9)
    assert found.fields()["basis"] == "measured"


def test_without_an_estimate_or_a_finished_trial_nothing_is_compared() -> None:
    assert compared_pack(None, [row(0, "a")]) is None
    assert compared_pack(ESTIMATE, [row(0, "a", status=RowStatus.FAILED)]) is None
    assert compared_pack(ESTIMATE, []) is None
    assert in_all([]) is None
    assert as_json({}) is None


def test_packs_together_took_the_sum_of_their_seconds_and_the_memory_of_the_largest() -> None:
    rows = [row(0, "a"), row(1, "b", seconds=60, n_bytes=2e9)]
    packs = compared_by_pack(plan_of(rows[:1], rows[1:]), rows)
    total = in_all(packs.values())
    assert total is not None
    assert (total.n_packs, total.estimated_s, total.actual_s, total.actual_bytes) == (2, 200, 180, 2e9)
    assert (
        total.text() == "3:00 min of work in 2 packs, 2.0 GB in the largest; estimated 3:20 min and 1.0 GB (measured)"
    )
    said = as_json(packs)
    assert said is not None
    assert said["packs"]["b"]["actual_s"] == 60


def test_packs_that_are_not_done_are_left_out() -> None:
    rows = [row(0, "a"), row(1, "b")]
    assert set(compared_by_pack(plan_of(rows[:1], rows[1:]), rows[:1])) == {"a"}
