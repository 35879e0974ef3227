"""What a user would want to be warned of: each warning a value with a plain sentence and what to do about it.

A warning is about one frontier: a model, hookpoint, loss and dictionary size, seeds together. Thresholds are constants
here; the widest gap is the sweep file's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from math import sqrt

import numpy as np

from orchestrator.fronts.costs import costs_of, is_log, reference_of, scaled
from orchestrator.fronts.matched import Match
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.series import Series
from orchestrator.fronts.words import name_of, number, where

DEAD_L0 = 0.1
"""Below so many active elements per token an SAE is as good as dead."""
DENSE_SHARE = 0.5
SAME_WITHIN = 0.01
"""Two coefficients whose L0 and CE loss increase differ by less than this share give the same point."""
STILL_FALLING = 0.03
"""Of the training loss from the fourth to the last fifth of the steps."""
RARE_FIRINGS = 10
RARE_SHARE = 0.1
"""Too short a window: this share of the living elements fired fewer than `RARE_FIRINGS` times in it."""
DENSITY_LOWEST, DENSITY_STEP = -7.0, 0.5
"""Bins of density_histogram: the dead, then half decades of the share of tokens from 1e-7."""


class Kind(StrEnum):
    """What a warning is about. Only grows."""

    ALL_DEAD = "all_dead"
    TOO_DENSE = "too_dense"
    SAME_POINT = "same_point"
    GAP = "gap"
    STILL_IMPROVING = "still_improving"
    EVALUATION_TOO_SMALL = "evaluation_too_small"
    WINDOW_TOO_SHORT = "window_too_short"
    TRIALS_MISSING = "trials_missing"
    OUTSIDE_REFERENCE = "outside_reference"


@dataclass(frozen=True)
class Caution:
    """One of them."""

    kind: Kind
    where: str
    """Such as `layer 6, e2e`."""
    sentence: str
    fix: str
    trial_ids: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it in one line."""
        return f"{self.where}: {self.sentence}. {self.fix}"


def series_warnings(
    series: Series,
    *,
    objectives: Sequence[Objective],
    max_gap: float,
    reference: Mapping[str, float],
    missing: Sequence[str] = (),
) -> list[Caution]:
    """About one frontier. `missing`: trials of it that failed or stopped."""
    return [
        *_useless(series),
        *_same_points(series),
        *_gaps(series, objectives, max_gap),
        *_still_improving(series),
        *_short_window(series),
        *_missing(series, missing),
        *(warning for objective in objectives for warning in _outside(series, objective, reference)),
    ]


def match_warnings(matches: Sequence[Match], series: Mapping[str, Series]) -> dict[str, list[Caution]]:
    """By loss: differences from local in CE loss increase that are smaller than the evaluation can show.

    `series`: of the place, by loss. Two errors overlap where the difference is within two standard errors of it.
    """
    found: dict[str, list[Caution]] = {}
    for match in matches:
        local = next(
            (m for m in matches if m.is_baseline and (m.matched, m.target) == (match.matched, match.target)), None
        )
        if match.reads != "ce_loss_increase" or match.is_baseline or local is None or match.loss in found:
            continue
        if match.value is None or local.value is None:
            continue
        errors = [_stderr(series[one.loss], one.nearest.trial_id) for one in (match, local)]
        error, gap = sqrt(sum(error**2 for error in errors)), abs(match.value - local.value)
        if 0 < gap < 2 * error:
            times = (2 * error / gap) ** 2
            found[match.loss] = [
                Caution(
                    Kind.EVALUATION_TOO_SMALL,
                    _name(series[match.loss]),
                    f"at {name_of(match.matched)} {number(match.target)} it differs from local by {number(gap)} in CE "
                    f"increase, and the evaluation is uncertain by {number(2 * error)} (two standard errors)",
                    f"Evaluate on more rows: {number(min(times, 1e6), 2)} times data.eval_rows would tell them apart.",
                    (match.nearest.trial_id, local.nearest.trial_id),
                )
            ]
    return found


