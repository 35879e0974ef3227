"""A finding of the paper, the readings that bear on it, and the verdict that follows from them.

A reading is one number of one layer with its interval, and whether the finding holds there: the rule is part of the
finding, so nothing is judged by eye. Verdicts are about direction; how large an effect is, the numbers say.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.folder.records import Row
from orchestrator.paper.analysis import Group, Line, Tables

LOCAL, E2E, DOWNSTREAM = "local", "e2e", "e2e_downstream"
NORMAL_95 = 1.959964
"""Standard errors on either side of a mean that make its 95 % interval."""
MOST_LISTED = 4
"""Readings of one comparison up to which each is written out."""


class Verdict(StrEnum):
    """What a run says of a finding."""

    REPRODUCED = "reproduced"
    MIXED = "mixed"
    """It holds at some places and not at others."""
    NOT_REPRODUCED = "not reproduced"
    CANNOT_BE_SEEN = "cannot be seen"
    """It was measured, and no reading decides."""
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Measured:
    """A number and its 95 % interval, None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    def below(self, limit: float) -> bool | None:
        """Whether it is; None where its interval holds the limit. Without an interval the value decides."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return True if high < limit else False if low > limit else None

    def above(self, limit: float) -> bool | None:
        """The same the other way."""
        return Measured(-self.value, _negative(self.high), _negative(self.low)).below(-limit)

    def shifted(self, by: float) -> "Measured":
        return Measured(
            self.value + by, None if self.low is None else self.low + by, None if self.high is None else self.high + by
        )


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error, None where it is not known."""

    value: float
    stderr: float | None = None

    def less(self, other: "Mean") -> Measured:
        """The difference of two that do not depend on each other."""
        value = self.value - other.value
        return _around(value, _hypot(self.stderr, other.stderr))

    def over(self, other: "Mean") -> Measured:
        """The ratio of two that do not depend on each other, by the first order of its error. `other` is not 0."""
        value = self.value / other.value
        times = None if other.stderr is None else other.stderr * value
        return _around(value, _hypot(self.stderr, times, over=abs(other.value)))


@dataclass(frozen=True)
class Reading:
    """One number that bears on a finding."""

    layer: int
    what: str
    """What is compared with what, such as `e2e over local`."""
    measured: Measured
    holds: bool | None
    """Whether the finding holds there; None where the number does not say."""
    group: str = ""
    """Which SAEs: `L3-ce0.12`."""


@dataclass(frozen=True)
class Seen:
    """What rules read: the tables of a report, and the SAEs that are compared in it."""

    tables: Mapping[str, Sequence[Line]]
    groups: tuple[Group, ...]

    def lines(self, table: str, **wanted: Any) -> list[Line]:
        """Those of a table, empty where it was not made, whose columns have these values."""
        lines = self.tables.get(table, [])
        return [line for line in lines if all(line.get(name) == value for name, value in wanted.items())]

    def of(self, table: str, row: Row, **wanted: Any) -> list[Line]:
        """Lines about one SAE."""
        return self.lines(table, trial_id=row.trial_id, **wanted)

    def pairs(self, first: str, second: str) -> list[tuple[Group, Row, Row]]:
        """The groups that have an SAE of both losses."""
        found = [(group, group.by_loss) for group in self.groups]
        return [
            (group, by_loss[first], by_loss[second])
            for group, by_loss in found
            if first in by_loss and second in by_loss
        ]


@dataclass(frozen=True)
class Finding:
    """One finding of the paper and the rule that looks for it."""

    id: str
    claim: str
    """As a sentence."""
    where: str
    """In the paper: `Section 3.1`."""
    there: str
    """Its numbers on GPT2-small."""
    rule: str
    """What a reading is, and when the finding holds in it."""
    tables: tuple[str, ...]
    """Which it needs: the finding was not looked for where none of them has a line."""
    readings: Callable[[Seen], Iterable[Reading]]
    unseen: str
    """Why no reading may decide."""


@dataclass(frozen=True)
class Outcome:
    """A finding on one run."""

    finding: Finding
    readings: tuple[Reading, ...]
    verdict: Verdict
    problem: str = ""
    """A bug in its rule."""

    @property
    def numbers(self) -> str:
        """The readings as text: each one, or of many how many hold and their range."""
        by_what: dict[str, list[Reading]] = {}
        for one in self.readings:
            by_what.setdefault(one.what, []).append(one)
        said = "; ".join(f"{what}: {_listed(readings)}" for what, readings in by_what.items())
        if self.verdict is Verdict.CANNOT_BE_SEEN:
            return f"{said}. {self.finding.unseen}" if said else self.finding.unseen
        return said


def outcome(finding: Finding, tables: Tables, groups: Sequence[Group]) -> Outcome:
    """What the tables of a report say of a finding."""
    if not any(tables.get(name) for name in finding.tables):
        return Outcome(finding, (), Verdict.NOT_RUN)
    try:
        readings = tuple(finding.readings(Seen(tables, tuple(groups))))
    except Exception as error:  # a bug in one rule must not take the others' verdicts
        why = f"the rule of {finding.id} is a bug, not something you did: {type(error).__name__}: {error}"
        return Outcome(finding, (), Verdict.NOT_RUN, why)
    return Outcome(finding, readings, _verdict([one.holds for one in readings if one.holds is not None]))


def _verdict(decided: Sequence[bool]) -> Verdict:
    if not decided:
        return Verdict.CANNOT_BE_SEEN
    if all(decided):
        return Verdict.REPRODUCED
    return Verdict.MIXED if any(decided) else Verdict.NOT_REPRODUCED


def _listed(readings: Sequence[Reading]) -> str:
    if len(readings) <= MOST_LISTED:
        several = len({one.layer for one in readings}) < len(readings)
        return ", ".join(f"{one.group if several and one.group else f'L{one.layer}'} {_text(one)}" for one in readings)
    values = [one.measured.value for one in readings]
    n_held, n_not, n_open = (sum(one.holds is answer for one in readings) for answer in (True, False, None))
    return (
        f"{_number(min(values))} to {_number(max(values))} at {len(readings)} places: holds at {n_held}, does not at "
        f"{n_not}, open at {n_open}"
    )


def _text(reading: Reading) -> str:
    measured = reading.measured
    if measured.low is None or measured.high is None:
        return _number(measured.value)
    return f"{_number(measured.value)} ({_number(measured.low)} to {_number(measured.high)})"


def _number(value: float) -> str:
    """Two digits after the point, three below a tenth, none of whole numbers or from 100 on."""
    if value == round(value):
        return f"{value:.0f}"
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 0.095 else f"{value:.3f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _around(value: float, stderr: float | None) -> Measured:
    if stderr is None:
        return Measured(value)
    return Measured(value, value - NORMAL_95 * stderr, value + NORMAL_95 * stderr)


def _hypot(*errors: float | None, over: float = 1.0) -> float | None:
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / over if len(known) == len(errors) else None


def _negative(value: float | None) -> float | None:
    return None if value is None else -value
