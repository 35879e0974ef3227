"""Freed arrays stay with the process, where the C library can be told so."""

import platform
import subprocess
import sys

import pytest

from trainer import memory

PROGRAM = """
import resource, torch
from trainer.memory import keep_freed_memory
print(keep_freed_memory() if {keep} else None)
def faults():
    for _ in range(4):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
faults()
print(-faults() + faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_arrays_are_used_again() -> None:
    def program(keep: bool) -> list[str]:
        command = [sys.executable, "-c", PROGRAM.format(keep=keep)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    (_, usual), (told, kept) = program(False), program(True)
    assert told == "True"
    assert int(kept) < int(usual) / 2


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed_memory()
    assert not memory.hand_back_freed_memory()
