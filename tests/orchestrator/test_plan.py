"""Plans: which trials, under which names, in which packs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.planned import Pack
from tests.orchestrator.sweeps import SHAPES, SMALL, small_sweep
from trainer.errors import BadInput

BUILTIN = SHAPES["builtin"]


def planned(folder: Path, *overrides: str, n_slots: int = 1, text: str = SMALL) -> Plan:
    return plan(small_sweep(folder, *overrides, text=text), BUILTIN, n_slots=n_slots)


def test_a_plan_has_every_combination_of_the_grid_once(tmp_path: Path) -> None:
    found = planned(tmp_path, "grid.seed=[0, 1]")
    assert len(found.trials) == 2 * 3 * 2 * 2
    assert len({trial.trial_id for trial in found.trials}) == len(found.trials)
    assert found.trials[0].run_name == "L1-local-c0.5-s0"
    assert found.trials[0].config.hookpoint == "blocks.1.hook_resid_pre"


def test_the_order_of_keys_changes_nothing(tmp_path: Path) -> None:
    lines = SMALL.splitlines()
    top, grid = lines[:6], lines[7:]
    reordered = "\n".join(["grid:", *reversed(grid), *reversed(top)])
    reordered = reordered.replace("{tokens: 1_000, batch_rows: 2}", "{batch_rows: 2, tokens: 1e3, lr: 0.0005}")
    assert planned(tmp_path, text=reordered) == planned(tmp_path)


def test_what_does_not_touch_the_meaning_of_trials_keeps_the_sweep_id(tmp_path: Path) -> None:
    first = small_sweep(tmp_path).sweep_id
    assert first.startswith("small-")
    for override in ("resources.cpus_per_pack=2", "logging.log_every_steps=1", "tracking.uri=http://x",
                     "frontier.reference={l0: 5}", "loss.mixed.kl_coeff=1", "grid.seed=[1, 2]", "grid.layer=all",
                     "grid.sparsity_coeff={local: [9], e2e: [1, 2], e2e_downstream: [3]}"):  # fmt: skip
        assert small_sweep(tmp_path, override).sweep_id == first
    for override in ("train.lr=1", "data.context=8", "name=other", "loss.e2e.sparsity_p=2", "train.tokens=2_000"):
        assert small_sweep(tmp_path, override).sweep_id != first


def test_sweeps_and_trials_keep_the_ids_they_were_first_given(tmp_path: Path) -> None:
    """Or what is on people's disks would be trained again."""
    found = planned(tmp_path)
    assert found.sweep_id == "small-250b505a"
    assert [found.trials[place].trial_id for place in (0, -1)] == ["47abba48b87bd9b3", "28900010f6ac9d94"]


def test_a_loss_that_becomes_another_is_one_more_value_of_the_grid(tmp_path: Path) -> None:
    more = ("grid.loss=[local, local_then_e2e]", "grid.loss.local_then_e2e.switch_at=[0.5, 0.9]", "grid.layer=3",
            "grid.sparsity_coeff={local: [1], local_then_e2e: [2]}")  # fmt: skip
    found = planned(tmp_path, *more)
    assert [trial.run_name for trial in found.trials] == [
        "L3-local-c1-s0", "L3-local_then_e2e-c2-s0-switch_at0.5", "L3-local_then_e2e-c2-s0-switch_at0.9"
    ]  # fmt: skip
    switches = [trial.config.stages[-1].start for trial in found.trials]
    assert switches == [0, round(0.5 * 31), round(0.9 * 31)]


def test_values_depend_on_loss_and_layer(tmp_path: Path) -> None:
    found = planned(
        tmp_path,
        "grid.sparsity_coeff={local: [7], e2e: {1: [1, 2], 3: [3]}, e2e_downstream: [9]}",
        "train.lr={local: 1e-2, e2e: {0-2: 1e-3, 3-5: 1e-4}, e2e_downstream: 1}",
        "loss.e2e_downstream.downstream_coeff={1: 5, 2-3: 0.5}",
    )
    rows = {(t.run_name, t.config.train.lr, t.config.loss.weights.downstream) for t in found.trials}
    assert rows == {
        ("L1-local-c7-s0", 1e-2, 0), ("L1-e2e-c1-s0", 1e-3, 0), ("L1-e2e-c2-s0", 1e-3, 0),
        ("L1-e2e_downstream-c9-s0", 1, 5), ("L3-local-c7-s0", 1e-2, 0), ("L3-e2e-c3-s0", 1e-4, 0),
        ("L3-e2e_downstream-c9-s0", 1, 0.5),
    }  # fmt: skip


def test_a_further_axis_shows_in_the_names(tmp_path: Path) -> None:
    found = planned(tmp_path, "grid.train.lr=[1e-3, 5e-4]", "grid.loss=e2e", "grid.layer=3", "grid.sparsity_coeff=0.5")
    assert [trial.run_name for trial in found.trials] == ["L3-e2e-c0.5-s0-lr0.001", "L3-e2e-c0.5-s0-lr0.0005"]


def test_an_axis_of_one_loss_leaves_the_others_alone(tmp_path: Path) -> None:
    found = planned(tmp_path, "grid.loss.e2e_downstream.kl_coeff=[0.25, 0.5]")
    assert len(found.trials) == 2 * (2 + 2 + 2 * 2)
    names = [trial.run_name for trial in found.trials]
    assert "L1-e2e_downstream-c1-s0-kl_coeff0.25" in names
    assert "L1-local-c1-s0" in names


