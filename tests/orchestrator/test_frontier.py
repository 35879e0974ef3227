"""From rows to the table: who is in it, who is on a frontier, and what it says."""

import math

import pyarrow as pa
import pytest

from orchestrator.folder.records import MLflowRuns, Row, RowStatus
from orchestrator.fronts.frontier import check_objectives, frontier_table, left_out
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, Objective, columns
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.rows import NOON, a_config, a_row
from trainer.errors import BadInput

REFERENCE = {"l0": 100.0, "ce_loss_increase": 1.0, "n_alive_elements": 1000.0}


def table_of(rows: list[Row], **options: object) -> pa.Table:
    return frontier_table(rows, sweep_id="s-1", **options)  # pyright: ignore[reportArgumentType]


def by_seed(table: pa.Table, column: str) -> list[object]:
    """Values of a column in the order of the seeds."""
    lines = sorted(table.to_pylist(), key=lambda line: line["seed"])
    return [line[column] for line in lines]


def three_and_a_dominated_one(**config: object) -> list[Row]:
    """In (l0, CE): seeds 0, 1 and 2 are on the frontier, 1 and 2 with equal costs; 3 is dominated by 0."""
    points = [(10, 0.5), (20, 0.2), (20, 0.2), (15, 0.6)]
    return [
        a_row(a_config(seed=seed, **config), l0=float(l0), ce=ce)  # pyright: ignore[reportArgumentType]
        for seed, (l0, ce) in enumerate(points)
    ]


def test_a_known_frontier_with_ties():
    rows = three_and_a_dominated_one()
    table = table_of(rows)
    assert by_seed(table, "on_front_l0") == [True, True, True, False]
    assert by_seed(table, "on_joint_front_l0") == [True, True, True, False]
    assert by_seed(table, "dominated_by_l0") == [None, None, None, rows[0].trial_id]


def test_objectives_have_frontiers_of_their_own():
    rows = [a_row(a_config(seed=0), l0=1, ce=0.2, alive=90), a_row(a_config(seed=1), l0=2, ce=0.3, alive=80)]
    table = table_of(rows)
    assert by_seed(table, "on_front_l0") == [True, False]
    assert by_seed(table, "on_front_alive") == [True, True]


@pytest.mark.parametrize("other", [{"loss": "e2e"}, {"layer": 2}, {"ratio": 8.0}, {"model": "other"}])
def test_groups_do_not_dominate_each_other(other: dict[str, object]):
    worse = a_row(a_config(**other), l0=99, ce=0.9)  # pyright: ignore[reportArgumentType]
    table = table_of([a_row(a_config(), l0=1, ce=0.1), worse])
    line = next(line for line in table.to_pylist() if line["trial_id"] == worse.trial_id)
    assert line["on_front_l0"]
    assert line["dominated_by_l0"] is None
    # The joint frontier is over losses and dictionary sizes of one model and hookpoint.
    assert line["on_joint_front_l0"] == (not {"loss", "ratio"} & set(other))


@pytest.mark.parametrize("same", [{"seed": 7}, {"coeff": 3.0}])
def test_seeds_and_coefficients_are_pooled(same: dict[str, object]):
    worse = a_row(a_config(**same), l0=99, ce=0.9)  # pyright: ignore[reportArgumentType]
    table = table_of([a_row(a_config(), l0=1, ce=0.1), worse])
    assert sorted(table["on_front_l0"].to_pylist()) == [False, True]


def test_failed_stopped_and_unmeasured_trials_are_left_out_with_a_reason():
    rows = [
        a_row(a_config(seed=0)),
        a_row(a_config(seed=1), l0=0.1, ce=0.0, status=RowStatus.FAILED, error="not finite at step 37"),
        a_row(a_config(seed=2), l0=0.1, ce=0.0, status=RowStatus.STOPPED),
        a_row(a_config(seed=3), l0=0.1, ce=math.inf),
        a_row(a_config(seed=4), l0=0.1, ce=0.0, alive=None),
    ]
    assert by_seed(table_of(rows), "trial_id") == [rows[0].trial_id]
    assert by_seed(table_of(rows), "on_front_l0") == [True]
    assert list(left_out(rows).values()) == [
        "failed: not finite at step 37",
        "stopped",
        "no finite ce_loss_increase",
        "no finite n_alive_elements",
    ]


def test_no_rows_give_an_empty_table_of_the_same_schema():
    assert table_of([]).num_rows == 0
    assert table_of([]).schema.equals(table_of([a_row()]).schema, check_metadata=True)


def test_required_columns_are_never_null_and_types_are_those_of_the_schema():
    table = table_of(fake_rows(layers=2, coeffs=2, seeds=1))
    assert table.column_names == [column.name for column in columns()]
    for column in columns():
        field = table.schema.field(column.name)
        assert field.type == column.type
        assert field.nullable == column.nullable
        assert column.nullable or table[column.name].null_count == 0
        assert field.metadata[b"description"].decode() == column.description


def test_rows_are_sorted_by_layer_loss_coefficient_and_seed_in_whatever_order_they_come():
    rows = fake_rows(layers=2, coeffs=2, seeds=2)
    table = table_of(rows)
    keys = list(zip(*(table[name].to_pylist() for name in ("layer", "loss", "sparsity_coeff", "seed")), strict=True))
    assert keys == sorted(keys)
    assert table.equals(table_of(rows[::-1]))


