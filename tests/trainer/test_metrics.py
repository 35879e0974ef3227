"""Every metric has known answers, and two half-batches add up to the whole."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2LMHeadModel

from tests.trainer.conftest import CONTEXT, D_MODEL, N_LAYERS, VOCAB, make_trial
from tests.trainer.test_losses import identity_bank
from trainer.data import Rows
from trainer.evaluate import evaluate, prepare, window_counts, window_metrics
from trainer.losses import LocalLoss
from trainer.metrics import EVAL_METRICS, METRICS, WINDOW_METRICS, EvalBatch, add, batch_sums, finish
from trainer.metrics.sparsity import DENSITY_EDGES, window_sums
from trainer.models import FrozenModel
from trainer.sae.bank import Bank
from trainer.spec import BankSpec, bank_specs
from trainer.state import BankState


def batch_of(n_rows: int = 6, n_saes: int = 2, *, seed: int = 0) -> EvalBatch:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1

    return EvalBatch(
        sae_input=draw(n_rows, 5, 4),
        sae_output=draw(n_saes, n_rows, 5, 4),
        input_mean=draw(4),
        l0=draw(n_saes),
        later_squares=draw(n_saes, 3),
        ce_clean=draw(n_rows),
        ce_sae=draw(n_saes, n_rows),
        ce_ablated=draw(n_rows),
        kl=draw(n_saes, n_rows),
    )


def values_of(batch: EvalBatch) -> dict[str, list[float]]:
    first, *_ = finish(EVAL_METRICS, batch_sums(batch))
    return {name: value if isinstance(value, list) else [value] for name, value in first.items()}


def test_two_half_batches_add_up_to_the_whole() -> None:
    whole = batch_of()
    halves = [
        whole._replace(
            sae_input=whole.sae_input[part],
            sae_output=whole.sae_output[:, part],
            ce_clean=whole.ce_clean[part],
            ce_sae=whole.ce_sae[:, part],
            ce_ablated=whole.ce_ablated[part],
            kl=whole.kl[:, part],
        )
        for part in (slice(0, 2), slice(2, 6))
    ]
    added = finish(EVAL_METRICS, add(add(None, batch_sums(halves[0])), batch_sums(halves[1])))
    for ours, theirs in zip(added, finish(EVAL_METRICS, batch_sums(whole)), strict=True):
        for name in theirs:
            torch.testing.assert_close(torch.tensor(ours[name]), torch.tensor(theirs[name]), rtol=1e-12, atol=1e-12)


def test_a_perfect_reconstruction_explains_all_and_the_mean_nothing() -> None:
    batch = batch_of()
    perfect = batch._replace(sae_output=batch.sae_input[None].expand(2, -1, -1, -1))
    values = values_of(perfect)
    assert values["explained_variance"] == values["explained_variance_per_token"] == [1.0]
    assert values["mse"] == [0.0]
    assert values["cosine"] == pytest.approx([1.0])
    assert values["l2_ratio_pos0"] == values["l2_ratio_rest"] == [1.0]
    mean = batch.sae_input.mean((0, 1))
    predicts_mean = batch._replace(input_mean=mean, sae_output=mean.expand(2, 6, 5, 4))
    values = values_of(predicts_mean)
    assert values["explained_variance"] == pytest.approx([0.0])
    assert values["explained_variance_per_token"] == pytest.approx([0.0])


def test_ratios_tell_position_0_from_the_rest() -> None:
    batch = batch_of()
    output = batch.sae_input.clone()
    output[:, 0] *= 0.5
    output[:, 1:] *= -2.0
    values = values_of(batch._replace(sae_output=output[None].expand(2, -1, -1, -1)))
    assert values["l2_ratio_pos0"] == pytest.approx([0.5])
    assert values["l2_ratio_rest"] == pytest.approx([2.0])
    assert values["cosine"] == pytest.approx([1 / 5 - 4 / 5])


def test_cross_entropies_have_known_answers() -> None:
    batch = batch_of(n_rows=4, n_saes=1)._replace(
        ce_clean=torch.tensor([1.0, 2.0, 3.0, 4.0]),
        ce_sae=torch.tensor([[1.5, 2.5, 3.0, 5.0]]),
        ce_ablated=torch.full((4,), 6.5),
        kl=torch.tensor([[0.1, 0.2, 0.3, 0.4]]),
    )
    values = values_of(batch)
    assert values["ce_loss_increase"] == pytest.approx([0.5])
    assert values["ce_loss_with_sae"] == [3.0]
    assert values["ce_loss_without_sae"] == [2.5]
    assert values["ce_loss_with_ablation"] == [6.5]
    assert values["ce_loss_score"] == pytest.approx([3.5 / 4])
    assert values["kl_div_with_sae"] == pytest.approx([0.25])
    spread = torch.tensor([0.5, 0.5, 0.0, 1.0]).std().item()
    assert values["ce_loss_increase_stderr"] == pytest.approx([spread / 2])


def test_one_row_has_no_standard_error() -> None:
    assert math.isnan(values_of(batch_of(n_rows=1))["ce_loss_increase_stderr"][0])


def test_alive_elements_and_densities_have_known_answers() -> None:
    counts = torch.tensor([[0, 1, 1000, 10], [0, 0, 0, 0]])
    first, second = finish(WINDOW_METRICS, window_sums(counts, n_tokens=1000))
    assert first["n_alive_elements"] == 3
    assert first["frac_alive"] == 0.75
    histogram = first["density_histogram"]
    assert isinstance(histogram, list)
    assert len(histogram) == len(DENSITY_EDGES)
    assert sum(histogram) == 4
    assert histogram[0] == 1  # dead
    assert histogram[DENSITY_EDGES.index(-3.0) + 1] == 1  # one token in a thousand: the bin that begins at -3
    assert histogram[DENSITY_EDGES.index(-2.0) + 1] == 1
    assert histogram[-1] == 1  # always on
    assert second["n_alive_elements"] == 0


def next_token_loss(logits: Tensor, tokens: Tensor) -> float:
    """Nats per predicted token; transformers' own `loss` is computed in float32 only."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).item()


