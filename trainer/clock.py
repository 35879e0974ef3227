"""Seconds of a pack's work, by what they were spent on. Measures only; never makes a device wait."""

import time
from collections import defaultdict
from collections.abc import Generator, Hashable
from contextlib import contextmanager

import torch


class Clock:
    """A GPU works on while the process that feeds it is far ahead: there, its own events are the clock."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[Hashable, float] = defaultdict(float)
        self._open: list[tuple[Hashable, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def timing(self, what: Hashable) -> Generator[None]:
        """Add what is done inside to the seconds of `what`."""
        if not self._on_gpu:
            started = time.perf_counter()
            yield
            self._seconds[what] += time.perf_counter() - started
            return
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        yield
        end.record()
        self._open.append((what, start, end))
        self._take_up(wait=False)

    def seconds(self, what: Hashable) -> float:
        """So far; waits until the device has done what it was told to."""
        self._take_up(wait=True)
        return self._seconds[what]

    def add(self, what: Hashable, seconds: float) -> None:
        """Seconds that an earlier attempt at the same work spent."""
        self._seconds[what] += seconds

    def _take_up(self, *, wait: bool) -> None:
        while self._open and (wait or self._open[0][2].query()):
            what, start, end = self._open.pop(0)
            end.synchronize()
            self._seconds[what] += start.elapsed_time(end) / 1000
