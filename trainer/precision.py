"""What a trial's `compute_dtype` means to torch, in one place."""

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def use_tensor_cores(device: torch.device) -> None:
    """Let float32 products on a GPU round their factors to TF32, as everyone trains there. A CPU is left as it is."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
