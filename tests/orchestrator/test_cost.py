"""Costs: the published arithmetic, and how sums behave."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.cost import Costing, PlanCost, n_dense_steps, n_evaluations, pack_cost, plan_cost
from orchestrator.planning.plan import plan
from orchestrator.planning.plan_text import plan_text
from orchestrator.planning.rates import factor_name, guessed
from orchestrator.planning.shape import Bank, Shape, kind_label
from orchestrator.planning.slots import finishing_s, likely_finishing_s
from orchestrator.planning.work import clean_flops, floor_flops, step_work
from tests.orchestrator.sweeps import SHAPES, SWEEPS, small_sweep
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, LocalThenE2ELoss, LossConfig

GPT2 = Shape.of(SHAPES["gpt2"])
BUILTIN = SHAPES["builtin"]
COSTING = Costing.guess(SHAPES["gpt2"])
LOCAL, E2E = LocalLoss(sparsity_coeff=1), E2ELoss(sparsity_coeff=1)


def gpt2_trial(loss: LossConfig, *, layer: int = 6, coefficient: float | None = None) -> TrialConfig:
    return TrialConfig(
        model=ModelConfig(name="gpt2"),
        data=DataConfig(dataset="x", context=1024),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=60),
        loss=loss if coefficient is None else loss.model_copy(update={"sparsity_coeff": coefficient}),
        train=TrainConfig(tokens=409_600_000, batch_rows=16),
    )


@pytest.mark.parametrize(("loss", "expected_mflop"), [(LOCAL, 84), (E2E, 464)])
def test_the_floor_of_eight_saes_before_block_6_of_gpt2_is_the_known_one(
    loss: LossConfig, expected_mflop: float
) -> None:
    trial = gpt2_trial(loss)
    per_token = clean_flops(trial, GPT2) / 8 + floor_flops(trial, GPT2)
    assert per_token / 1e6 == pytest.approx(expected_mflop, rel=0.02)


def test_gpt2_has_124_million_weights() -> None:
    assert GPT2.n_parameters == pytest.approx(124e6, rel=0.01)


def test_a_local_sae_pays_for_the_blocks_below_only_and_an_e2e_one_for_those_above() -> None:
    block = GPT2.block(1024)
    assert clean_flops(gpt2_trial(LOCAL, layer=7), GPT2) - clean_flops(gpt2_trial(LOCAL), GPT2) == block
    assert floor_flops(gpt2_trial(LOCAL, layer=7), GPT2) == floor_flops(gpt2_trial(LOCAL), GPT2)
    assert floor_flops(gpt2_trial(E2E), GPT2) - floor_flops(gpt2_trial(E2E, layer=7), GPT2) == pytest.approx(2 * block)
    assert clean_flops(gpt2_trial(E2E, layer=7), GPT2) == clean_flops(gpt2_trial(E2E), GPT2)


def test_a_local_sae_costs_its_own_products_only() -> None:
    assert floor_flops(gpt2_trial(LOCAL), GPT2) == 2 * 768 * 46_080


def test_a_dense_step_multiplies_six_times_as_much_as_a_sparse_one() -> None:
    bank = Bank(gpt2_trial(LOCAL), 4)
    dense, sparse = (step_work(bank, GPT2, n_parts=1, dense=dense) for dense in (True, False))
    assert dense.product_flops == 6 * sparse.product_flops == 4 * 16 * 1024 * 12 * 768 * 46_080
    assert dense.moved_bytes > sparse.moved_bytes


def test_a_pack_pays_for_its_clean_run_once() -> None:
    trials = [gpt2_trial(E2EDownstreamLoss(sparsity_coeff=c, downstream_coeff=2.5)) for c in (1, 2, 3)]
    one, three = (pack_cost("a", some, COSTING) for some in (trials[:1], trials))
    sae = COSTING.sae(trials[0])
    assert three.seconds == pytest.approx(one.seconds + 2 * sae.sae_s)
    assert one.seconds == pytest.approx(sae.clean_s + sae.bank_s + sae.sae_s)
    assert three.sae_tokens == 3 * 409_600_000


@given(st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_more_saes_never_cost_less(n_local: int, n_e2e: int, more_local: bool) -> None:
    trials = [gpt2_trial(LOCAL, coefficient=1 + i) for i in range(n_local)]
    trials += [gpt2_trial(E2E, coefficient=1 + i) for i in range(n_e2e)]
    less = pack_cost("a", trials, COSTING)
    more = pack_cost("b", [*trials, gpt2_trial(LOCAL if more_local else E2E, coefficient=99)], COSTING)
    assert more.seconds > less.seconds
    assert more.floor_flops > less.floor_flops
    assert more.micro_batch_rows <= less.micro_batch_rows
    assert more.memory_bytes > less.memory_bytes or more.micro_batch_rows < less.micro_batch_rows


def test_more_evaluations_and_dense_steps_cost_more() -> None:
    trial = gpt2_trial(LOCAL)
    often, dense = replace(COSTING, eval_every_tokens=10_000_000), replace(COSTING, path="dense")
    assert n_evaluations(trial, None) == 1
    assert n_evaluations(trial, 10_000_000) == 1 + len(range(0, 25_000, 10_000_000 // 16_384))
    assert n_dense_steps(trial, "auto") == 500
    assert n_dense_steps(trial, "dense") == 25_000
    base = COSTING.sae(trial).sae_s
    assert often.sae(trial).sae_s > base
    assert dense.sae(trial).sae_s > 3 * base


def test_a_loss_that_becomes_another_costs_its_share_of_each() -> None:
    def of(switch_at: float) -> TrialConfig:
        return gpt2_trial(LocalThenE2ELoss(sparsity_coeff=1, switch_at=switch_at))

    def share(both: float, local: float, e2e: float) -> float:
        return (both - e2e) / (local - e2e)

    one = {loss.kind: pack_cost("a", [gpt2_trial(loss)], COSTING) for loss in (LOCAL, E2E)}
    for switch_at in (0.0, 0.5, 0.9, 1.0):
        both = pack_cost("a", [of(switch_at)], COSTING)
        assert share(both.floor_flops, one["local"].floor_flops, one["e2e"].floor_flops) == pytest.approx(switch_at)
        clean = [COSTING.sae(trial).clean_s for trial in (of(switch_at), gpt2_trial(LOCAL), gpt2_trial(E2E))]
        assert share(*clean) == pytest.approx(switch_at, abs=0.01)
        seconds = share(both.seconds, one["local"].seconds, one["e2e"].seconds)
        assert seconds == pytest.approx(switch_at, abs=0.01)
        assert both.memory_bytes == one["e2e"].memory_bytes
    together = pack_cost("a", [of(0.9), gpt2_trial(E2E)], COSTING)
    assert together.seconds > pack_cost("a", [gpt2_trial(LOCAL), gpt2_trial(E2E)], COSTING).seconds


def test_a_measured_factor_counts_for_its_kind_alone() -> None:
    slow, other = gpt2_trial(LOCAL), gpt2_trial(LOCAL, layer=7)
    factors = {factor_name(kind_label(slow), phase): 3.0 for phase in ("sparse", "dense", "evaluation")}
    rates = COSTING.rates.model_copy(update={"factors": factors, "is_measured": True})
    measured = replace(COSTING, rates=rates)
    init = gpt2_trial(LOCAL)
    assert measured.sae(slow).sae_s > 2 * COSTING.sae(init).sae_s
    assert measured.sae(other) == COSTING.sae(other)
    assert pack_cost("a", [slow], measured).basis == "measured"
    assert pack_cost("a", [slow, other], measured).basis == "measured on other SAEs"
    assert pack_cost("a", [slow], COSTING).basis == "guessed"


def test_a_range_is_the_wider_the_less_was_measured() -> None:
    trial = gpt2_trial(LOCAL)
    kind = factor_name(kind_label(trial), "sparse")
    spreads = [
        replace(COSTING, device=device, rates=guessed("gpu" if device == "gpu" else "cpu").model_copy(update=update))
        for device, update in (
            ("gpu", {}), ("cpu", {}), ("cpu", {"is_measured": True}),
            ("cpu", {"is_measured": True, "factors": {kind: 1}}),
        )
    ]  # fmt: skip
    found = [pack_cost("a", [trial], costing) for costing in spreads]
    widths = [PlanCost((cost,), costing.device).spread for cost, costing in zip(found, spreads, strict=True)]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 4


def test_slots_take_the_next_pack_as_soon_as_they_are_free() -> None:
    assert finishing_s([5, 3, 2, 2], 2) == 7
    assert finishing_s([5, 4, 3, 2], 2) == 7
    assert finishing_s([5, 3, 2, 2], 1) == 12
    assert finishing_s([5, 3], 9) == 5
    assert finishing_s([], 3) == 0
    assert likely_finishing_s([4, 4], 2) > 4
    assert likely_finishing_s([5, 3, 2, 2], 1) == pytest.approx(12)


def test_more_slots_take_less_time_down_to_the_dearest_pack(tmp_path: Path) -> None:
    found = plan(small_sweep(tmp_path, "resources.trials_per_pack=2"), BUILTIN)
    cost = plan_cost(found.packs, BUILTIN)
    one, two, many = (cost.seconds(n_slots=n) for n in (1, 2, 10_000))
    assert many < two < one
    assert one == pytest.approx(cost.start_s + sum(pack.seconds for pack in cost.packs))
    assert many == pytest.approx(cost.start_s + max(pack.seconds for pack in cost.packs))
    assert cost.sae_tokens == 12 * 31 * 32


def test_on_a_gpu_every_pack_starts_a_process_on_a_cpu_every_slot() -> None:
    trials = [gpt2_trial(LOCAL, coefficient=c) for c in (1, 2)]
    packs = tuple(pack_cost(str(i), [trial], COSTING) for i, trial in enumerate(trials))
    work = sum(pack.seconds for pack in packs)
    assert PlanCost(packs, "cpu", launch_s=3, start_s=10).seconds() == pytest.approx(13 + work)
    assert PlanCost(packs, "gpu", launch_s=3, start_s=10).seconds() == pytest.approx(23 + work)


def test_a_model_that_tells_its_mlp_width_is_believed() -> None:
    class Wide:
        n_layers, d_model, d_vocab, n_context, d_mlp = 12, 768, 50257, 1024, 8192

    assert Shape.of(Wide()).block(1024) > GPT2.block(1024)


def test_the_plan_as_text_shows_what_is_planned_and_that_nothing_was_started() -> None:
    from orchestrator.sweep.sweep_file import load_sweep

    sweep = load_sweep(SWEEPS / "gpt2_all_layers.yaml")
    found = plan(sweep, SHAPES["gpt2"], n_slots=2)
    cost = plan_cost(found.packs, SHAPES["gpt2"])
    text = plan_text(found, cost, sweep, n_slots=2, n_done=3)
    assert text.startswith(found.sweep_id)
    assert f"12 layers x 3 losses x coefficients x 2 seeds = {len(found.trials)} trials" in text
    assert f"{len(found.packs)} packs for 2 at a time" in text
    assert "409,600,000 a trial in 25,000 steps" in text
    assert f"{len(found.trials) * 409_600_000:,} SAE-tokens in all" in text
    assert "0.8, 1, 1.5, 3, 4, 6   at layers 0-3" in text
    assert "already done 3 of" in text
    assert "guessed from FLOPs and bytes; --calibrate measures it" in text
    assert text.endswith("nothing was started")
    measured = replace(cost, packs=tuple(replace(pack, basis="measured") for pack in cost.packs))
    assert "these SAEs were timed on this machine" in plan_text(found, measured, sweep)
