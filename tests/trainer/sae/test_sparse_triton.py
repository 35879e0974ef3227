"""The kernels for a GPU, interpreted on this CPU, say what the dense formula says; a tile or a list that is too short
loses nothing."""

from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton")

from tests.trainer.conftest import make_trial
from tests.trainer.sae.test_sparse import assert_close, make_case, results
from trainer.data import Rows
from trainer.losses import E2ELoss, LocalLoss
from trainer.models import FrozenModel
from trainer.pack import Finished, Pack, Stepping
from trainer.sae import sparse, sparse_cpu, sparse_torch, sparse_triton
from trainer.sae.nonzeros import Room
from trainer.sae.sparse_triton import Blocks

SMALL = Blocks(elements=16, tokens=16, width=16, slots=64, entries=4, columns=16)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_triton, "BLOCKS", SMALL)


@pytest.mark.parametrize("bias", [-9.0, -2.0, -1.0, 0.0, 9.0])
@pytest.mark.parametrize(
    ("n_saes", "tokens", "d_sae", "d_model"), [(1, 17, 9, 21), (2, 16, 16, 16), (3, 5, 18, 5), (1, 1, 1, 1)]
)
def test_kernels_and_dense_agree_at_any_shape_and_density(
    n_saes: int, tokens: int, d_sae: int, d_model: int, bias: float
) -> None:
    case = make_case(n_saes=n_saes, tokens=tokens, d_sae=d_sae, d_model=d_model, bias=bias, dtype=torch.float64)
    found, expected = results(case, engine=sparse_triton), results(case, engine=None)
    assert torch.equal(found["firing_counts"], expected["firing_counts"])
    assert_close(found, expected, tolerance=1e-12)


def test_elements_that_always_fire_and_elements_that_never_do_may_be_neighbours() -> None:
    case = make_case(n_saes=2, tokens=20, d_sae=18, d_model=5, dtype=torch.float64)
    case.weights["b_enc"][:, ::3] = 50.0
    case.weights["b_enc"][:, 1::3] = -50.0
    case.x[3] = 0.0  # a token on which hardly anything fires
    found, expected = results(case, engine=sparse_triton), results(case, engine=None)
    assert_close(found, expected, tolerance=1e-12)
    dead = found["firing_counts"] == 0
    assert dead[:, 1::3].all()
    assert not any(found[f"gradient of {name}"][dead].any() for name in ("w_enc", "b_enc", "w_dec"))


@pytest.mark.parametrize("slots", [16, 256])
def test_a_tile_with_more_entries_than_slots_loses_none(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_triton, "BLOCKS", SMALL._replace(slots=slots))
    case = make_case(n_saes=1, tokens=20, d_sae=18, d_model=5, bias=0.0, dtype=torch.float64)
    case.weights["b_enc"][0, 16:] = -50.0  # so that some tiles are full and others are not
    assert_close(results(case, engine=sparse_triton), results(case, engine=None), tolerance=1e-12)


def test_in_single_precision_and_in_bfloat16_they_agree_to_their_rounding() -> None:
    case = make_case(n_saes=1, tokens=20, d_sae=18, d_model=21, dtype=torch.float32)
    expected = results(case, engine=None)
    assert_close(results(case, engine=sparse_triton), expected, tolerance=2e-6)
    half = results(case, engine=sparse_triton, compute_dtype=torch.bfloat16)
    assert not torch.equal(half["output"], expected["output"])
    assert float((half["output"] - expected["output"]).abs().max()) < 0.05 * float(expected["output"].abs().max())


def test_twice_the_same_is_bitwise_the_same() -> None:
    case = make_case(n_saes=1, tokens=20, d_sae=18, d_model=5, bias=0.0, dtype=torch.float32)
    first, second = (results(case, engine=sparse_triton) for _ in range(2))
    assert all(torch.equal(each, second[name]) for name, each in first.items())


def test_a_weight_that_is_not_a_number_is_not_lost() -> None:
    case = make_case(n_saes=2, tokens=5, d_sae=6, d_model=5, dtype=torch.float32)
    case.weights["w_enc"][1, 2, 3] = float("nan")
    output = results(case, engine=sparse_triton)["output"]
    assert output[1].isnan().any()
    assert output[0].isfinite().all()


def test_a_room_that_is_too_small_is_noticed_and_grows() -> None:
    case = make_case(n_saes=1, tokens=5, d_sae=6, d_model=5, bias=0.0, dtype=torch.float64)
    room, weights = Room(), {name: each.clone().requires_grad_() for name, each in case.weights.items()}
    with patch.object(sparse, "engine_for", return_value=sparse_triton):
        short = sparse.sparse_bank(case.x, **weights, room=room)
        torch.autograd.grad([short.output, short.l1], list(weights.values()), [case.grad_output, case.grad_l1])
        assert not room.was_enough()
        out = sparse.sparse_bank(case.x, **weights, room=room)
        assert room.was_enough()
    assert room.n_entries >= int(out.firing_counts.sum()) > 0
    torch.testing.assert_close(out.output.detach(), results(case, engine=None)["output"], rtol=0, atol=1e-12)


def test_they_are_used_for_float32_weights_on_a_gpu_and_nowhere_else() -> None:
    with FakeTensorMode():
        on_gpu = torch.empty(1, device="cuda")
        assert sparse.engine_for(on_gpu) is sparse_triton
        assert sparse.engine_for(on_gpu.double()) is sparse_torch
        assert sparse.engine_for(on_gpu.cpu()) is sparse_cpu


class Reads(TorchDispatchMode):
    """Counts the numbers that the host reads from tensors, outside of `Room.was_enough`."""

    def __init__(self) -> None:
        super().__init__()
        self.n, self.asking = 0, False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        reads = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)
        self.n += func.overloadpacket in reads and not self.asking
        return func(*args, **(kwargs or {}))


def packed(model: FrozenModel, rows: Rows) -> Pack:
    trials = [make_trial(loss, n_steps=3) for loss in (LocalLoss(sparsity_coeff=0.7), E2ELoss(sparsity_coeff=0.3))]
    return Pack(trials, model=model, rows=rows, path="sparse")


@pytest.mark.slow
def test_training_with_them_gives_the_same_saes_and_the_host_reads_nothing_else(
    model: FrozenModel, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    (*_, expected) = packed(model, rows).train()
    monkeypatch.setattr(sparse, "engine_for", lambda _: sparse_triton)
    pack, reads, was_enough = packed(model, rows), Reads(), Room.was_enough
    pack.may_wait = False

    def asked(room: Room) -> bool:
        reads.asking = True
        try:
            return was_enough(room)
        finally:
            reads.asking = False

    monkeypatch.setattr(Room, "was_enough", asked)
    with reads:
        for event in pack.train(log_every_steps=1000):
            if isinstance(event, Stepping) and event.step == 2:
                break
    assert reads.n == 0
    for _ in pack.train(log_every_steps=1000):
        if pack.state.step == 3:
            break
    assert isinstance(expected, Finished)
    for ids, state in zip(pack.trial_ids, pack.state.banks, strict=True):
        sae: dict[str, Tensor] = expected.results[ids[0]].sae
        for name, tensor in state.bank.export(0).items():
            torch.testing.assert_close(tensor, sae[name], rtol=0, atol=1e-12)
