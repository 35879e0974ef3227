"""A comparison of two sweeps as tables and lines."""

from collections.abc import Iterator, Sequence

from orchestrator.display.plain import plain
from orchestrator.fronts.certainty import Estimate, Verdict
from orchestrator.fronts.paper_tables import TextTable
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.sentences import too_few
from orchestrator.fronts.versus import Versus, Volumes
from orchestrator.fronts.words import name_of, number, signed, where

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
    return [*made, *_guests(found)]


def words(found: Versus, names: tuple[str, str], settings: Sequence[str]) -> Iterator[str]:
    """What is not in the tables: statements, settings that differ, what only one sweep has."""
    said = [f"{reading.where}: {reading.statement}" for reading in found.readings if reading.statement]
    few = [reading.n_seeds for reading in found.readings if not reading.statement]
    if few and (said or _some_sure(found.volumes)):  # else the first table says it
        said.append(too_few(max(few)) if not said else f"Where nothing more is said: {_lower(too_few(max(few)))}")
    yield from (*said, "") if said else ()
    yield from (f"note     {note}" for note in found.notes)
    yield f"A is {names[0]}, B is {names[1]}"
    yield from (f"differs  {line}" for line in settings)
    if not settings:
        yield "their settings are the same"
    if found.n_shared:
        some = f"{found.n_shared} trial{'s are' if found.n_shared > 1 else ' is'}"
        yield f"{some} in both, with the same settings and seed"
    for only, name in ((found.only_first, "A"), (found.only_second, "B")):
        if only:
            yield f"only in {name}: {'; '.join(only)}"


def _volumes(found: Versus, names: tuple[str, str], objective: Objective) -> TextTable:
    here = [one for one in found.volumes if one.objective == objective]
    sure, is_first = _some_sure(here), objective == found.volumes[0].objective
    rows = tuple((one.where, _estimate(one.first), _estimate(one.second), *_gain(one, sure=sure)) for one in here)
    point = ", ".join(f"{name_of(name)} {number(found.reference[name])}" for name in objective)
    whose = (
        f"Share of the box up to the reference point {point}"
        if all(one.reference_is_theirs for one in here)
        else f"Share of the box from the best to the worst values of both sweeps, {point}"
    )
    few = max((one.loss_of_volume.n_seeds for one in here if one.loss_of_volume is not None), default=0)
    return TextTable(
        f"Hypervolume in {' and '.join(name_of(name) for name in objective)}",
        ("SAEs", "A", "B", "B - A", *(("95 % interval", "verdict") if sure else ())),
        rows,
        f"A: {names[0]}. B: {names[1]}. {whose}; mean over seeds.{f' {too_few(few)}' if is_first and not sure else ''}",
    )


def _some_sure(volumes: Sequence[Volumes]) -> bool:
    return any(one.loss_of_volume is not None and one.loss_of_volume.low is not None for one in volumes)


def _guests(found: Versus) -> Iterator[TextTable]:
    for objective in dict.fromkeys(guest.first.objective for guest in found.guests):
        here = [guest for guest in found.guests if guest.first.objective == objective]
        rows = tuple(
            (plain(one.first.name), where(one.first.layer, d_sae=one.first.d_sae), one.first.text, one.second.text)
            for one in here
        )
        title = f"SAEs of others in {' and '.join(name_of(name) for name in objective)}"
        yield TextTable(title, ("SAE", "where", "among A", "among B"), rows)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _estimate(found: Estimate) -> str:
    ends = f" ({number(found.low)} to {number(found.high)})" if found.low is not None else ""
    return f"{number(found.mean)}{ends}"


def _gain(one: Volumes, *, sure: bool) -> tuple[str, ...]:
    """The difference and, where any of the table's has them, its interval and verdict."""
    less = one.loss_of_volume
    if less is None:
        return ("-", "-", "-") if sure else ("-",)
    gain = signed(-less.mean)
    if less.low is None or less.high is None:
        few = f"cannot tell: {less.n_seeds} seed{'s' if less.n_seeds > 1 else ''}"
        return (gain, "-", few) if sure else (gain,)
    return gain, f"{signed(-less.high)} to {signed(-less.low)}", _SAID[less.verdict]
