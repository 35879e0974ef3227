"""What a process holds while it trains: the frozen model, the token rows, and the device, each got once; and how much
memory that is."""

import gc
import re
import resource
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import torch

from trainer.config import DataConfig, ModelConfig
from trainer.data import Rows, prepare_rows
from trainer.memory import hand_back_freed_memory
from trainer.models import FrozenModel, load_model

PROCESS = Path("/proc/self")
FORGET_PEAK = "5"
"""What Linux wants to read in `clear_refs` (proc(5))."""


@lru_cache(maxsize=1)
def held_model(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> FrozenModel:
    """Loaded once per process, the last one kept."""
    return load_model(config, device=device, dtype=dtype)


@lru_cache(maxsize=8)
def held_rows(data: DataConfig, model: ModelConfig, d_vocab: int, cache: str) -> Rows:
    """Opened once per process. The driver made the store."""
    return prepare_rows(data, model=model, d_vocab=d_vocab, cache=Path(cache))


def forget() -> None:
    """Let go of model and rows."""
    held_model.cache_clear()
    held_rows.cache_clear()
    gc.collect()


def device_for(gpus: float) -> torch.device:
    """A GPU where a pack was given (a share of) one and PyTorch can use it, else the CPU."""
    return torch.device("cuda" if gpus > 0 and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Such as `cpu` or `NVIDIA H100 80GB HBM3`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def tidy_memory(device: torch.device) -> None:
    """Let go of what the work before left, and count the peak from here on, where the system can."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        return
    hand_back_freed_memory()
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text(FORGET_PEAK)


def peak_memory_bytes(device: torch.device) -> float:
    """Of the device on a GPU, of this process on the CPU: since `tidy_memory`, where the system can tell."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s*(\d+) kB$", (PROCESS / "status").read_text(), re.MULTILINE):
            return float(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
