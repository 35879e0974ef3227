"""What large arrays leave behind: kept by the process while it trains, handed back before it does something else."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As in glibc's malloc.h."""
LARGEST = 2**31 - 4097
"""As much as fits into an int, whole pages."""


def keep_freed_memory() -> bool:
    """Have freed arrays reused by the next ones instead of handed back to the system. Call once, before training.

    A step frees and allocates the same gradients again and again; given back each time, every page of them is cleared
    and mapped anew, which takes longer than the arithmetic on it. The process keeps the most it ever used, until
    `hand_back_freed_memory`.

    Returns whether the C library took the setting: glibc does, elsewhere nothing happens.
    """
    if not _has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, LARGEST) == 1 for name in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))


def hand_back_freed_memory() -> bool:
    """Give the system what is free, once: before work that needs arrays of other sizes.

    They would not fit well into what others left, and the process would grow with each pack.

    Returns whether anything was handed back; never where the C library is not glibc.
    """
    return _has_glibc() and ctypes.CDLL(None).malloc_trim(0) == 1


def _has_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