def test_names_are_unique_even_for_coefficients_that_print_alike(tmp_path: Path) -> None:
    found = planned(tmp_path, "grid.sparsity_coeff=[0.12345671, 0.12345672]", "grid.data.seed=[0, 1]",
                    "grid.data.eval_seed=[0, 1]")  # fmt: skip
    assert len({trial.run_name for trial in found.trials}) == len(found.trials) == 48


def test_an_axis_may_stand_for_a_field_that_is_missing(tmp_path: Path) -> None:
    found = planned(tmp_path, "grid.sae.ratio=[2, 4]", text=SMALL.replace("sae: {ratio: 2}", "sae: {}"))
    assert {trial.config.sae.ratio for trial in found.trials} == {2, 4}


def test_excluded_trials_are_left_out(tmp_path: Path) -> None:
    exclude = "[{layer: last, loss: e2e_downstream}, {layer: 0, sparsity_coeff: 1, seed: [1]}]"
    found = planned(tmp_path, f"grid.exclude={exclude}", "grid.layer=all", "grid.seed=[0, 1]")
    names = {trial.run_name for trial in found.trials}
    assert len(names) == 6 * 3 * 2 * 2 - 4 - 3
    assert not any(name.startswith("L5-e2e_downstream") for name in names)
    assert "L0-local-c1-s1" not in names
    assert {"L0-local-c1-s0", "L1-local-c1-s1"} <= names


def test_a_grid_that_explodes_is_refused(tmp_path: Path) -> None:
    seeds = list(range(1000))
    with pytest.raises(BadInput, match=r"grid: 120,000 trials, expected at most 100,000"):
        planned(tmp_path, f"grid.seed={seeds}", f"grid.data.seed={list(range(10))}")


def test_packs_hold_every_trial_once_and_only_trials_that_share_batches(tmp_path: Path) -> None:
    found = planned(tmp_path, "train.tokens={local: 1000, e2e: 2000, e2e_downstream: 1010}", "grid.seed=[0, 1, 2]",
                    n_slots=3)  # fmt: skip
    assert sorted(t.trial_id for p in found.packs for t in p.trials) == sorted(t.trial_id for t in found.trials)
    for pack in found.packs:
        assert len({trial.config.shares_batches_with for trial in pack.trials}) == 1
    kinds = [{trial.config.loss.kind for trial in pack.trials} for pack in found.packs]
    assert all("e2e" not in here or here == {"e2e"} for here in kinds)
    # 1000 and 1010 tokens are both 31 steps of 32
    assert {"local", "e2e_downstream"} <= set().union(*kinds)


def test_one_slot_gets_one_pack_and_the_cap_makes_more(tmp_path: Path) -> None:
    assert [len(pack.trials) for pack in planned(tmp_path).packs] == [12]
    capped = planned(tmp_path, "resources.trials_per_pack=4")
    assert max(len(pack.trials) for pack in capped.packs) <= 4
    assert len(capped.packs) == 3
    assert all(len(pack.trials) == 1 for pack in planned(tmp_path, "resources.trials_per_pack=1").packs)


def test_banks_stay_whole_where_no_slot_would_idle(tmp_path: Path) -> None:
    found = planned(tmp_path, "resources.trials_per_pack=5")
    for pack in found.packs:
        banks = {(trial.config.layer, trial.config.loss.kind) for trial in pack.trials}
        assert len(pack.trials) == 2 * len(banks)


def test_a_pack_is_named_after_its_trials_alone(tmp_path: Path) -> None:
    trials = planned(tmp_path).trials
    assert Pack(trials).pack_id == Pack(tuple(reversed(trials))).pack_id
    assert len(Pack(trials).pack_id) == 12
    assert Pack(trials[:3]).pack_id != Pack(trials[:2]).pack_id


def test_a_plan_survives_json(tmp_path: Path) -> None:
    found = planned(tmp_path, "train.clip_norm=off", "grid.loss.e2e_downstream.kl_coeff=[0.25, 0.5]", n_slots=2)
    assert Plan.from_json(found.to_json()) == found


@pytest.mark.parametrize("damage", ["", "[]", "{}", "null", '{"schema": 2}', "{"])
def test_what_is_no_plan_is_refused(damage: str) -> None:
    with pytest.raises(BadInput, match=r"^plan\.json: "):
        Plan.from_json(damage)


def test_a_changed_plan_is_refused(tmp_path: Path) -> None:
    raw = json.loads(planned(tmp_path).to_json())
    raw["trials"][0]["config"]["train"]["lr"] = 1.0
    with pytest.raises(BadInput, match="it was changed or comes from another version"):
        Plan.from_json(json.dumps(raw))
    del raw["trials"][0]["config"]["train"]["tokens"]
    with pytest.raises(BadInput, match="not a plan of this program"):
        Plan.from_json(json.dumps(raw))


def test_planning_needs_no_torch_ray_or_mlflow() -> None:
    code = (
        "import sys, orchestrator.planning.plan, orchestrator.planning.cost, orchestrator.planning.plan_text; "
        "import orchestrator.planning.kept_rates; "
        "print([name for name in ('torch', 'ray', 'mlflow', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
