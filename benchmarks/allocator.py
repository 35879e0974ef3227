"""Turns of other tools with the process as their users have it: its memory and its precision.

Our workers set glibc to keep freed memory (`trainer/memory.py`). In one process that would be set for every tool that
takes turns, and it is worth up to a third of a dense step. So a peer's turn runs under glibc's own thresholds: those
that its dynamic adjustment arrives at once arrays of tens of megabytes were freed, which it does in the first step. Nor
do they get the TF32 that our packs set on a GPU.
"""

import ctypes
import platform

import torch

from benchmarks.timing import Clock, Turn
from trainer.memory import M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, keep_freed_memory

DEFAULT_MMAP_THRESHOLD_MAX = 32 * 2**20
"""As in glibc's malloc.c on 64 bits; the trim threshold follows at twice that."""


def hand_back_freed_memory() -> bool:
    """Set glibc to what it does unasked. Returns whether it took the setting."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_THRESHOLD: DEFAULT_MMAP_THRESHOLD_MAX, M_TRIM_THRESHOLD: 2 * DEFAULT_MMAP_THRESHOLD_MAX}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def as_it_stands(turn: Turn) -> Turn:
    """The turn, with memory and precision as they are without us."""

    def run(clock: Clock) -> float:
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        hand_back_freed_memory()
        try:
            return turn(clock)
        finally:
            keep_freed_memory()
            torch.set_float32_matmul_precision(precision)

    return run
