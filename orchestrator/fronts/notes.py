"""What was asked for and cannot be told, in words: values that no frontier reaches, half a reference point."""

from collections.abc import Mapping, Sequence

from orchestrator.fronts.along import Curve
from orchestrator.fronts.matched import Match
from orchestrator.fronts.schema import EXTERNAL, Objective
from orchestrator.fronts.series import BASELINE, Series, planes
from orchestrator.fronts.summary import Fronts
from orchestrator.fronts.words import name_of, number, where


def notes(fronts: Fronts) -> list[str]:
    """All of them, and SAEs of others that are not in the table."""
    return [*no_volume(fronts.objectives, fronts.reference), *unreached(fronts), *fronts.problems]


def no_volume(objectives: Sequence[Objective], reference: Mapping[str, float]) -> list[str]:
    """Which hypervolumes there are none of, although a part of their reference point is given."""
    found: list[str] = []
    for objective in objectives:
        missing = [name for name in objective if name not in reference]
        if missing and len(missing) < len(objective):
            options = " ".join(f"--reference {name}=NUMBER" for name in missing)
            found.append(
                f"no hypervolume in {' and '.join(name_of(name) for name in objective)}: there is no reference for "
                f"{' and '.join(name_of(name) for name in missing)}. Give it as well: {options}"
            )
    return found


def unreached(fronts: Fronts) -> list[str]:
    """Values at which a comparison was asked for, and which frontiers do not have."""
    asked = [match for match in fronts.matches if match.asked and match.loss != EXTERNAL]
    found: list[str] = []
    for place in fronts.places:
        here = [match for match in asked if match.place == place.keys]
        for matched, target in dict.fromkeys((match.matched, match.target) for match in here):
            there = [match for match in here if (match.matched, match.target) == (matched, target)]
            out = {match.loss for match in there} - {match.loss for match in there if match.value is not None}
            if out:
                at = f"{name_of(matched)} {number(target)}"
                covers = [
                    _range(place.series[loss], matched, fronts.objectives) for loss in place.series if loss in out
                ]
                found.append(f"{_name(there[0])}: {_said(out, {*place.series}, at, covers)}")
    return found


def _said(out: set[str], every: set[str], at: str, covers: Sequence[tuple[float, float] | None]) -> str:
    ranges = [found for found in covers if found is not None]
    ends = (
        f" ({number(min(low for low, _ in ranges))} to {number(max(high for _, high in ranges))} is there)"
        if ranges
        else ""
    )
    if out == every:
        return f"no frontier reaches {at}{ends}, so nothing is said there"
    if BASELINE in out:
        return f"local's frontier does not reach {at}{ends}, so nothing is compared with it there"
    losses = " and ".join(sorted(out))
    return f"the frontier of {losses} does not reach {at}{ends}, so nothing is said of it there"


def _range(series: Series, matched: str, objectives: Sequence[Objective]) -> tuple[float, float] | None:
    plane = next(plane for plane in planes(objectives) if matched in plane)
    return Curve(series, plane).range(matched) if series.has(plane) else None


def _name(match: Match) -> str:
    return where(match.place["layer"], d_sae=match.place["d_sae"])