def widest_gap(series: Series, objective: Objective) -> tuple[float, tuple[float, float], tuple[float, float]] | None:
    """Of the frontier: the largest ratio of neighbouring values of its first count, the values, their coefficients."""
    metric = next((name for name in objective if is_log(name)), None)
    if metric is None:
        return None
    front = series.front(objective)
    values = front[metric].astype(np.float64)
    order = [int(i) for i in np.argsort(values, kind="stable") if values[i] > 0]
    gaps = [
        (float(values[b] / values[a]), (float(values[a]), float(values[b])),
         (float(front["sparsity_coeff"][a]), float(front["sparsity_coeff"][b])))
        for a, b in pairwise(order)
    ]  # fmt: skip
    return max(gaps, default=None)


def _useless(series: Series) -> Iterator[Caution]:
    alive, l0 = series["n_alive_elements"], series["l0"]
    dead = (alive == 0) | (l0 < DEAD_L0)
    dense = l0 > DENSE_SHARE * _d_sae(series)
    kinds = (
        (Kind.ALL_DEAD, dead, "nothing is active", "Use smaller coefficients than", min),
        (Kind.TOO_DENSE, dense, "more than half of the dictionary is active on every token",
         "Use larger coefficients than", max),
    )  # fmt: skip
    for kind, bad, what, fix, end in kinds:
        if bad.any():
            coeffs = sorted(set(series["sparsity_coeff"][bad].tolist()))
            yield Caution(kind, _name(series), f"with {_coefficients(coeffs)} {what}",
                          f"{fix} {end(coeffs):g}.", _ids(series, bad))  # fmt: skip


def _same_points(series: Series) -> Iterator[Caution]:
    """Of neighbouring coefficients, by their means over all that else varies."""
    useful = series["l0"] >= DEAD_L0
    coeffs, which = np.unique(series["sparsity_coeff"][useful], return_inverse=True)
    counts = np.bincount(which)
    l0, ce = (np.bincount(which, series[name][useful]) / counts for name in ("l0", "ce_loss_increase"))
    same = _nearly_equal(l0) & _nearly_equal(ce)
    for place in np.flatnonzero(same):
        one, other = coeffs[place : place + 2]
        yield Caution(
            Kind.SAME_POINT, _name(series),
            f"coefficients {one:g} and {other:g} give the same point (L0 {number(float(l0[place]))}, CE increase "
            f"{number(float(ce[place]))})",
            "Drop one of them, or move it to where the frontier has a gap.",
            _ids(series, np.isin(series["sparsity_coeff"], (one, other)) & useful),
        )  # fmt: skip


def _nearly_equal(values: np.ndarray) -> np.ndarray:
    """Whether each value is that of the next."""
    return np.abs(np.diff(values)) <= SAME_WITHIN * np.maximum(np.abs(values[:-1]), np.abs(values[1:]))


def _gaps(series: Series, objectives: Sequence[Objective], max_gap: float) -> Iterator[Caution]:
    objective = next((found for found in objectives if "l0" in found), None)
    gap = widest_gap(series, objective) if objective is not None else None
    if gap is None or gap[0] <= max_gap:
        return
    _, (low, high), coeffs = gap
    between = sqrt(coeffs[0] * coeffs[1])
    fix = (
        f"A coefficient near {between:.2g} would fall between."
        if coeffs[0] != coeffs[1]
        else "Another coefficient would fall between."
    )
    yield Caution(
        Kind.GAP, _name(series),
        f"no trial between L0 {number(low)} and {number(high)} on the frontier (coefficients {max(coeffs):g} and "
        f"{min(coeffs):g}), a factor of {number(gap[0], 2)}", fix,
    )  # fmt: skip


