"""A difference in words: who beats whom, by how much, how sure that is, or that it cannot be told."""

import math

from orchestrator.fronts.certainty import FEWEST_SEEDS, Difference, Verdict
from orchestrator.fronts.costs import is_log
from orchestrator.fronts.words import name_of, number

_VERBS = {
    Verdict.BETTER: "beats",
    Verdict.LIKELY_BETTER: "is ahead of",
    Verdict.CANNOT_TELL: "against",
    Verdict.LIKELY_WORSE: "is behind",
    Verdict.WORSE: "loses to",
}


def sentence(
    found: Difference, *, loss: str, matched: str, target: float, reads: str, value: float, ratio: float | None,
    baseline: str = "local",
) -> str:  # fmt: skip
    """`e2e beats local at L0 50 by 0.1 in CE increase (95 % interval 0.08 to 0.12, 6 paired seeds, p = 0.031)`."""
    at = f"at {name_of(matched)} {number(target)}"
    size, interval = amount(found, reads), interval_text(found, reads)
    seeds = f"{found.n_seeds} {'paired ' if found.paired else ''}seed{'s' if found.n_seeds > 1 else ''}"
    if found.low is None:
        return (
            f"cannot tell {loss} from {baseline} {at}: they differ by {size}, and {FEWEST_SEEDS} seeds are needed to "
            f"see how much that varies (here {seeds})"
        )
    if found.verdict is Verdict.CANNOT_TELL:
        return f"cannot tell {loss} from {baseline} {at}: {size} ({interval}, {seeds}{_p(found)})"
    share = f", {number(value)} or {ratio:.2f} of {baseline}'s" if ratio is not None else ""
    return f"{loss} {_VERBS[found.verdict]} {baseline} {at} by {size}{share} ({interval}, {seeds}{_p(found)})"


def brief(
    found: Difference, *, loss: str, matched: str, target: float, reads: str, value: float, ratio: float | None,
    baseline: str = "local",
) -> str:  # fmt: skip
    """Of seeds too few to say how sure it is: `e2e differs from local at L0 50 by 0.1 in CE increase, 0.3 or 0.75 of
    local's`. Why it stops there is said once for all."""
    share = f": {number(value)}" + (f", {ratio:.2f} of {baseline}'s" if ratio is not None else "")
    return f"{loss} differs from {baseline} at {name_of(matched)} {number(target)} by {amount(found, reads)}{share}"


def too_few(n_seeds: int) -> str:
    """What to say once in place of intervals and verdicts."""
    here = f"{n_seeds} seed{'s' if n_seeds > 1 else ''} at most" if n_seeds else "no seed"
    return f"How sure differences are cannot be told: that takes {FEWEST_SEEDS} seeds, and here they share {here}."


def amount(found: Difference, reads: str) -> str:
    """How much: a factor of counts, else a difference."""
    if is_log(reads):
        return f"a factor of {number(math.exp(abs(found.mean)))} in {name_of(reads)}"
    return f"{number(abs(found.mean))} in {name_of(reads)}"


def interval_text(found: Difference, reads: str) -> str:
    """`95 % interval 0.08 to 0.12`, in the direction of the mean, so that a positive number is its size."""
    if found.low is None or found.high is None:
        return "no interval"
    ends = (found.low, found.high) if found.mean >= 0 else (-found.high, -found.low)
    if is_log(reads):
        ends = (math.exp(ends[0]), math.exp(ends[1]))
    return f"95 % interval {number(ends[0])} to {number(ends[1])}"


def _p(found: Difference) -> str:
    if found.p_value is None:
        return ""
    if found.verdict in (Verdict.LIKELY_BETTER, Verdict.LIKELY_WORSE):
        return ", too few for an exact test"
    return f", p = {found.p_value:.2g}"
