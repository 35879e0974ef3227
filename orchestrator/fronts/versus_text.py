"""A comparison of two sweeps as tables and lines."""

from collections.abc import Iterator, Sequence

from orchestrator.fronts.certainty import Estimate, Verdict
from orchestrator.fronts.paper_tables import TextTable
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.versus import Versus, Volumes
from orchestrator.fronts.words import name_of, number

_SAID = {
    Verdict.BETTER: "B is better",
    Verdict.LIKELY_BETTER: "B is likely better",
    Verdict.CANNOT_TELL: "cannot tell",
    Verdict.LIKELY_WORSE: "A is likely better",
    Verdict.WORSE: "A is better",
}


def tables(found: Versus, names: tuple[str, str]) -> list[TextTable]:
    """Hypervolumes, then one table per matched metric."""
    made = [_volumes(found, names, objective) for objective in dict.fromkeys(one.objective for one in found.volumes)]
    for matched in dict.fromkeys(reading.matched for reading in found.readings):
        rows = [
            (reading.where, number(reading.target), name_of(reading.reads), number(reading.first),
             number(reading.second), "-" if reading.ratio is None else f"{reading.ratio:.2f}")
            for reading in found.readings if reading.matched == matched
        ]  # fmt: skip
        made.append(TextTable(f"At equal {name_of(matched)}", ("SAEs", "at", "metric", "A", "B", "B / A"), tuple(rows)))
    return made


def words(found: Versus, names: tuple[str, str], settings: Sequence[str]) -> Iterator[str]:
    """What is not in the tables: statements, settings that differ, what only one sweep has."""
    said = [f"{reading.where}: {reading.statement}" for reading in found.readings if reading.statement]
    yield from (*said, "") if said else ()
    yield f"A is {names[0]}, B is {names[1]}"
    yield from (f"differs  {line}" for line in settings)
    if not settings:
        yield "their settings are the same"
    for only, name in ((found.only_first, "A"), (found.only_second, "B")):
        if only:
            yield f"only in {name}: {'; '.join(only)}"


def _volumes(found: Versus, names: tuple[str, str], objective: Objective) -> TextTable:
    here = [one for one in found.volumes if one.objective == objective]
    rows = tuple((one.where, _estimate(one.first), _estimate(one.second), *_gain(one)) for one in here)
    point = ", ".join(f"{name_of(name)} {number(found.reference[name])}" for name in objective)
    whose = "reference point" if found.reference_is_theirs else "worst of both sweeps,"
    return TextTable(
        f"Hypervolume in {' and '.join(name_of(name) for name in objective)}",
        ("SAEs", "A", "B", "B - A", "95 % interval", "verdict"),
        rows,
        f"A: {names[0]}. B: {names[1]}. Share of the box up to the {whose} {point}; mean over seeds.",
    )


def _estimate(found: Estimate) -> str:
    ends = f" ({number(found.low)} to {number(found.high)})" if found.low is not None else ""
    return f"{number(found.mean)}{ends}"


def _gain(one: Volumes) -> tuple[str, str, str]:
    less = one.loss_of_volume
    if less is None:
        return "-", "-", "-"
    gain = f"{-less.mean:+.3g}"
    if less.low is None or less.high is None:
        return gain, "-", f"cannot tell: {less.n_seeds} seed{'s' if less.n_seeds > 1 else ''}"
    return gain, f"{-less.high:+.3g} to {-less.low:+.3g}", _SAID[less.verdict]
