"""Packs: every trial in one, none larger than its slot, slots busy for about as long as each other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.planning.cost import Costing, pack_cost
from orchestrator.planning.pack_memory import fewest_rows, pack_bytes
from orchestrator.planning.packing import make_packs
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.planned import Pack, PlannedTrial
from orchestrator.planning.rates import guessed
from orchestrator.planning.shape import Shape, banks_of
from orchestrator.planning.slots import finishing_s
from tests.orchestrator.sweeps import SHAPES, small_sweep
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss
from trainer.spec import bank_specs

BUILTIN = SHAPES["builtin"]
SHAPE = Shape.of(BUILTIN)
COSTING = Costing(SHAPE, guessed("cpu"))
LOSSES: dict[str, Any] = {"local": LocalLoss, "e2e": E2ELoss, "e2e_downstream": E2EDownstreamLoss}


def planned(folder: Path, *overrides: str, n_slots: int = 1) -> Plan:
    return plan(small_sweep(folder, *overrides), BUILTIN, n_slots=n_slots)


def trial(loss: str, layer: int, ratio: float, coefficient: float, *, tokens: int = 100_000) -> PlannedTrial:
    more = {"downstream_coeff": 1.0} if loss == "e2e_downstream" else {}
    config = TrialConfig(
        model=ModelConfig(name="builtin"),
        data=DataConfig(dataset="builtin", context=128, eval_rows=16),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=ratio),
        loss=LOSSES[loss](sparsity_coeff=coefficient, **more),
        train=TrainConfig(tokens=tokens, batch_rows=8),
    )
    return PlannedTrial(f"{loss}-{layer}-{ratio:g}-{coefficient:g}-{tokens}", config)


@st.composite
def trials_of_a_plan(draw: st.DrawFn) -> list[PlannedTrial]:
    """A few kinds with a few coefficients each, some with another number of steps."""
    kinds = st.tuples(
        st.sampled_from(list(LOSSES)), st.integers(0, 4), st.sampled_from([2.0, 8.0, 30.0]),
        st.sampled_from([50_000, 100_000]),
    )  # fmt: skip
    return [
        trial(loss, layer, ratio, 0.5 + number, tokens=tokens)
        for loss, layer, ratio, tokens in draw(st.lists(kinds, min_size=1, max_size=6, unique=True))
        for number in range(draw(st.integers(1, 9)))
    ]


def seconds_of(packs: tuple[Pack, ...]) -> list[float]:
    return [pack_cost("x", [each.config for each in pack.trials], COSTING).seconds for pack in packs]


@settings(max_examples=60, deadline=None)
@given(trials_of_a_plan(), st.integers(1, 5), st.integers(1, 20), st.floats(6.9e8, 2e9))
def test_every_trial_is_in_one_pack_that_its_slot_holds_or_alone(
    trials: list[PlannedTrial], n_slots: int, cap: int, memory: float
) -> None:
    costing = replace(COSTING, memory_bytes=memory)
    packs = make_packs(trials, costing, max_trials=cap, n_slots=n_slots)
    assert sorted(each.trial_id for pack in packs for each in pack.trials) == sorted(each.trial_id for each in trials)
    for pack in packs:
        configs = [each.config for each in pack.trials]
        assert len({config.shares_batches_with for config in configs}) == 1
        assert len(configs) <= cap
        rows = fewest_rows(configs[0], "cpu")
        base = costing.base_bytes
        needed = pack_bytes(banks_of(configs), SHAPE, device="cpu", rows=rows, base_bytes=base)
        assert len(configs) == 1 or needed <= memory


@settings(max_examples=60, deadline=None)
@given(trials_of_a_plan(), st.integers(1, 4))
def test_slots_are_busy_for_about_as_long_as_each_other(trials: list[PlannedTrial], n_slots: int) -> None:
    """No schedule ends before an even share, or before the dearest trial that cannot be cut."""
    packs = make_packs(trials, COSTING, max_trials=64, n_slots=n_slots)
    together = sum(seconds_of(tuple(Pack(tuple(group)) for group in by_batches(trials))))
    singles = seconds_of(tuple(Pack((each,)) for each in trials))
    bound = max(together / n_slots, max(singles))
    # A clean run is repeated by each pack, and banks are cut in whole SAEs.
    assert finishing_s(seconds_of(packs), n_slots) <= 1.35 * bound + max(singles)


def by_batches(trials: list[PlannedTrial]) -> list[list[PlannedTrial]]:
    groups: dict[str, list[PlannedTrial]] = {}
    for each in trials:
        groups.setdefault(each.config.shares_batches_with, []).append(each)
    return list(groups.values())


def test_equal_trials_are_shared_out_equally(tmp_path: Path) -> None:
    found = planned(tmp_path, "grid.sparsity_coeff=[1, 2, 3, 4, 5, 6]", n_slots=2)
    work = seconds_of(found.packs)
    assert finishing_s(work, 2) < 1.1 * sum(work) / 2
    assert work == sorted(work, reverse=True)


def test_one_slot_repeats_no_clean_run(tmp_path: Path) -> None:
    assert len(planned(tmp_path, n_slots=1).packs) == 1


def test_banks_stay_whole_where_no_slot_would_idle(tmp_path: Path) -> None:
    found = planned(tmp_path, "resources.trials_per_pack=5")
    for pack in found.packs:
        banks = {(each.config.layer, each.config.loss.kind) for each in pack.trials}
        assert len(pack.trials) == 2 * len(banks)


def test_a_single_bank_is_shared_out_over_idle_slots() -> None:
    trials = [trial("e2e", 1, 8, coefficient) for coefficient in (1, 2, 3, 4)]
    assert [len(pack.trials) for pack in make_packs(trials, COSTING, max_trials=64, n_slots=4)] == [1, 1, 1, 1]


def test_packs_of_one_share_nothing(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path)
    alone = plan(sweep, BUILTIN, share=False)
    assert [len(pack.trials) for pack in alone.packs] == [1] * 12
    assert {each.trial_id for each in alone.trials} == {each.trial_id for each in plan(sweep, BUILTIN).trials}


def test_trials_that_need_the_same_clean_run_are_packed_together() -> None:
    """A pack of local SAEs runs the blocks below them alone; one e2e SAE among them makes it run all."""
    kinds = [("local", 1), ("e2e", 3), ("local", 1), ("e2e", 3)]
    trials = [trial(loss, layer, 2, 1 + number) for number, (loss, layer) in enumerate(kinds)]
    packs = make_packs(trials, COSTING, max_trials=2, n_slots=1)
    assert {frozenset(each.config.loss.kind for each in pack.trials) for pack in packs} == {
        frozenset({"local"}), frozenset({"e2e"}),
    }  # fmt: skip


def test_ten_thousand_trials_are_packed_while_one_waits() -> None:
    trials = [trial("e2e", layer, 8, 1 + number / 1000) for layer in range(5) for number in range(2000)]
    packs = make_packs(trials, COSTING, max_trials=64, n_slots=8)
    assert sum(len(pack.trials) for pack in packs) == 10_000


def test_banks_of_a_cost_are_those_of_the_trainer() -> None:
    trials = tuple(trial(loss, layer, ratio, 1.0).config for loss in LOSSES for layer in (0, 1) for ratio in (2.0, 8.0))
    specs = bank_specs(trials, n_layers=6)
    assert [[each.bank_key for each in spec.trials] for spec in specs] == [
        [bank.trial.bank_key] * bank.n_saes for bank in banks_of(trials)
    ]
