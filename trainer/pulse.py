"""Says that work goes on, from within loops that yield nothing for long. Whoever watches for hangs listens."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from trainer.faults import fault_point

_listener: Callable[[], None] | None = None


def pulse(place: str, number: int | None = None) -> None:
    """Called in each pass of a long loop; also a place for faults."""
    fault_point(place, number)
    if _listener is not None:
        _listener()


@contextmanager
def heard_by(listener: Callable[[], None]) -> Generator[None]:
    """`listener` is called at every pulse while inside. What it raises ends the loop."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before
