"""What checks find, as lines; and running them so that one that breaks does not take the others with it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from trainer.errors import BadInput, EnvironmentProblem

AS_SAID = "as said"
"""In place of a fix that the text names already."""
Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of `doctor`."""

    check: str
    """What was looked at, such as `torch` or `disk`."""
    level: Level
    text: str
    fix: str = ""
    """What to do about it; empty only where nothing is wrong."""


def ok(check: str, text: str) -> Finding:
    return Finding(check, "ok", text)


def warning(check: str, text: str, fix: str) -> Finding:
    return Finding(check, "warning", text, fix)


def problem(check: str, text: str, fix: str) -> Finding:
    return Finding(check, "problem", text, fix)


Check = Callable[[], Iterable[Finding]]


def looked(check: str, look: Check) -> Iterator[Finding]:
    """What a check found. Bad input and missing environment become problems that carry their own fix; whatever else
    it raises is a warning, since nobody knows then."""
    try:
        yield from look()
    except (BadInput, EnvironmentProblem) as trouble:
        yield problem(check, str(trouble), AS_SAID)
    except Exception as trouble:
        what = str(trouble).strip().splitlines()
        text = f"cannot be told: {type(trouble).__name__}{': ' + what[0] if what else ''}"
        yield warning(check, text, "run it again with --debug to see where this comes from")


def gib(n_bytes: float) -> str:
    """`3.4 GiB`, `80 MiB`."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"
