"""The sparse path says what the dense formula says: values, every gradient, on every engine, at every density."""

from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple
from unittest.mock import patch

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trainer.sae import sparse, sparse_cpu, sparse_torch
from trainer.sae.density import WITH_NUMBA, WITH_TORCH
from trainer.sae.nonzeros import Nonzeros, Room
from trainer.sae.sparse import engine_for, sparse_bank, switch_for
from trainer.sae.types import BankOutput

ENGINES = (sparse_cpu, sparse_torch)
Weights = dict[str, Tensor]


class Case(NamedTuple):
    """A bank, its input, and the gradients that its results receive."""

    x: Tensor
    weights: Weights
    grad_output: Tensor
    grad_l1: Tensor

    def double(self) -> "Case":
        return Case(
            self.x.double(),
            {name: each.double() for name, each in self.weights.items()},
            self.grad_output.double(),
            self.grad_l1.double(),
        )


def make_case(
    *, n_saes: int = 2, tokens: int = 40, d_sae: int = 30, d_model: int = 64, bias: float = -0.5, dtype: torch.dtype
) -> Case:
    generator = torch.Generator().manual_seed(n_saes + tokens + d_sae)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    directions = normal(n_saes, d_sae, d_model)
    weights = {
        "w_enc": normal(n_saes, d_sae, d_model) / d_model**0.5,
        "b_enc": 0.1 * normal(n_saes, d_sae) + bias,
        "w_dec": directions
        + 0.5 * directions.sign(),  # away from zero: gradients, and their rounding, go with 1 / norm
        "b_dec": normal(n_saes, d_model),
    }
    return Case(normal(tokens, d_model), weights, normal(n_saes, tokens, d_model), normal(n_saes))


def dense_bank(
    x: Tensor, *, w_enc: Tensor, b_enc: Tensor, w_dec: Tensor, b_dec: Tensor, rounding: Tensor | float = 0.0
) -> BankOutput:
    """The formula as one would write it down; `rounding` is added to the product."""
    latents = torch.relu(torch.einsum("td,ksd->kts", x, w_enc) + rounding + b_enc[:, None])
    dictionary = w_dec / torch.linalg.vector_norm(w_dec, dim=-1, keepdim=True).clamp_min(1e-12)
    return BankOutput(
        output=torch.einsum("kts,ksd->ktd", latents, dictionary) + b_dec[:, None],
        l1=latents.sum(-1).mean(-1),
        l0=(latents > 0).to(x.dtype).sum(-1).mean(-1),
        firing_counts=(latents > 0).sum(1),
    )


def results(
    case: Case, *, engine: ModuleType | None, compute_dtype: torch.dtype | None = None, rounding: Tensor | float = 0.0
) -> dict[str, Tensor]:
    """Outputs and gradients by name; of the dense formula where there is no engine."""
    weights = {name: each.clone().requires_grad_() for name, each in case.weights.items()}
    if engine is None:
        out = dense_bank(case.x, **weights, rounding=rounding)
        torch.autograd.backward([out.output, out.l1], [case.grad_output, case.grad_l1])
    else:
        with patch.object(sparse, "engine_for", return_value=engine):
            out = sparse_bank(case.x, **weights, compute_dtype=compute_dtype)
            torch.autograd.backward([out.output, out.l1], [case.grad_output, case.grad_l1])
    gradients = {f"gradient of {name}": each.grad for name, each in weights.items() if each.grad is not None}
    assert len(gradients) == len(weights)
    return {**{name: each.detach() for name, each in out._asdict().items()}, **gradients}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], *, tolerance: float) -> None:
    for name, each in expected.items():
        scale = max(1.0, float(each.abs().max()))
        assert found[name].dtype == each.dtype, name
        torch.testing.assert_close(
            found[name], each, rtol=0, atol=tolerance * scale, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=40, deadline=None)
