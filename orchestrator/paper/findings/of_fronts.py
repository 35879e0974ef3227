"""Findings about fronts and training: what a level of CE loss increase costs, in elements and in time."""

import math
from collections.abc import Iterator

from orchestrator.folder.records import Row
from orchestrator.fronts.certainty import difference
from orchestrator.paper.directions import setting_of
from orchestrator.paper.findings.finding import DOWNSTREAM, E2E, LOCAL, Finding, Measured, Reading, Seen

_TABLE = "saes_against_local"


def _against_local(reads: str, at: str, seen: Seen) -> Iterator[Reading]:
    for loss in (E2E, DOWNSTREAM):
        lines = seen.lines(_TABLE, loss=loss, reads=reads, at=at)
        places = [(line["layer"], line["d_sae"]) for line in lines]
        several_sizes, several_targets = len({size for _, size in places}) > 1, len(places) > len({*places})
        for line in lines:
            if line["ratio"] is None:
                continue
            ratio = Measured(line["ratio"], line["low"], line["high"])
            what = f"{loss} over local" + (f" at {line['at_low']:.3g}" if several_targets else "")
            what += f" with {line['d_sae']} elements" if several_sizes else ""
            yield Reading(line["layer"], what, ratio, ratio.below(1.0))


def _ce_at_l0(seen: Seen) -> Iterator[Reading]:
    return _against_local("ce_loss_increase", "l0", seen)


def _l0_at_ce(seen: Seen) -> Iterator[Reading]:
    return _against_local("l0", "ce_loss_increase", seen)


def _alive_at_ce(seen: Seen) -> Iterator[Reading]:
    return _against_local("n_alive_elements", "ce_loss_increase", seen)


def _training_time(seen: Seen) -> Iterator[Reading]:
    """No interval over seeds would hold what one machine did meanwhile: the range of SAEs has to lie apart.

    SAEs of one pack have one time.
    """
    local = {(line["layer"], line["d_sae"]): line for line in seen.lines("training_time", loss=LOCAL)}
    several = len({size for _, size in local}) > 1
    for loss in (E2E, DOWNSTREAM):
        for line in seen.lines("training_time", loss=loss):
            base = local.get((line["layer"], line["d_sae"]))
            name = "s_per_million_tokens"
            if base is None or not base[name] or not line[name]:
                continue
            lowest, highest = line[f"{name}_low"] / base[f"{name}_high"], line[f"{name}_high"] / base[f"{name}_low"]
            is_one = lowest == highest
            ratio = Measured(line[name] / base[name], *(() if is_one else (lowest, highest)))
            what = f"{loss} over local" + (f" with {line['d_sae']} elements" if several else "")
            yield Reading(line["layer"], what, ratio, ratio.above(1.0))


def _grad_norms(seen: Seen, row: Row) -> dict[int, float]:
    """Logarithms by seed of the trials with its settings."""
    lines = [line for line in seen.lines("training_grad_norm", setting=setting_of(row)) if line["grad_norm"]]
    return {line["seed"]: math.log(line["grad_norm"]) for line in lines}


def _grad_norm(seen: Seen) -> Iterator[Reading]:
    """Over seeds, three at least, of both settings; else of the two SAEs alone."""
    for first, second in ((E2E, LOCAL), (DOWNSTREAM, E2E)):
        for group, one, other in seen.pairs(first, second):
            ours, theirs = _grad_norms(seen, one), _grad_norms(seen, other)
            if (found := difference(ours, theirs)) is not None:
                ends = [None if end is None else math.exp(end) for end in (found.low, found.high)]
                ratio = Measured(math.exp(found.mean), *ends)
                yield Reading(group.layer, f"{first} over {second}", ratio, ratio.above(1.0), group.key)


FINDINGS = (
    Finding(
        "ce_at_equal_l0",
        "At the same L0, e2e and e2e + downstream SAEs cost the model less than local ones.",
        "Section 3.1, Figure 1",
        "Less than 45 % of local's CE loss increase at layer 6, L0 50 to 300.",
        "CE loss increase over local's, averaged over the L0 that all fronts cover: below 1.",
        (_TABLE,),
        _ce_at_l0,
        "The fronts cover no common L0, or seeds differ too much to tell.",
    ),
    Finding(
        "l0_at_equal_ce",
        "At the same CE loss increase they need fewer active elements.",
        "Section 3.1, Table 1",
        "Less than half of local's L0: 27.5 and 36.8 against 69.4 at layer 6.",
        "L0 over local's at an equal CE loss increase, along each seed's front: below 1.",
        (_TABLE,),
        _l0_at_ce,
        "No CE loss increase is covered by all fronts, or seeds differ too much to tell.",
    ),
    Finding(
        "alive_at_equal_ce",
        "At the same CE loss increase they use fewer alive elements in all.",
        "Section 3.1, Table 1",
        "22 and 15 thousand against 26 thousand at layer 6.",
        "Alive elements over local's at an equal CE loss increase, along each seed's front: below 1.",
        (_TABLE,),
        _alive_at_ce,
        "The fronts of all losses share no CE loss increase, as where nearly all elements of every SAE are alive.",
    ),
    Finding(
        "training_time",
        "e2e training takes longer than local training.",
        "Section 3.1, Table 6",
        "2 to 3.5 times as long, by layer.",
        "Device seconds per token over local's; in brackets from the fastest SAE to the slowest: above 1.",
        ("training_time",),
        _training_time,
        "The times of single SAEs differ by more than losses do.",
    ),
    Finding(
        "grad_norm",
        "Gradient norms are larger for e2e SAEs, and larger yet with the downstream loss.",
        "Table 2",
        "At layer 6 0.12, 0.59 and 3.27; at layer 10 0.40, 0.64 and 0.24, the other way.",
        "Gradient norms of matched settings over each other, over seeds: above 1.",
        ("training_grad_norm",),
        _grad_norm,
        "No SAEs of both losses are compared, or seeds differ too much to tell.",
    ),
)
