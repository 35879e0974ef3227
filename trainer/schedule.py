"""Learning rate as a function of the step: nothing to save, nothing to restore."""

import math

from trainer.config import TrainConfig


def lr_factor(config: TrainConfig, *, step: int, n_steps: int) -> float:
    """What `config.lr` is multiplied by at optimizer step `step` (the first is 0) of `n_steps`.

    `cosine`: linear warm-up over the first `warmup_fraction` of the steps, then half a cosine down to
    `final_lr_fraction`. As in the paper's code (`utils.py: _get_cosine_schedule_with_warmup_lr_lambda`) warm-up starts
    at 0, so the first step does not move the weights. `trapezoid`: the same warm-up, constant, then a linear cool-down
    over the last `cooldown_fraction` of the steps.
    """
    n_warmup = int(config.warmup_fraction * n_steps)
    if step < n_warmup:
        return step / n_warmup
    final = config.final_lr_fraction
    if config.schedule == "cosine":
        progress = (step - n_warmup) / max(1, n_steps - n_warmup)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
    n_cooldown = max(1, int(config.cooldown_fraction * n_steps))
    left = (n_steps - step) / n_cooldown
    return final + (1 - final) * min(1.0, left)
