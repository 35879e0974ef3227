"""Timing in turns: every thing that is compared runs once per turn, so that whatever slows the machine slows them all.

Ratios of medians are what may be read from a shared machine; seconds may not.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import torch

THREADS = {"process": 1, "wall": 2}
Item = TypeVar("Item")
Turn = Callable[["Clock"], float]
"""Runs once and says how many seconds one step took."""


class Clock(NamedTuple):
    """What is read before and after: CPU time of this process on one thread, or wall time on several."""

    kind: Literal["process", "wall"]
    device: str = "cpu"

    def now(self) -> float:
        """Seconds, once the device has done what it was given."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.kind == "process" else time.perf_counter()


def clocks(device: str, kinds: Sequence[Literal["process", "wall"]]) -> list[tuple[Clock, int]]:
    """The clocks of one benchmark, each with the number of threads torch gets. A GPU has one, whatever the `kinds`."""
    if device.startswith("cuda"):
        return [(Clock("wall", device), torch.get_num_threads())]
    return [(Clock(kind), THREADS[kind]) for kind in kinds]


def once(run: Callable[[], object]) -> Turn:
    """A turn that runs this once."""

    def turn(clock: Clock) -> float:
        start = clock.now()
        run()
        return clock.now() - start

    return turn


class Stamped(Iterator[Item]):
    """An iterator that notes when it was asked for each item: what lies between two questions is one step of whoever
    asks. This is how a training loop that cannot be stepped from outside is timed, without a line of it changed.
    """

    def __init__(self, items: Iterable[Item], clock: Clock) -> None:
        self._items = iter(items)
        self._clock = clock
        self.stamps: list[float] = []

    def __next__(self) -> Item:
        self.stamps.append(self._clock.now())
        return next(self._items)

    def step_seconds(self, *, skip: int = 1) -> float:
        """Median of the steps after the first `skip`, which allocate what later ones use."""
        seconds = [after - before for before, after in zip(self.stamps, self.stamps[1:], strict=False)]
        return statistics.median(seconds[skip:])


def in_turns(turns: Mapping[str, Turn], *, repeats: int, clock: Clock) -> dict[str, float]:
    """Median seconds per step of each, over `repeats` turns after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(repeats + 1):
        for name, turn in turns.items():
            seconds[name].append(turn(clock))
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}
