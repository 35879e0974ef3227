"""Optimiser, clipping and schedule equal torch's own, SAE by SAE."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR

from trainer.config import TrainConfig
from trainer.optimizer import AdamMoments, adam_step_, clip_, gradient_norms
from trainer.schedule import lr_factor

SHAPES = [(3, 5, 4), (3, 5), (3, 4)]


def test_a_bank_steps_as_separate_adams_clipped_one_by_one() -> None:
    torch.manual_seed(0)
    config = TrainConfig(tokens=1, batch_rows=1, lr=3e-2, clip_norm=2.0)
    start = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    bank = [tensor.clone().requires_grad_() for tensor in start]
    moments = [AdamMoments.zeros_like(tensor) for tensor in bank]
    singles = [[tensor[i].clone().requires_grad_() for tensor in start] for i in range(3)]
    optimizers = [torch.optim.Adam(single, lr=config.lr) for single in singles]
    schedulers = [LambdaLR(o, lambda s: lr_factor(config, step=s, n_steps=40)) for o in optimizers]
    for step in range(40):
        gradients = [torch.randn(shape, dtype=torch.float64) * 10 ** (step % 3 - 1) for shape in SHAPES]
        for i, (single, optimizer, scheduler) in enumerate(zip(singles, optimizers, schedulers, strict=True)):
            for parameter, gradient in zip(single, gradients, strict=True):
                parameter.grad = gradient[i].clone()
            torch.nn.utils.clip_grad_norm_(single, 2.0)
            optimizer.step()
            scheduler.step()
        norms = gradient_norms(gradients)
        clip_(gradients, norms=norms, clip_norm=2.0, keep=torch.ones(3, dtype=torch.bool))
        lr = config.lr * lr_factor(config, step=step, n_steps=40)
        adam_step_(bank, gradients, moments, step=step + 1, lr=lr)
    for i, single in enumerate(singles):
        for ours, theirs in zip(bank, single, strict=True):
            torch.testing.assert_close(ours[i], theirs, rtol=0, atol=1e-12)


def test_an_sae_that_is_not_kept_gets_a_zero_gradient_and_the_others_their_own() -> None:
    gradients = [torch.full((2, 3), float("nan")), torch.ones(2, 3)]
    gradients[0][1] = 2.0
    norms = gradient_norms(gradients)
    clip_(gradients, norms=norms, clip_norm=100.0, keep=torch.tensor([False, True]))
    assert gradients[0].tolist() == [[0.0] * 3, [2.0] * 3]
    assert gradients[1].tolist() == [[0.0] * 3, [1.0] * 3]


def test_clipping_can_be_off() -> None:
    gradients = [torch.full((1, 4), 1e6)]
    clip_(gradients, norms=gradient_norms(gradients), clip_norm="off", keep=torch.tensor([True]))
    assert gradients[0].tolist() == [[1e6] * 4]


def test_the_cosine_schedule_has_the_papers_known_points() -> None:
    """25 000 steps, warm-up over the first 1 250, then a cosine to a tenth (appendix D)."""
    config = TrainConfig(tokens=1, batch_rows=1)

    def at(step: int) -> float:
        return lr_factor(config, step=step, n_steps=25_000)

    assert at(0) == 0.0
    assert at(625) == pytest.approx(0.5)
    assert at(1250) == 1.0
    assert at(1250 + 23_750 // 2) == pytest.approx(0.55)
    assert at(25_000) == pytest.approx(0.1)
    middle = 10_000
    assert at(middle) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * (middle - 1250) / 23_750)))


def test_the_trapezoid_is_flat_between_its_slopes() -> None:
    config = TrainConfig(
        tokens=1, batch_rows=1, schedule="trapezoid", warmup_fraction=0.1, cooldown_fraction=0.2, final_lr_fraction=0.0
    )
    factors = [lr_factor(config, step=step, n_steps=100) for step in range(101)]
    assert factors[:11] == pytest.approx([step / 10 for step in range(11)])
    assert factors[10:81] == [1.0] * 71
    assert factors[90] == pytest.approx(0.5)
    assert factors[100] == 0.0
