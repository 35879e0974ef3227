"""Memory that large arrays leave behind stays with the process: one setting of the C library. Allocates nothing."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""As in glibc's malloc.h."""
LARGEST = 2**31 - 4097
"""As much as fits into an int, whole pages."""


def keep_freed_memory() -> bool:
    """Have freed arrays reused by the next ones instead of handed back to the system. Call once, before training.

    A step frees and allocates the same gradients again and again; given back each time, every page of them is cleared
    and mapped anew, which takes longer than the arithmetic on it. The process keeps the most it ever used.

    Returns whether the C library took the setting: glibc does, elsewhere nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, LARGEST) == 1 for name in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))