def test_a_line_says_what_the_row_says():
    config = a_config(loss="e2e_downstream", coeff=3.0, layer=4, seed=2)
    row = a_row(config, alive=123.0, downstream_mse=[0.5, 0.25], mse=2.0)
    runs = MLflowRuns(tracking_uri="x", experiment_id="5", parent_run_id="p", trials={row.trial_id: "r1"})
    (line,) = table_of([row], mlflow_runs=runs).to_pylist()
    expected = {
        "sweep_id": "s-1",
        "run_name": "L4-e2e_downstream-c3-s2",
        "mlflow_experiment_id": "5",
        "mlflow_run_id": "r1",
        "hookpoint": "blocks.4.hook_resid_pre",
        "layer": 4,
        "kl_coeff": 0.5,
        "downstream_coeff": 2.5,
        "local_coeff": 0.0,
        "d_sae": 256,
        "n_train_tokens": 99_840,
        "n_alive_elements": 123,
        "mse": 2.0,
        "cosine": None,
        "downstream_mse": [0.5, 0.25],
        "train_wall_s": 12.5,
        "peak_memory_bytes": 123_456,
        "git_commit": None,
        "started_at": NOON,
        "config_json": config.model_dump_json(),
    }
    assert {name: line[name] for name in expected} == expected


def test_a_loss_that_becomes_another_is_a_loss_of_its_own():
    """Its coefficient is the one that was asked for, its weights are those of the end."""
    rows = [a_row(a_config(loss=loss)) for loss in ("local", "e2e", "local_then_e2e")]
    table = table_of(rows)
    assert table["loss"].to_pylist() == ["e2e", "local", "local_then_e2e"]
    assert all(table["on_front_l0"].to_pylist())
    line = table.to_pylist()[2]
    assert (line["sparsity_coeff"], line["kl_coeff"], line["local_coeff"]) == (1.0, 1.0, 0.0)


def test_hypervolume_shares_have_known_values():
    # In the unit square that log10(l0) / 2 and CE make up to the reference: (0, 0.5) and (0.5, 0).
    rows = [a_row(a_config(seed=0), l0=1.0, ce=0.5), a_row(a_config(seed=1), l0=10.0, ce=0.0)]
    rows += [a_row(a_config(seed=2), l0=10.0, ce=0.5), a_row(a_config(seed=3), l0=1000.0, ce=0.4)]
    table = table_of(rows, reference=REFERENCE)
    assert by_seed(table, "hv_contribution_l0") == pytest.approx([1 / 3, 1 / 3, 0, 0])


def test_a_share_is_null_without_a_reference_and_0_outside_of_it():
    assert by_seed(table_of([a_row()]), "hv_contribution_l0") == [None]
    some = table_of([a_row(l0=200.0)], reference={"l0": 100.0, "ce_loss_increase": 1.0})
    assert by_seed(some, "hv_contribution_l0") == [0.0]
    assert by_seed(some, "hv_contribution_alive") == [None]


def test_a_trial_without_any_active_element_has_a_share_too():
    table = table_of([a_row(l0=0.0, ce=0.5)], reference=REFERENCE)
    assert by_seed(table, "hv_contribution_l0") == [1.0]


def test_directions_are_those_of_the_metrics():
    rows = [a_row(a_config(seed=0), mse=1.0, cosine=0.9), a_row(a_config(seed=1), mse=1.0, cosine=0.8)]
    table = table_of(rows, objectives=[Objective("mse", "cosine")])
    assert by_seed(table, "on_front_mse_cosine") == [True, False]
    assert "on_front_l0" not in table.column_names


def test_a_trial_without_a_metric_that_is_an_objective_is_left_out():
    rows = [a_row(a_config(seed=0), mse=1.0), a_row(a_config(seed=1))]
    assert left_out(rows, [Objective("mse", "ce_loss_increase")]) == {rows[1].trial_id: "no finite mse"}


@pytest.mark.parametrize(
    ("objectives", "reference", "said"),
    [
        ([("l0", "loss")], {}, "'loss' cannot be an objective"),
        ([("l0", "l0_norm")], {}, "'l0_norm' cannot be an objective"),
        ([("l0", "l0")], {}, "pairs a metric with itself"),
        ([*DEFAULT_OBJECTIVES, DEFAULT_OBJECTIVES[0]], {}, "the same pair twice"),
        (DEFAULT_OBJECTIVES, {"lo": 3.0}, "no metric 'lo'"),
        (DEFAULT_OBJECTIVES, {"l0": 1.0}, "l0=1.0, expected a number above 1"),
        (DEFAULT_OBJECTIVES, {"ce_loss_increase": math.nan}, "ce_loss_increase=nan, expected a number above 0"),
    ],
)
def test_objectives_that_make_no_sense_are_refused_in_words(
    objectives: list[tuple[str, str]], reference: dict[str, float], said: str
):
    with pytest.raises(BadInput) as caught:
        check_objectives([Objective(*pair) for pair in objectives], reference)
    assert said in str(caught.value)
    assert "Expected metrics among l0, ce_loss_increase" in str(caught.value)


def test_a_trial_is_shown_under_the_name_it_has_in_its_sweep() -> None:
    """Not under its config's, which other trials of the sweep may share."""
    row = a_row().model_copy(update={"run_name": "L4-local-c1-s0-lr0.001"})
    assert frontier_table([row], sweep_id="s").column("run_name").to_pylist() == ["L4-local-c1-s0-lr0.001"]
