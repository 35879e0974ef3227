"""Findings about dictionary directions: within one SAE, from seed to seed, from loss to loss."""

import math
from collections.abc import Iterator, Sequence

from orchestrator.paper.analysis import Line
from orchestrator.paper.findings.finding import (
    DOWNSTREAM,
    E2E,
    LOCAL,
    Finding,
    Mean,
    Measured,
    Reading,
    Seen,
)

FEWEST_FOR_REGIONS = 5000
"""Elements of each SAE below which a UMAP without regions says nothing."""


def _within(loss: str, seen: Seen) -> Iterator[Reading]:
    """Over seeds where there are three, else over elements; less what chance gives to dictionaries of these sizes."""
    for line in seen.lines("geometry_differences", loss=loss, against=LOCAL):
        over_seeds = line["seeds_difference"] is not None and line["seeds_low"] is not None
        names = ("seeds_difference", "seeds_low", "seeds_high") if over_seeds else ("difference", "low", "high")
        value, low, high = (line[name] for name in names)
        if value is None:
            continue
        by_chance = line["difference"] - line["above_chance"]
        less = Measured(value, low, high).shifted(-by_chance)
        yield Reading(line["layer"], f"{loss} less local", less, less.below(0.0), line["group"])


def _within_e2e(seen: Seen) -> Iterator[Reading]:
    return _within(E2E, seen)


def _within_downstream(seen: Seen) -> Iterator[Reading]:
    return _within(DOWNSTREAM, seen)


def _mean_cosine(lines: Sequence[Line]) -> Mean | None:
    """Over the SAEs that one is held against, less what chance gives; the error over its elements."""
    known = [line for line in lines if line["mean_cosine"] is not None]
    if not known:
        return None
    errors = [line["std_cosine"] / math.sqrt(line["n_elements"]) for line in known if line["std_cosine"] is not None]
    return Mean(
        sum(line["mean_cosine"] - line["chance_cosine"] for line in known) / len(known),
        max(errors) if len(errors) == len(known) else None,
    )


def _across_seeds(seen: Seen) -> Iterator[Reading]:
    for other in (LOCAL, DOWNSTREAM):
        for group, one, against in seen.pairs(E2E, other):
            ours, theirs = (_mean_cosine(seen.of("cross_seed", row)) for row in (one, against))
            if ours and theirs:
                less = ours.less(theirs)
                yield Reading(group.layer, f"e2e less {other}", less, less.below(0.0), group.key)


def _to_local(seen: Seen) -> Iterator[Reading]:
    """Held against a local SAE of another seed where there is one: with the same seed both began alike."""
    for group in seen.groups:
        lines = seen.lines("cross_type", group=group.key, other_loss=LOCAL)
        found = [line for line in lines if not line["same_seed"]] or lines
        ours, theirs = (_mean_cosine([one for one in found if one["loss"] == loss]) for loss in (DOWNSTREAM, E2E))
        if ours and theirs:
            less = ours.less(theirs)
            yield Reading(group.layer, f"{DOWNSTREAM} less e2e", less, less.above(0.0), group.key)


def _regions(seen: Seen) -> Iterator[Reading]:
    by_pair: dict[str, list[Line]] = {}
    for line in seen.lines("umap"):
        by_pair.setdefault(line["pair"], []).append(line)
    for lines in by_pair.values():
        first, loss = lines[0], next((line["loss"] for line in lines if line["loss"] != LOCAL), LOCAL)
        if loss not in (E2E, DOWNSTREAM):
            continue
        enough = min(line["n_elements"] for line in lines) >= FEWEST_FOR_REGIONS and not first["same_seed"]
        n_regions = sum(line["n_regions"] for line in lines)
        holds = True if n_regions else False if enough else None
        yield Reading(first["layer"], f"regions of {loss} and local", Measured(float(n_regions)), holds, first["group"])


FINDINGS = (
    Finding(
        "e2e_elements_less_alike",
        "Elements of an e2e SAE are less alike than those of a local one.",
        "Section 3.3.1, Figure 3a",
        "Mean largest cosine less by 0.166 at layer 6.",
        "Mean largest cosine within the dictionary above chance, less local's: below 0.",
        ("geometry_differences",),
        _within_e2e,
        "The intervals hold 0.",
    ),
    Finding(
        "downstream_elements_less_alike",
        "So are those of an e2e + downstream SAE, by less.",
        "Section 3.3.1, Figure 3a",
        "Less by 0.04 (0.037 to 0.043) at layer 6.",
        "Mean largest cosine within the dictionary above chance, less local's: below 0.",
        ("geometry_differences",),
        _within_downstream,
        "The intervals hold 0.",
    ),
    Finding(
        "e2e_least_stable_over_seeds",
        "Elements of e2e SAEs are found again least with another seed.",
        "Section 3.3.2, Figure 3b",
        "The distribution of e2e lies lowest; local and e2e + downstream lie alike.",
        "Mean largest cosine of e2e above chance to its setting's other seeds, less that of the other losses: below 0.",
        ("cross_seed",),
        _across_seeds,
        "The intervals hold 0.",
    ),
    Finding(
        "downstream_closer_to_local",
        "Elements of e2e + downstream SAEs are closer to local ones than those of e2e SAEs are.",
        "Section 3.3.3, Figures 3c and 8",
        "At layers 2, 6 and 10.",
        "Mean largest cosine above chance to the local SAE, of another seed where there is one, less e2e's: above 0.",
        ("cross_type",),
        _to_local,
        "The intervals hold 0.",
    ),
    Finding(
        "one_sided_regions",
        "A UMAP of two dictionaries has regions with elements of one kind alone.",
        "Appendix G.1, Figures 19 to 21",
        "Marked by hand: seven at layer 6, and one at layer 10 with 2 elements of one kind and 593 of the other.",
        "Regions found by rule, tested against permuted labels: at least one.",
        ("umap",),
        _regions,
        f"No region says something only from {FEWEST_FOR_REGIONS} elements a side on, of SAEs with two seeds.",
    ),
)
