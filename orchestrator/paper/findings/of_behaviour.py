"""Findings about what SAEs do to activations, directions and the model's behaviour."""

import math
import statistics
from collections.abc import Iterator, Sequence

from orchestrator.folder.records import Row
from orchestrator.paper.findings.finding import DOWNSTREAM, E2E, LOCAL, Finding, Mean, Measured, Reading, Seen

OUTLIER = 0.8
"""Cosine from which on principal direction 0 is that of position 0."""
NO_LESS = 0.05
"""Correlations this near are alike, and scores of explanations."""
ALIKE = 10.0
"""Per cent of faithfulness within which losses are not apart."""
_T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365}
"""Student's t: standard errors on either side of a mean, by degrees of freedom."""


def _later_mse(seen: Seen, row: Row) -> Mean | None:
    """Geometric mean of MSE over later blocks. Blocks hang together: the mean of their errors is an upper bound."""
    later = [line for line in seen.of("downstream", row) if line["at_layer"] > line["layer"] and line["mse"]]
    if not later:
        return None
    mean = math.exp(statistics.fmean(math.log(line["mse"]) for line in later))
    known = [line["mse_stderr"] / line["mse"] for line in later if line["mse_stderr"] is not None]
    return Mean(mean, mean * statistics.fmean(known) if len(known) == len(later) else None)


def _later_blocks(seen: Seen) -> Iterator[Reading]:
    for first, second in ((E2E, LOCAL), (E2E, DOWNSTREAM)):
        for group, one, other in seen.pairs(first, second):
            ours, theirs = _later_mse(seen, one), _later_mse(seen, other)
            if ours and theirs:
                ratio = ours.over(theirs)
                yield Reading(group.layer, f"{first} over {second}", ratio, ratio.above(1.0), group.key)


def _l2_ratio(seen: Seen, row: Row, positions: str) -> Mean | None:
    for line in seen.of("norms", row, positions=positions):
        if line["l2_ratio"]:
            return Mean(line["l2_ratio"], line["l2_ratio_stderr"])
    return None


def _l2_ratios(seen: Seen, positions: str, *pairs: tuple[str, str]) -> Iterator[Reading]:
    for first, second in pairs:
        for group, one, other in seen.pairs(first, second):
            ours, theirs = _l2_ratio(seen, one, positions), _l2_ratio(seen, other, positions)
            if ours and theirs:
                ratio = ours.over(theirs)
                yield Reading(group.layer, f"{first} over {second}", ratio, ratio.below(1.0), group.key)


def _shorter(seen: Seen) -> Iterator[Reading]:
    return _l2_ratios(seen, "after 0", (E2E, LOCAL), (DOWNSTREAM, LOCAL), (E2E, DOWNSTREAM))


def _shorter_at_0(seen: Seen) -> Iterator[Reading]:
    return _l2_ratios(seen, "0", (E2E, LOCAL), (E2E, DOWNSTREAM))


def _outliers(seen: Seen) -> dict[int, float]:
    """Cosine of principal direction 0 with the mean of position 0, by layer."""
    lines = seen.lines("pca_directions", direction=0)
    cosines = {line["layer"]: line["cosine_to_position_0"] for line in lines}
    return {layer: abs(cosine) for layer, cosine in cosines.items() if cosine is not None}


def _outlier(seen: Seen) -> Iterator[Reading]:
    for layer, cosine in _outliers(seen).items():
        measured = Measured(cosine)
        yield Reading(layer, "cosine", measured, measured.above(OUTLIER))


def _has_outlier(seen: Seen, layer: int) -> bool:
    """Where direction 0 is not position 0's, no number of it says anything of an outlier."""
    return _outliers(seen).get(layer, 0.0) > OUTLIER


def _kept_at_0(seen: Seen) -> Iterator[Reading]:
    for line in seen.lines("pca_correlation", direction=0, loss=DOWNSTREAM):
        if line["r_position_0"] is None or line["r_rest"] is None:
            continue
        less = Measured(line["r_position_0"] - line["r_rest"])
        far = less.above(NO_LESS) or (False if less.below(NO_LESS) else None)
        holds = far if _has_outlier(seen, line["layer"]) else None
        yield Reading(line["layer"], "r at position 0 less r after it", less, holds)


def _ablation(seen: Seen) -> Iterator[Reading]:
    """Against the median of the other directions."""
    by_layer: dict[int, dict[int, tuple[float, float | None]]] = {}
    for line in seen.lines("ablation"):
        if line["kl"] is not None:
            by_layer.setdefault(line["layer"], {})[line["direction"]] = line["kl"], line["kl_stderr"]
    for layer, found in by_layer.items():
        others = [kl for direction, (kl, _) in found.items() if direction != 0]
        if 0 not in found or not others or not statistics.median(others):
            continue
        ratio = Mean(*found[0]).over(Mean(statistics.median(others), 0.0))
        holds = ratio.below(1.0) if _has_outlier(seen, layer) else None
        yield Reading(layer, "KL over the median of other directions", ratio, holds)


