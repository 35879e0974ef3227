"""Compiled kernels on several threads. They release Python's lock, and each writes to a range of its own."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import torch


@cache
def has_numba() -> bool:
    """Whether there are compiled kernels at all. Looks without importing."""
    return find_spec("numba") is not None


@cache
def _pool(n_threads: int, process_id: int) -> ThreadPoolExecutor:
    del process_id  # in the key, since threads do not survive a fork
    return ThreadPoolExecutor(n_threads, thread_name_prefix="kernel")


def over_ranges(kernel: Callable[..., Any], arguments: tuple[Any, ...], bounds: list[int]) -> list[Any]:
    """Run a kernel on the range between each pair of neighbours in `bounds`, all at once; what each returned."""
    if len(bounds) == 2:
        return [kernel(*arguments, *bounds)]
    pool = _pool(len(bounds) - 1, os.getpid())
    return [each.result() for each in [pool.submit(kernel, *arguments, *ends) for ends in pairwise(bounds)]]


def even_bounds(size: int) -> list[int]:
    """One range per thread that torch would use, none empty."""
    parts = max(1, min(torch.get_num_threads(), size))
    return [size * part // parts for part in range(parts + 1)]
