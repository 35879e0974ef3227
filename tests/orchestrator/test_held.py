"""What a process holds from pack to pack."""

import platform
import subprocess
import sys

import pytest

TWO_PACKS = """
import psutil, torch
from orchestrator.packs.held import peak_memory_bytes, tidy_memory
from trainer.memory import keep_freed_memory
cpu = torch.device("cpu")
def held():
    return psutil.Process().memory_info().rss
keep_freed_memory()
start = held()
arrays = [torch.ones(2**20) for _ in range(50)]
kept = torch.ones(2**18)  # on top of what is freed: the heap cannot just shrink
del arrays
left, peak = held() - start, peak_memory_bytes(cpu) - start
tidy_memory(cpu)
print(left, peak, held() - start, peak_memory_bytes(cpu) - start)
"""
"""What 200 MiB of freed arrays leave, and what is left of them, with the peak, once the next pack begins."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a function of glibc")
def test_the_next_pack_begins_without_what_the_last_one_left() -> None:
    ran = subprocess.run([sys.executable, "-c", TWO_PACKS], capture_output=True, text=True, check=True)
    left, peak, after, peak_after = (float(each) / 2**20 for each in ran.stdout.split())
    assert left > 150
    assert peak > 150
    assert after < 50
    assert peak_after < 50
