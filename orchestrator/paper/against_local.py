"""What the fronts of a run say of each loss against local: the numbers behind the paper's first findings.

At equal L0 or alive elements the mean share of local's CE loss increase, over what the fronts cover; at an equal CE
loss increase the ratio of L0 and of alive elements. Both as `orchestrator.fronts` defines them.
"""

import math
from collections.abc import Iterator

from orchestrator.fronts.matched import Match, Targets, matches
from orchestrator.fronts.schema import EXTERNAL, Objective
from orchestrator.fronts.series import BASELINE, Place
from orchestrator.fronts.share import Share, shares
from orchestrator.fronts.summary import Fronts
from orchestrator.paper.analysis import COUNT, NUMBER, TEXT, Column, Line, TableSpec

LOSS, COUNTS = "ce_loss_increase", ("l0", "n_alive_elements")
AGAINST_LOCAL = TableSpec(
    "saes_against_local",
    "Each loss against local along their fronts",
    (
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("d_sae", COUNT, "Dictionary elements.", "elements", nullable=False),
        Column("loss", TEXT, "Kind of loss.", nullable=False),
        Column("reads", TEXT, "The metric that is compared.", nullable=False),
        Column("at", TEXT, "The metric that is equal.", nullable=False),
        Column("at_low", NUMBER, "Lowest value of it; of a single one, that."),
        Column("at_high", NUMBER, "Highest value of it."),
        Column("ratio", NUMBER, "Of `reads` to local's; over a range the mean of 20 ratios. Null where not covered."),
        Column("low", NUMBER, "Its 95 % interval over seeds, from three on."),
        Column("high", NUMBER, "Its 95 % interval over seeds, from three on."),
        Column("n_seeds", COUNT, "Seeds that it is over; 0 where the fronts of all seeds together are compared."),
    ),
)


def against_local(fronts: Fronts, *, eval_hash: str | None) -> tuple[Line, ...]:
    """Lines of `AGAINST_LOCAL` of the run's own trials on that text; empty without local."""
    return tuple(
        line
        for place in fronts.places
        if place.keys["eval_hash"] == eval_hash and BASELINE in place.series
        for line in _lines(place, fronts.targets)
    )


def _lines(place: Place, targets: Targets) -> Iterator[Line]:
    where = {"layer": place.keys["layer"], "d_sae": place.keys["d_sae"]}
    for count in COUNTS:
        plane = Objective(count, LOSS)
        for loss, share in shares(place, plane).items():
            if loss != BASELINE:
                yield {**where, "loss": loss, **_along(share, count)}
        for match in matches(place, [plane], targets):
            if match.loss not in (BASELINE, EXTERNAL) and match.matched == LOSS:
                yield {**where, "loss": match.loss, **_at(match)}


def _along(share: Share, count: str) -> Line:
    return {
        "reads": LOSS,
        "at": count,
        "at_low": share.x_from,
        "at_high": share.x_to,
        "ratio": share.mean,
        "low": share.low,
        "high": share.high,
        "n_seeds": share.n_seeds,
    }


def _at(match: Match) -> Line:
    """Differences of counts are of logarithms."""
    interval = match.against
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {
        "reads": match.reads,
        "at": match.matched,
        "at_low": match.target,
        "at_high": match.target,
        "ratio": match.ratio,
        "low": None if low is None else math.exp(low),
        "high": None if high is None else math.exp(high),
        "n_seeds": match.n_seeds,
    }
