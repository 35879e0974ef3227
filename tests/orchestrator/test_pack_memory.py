"""Bytes of packs, counted by hand for a small one; and how many rows fit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.pack_memory import (
    ABLATED_ARRAYS,
    LATENT_ARRAYS,
    LOGIT_ARRAYS,
    LOGIT_CHUNK,
    OUTPUT_ARRAYS,
    STATE_COPIES,
    TOKENS_THAT_PAY,
    fewest_rows,
    pack_bytes,
    rows_at_once,
    sae_needs,
    shared_bytes,
)
from orchestrator.planning.rates import Device
from orchestrator.planning.shape import Bank, Shape
from trainer.config import DataConfig, ModelConfig, SAEConfig, TrainConfig, TrialConfig
from trainer.losses import E2EDownstreamLoss, E2ELoss, LocalLoss, LossConfig
from trainer.losses.terms import chunk_elements

SMALL = Shape(n_layers=2, d_model=4, d_vocab=10, n_context=8, d_mlp=16)
GPT2 = Shape(12, 768, 50257, 1024, 3072)
LOCAL, E2E = LocalLoss(sparsity_coeff=1), E2ELoss(sparsity_coeff=1)
DOWNSTREAM = E2EDownstreamLoss(sparsity_coeff=1, downstream_coeff=1)


def trial(loss: LossConfig = LOCAL, *, layer: int = 1, context: int = 8, rows: int = 3, ratio: float = 2,
          dtype: str = "float32") -> TrialConfig:  # fmt: skip
    return TrialConfig(
        model=ModelConfig(name="x"),
        data=DataConfig(dataset="x", context=context),
        hookpoint=f"blocks.{layer}.hook_resid_pre",
        sae=SAEConfig(ratio=ratio),
        loss=loss,
        train=TrainConfig.model_validate({"tokens": 10_000_000, "batch_rows": rows, "compute_dtype": dtype}),
    )


def test_the_bytes_of_one_small_local_sae_are_these() -> None:
    # d_model 4, d_sae 8: 2 * 8 * 4 + 8 + 4 = 76 numbers; 24 tokens
    needs = sae_needs(trial(), SMALL, device="gpu", rows=3)
    assert needs.state == 3 * 76 * 4 + 8 * 8
    assert needs.result == 0
    training = 76 * 4 + 4 * 24 * (LATENT_ARRAYS * 8 + OUTPUT_ARRAYS * 4)
    measuring = 4 * 24 * (2 * 8 + (OUTPUT_ARRAYS + 1) * 4 + (5 * 4 + 2 * 16))
    assert needs.active == max(training, measuring)
    on_cpu = sae_needs(trial(), SMALL, device="cpu", rows=3)
    assert on_cpu.state == STATE_COPIES["cpu"] * 76 * 4 + 8 * 8
    assert on_cpu.result == 76 * 4


def test_the_bytes_of_one_small_e2e_sae_are_these() -> None:
    # one block above: 7 * 4 + 16 numbers of each token are kept for the way back, and 5 * 4 + 2 * 16 are in use
    needs = sae_needs(trial(E2E), SMALL, device="gpu", rows=3)
    assert needs.active == 76 * 4 + 4 * 24 * (8 + (7 * 4 + 16) + (5 * 4 + 2 * 16) + OUTPUT_ARRAYS * 4)


def test_the_bytes_that_a_small_pack_shares_are_these() -> None:
    # weights: 2 blocks of 4 * 16 + 2 * 4 * 16, and 18 rows of embeddings; 24 tokens
    weights = 2 * (4 * 16 + 2 * 4 * 16) + 18 * 4
    kept, running = 24 * 2 * 4, 24 * (7 * 4 + 2 * 16)
    logits, ablated = LOGIT_ARRAYS * 24 * 2 * 10, ABLATED_ARRAYS * 8 * 10
    assert shared_bytes([Bank(trial(), 2)], SMALL, device="cpu", rows=3) == 4 * (
        weights + kept + running + logits + ablated
    )


@pytest.mark.parametrize(("device", "name"), [("cpu", "cpu"), ("gpu", "cuda")])
def test_the_plan_expects_as_many_logits_at_a_time_as_the_trainer_holds(device: Device, name: str) -> None:
    assert LOGIT_CHUNK[device] == chunk_elements(torch.device(name))


def test_a_pack_holds_all_parameters_but_the_activations_of_its_largest_bank_only() -> None:
    small, large = Bank(trial(), 1), Bank(trial(ratio=8), 5)
    sizes = [
        pack_bytes(banks, SMALL, device="gpu", rows=3, base_bytes=0) - shared_bytes(banks, SMALL, device="gpu", rows=3)
        for banks in ([large], [large, small])
    ]
    assert sizes[1] - sizes[0] == sae_needs(small.trial, SMALL, device="gpu", rows=3).state


def test_losses_that_look_further_need_more() -> None:
    needs = [sae_needs(trial(loss), GPT2, device="gpu", rows=3).active for loss in (LOCAL, E2E, DOWNSTREAM)]
    assert needs == sorted(needs)
    assert len(set(needs)) == 3


def test_double_precision_needs_twice_as_much() -> None:
    single, double = (pack_bytes([Bank(trial(E2E, dtype=dtype), 3)], GPT2, device="gpu", rows=2, base_bytes=0)
                      for dtype in ("float32", "float64"))  # fmt: skip
    assert double == pytest.approx(2 * single, rel=0.02)  # all but counters of tokens


@given(st.integers(1, 16), st.integers(1, 15), st.sampled_from(["cpu", "gpu"]))
def test_more_rows_or_saes_at_once_never_need_less(rows: int, n_saes: int, device: Device) -> None:
    def needed(rows: int, n_saes: int) -> float:
        return pack_bytes([Bank(trial(E2E, rows=16), n_saes)], GPT2, device=device, rows=rows, base_bytes=1e8)

    assert needed(rows + 1, n_saes) >= needed(rows, n_saes) or rows == 15  # then one gradient less is held
    assert needed(rows, n_saes + 1) > needed(rows, n_saes)


def test_a_large_device_computes_the_whole_batch_at_once_and_a_small_one_in_equal_parts() -> None:
    banks = [Bank(trial(E2E, context=1024, rows=16, ratio=60), 4)]

    def rows(memory: float) -> int:
        return rows_at_once(banks, GPT2, device="gpu", memory_bytes=memory, base_bytes=0)

    found = [rows(memory) for memory in (1e9, 20e9, 40e9, 80e9, 200e9)]
    assert found == sorted(found)
    assert found[0] == 1
    assert found[-1] == 16
    assert 1 < found[2] < 16
    for memory, n_rows in zip((20e9, 40e9, 80e9, 200e9), found[1:], strict=True):
        assert pack_bytes(banks, GPT2, device="gpu", rows=n_rows, base_bytes=0) <= memory


def test_no_more_rows_are_computed_at_once_than_pay() -> None:
    banks = [Bank(trial(context=1024, rows=4096, ratio=1), 1)]
    for device in ("cpu", "gpu"):
        rows = rows_at_once(banks, SMALL, device=device, memory_bytes=1e15, base_bytes=0)
        assert TOKENS_THAT_PAY[device] / 2 <= rows * 1024 <= TOKENS_THAT_PAY[device]


def test_a_row_that_is_longer_than_what_pays_is_computed_alone() -> None:
    long = trial(context=100_000, rows=4)
    assert rows_at_once([Bank(long, 1)], SMALL, device="cpu", memory_bytes=1e15, base_bytes=0) == 1
    assert fewest_rows(long, "cpu") == 1
