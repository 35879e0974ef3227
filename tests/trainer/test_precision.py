"""Precision of products, by device. TF32 can be seen on a CPU only as the setting that a GPU would follow."""

from collections.abc import Iterator

import pytest
import torch

from trainer.precision import use_tensor_cores


@pytest.fixture(autouse=True)
def precision_kept() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("device", "precision"), [("cuda:0", "high"), ("cpu", "highest")])
def test_a_gpu_gets_tf32_and_a_cpu_is_left_as_it_is(device: str, precision: str) -> None:
    use_tensor_cores(torch.device(device))
    assert torch.get_float32_matmul_precision() == precision
