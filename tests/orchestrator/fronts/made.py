"""Fronts of invented rows, and the numbers that the paper prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.folder.records import Row
from orchestrator.fronts.export import fronts_of_lines
from orchestrator.fronts.schema import DEFAULT_OBJECTIVES, Objective
from orchestrator.fronts.summary import Fronts
from orchestrator.fronts.trial_lines import lines_of
from tests.orchestrator.rows import a_config, a_row

REFERENCE = {"l0": 100.0, "ce_loss_increase": 1.0, "n_alive_elements": 1000.0}


def fronts_of(
    rows: Sequence[Row],
    *,
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    reference: Mapping[str, float] | None = None,
    **options: Any,
) -> Fronts:
    return fronts_of_lines(lines_of(rows), sweep_id="s-1", objectives=objectives, reference=reference, **options)


def series_rows(points: Sequence[tuple[float, float]], *, loss: str = "local", seed: int = 0, **more: Any) -> list[Row]:
    """A trial per (l0, CE loss increase), with coefficients 1, 2, 3, ..."""
    return [
        a_row(a_config(loss=loss, coeff=float(number), seed=seed), l0=l0, ce=ce, **more)
        for number, (l0, ce) in enumerate(points, start=1)
    ]


# Braun et al. 2024, Tables 2 (similar CE loss increase) and 3 (similar L0): layer, loss, coefficient, L0, alive
# elements, CE loss increase. Runs that are in both tables stand here once.
PAPER = (
    (2, "local", 0.8, 73.5, 41_000, 0.016),
    (2, "e2e", 0.5, 33.4, 22_000, 0.020),
    (2, "e2e_downstream", 10.0, 36.2, 18_000, 0.015),
    (6, "local", 4.0, 69.4, 26_000, 0.144),
    (6, "e2e", 3.0, 27.5, 22_000, 0.145),
    (6, "e2e_downstream", 50.0, 36.8, 15_000, 0.124),
    (10, "local", 6.0, 162.7, 33_000, 0.122),
    (10, "e2e", 1.5, 62.3, 25_000, 0.131),
    (10, "e2e_downstream", 1.75, 70.2, 25_000, 0.144),
    (2, "local", 4.0, 18.4, 18_000, 0.101),
    (2, "e2e", 1.5, 18.6, 20_000, 0.043),
    (2, "e2e_downstream", 35.0, 17.9, 15_000, 0.039),
    (6, "local", 6.0, 42.8, 21_000, 0.228),
    (6, "e2e", 1.5, 39.7, 25_000, 0.099),
    (10, "local", 10.0, 74.9, 28_000, 0.202),
)


def paper_rows(layer: int) -> list[Row]:
    return [
        a_row(a_config(loss=loss, coeff=coeff, layer=at), l0=l0, ce=ce, alive=float(alive))
        for at, loss, coeff, l0, alive, ce in PAPER
        if at == layer
    ]