def _still_improving(series: Series) -> Iterator[Caution]:
    falls = series["late_loss_fall"].astype(np.float64)
    falling = falls > STILL_FALLING
    if falling.any():
        coeffs = sorted(set(series["sparsity_coeff"][falling].tolist()))
        yield Caution(
            Kind.STILL_IMPROVING, _name(series),
            f"with {_coefficients(coeffs)} the training loss still fell by up to "
            f"{100 * float(falls[falling].max()):.0f} % from the fourth to the last fifth of the steps",
            "Train on more tokens (train.tokens) before reading much into the frontier.", _ids(series, falling),
        )  # fmt: skip


def _short_window(series: Series) -> Iterator[Caution]:
    rare = rare_share(series["density_histogram"], series["alive_window_tokens"])
    bad = rare > RARE_SHARE
    if bad.any():
        window = int(series["alive_window_tokens"][bad].max())
        yield Caution(
            Kind.WINDOW_TOO_SHORT, _name(series),
            f"up to {100 * float(rare[bad].max()):.0f} % of the living elements fired fewer than {RARE_FIRINGS} times "
            f"in the alive window of {window:,} tokens: a longer one would find more",
            f"Count over more tokens: eval.alive_window_tokens={10 * window:_}.", _ids(series, bad),
        )  # fmt: skip


def rare_share(histograms: Iterable[Sequence[float] | None], windows: np.ndarray) -> np.ndarray:
    """Of the elements that fired, the share in bins that lie below `RARE_FIRINGS` firings; 0 without a histogram."""
    histograms = list(histograms)
    n_bins = max((len(histogram) for histogram in histograms if histogram is not None), default=0)
    if n_bins < 2:
        return np.zeros(len(histograms))
    none = np.zeros(n_bins)
    living = np.stack([none if one is None or len(one) != n_bins else one for one in histograms]).astype(np.float64)[
        :, 1:
    ]
    upper = DENSITY_LOWEST + DENSITY_STEP * np.arange(1, n_bins)
    is_rare = upper <= np.log10(RARE_FIRINGS / windows)[:, None] + 1e-9
    return (living * is_rare).sum(axis=1) / np.maximum(living.sum(axis=1), 1.0)


def _missing(series: Series, missing: Sequence[str]) -> Iterator[Caution]:
    if missing:
        n = len(missing)
        yield Caution(
            Kind.TRIALS_MISSING, _name(series),
            f"{n} of {n + len(series)} trials failed or stopped and are not on the frontier",
            "See why in their rows, and run them again.", tuple(missing),
        )  # fmt: skip


def _outside(series: Series, objective: Objective, reference: Mapping[str, float]) -> Iterator[Caution]:
    if not all(name in reference for name in objective):
        return
    front = series.front(objective)
    points = scaled(costs_of({name: front[name] for name in objective}, objective), objective)
    beyond: np.ndarray = np.any(points >= reference_of(objective, reference), axis=1)
    if beyond.any():
        point = ", ".join(f"{name_of(name)} {number(reference[name])}" for name in objective)
        yield Caution(
            Kind.OUTSIDE_REFERENCE, _name(series),
            f"{int(beyond.sum())} of {len(front)} trials on the frontier are beyond the reference point ({point}) and "
            "add no hypervolume",
            "Take worse values as frontier.reference if they matter.", _ids(front, beyond),
        )  # fmt: skip


def _stderr(series: Series, trial_id: str) -> float:
    value = float(series["ce_loss_increase_stderr"][series["trial_id"] == trial_id][0])
    return 0.0 if value != value else value


def _name(series: Series) -> str:
    return where(series.layer, series.loss, _d_sae(series))


def _d_sae(series: Series) -> int:
    return int(series.table["d_sae"][0].as_py())


def _ids(series: Series, mask: np.ndarray) -> tuple[str, ...]:
    return tuple(series["trial_id"][mask].tolist())


def _coefficients(coeffs: Sequence[float]) -> str:
    shown = ", ".join(f"{coeff:g}" for coeff in coeffs[:6]) + (", ..." if len(coeffs) > 6 else "")
    return f"coefficient{'s' if len(coeffs) > 1 else ''} {shown}"