def _faithfulness(seen: Seen, row: Row) -> dict[str, float]:
    lines = seen.of("sva", row)
    return {line["template"]: line["faithfulness"] for line in lines if line["faithfulness"] is not None}


def _agreement(seen: Seen) -> Iterator[Reading]:
    """The difference of means over templates, each template of one SAE with the same of the other."""
    for loss in (E2E, DOWNSTREAM):
        for group, one, other in seen.pairs(loss, LOCAL):
            ours, theirs = _faithfulness(seen, one), _faithfulness(seen, other)
            differences = [ours[name] - theirs[name] for name in sorted(ours.keys() & theirs.keys())]
            if len(differences) >= 2:
                less = _paired(differences)
                within = less.above(-ALIKE) and less.below(ALIKE)
                apart = less.above(0.0) is not None
                yield Reading(
                    group.layer, f"{loss} less local, %", less, within or (False if apart else None), group.key
                )


def _paired(differences: Sequence[float]) -> Measured:
    mean, n = statistics.fmean(differences), len(differences)
    reach = _T_95[min(n - 1, max(_T_95))] * statistics.stdev(differences) / math.sqrt(n)
    return Measured(mean, mean - reach, mean + reach)


def _explained(seen: Seen) -> Iterator[Reading]:
    for line in seen.lines("autointerp_differences", loss=DOWNSTREAM, than=LOCAL):
        if line["difference"] is not None:
            less = Measured(line["difference"], line["low"], line["high"])
            holds = less.above(-NO_LESS) or (False if less.below(0.0) else None)
            yield Reading(line["layer"], f"{DOWNSTREAM} less local", less, holds, line["group"])


FINDINGS = (
    Finding(
        "e2e_leaves_the_path",
        "With an e2e SAE, activations of later blocks are further from the clean ones than with the other two.",
        "Section 3.2, Figures 2 and 6",
        "MSE of e2e lies well above; e2e + downstream follows local closely.",
        "MSE of later blocks, geometric mean, of e2e over the other losses: above 1.",
        ("downstream",),
        _later_blocks,
        "The intervals hold 1.",
    ),
    Finding(
        "outputs_shorter",
        "After position 0 outputs are shorter than inputs: least so for local, most for e2e.",
        "Table 5",
        "At layer 6 0.92, 0.56 (e2e + downstream) and 0.31.",
        "L2 ratio of output to input after position 0, of one loss over another: below 1.",
        ("norms",),
        _shorter,
        "The intervals hold 1.",
    ),
    Finding(
        "outputs_at_position_0",
        "At position 0 an e2e SAE keeps less of the length than the other two.",
        "Table 5",
        "At layer 6 0.11 against 1.00 and 0.99; at layer 2 e2e + downstream is as short.",
        "L2 ratio of output to input at position 0, of e2e over the others: below 1.",
        ("norms",),
        _shorter_at_0,
        "The intervals hold 1.",
    ),
    Finding(
        "outlier_direction",
        "Principal direction 0 of the residual stream is that of position 0.",
        "Appendix G.3, Figure 22",
        "At layer 10.",
        f"Cosine of direction 0 with the mean activation at position 0: above {OUTLIER}.",
        ("pca_directions",),
        _outlier,
        "",
    ),
    Finding(
        "outlier_kept_at_position_0",
        "An e2e + downstream SAE keeps that direction at position 0 better than after it.",
        "Appendix G.3, Figure 23a",
        "At layer 10 r = 0.996 at position 0 and 0.262 after it.",
        f"Correlation of input and output along direction 0 at position 0, less that after it: above {NO_LESS}.",
        ("pca_correlation",),
        _kept_at_0,
        "Direction 0 is not that of position 0 in this model, or `pca` was not run.",
    ),
    Finding(
        "outlier_without_effect",
        "To give that direction what it has on another token does the model less harm than other directions.",
        "Appendix G.3, Figure 23b",
        "KL 0.01 at layer 10, the least of the directions tried.",
        "KL after resample ablation of direction 0 over the median of the others: below 1.",
        ("ablation",),
        _ablation,
        "Direction 0 is not that of position 0 in this model, or `pca` was not run.",
    ),
    Finding(
        "agreement_tells_no_losses_apart",
        "Subject-verb agreement does not tell losses apart.",
        "Appendix I, Table 7",
        "Called inconclusive: 69 to 109 %, no loss ahead throughout.",
        f"Faithfulness less local's over the templates, by Student's t: the interval is within {ALIKE:.0f} % of 0; it "
        "does not hold where the interval is apart from 0 and reaches further.",
        ("sva",),
        _agreement,
        "The intervals over templates are too wide to tell.",
    ),
    Finding(
        "as_interpretable",
        "Elements of e2e + downstream SAEs are explained as well as local ones, or better.",
        "Section 3.4, Table 4",
        "Better by 0.08 and 0.10 at layers 2 and 6 at similar CE loss increase; no difference else.",
        f"Mean score of explanations less local's: above -{NO_LESS}; it does not where it is below 0.",
        ("autointerp_differences",),
        _explained,
        "The intervals are too wide to tell.",
    ),
)
