"""A sweep's worth of rows shaped like the paper's Figure 1."""

import numpy as np

from orchestrator.folder.records import Row
from tests.orchestrator.rows import a_config, a_row


def fake_rows(
    *,
    layers: int,
    coeffs: int = 5,
    seeds: int = 2,
    losses: tuple[str, ...] = ("local", "e2e", "e2e_downstream"),
    ratios: tuple[float, ...] = (4.0,),
    offset: float = 0.0,
) -> list[Row]:
    """`layers` x losses x `coeffs` x `seeds` x `ratios`; `offset` is added to each CE loss increase."""
    random = np.random.default_rng(0)
    rows: list[Row] = []
    for layer in range(layers):
        for loss in losses:
            for ratio in ratios:
                for l0 in np.geomspace(4, 90, coeffs):
                    for seed in range(seeds):
                        harm = {"local": 3.0, "e2e": 1.1, "e2e_downstream": 1.3}[loss] * (0.5 + layer / 11)
                        noise = np.exp(random.normal(0, 0.15, 3))
                        rows.append(
                            a_row(
                                a_config(loss=loss, coeff=10 / l0, layer=layer, seed=seed, ratio=ratio),
                                l0=float(l0 * noise[0]),
                                ce=float(harm / l0**0.8 * noise[1] + offset),
                                alive=float(round(20 * l0**0.7 * noise[2] * (0.6 if loss == "e2e" else 1.0))),
                            )
                        )
    return rows
