"""Costs: the published arithmetic, and how sums behave."""

from pathlib import Path

import pytest

from orchestrator.cost import ENCODER, TRAINED_SAE, Shape, clean_flops, own_flops, pack_cost, plan_cost
from orchestrator.plan import plan
from orchestrator.plan_text import plan_text
from tests.orchestrator.sweeps import SHAPES, SWEEPS, small_sweep
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, LossConfig

GPT2 = Shape.of(SHAPES["gpt2"])
BUILTIN = SHAPES["builtin"]


def gpt2_trial(loss: LossConfig, *, layer: int = 6) -> TrialConfig:
    return TrialConfig(
        model=ModelConfig(name="gpt2"),
        data=DataConfig(dataset="x", context=1024),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=60),
        loss=loss,
        train=TrainConfig(tokens=409_600_000, batch_rows=16),
    )


@pytest.mark.parametrize(
    ("loss", "expected_mflop"), [(LocalLoss(sparsity_coeff=1), 84), (E2ELoss(sparsity_coeff=1), 464)]
)
def test_the_floor_of_eight_saes_before_block_6_of_gpt2_is_the_known_one(
    loss: LossConfig, expected_mflop: float
) -> None:
    trial = gpt2_trial(loss)
    per_token = clean_flops(trial, GPT2) / 8 + own_flops(trial, GPT2, sae=ENCODER)
    assert per_token / 1e6 == pytest.approx(expected_mflop, rel=0.02)


def test_gpt2_has_124_million_weights() -> None:
    assert GPT2.n_parameters == pytest.approx(124e6, rel=0.01)


def test_a_local_sae_pays_for_the_blocks_below_only_and_an_e2e_one_for_those_above() -> None:
    local, e2e = LocalLoss(sparsity_coeff=1), E2ELoss(sparsity_coeff=1)
    block = GPT2.block(1024)
    assert clean_flops(gpt2_trial(local, layer=7), GPT2) - clean_flops(gpt2_trial(local), GPT2) == block
    assert own_flops(gpt2_trial(local, layer=7), GPT2) == own_flops(gpt2_trial(local), GPT2)
    assert own_flops(gpt2_trial(e2e), GPT2) - own_flops(gpt2_trial(e2e, layer=7), GPT2) == pytest.approx(2 * block)
    assert clean_flops(gpt2_trial(e2e, layer=7), GPT2) == clean_flops(gpt2_trial(e2e), GPT2)


def test_a_pack_pays_for_its_clean_run_once() -> None:
    trials = [gpt2_trial(E2EDownstreamLoss(sparsity_coeff=c, downstream_coeff=2.5)) for c in (1, 2, 3)]
    one, three = pack_cost("a", trials[:1], GPT2), pack_cost("b", trials, GPT2)
    clean = trials[0].train.tokens * clean_flops(trials[0], GPT2)
    assert three.train_flops == pytest.approx(3 * one.train_flops - 2 * clean)
    assert three.sae_tokens == 3 * 409_600_000
    assert three.floor_flops < three.train_flops
    assert one.memory_bytes < three.memory_bytes < 3 * one.memory_bytes


def test_a_local_sae_costs_its_own_products_only() -> None:
    local = gpt2_trial(LocalLoss(sparsity_coeff=1))
    assert own_flops(local, GPT2) == TRAINED_SAE * 768 * 46_080


def test_more_slots_take_less_time_down_to_the_dearest_pack(tmp_path: Path) -> None:
    found = plan(small_sweep(tmp_path, "resources.trials_per_pack=2"), BUILTIN)
    cost = plan_cost(found.packs, BUILTIN)
    one, two, many = (cost.hours("cpu", n_slots=n) for n in (1, 2, 10_000))
    assert one[0] < one[1]
    assert two[0] == pytest.approx(one[0] / 2)
    assert many[0] == pytest.approx(one[0] * max(pack.flops for pack in cost.packs) / cost.flops)
    assert cost.sae_tokens == 12 * 31 * 32


def test_a_model_that_tells_its_mlp_width_is_believed() -> None:
    class Wide:
        n_layers, d_model, d_vocab, n_context, d_mlp = 12, 768, 50257, 1024, 8192

    assert Shape.of(Wide()).block(1024) > GPT2.block(1024)


def test_the_plan_as_text_shows_what_is_planned_and_that_nothing_was_started() -> None:
    from orchestrator.sweep_file import load_sweep

    sweep = load_sweep(SWEEPS / "gpt2_all_layers.yaml")
    found = plan(sweep, SHAPES["gpt2"], n_slots=2)
    text = plan_text(found, plan_cost(found.packs, SHAPES["gpt2"]), sweep, n_slots=2, n_done=3)
    assert text.startswith(found.sweep_id)
    assert f"12 layers x 3 losses x coefficients x 2 seeds = {len(found.trials)} trials" in text
    assert f"{len(found.packs)} packs for 2 at a time" in text
    assert "409,600,000 a trial in 25,000 steps" in text
    assert f"{len(found.trials) * 409_600_000:,} SAE-tokens in all" in text
    assert "0.8, 1, 1.5, 3, 4, 6   at layers 0-3" in text
    assert "already done 3 of" in text
    assert text.endswith("nothing was started")