@given(
    n_saes=st.integers(1, 3),
    tokens=st.integers(1, 100),
    d_sae=st.integers(1, 90),
    d_model=st.sampled_from([1, 5, 63, 64, 65, 128, 200]),
    bias=st.sampled_from([-9.0, -2.0, -1.0, 0.0, 9.0]),
)
def test_sparse_and_dense_agree_at_any_shape_and_density(
    engine: ModuleType, n_saes: int, tokens: int, d_sae: int, d_model: int, bias: float
) -> None:
    case = make_case(n_saes=n_saes, tokens=tokens, d_sae=d_sae, d_model=d_model, bias=bias, dtype=torch.float64)
    assert_close(results(case, engine=engine), results(case, engine=None), tolerance=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tokens", [1100, 30_000])
def test_sparse_and_dense_agree_over_several_chunks(engine: ModuleType, tokens: int) -> None:
    case = make_case(n_saes=2, tokens=tokens, d_sae=150, d_model=3, bias=-1.5, dtype=torch.float64)
    assert_close(results(case, engine=engine), results(case, engine=None), tolerance=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_in_single_precision_they_agree_to_its_rounding(engine: ModuleType) -> None:
    case = make_case(d_model=128, tokens=200, d_sae=300, dtype=torch.float32)
    assert_close(results(case, engine=engine), results(case, engine=None), tolerance=2e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_in_bfloat16_the_product_is_rounded_as_the_dense_paths_and_nothing_else_is(engine: ModuleType) -> None:
    case = make_case(d_model=128, tokens=77, d_sae=300, dtype=torch.float32)
    rounded = results(case, engine=engine, compute_dtype=torch.bfloat16)
    assert all(each.dtype != torch.bfloat16 for each in rounded.values())
    # What the dense path starts from: factors and product in bfloat16, the bias and the rest in float32.
    n_saes, _, d_model = case.weights["w_enc"].shape
    product = (case.x.bfloat16() @ case.weights["w_enc"].bfloat16().view(-1, d_model).T).double()
    exact = case.x.double() @ case.weights["w_enc"].double().view(-1, d_model).T
    rounding = rearrange(product - exact, "tokens (n_saes d_sae) -> n_saes tokens d_sae", n_saes=n_saes)
    assert float(rounding.abs().max()) > 1e-4
    expected = results(case.double(), engine=None, rounding=rounding)
    assert_close(rounded, {name: each.to(rounded[name].dtype) for name, each in expected.items()}, tolerance=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dead_element_has_gradients_of_exactly_zero(engine: ModuleType) -> None:
    case = make_case(dtype=torch.float64)
    case.weights["b_enc"][1, 3:7] = -100.0
    found = results(case, engine=engine)
    dead = found["firing_counts"] == 0
    assert dead[1, 3:7].all()
    for name in ("w_enc", "b_enc", "w_dec"):
        assert not found[f"gradient of {name}"][dead].any()
        assert found[f"gradient of {name}"][~dead].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_where_nothing_fires_the_output_is_the_bias(engine: ModuleType) -> None:
    case = make_case(bias=-100.0, dtype=torch.float64)
    found = results(case, engine=engine)
    assert torch.equal(found["output"], case.weights["b_dec"][:, None].expand_as(found["output"]))
    assert not found["l1"].any()
    assert not found["l0"].any()
    assert not found["gradient of w_dec"].any()
    torch.testing.assert_close(found["gradient of b_dec"], case.grad_output.sum(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_decoder_row_of_zeros_is_a_dictionary_element_of_zeros(engine: ModuleType) -> None:
    case = make_case(bias=1.0, dtype=torch.float64)
    case.weights["w_dec"][0, 2] = 0.0
    assert_close(results(case, engine=engine), results(case, engine=None), tolerance=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gradient_of_one_result_alone_is_enough(engine: ModuleType) -> None:
    case = make_case(dtype=torch.float64)
    for name, grad in (("output", case.grad_output), ("l1", case.grad_l1)):
        gradients: list[tuple[Tensor, ...]] = []
        for bank in (sparse_bank, dense_bank):
            weights = {name: each.clone().requires_grad_() for name, each in case.weights.items()}
            with patch.object(sparse, "engine_for", return_value=engine):
                result = getattr(bank(case.x, **weights), name)
                wanted = (weights["w_enc"], weights["b_enc"])
                gradients.append(torch.autograd.grad(result, wanted, grad))
        for found, expected in zip(*gradients, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_sae_does_not_depend_on_its_neighbours(engine: ModuleType) -> None:
    case = make_case(n_saes=3, dtype=torch.float64)
    together = results(case, engine=engine)
    for index in range(3):
        one = slice(index, index + 1)
        alone = Case(
            case.x, {name: each[one] for name, each in case.weights.items()}, case.grad_output[one], case.grad_l1[one]
        )
        expected = {name: each[one] for name, each in together.items()}
        assert_close(results(alone, engine=engine), expected, tolerance=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_twice_the_same_is_bitwise_the_same(engine: ModuleType, dtype: torch.dtype) -> None:
    case = make_case(tokens=300, d_sae=400, dtype=dtype)
    first, second = (results(case, engine=engine) for _ in range(2))
    for name, each in first.items():
        assert torch.equal(each, second[name]), name


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("restored_threads")
def test_the_number_of_threads_does_not_change_a_bit() -> None:
    case = make_case(n_saes=3, tokens=50, d_sae=70, d_model=130, dtype=torch.float32)
    # Whole numbers, so that the product by torch is exact however it is cut up.
    exact = case._replace(x=case.x.round(), weights={**case.weights, "w_enc": (8 * case.weights["w_enc"]).round()})
    found: list[dict[str, Tensor]] = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        found.append(results(exact, engine=sparse_cpu))
    assert 0 < int(found[0]["firing_counts"].sum()) < 3 * 50 * 70
    for name in ("output", "l0", "firing_counts", "gradient of w_enc", "gradient of b_enc", "gradient of w_dec"):
        assert all(torch.equal(found[0][name], each[name]) for each in found[1:]), name


@pytest.mark.parametrize("engine", ENGINES)
def test_entries_are_ordered_by_element_then_token(engine: ModuleType) -> None:
    case = make_case(n_saes=1, tokens=70, dtype=torch.float64)
    w_enc, b_enc = case.weights["w_enc"][0], case.weights["b_enc"][0]
    nonzeros: Nonzeros = engine.compact(case.x, w_enc, b_enc, n_saes=1, compute_dtype=torch.float64, room=Room())
    pre = w_enc @ case.x.T + b_enc[:, None]
    assert torch.equal(nonzeros.tokens.long(), (pre > 0).nonzero()[:, 1])
    torch.testing.assert_close(nonzeros.values, pre[pre > 0])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["w_enc", "b_enc", "w_dec", "b_dec"])
def test_a_weight_that_is_not_a_number_is_not_lost(engine: ModuleType, name: str) -> None:
    case = make_case(n_saes=2, bias=1.0, dtype=torch.float32)
    case.weights[name][1].view(-1)[0] = float("nan")
    output = results(case, engine=engine)["output"]
    assert output[1].isnan().any()
    assert output[0].isfinite().all()


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that an operation returns."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else (out,):
            self.numel = max(self.numel, each.numel() if isinstance(each, Tensor) else 0)
        return out


@pytest.mark.parametrize("engine", ENGINES)
def test_the_pre_activations_of_all_elements_never_exist_at_once(engine: ModuleType) -> None:
    case = make_case(n_saes=1, tokens=1024, d_sae=2048, d_model=4, bias=-2.0, dtype=torch.float32)
    with LargestTensor() as largest:
        results(case, engine=engine)
    assert case.grad_output.numel() <= largest.numel < 1024 * 2048 / 3


def test_an_input_that_wants_a_gradient_is_refused() -> None:
    case = make_case(dtype=torch.float64)
    with pytest.raises(ValueError, match=r"pass x\.detach\(\)"):
        sparse_bank(case.x.requires_grad_(), **case.weights)


def test_numba_is_used_where_it_can_be_and_torch_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_for(torch.zeros(1)) is sparse_cpu
    assert switch_for(torch.zeros(1)) == WITH_NUMBA
    assert engine_for(torch.zeros(1, dtype=torch.float64)) is sparse_cpu
    assert engine_for(torch.zeros(1, dtype=torch.float16)) is sparse_torch
    assert engine_for(torch.zeros(1, device="meta")) is sparse_torch
    monkeypatch.setattr(sparse, "has_numba", lambda: False)
    assert engine_for(torch.zeros(1)) is sparse_torch
    assert switch_for(torch.zeros(1)) == WITH_TORCH
