"""Optimiser, clipping and schedule equal torch's own, SAE by SAE."""

import math
from typing import Literal

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


@pytest.mark.parametrize("clip_norm", [2.0, "off"])
def test_clipping_is_the_same_whether_the_host_waits_or_not(clip_norm: float | Literal["off"]) -> None:
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    gradients[0][1, 0, 0] = float("nan")
    for gradient in gradients:
        gradient[2] *= 1e-3
    norms, keep = gradient_norms(gradients), torch.tensor([True, False, True])
    assert norms[0] > 2 > norms[2]
    clipped = [[gradient.clone() for gradient in gradients] for _ in range(2)]
    for each, may_wait in zip(clipped, (True, False), strict=True):
        clip_(each, norms=norms, clip_norm=clip_norm, keep=keep, may_wait=may_wait)
    for waited, did_not, before in zip(*clipped, gradients, strict=True):
        assert torch.equal(waited, did_not)
        assert torch.equal(waited[0], before[0]) == (clip_norm == "off")
        assert torch.equal(waited[2], before[2])


def test_moments_of_what_fires_no_more_end_as_zeros_and_the_parameters_do_not_notice() -> None:
    torch.manual_seed(0)
    parameter, moments = torch.randn(1, 200), [AdamMoments.zeros_like(torch.empty(1, 200))]
    twin = parameter.clone().requires_grad_()
    theirs = torch.optim.Adam([twin], lr=1e-3, fused=True)
    tiny = torch.finfo(torch.float32).tiny
    for step in range(2000):
        gradient = torch.randn(1, 200) * 10.0 ** torch.randint(-6, 3, (1, 200)) if step < 5 else torch.zeros(1, 200)
        twin.grad = gradient.clone()
        theirs.step()
        adam_step_([parameter], [gradient], moments, step=step + 1, lr=1e-3)
        assert torch.equal(parameter, twin)
        mean = moments[0].mean
        assert ((mean == 0) | (mean.abs() >= tiny)).all()
    assert not moments[0].mean.any()
    assert (theirs.state[twin]["exp_avg"] != 0).any(), "torch's own are still there, too small to be normal"
    assert (theirs.state[twin]["exp_avg"].abs() < tiny).all()


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
