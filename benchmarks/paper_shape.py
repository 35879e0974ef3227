"""What of the paper's shape a sweep shows: `python -m benchmarks.paper_shape runs/NAME/frontier.parquet`.

Reads a frontier.parquet and prints Markdown, per layer and over seeds (mean, lowest and highest):

1. CE loss increase as a share of local's at the same L0: mean over 20 values of L0 in the range that all losses of a
   seed cover, interpolated along each front (the summary behind the paper's "45 %", its section 3.1), and the same for
   alive elements.
2. At similar CE loss increase (the paper's Tables 2 and 5, Figure 2): of each loss the trial nearest to local's median
   CE loss increase, with its L0, alive elements, downstream MSE at the input of each later block, and L2 ratio at
   position 0 and after.
3. At the same L0: CE loss increase and L2 ratio after position 0, interpolated in log L0 between the trials of a
   series.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np
import pyarrow.parquet as pq

LOSSES = ("local", "e2e", "e2e_downstream")
N_POINTS = 20
AT_L0 = (30, 60, 100)
Row = dict[str, object]


def read(path: Path) -> list[Row]:
    with path.open("rb") as file:
        return pq.ParquetFile(file).read().to_pylist()


def front(rows: list[Row], *, x: str) -> tuple[np.ndarray, np.ndarray]:
    """Non-dominated (x, ce_loss_increase), x rising and so CE falling."""
    best: list[tuple[float, float]] = []
    for a, ce in sorted((float(row[x]), float(row["ce_loss_increase"])) for row in rows):  # type: ignore[arg-type]
        if not best or ce < best[-1][1]:
            best.append((a, ce))
    return np.array([a for a, _ in best]), np.array([ce for _, ce in best])


def share_of_local(by_loss: dict[str, list[Row]], *, x: str) -> tuple[dict[str, float], tuple[float, float]]:
    """Mean of CE_loss(x) / CE_local(x) over `N_POINTS` values of x in the range that all fronts cover."""
    fronts = {loss: front(rows, x=x) for loss, rows in by_loss.items()}
    low = max(xs[0] for xs, _ in fronts.values())
    high = min(xs[-1] for xs, _ in fronts.values())
    if low >= high:
        return {loss: float("nan") for loss in by_loss}, (low, high)
    points = np.linspace(low, high, N_POINTS)
    at = {loss: np.interp(points, xs, ys) for loss, (xs, ys) in fronts.items()}
    return {loss: float(np.mean(ys / at["local"])) for loss, ys in at.items()}, (low, high)


def at_l0(rows: list[Row], target: float, *, column: str) -> float:
    """Interpolated in log L0 over all trials of a series; NaN outside of their range."""
    points = sorted((float(row["l0"]), float(row[column])) for row in rows)  # type: ignore[arg-type]
    xs, ys = np.log([x for x, _ in points]), [y for _, y in points]
    return float(np.interp(np.log(target), xs, ys, left=np.nan, right=np.nan))


def nearest(rows: list[Row], target: float) -> Row:
    return min(rows, key=lambda row: abs(float(row["ce_loss_increase"]) - target))  # type: ignore[arg-type]


def over_seeds(values: list[float], digits: int = 3) -> str:
    if any(np.isnan(values)):
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}g}"
    return f"{mean(values):.{digits}g} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def report(rows: list[Row]) -> str:
    lines: list[str] = []
    for layer in sorted({int(row["layer"]) for row in rows}):  # type: ignore[call-overload]
        seeds: dict[object, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if row["layer"] == layer:
                seeds[row["seed"]][str(row["loss"])].append(row)
        lines += [f"### Layer {layer}", "", "CE loss increase as a share of local's", ""]
        lines += ["| matched | range | e2e | e2e_downstream |", "|---|---|---|---|"]
        for x in ("l0", "n_alive_elements"):
            shares = [share_of_local(by_loss, x=x) for by_loss in seeds.values()]
            low, high = (mean(bounds[i] for _, bounds in shares) for i in (0, 1))
            cells = [over_seeds([share[loss] for share, _ in shares]) for loss in LOSSES[1:]]
            lines.append(f"| {x} | {low:.0f} to {high:.0f} | {cells[0]} | {cells[1]} |")
        lines += ["", "At similar CE loss increase", ""]
        lines += [
            "| loss | CE loss increase | L0 | alive | downstream MSE, next block to last | L2 ratio at 0 | after |",
            "|---|---|---|---|---|---|---|",
        ]
        chosen: dict[str, list[Row]] = defaultdict(list)
        for by_loss in seeds.values():
            target = float(np.median([float(row["ce_loss_increase"]) for row in by_loss["local"]]))  # type: ignore[arg-type]
            for loss in LOSSES:
                chosen[loss].append(nearest(by_loss[loss], target))
        for loss, picked in chosen.items():
            cells = [
                over_seeds([float(row[column]) for row in picked], digits)  # type: ignore[arg-type]
                for column, digits in (("ce_loss_increase", 3), ("l0", 3), ("n_alive_elements", 4))
            ]
            later = np.mean([row["downstream_mse"] for row in picked], axis=0)  # type: ignore[arg-type]
            cells.append(", ".join(f"{value:.3g}" for value in later))
            cells += [
                over_seeds([float(row[column]) for row in picked], 2)  # type: ignore[arg-type]
                for column in ("l2_ratio_pos0", "l2_ratio_rest")
            ]
            lines.append(f"| {loss} | {' | '.join(cells)} |")
        lines += ["", "At the same L0", ""]
        lines += ["| L0 | loss | CE loss increase | L2 ratio after position 0 |", "|---|---|---|---|"]
        for target in AT_L0:
            for loss in LOSSES:
                cells = [
                    over_seeds([at_l0(by_loss[loss], target, column=column) for by_loss in seeds.values()], 2)
                    for column in ("ce_loss_increase", "l2_ratio_rest")
                ]
                lines.append(f"| {target} | {loss} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frontier", type=Path)
    print(report(read(parser.parse_args().frontier)))


if __name__ == "__main__":
    main()
