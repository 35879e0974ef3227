"""Training runs equal a loop written here: transformers' model, torch's Adam, clipping and schedule, SAE by SAE."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import GPT2LMHeadModel

from tests.trainer.conftest import D_MODEL, make_trial
from tests.trainer.test_losses import LOSSES, reference_loss
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.models import FrozenModel
from trainer.pack import Finished, Pack, Stepping
from trainer.sae.init import initial_parameters

N_STEPS = 40


def schedule(step: int) -> float:
    """Appendix D: warm-up over 5 % of the steps from 0, then half a cosine to a tenth."""
    n_warmup = N_STEPS // 20
    if step < n_warmup:
        return step / n_warmup
    return 0.1 + 0.9 * (1 + math.cos(math.pi * (step - n_warmup) / (N_STEPS - n_warmup))) / 2


def trained_by_torch(trial: TrialConfig, hf_model: GPT2LMHeadModel, rows: Rows) -> tuple[dict[str, torch.Tensor], int]:
    """The parameters after `N_STEPS` steps, and at how many steps clipping bit."""
    start = initial_parameters(trial.sae, d_model=D_MODEL, seed=trial.seed)
    parameters = {name: start[name].double().requires_grad_() for name in ("w_enc", "b_enc", "w_dec", "b_dec")}
    optimizer = torch.optim.Adam(parameters.values(), lr=trial.train.lr)
    scheduler = LambdaLR(optimizer, schedule)
    n_clipped = 0
    for step in range(N_STEPS):
        tokens = rows.train_batch(step, trial.train.batch_rows)
        optimizer.zero_grad()
        reference_loss(hf_model, tokens, parameters, trial.loss, trial.layer).backward()
        if trial.train.clip_norm != "off":
            norm = torch.nn.utils.clip_grad_norm_(parameters.values(), trial.train.clip_norm)
            n_clipped += int(norm > trial.train.clip_norm)
        optimizer.step()
        scheduler.step()
    return {name: tensor.detach() for name, tensor in parameters.items()}, n_clipped


@pytest.mark.parametrize("clip_norm", [0.05, "off"])
@pytest.mark.parametrize("loss", LOSSES[:4], ids=lambda loss: loss.kind)
def test_training_equals_torchs_own_optimiser_on_transformers_own_model(
    loss: object, clip_norm: float | str, model: FrozenModel, hf_model: GPT2LMHeadModel, rows: Rows
) -> None:
    trials = [make_trial(loss, seed=seed, n_steps=N_STEPS, train={"clip_norm": clip_norm}) for seed in (0, 1)]  # type: ignore[arg-type]
    pack = Pack(trials, model=model, rows=rows)
    for event in pack.train():
        if isinstance(event, Stepping | Finished) and pack.state.step == N_STEPS:
            break
    bank = pack.state.banks[0].bank
    for index, trial in enumerate(trials):
        expected, n_clipped = trained_by_torch(trial, hf_model, rows)
        assert (n_clipped > N_STEPS // 2) == (clip_norm != "off"), "a clip norm that never bites tests nothing"
        for name, tensor in expected.items():
            torch.testing.assert_close(bank.parameters[name][index], tensor, rtol=0, atol=1e-9, msg=name)


def test_bfloat16_changes_the_arithmetic_and_little_else(
    hf_model: GPT2LMHeadModel, tiny_folder: str, rows: Rows
) -> None:
    """The encoder's products lose digits, master weights stay float32."""
    from trainer.config import ModelConfig
    from trainer.models import load_model

    finals = {}
    for dtype in ("float32", "bfloat16"):
        model = load_model(ModelConfig(name=str(tiny_folder)), dtype=getattr(torch, dtype))
        trial = make_trial(LOSSES[2], n_steps=20, train={"compute_dtype": dtype})
        pack = Pack([trial], model=model, rows=rows)
        (*_, last) = pack.train()
        assert isinstance(last, Finished)
        assert pack.state.banks[0].bank.w_enc.dtype == torch.float32
        finals[dtype] = last.results[trial.trial_id]
    full, half = finals["float32"], finals["bfloat16"]
    assert not torch.equal(full.sae["w_enc"], half.sae["w_enc"])
    assert half.metrics["l0"] == pytest.approx(full.metrics["l0"], rel=0.1)
    assert half.metrics["ce_loss_with_sae"] == pytest.approx(full.metrics["ce_loss_with_sae"], rel=0.05)


def test_the_encoder_computes_in_the_asked_precision() -> None:
    from trainer.config import SAEConfig
    from trainer.sae.bank import Bank, encode

    bank = Bank.initial(SAEConfig(ratio=4), d_model=D_MODEL, seeds=[0], dtype=torch.float32, device=torch.device("cpu"))
    x = torch.randn(16, D_MODEL)
    full, half = (encode(bank, x, compute_dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    rounded = torch.relu((x.bfloat16() @ bank.w_enc[0].T.bfloat16()).float() + bank.b_enc[0])
    assert not torch.equal(full, half)
    torch.testing.assert_close(half[0], rounded, rtol=0.02, atol=0.02)
    assert half.dtype == torch.float32