def bank_and_spec() -> tuple[Bank, BankSpec]:
    (spec,) = bank_specs((make_trial(LocalLoss(sparsity_coeff=1.0)),), n_layers=N_LAYERS)
    return identity_bank(), spec


def test_an_identity_sae_costs_the_model_nothing(model: FrozenModel, rows: Rows) -> None:
    bank, spec = bank_and_spec()
    prepared = prepare(model, rows, layers={1}, batch_rows=2)
    ((values,),) = evaluate([spec], [BankState.initial(bank)], model=model, rows=rows, prepared=prepared, batch_rows=2)
    assert values["ce_loss_increase"] == pytest.approx(0.0, abs=1e-12)
    assert values["kl_div_with_sae"] == pytest.approx(0.0, abs=1e-12)
    assert values["explained_variance"] == pytest.approx(1.0)
    assert values["downstream_mse"] == pytest.approx([0.0], abs=1e-20)
    assert values["ce_loss_score"] == pytest.approx(1.0)
    assert values["l0"] == pytest.approx(D_MODEL)  # one of x and -x is positive in each dimension


def test_an_evaluation_equals_transformers_own_losses_and_does_not_depend_on_its_batches(
    model: FrozenModel, hf_model: GPT2LMHeadModel, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = make_trial(LocalLoss(sparsity_coeff=1.0))
    (spec,) = bank_specs((trial,), n_layers=N_LAYERS)
    bank = spec.initial_state(d_model=D_MODEL, device=torch.device("cpu")).bank
    tokens = torch.cat(list(rows.eval_batches(2)))
    clean = hf_model(tokens, output_hidden_states=True)
    a = clean.hidden_states[1]
    c = torch.relu(a @ bank.w_enc[0].T + bank.b_enc[0])
    a_hat = (c @ functional.normalize(bank.w_dec[0], dim=1) + bank.b_dec[0]).detach()
    handle = hf_model.transformer.h[1].register_forward_pre_hook(lambda _, args: (a_hat, *args[1:]))
    spliced = hf_model(tokens, output_hidden_states=True)
    handle.remove()

    log_p, clean_log_p = spliced.logits.log_softmax(-1), clean.logits.log_softmax(-1)
    kl = functional.kl_div(log_p.flatten(0, 1), clean_log_p.flatten(0, 1), log_target=True, reduction="batchmean")
    for batch_rows, n_logits in ((1, 2**22), (2, 3 * VOCAB), (5, 1)):
        monkeypatch.setattr("trainer.evaluate.chunk_elements", lambda _, n_logits=n_logits: n_logits)
        prepared = prepare(model, rows, layers={1}, batch_rows=batch_rows)
        ((values,),) = evaluate(
            [spec], [BankState.initial(bank)], model=model, rows=rows, prepared=prepared, batch_rows=batch_rows
        )
        assert values["ce_loss_with_sae"] == pytest.approx(next_token_loss(spliced.logits, tokens), abs=1e-12)
        assert values["ce_loss_without_sae"] == pytest.approx(next_token_loss(clean.logits, tokens), abs=1e-12)
        assert values["kl_div_with_sae"] == pytest.approx(kl.item(), abs=1e-12)
        assert values["l0"] == pytest.approx((c > 0).double().sum(-1).mean().item(), abs=1e-10)
        assert values["mse"] == pytest.approx(functional.mse_loss(a_hat, a).item(), abs=1e-12)
        later = functional.mse_loss(spliced.hidden_states[2], clean.hidden_states[2]).item()
        assert values["downstream_mse"] == pytest.approx([later], abs=1e-12)
        flat, flat_hat = a.flatten(0, 1), a_hat.flatten(0, 1)
        residual = (flat_hat - flat).square().sum(-1)
        spread = (flat - flat.mean(0)).square().sum(-1)
        assert values["explained_variance"] == pytest.approx((1 - residual.sum() / spread.sum()).item(), abs=1e-10)
        assert values["explained_variance_per_token"] == pytest.approx((1 - residual / spread).mean().item(), abs=1e-9)


def test_the_alive_window_is_the_first_training_tokens_in_order(model: FrozenModel, rows: Rows) -> None:
    (spec,) = bank_specs((make_trial(LocalLoss(sparsity_coeff=1.0), layer=0),), n_layers=N_LAYERS)
    bank = spec.initial_state(d_model=D_MODEL, device=torch.device("cpu")).bank
    seen = model.embed(rows.train_rows(0, 3)).flatten(0, 1)
    fired = (seen @ bank.w_enc[0].T + bank.b_enc[0] > 0).any(0).sum().item()
    n_tokens = 2 * CONTEXT + 1
    for batch_rows in (1, 2, 4):
        states = [BankState.initial(bank)]
        (count,) = window_counts([spec], states, model=model, rows=rows, n_tokens=n_tokens, batch_rows=batch_rows)
        (values,) = window_metrics(count, rows=rows, n_tokens=n_tokens)
        assert values["n_alive_elements"] == fired


def test_columns_are_named_once_and_say_what_they_mean() -> None:
    columns = [metric.column for metric in METRICS]
    assert len(set(columns)) == len(columns)
    assert all(metric.description.endswith(".") and metric.unit for metric in METRICS)


def test_ablation_is_the_models_loss_on_a_residual_stream_of_zeros(
    model: FrozenModel, hf_model: GPT2LMHeadModel, rows: Rows
) -> None:
    bank, spec = bank_and_spec()
    prepared = prepare(model, rows, layers={1}, batch_rows=2)
    ((values,),) = evaluate([spec], [BankState.initial(bank)], model=model, rows=rows, prepared=prepared, batch_rows=3)
    tokens = torch.cat(list(rows.eval_batches(2)))
    handle = hf_model.transformer.h[1].register_forward_pre_hook(lambda _, args: (args[0] * 0, *args[1:]))
    expected = next_token_loss(hf_model(tokens).logits, tokens)
    handle.remove()
    assert values["ce_loss_with_ablation"] == pytest.approx(expected, abs=1e-10)
    assert expected != pytest.approx(math.log(VOCAB), abs=1e-3)
