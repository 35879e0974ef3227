"""Findings as a part of the report: two tables that follow from those of all analyses."""

from collections.abc import Sequence

from orchestrator.paper.analysis import COUNT, FLAG, NUMBER, TEXT, Column, Group, Part, Tables, TableSpec
from orchestrator.paper.findings import of_behaviour, of_features, of_fronts
from orchestrator.paper.findings.finding import Finding, Outcome, Verdict, outcome

FINDINGS: tuple[Finding, ...] = (*of_fronts.FINDINGS, *of_features.FINDINGS, *of_behaviour.FINDINGS)
"""Every finding that is looked for. A new one is a rule and an entry in one of these files."""

_ID = Column("finding", TEXT, "Which finding.", nullable=False)
VERDICTS = TableSpec(
    "findings",
    "What the paper found on GPT2-small, and what this run shows",
    (
        _ID,
        Column("claim", TEXT, "The finding as a sentence.", nullable=False),
        Column("where", TEXT, "In the paper.", nullable=False),
        Column("there", TEXT, "The paper's numbers, on GPT2-small.", nullable=False),
        Column("rule", TEXT, "What is read, and when the finding holds in it.", nullable=False),
        Column("verdict", TEXT, f"{', '.join(Verdict)}: of direction, not of size.", nullable=False),
        Column("numbers", TEXT, "What was read, with 95 % intervals in brackets.", nullable=False),
        Column("n_holds", COUNT, "Readings in which it holds.", "readings", nullable=False),
        Column("n_not", COUNT, "Readings in which it does not.", "readings", nullable=False),
        Column("n_open", COUNT, "Readings that do not decide.", "readings", nullable=False),
    ),
    printed=("finding", "verdict", "n_holds", "n_not", "n_open"),
)
READINGS = TableSpec(
    "findings_readings",
    "Each number that bears on a finding",
    (
        _ID,
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("group", TEXT, "Which SAEs, such as L2-ce0.12; null where it is the whole front, or the layer."),
        Column("what", TEXT, "What is compared.", nullable=False),
        Column("value", NUMBER, "The number; its unit follows from the finding's rule.", nullable=False),
        Column("low", NUMBER, "Lower end of its 95 % interval; null where there is none."),
        Column("high", NUMBER, "Upper end."),
        Column("holds", FLAG, "Whether the finding holds in it; null where it does not decide."),
    ),
    printed=(),
)


class FindingsPart(Part):
    """Verdicts over all that was measured."""

    id = "findings"
    title = "What the paper found, and what this run shows"
    paper = ("Section 3", "Appendix G", "Appendix I")
    tables = (VERDICTS, READINGS)


def outcomes(tables: Tables, groups: Sequence[Group]) -> list[Outcome]:
    """Of every finding; those whose tables are not there are `not run`."""
    return [outcome(one, tables, groups) for one in FINDINGS]


def tables_of(found: Sequence[Outcome]) -> Tables:
    """Lines of `VERDICTS` and `READINGS`."""
    return {
        VERDICTS.name: [
            {
                "finding": one.finding.id,
                "claim": one.finding.claim,
                "where": one.finding.where,
                "there": one.finding.there,
                "rule": one.finding.rule,
                "verdict": str(one.verdict),
                "numbers": one.numbers,
                "n_holds": sum(reading.holds is True for reading in one.readings),
                "n_not": sum(reading.holds is False for reading in one.readings),
                "n_open": sum(reading.holds is None for reading in one.readings),
            }
            for one in found
        ],
        READINGS.name: [
            {
                "finding": one.finding.id,
                "layer": reading.layer,
                "group": reading.group or None,
                "what": reading.what,
                "value": reading.measured.value,
                "low": reading.measured.low,
                "high": reading.measured.high,
                "holds": reading.holds,
            }
            for one in found
            for reading in one.readings
        ],
    }
