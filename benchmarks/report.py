"""Results as the tables and pictures of docs/performance.md: `python -m benchmarks.report` fills them in anew.

A table stands between two comments, `<!-- table: NAME -->` and `<!-- end -->`; whatever is between them is replaced.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import plots

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "img"
Records = dict[str, dict[str, Any]]
"""Result files by name, without `.json`."""

TARGETS: dict[tuple[str, str], float] = {
    ("e2e_sae", "local"): 6, ("e2e_sae", "e2e"): 4, ("e2e_sae", "e2e_downstream"): 4,
    ("saelens", "local"): 3, ("dictionary_learning", "local"): 3,
    ("plain", "local"): 5, ("plain", "e2e"): 3, ("plain", "e2e_downstream"): 3,
}  # fmt: skip
FLOOR_TARGET = 0.5
TOOLS = ("e2e_sae", "saelens", "dictionary_learning", "plain")
SOURCES = {
    "e2e_sae": "compare_e2e_sae",
    "saelens": "compare_saelens",
    "dictionary_learning": "compare_dictionary_learning",
    "plain": "step",
}

BFLOAT16 = "compare_e2e_sae_bfloat16"
"""Our products in bfloat16 against e2e_sae, which has float32 alone."""
SAME = "same_frontier"
NAMES = (*dict.fromkeys(SOURCES.values()), BFLOAT16, "growth", SAME)


def load(folder: Path = RESULTS) -> Records:
    """Those that are there."""
    paths = [folder / f"{name}.json" for name in NAMES]
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths if path.is_file()}


def times_faster(records: Records, clock: str) -> dict[tuple[str, float], dict[str, float]]:
    """How many times as fast as each tool, by (loss, ratio)."""
    table: dict[tuple[str, float], dict[str, float]] = {}
    for tool in TOOLS:
        for row in records.get(SOURCES[tool], {"rows": []})["rows"]:
            if row["clock"] == clock:
                table.setdefault((row["loss"], row["ratio"]), {})[tool] = row[f"times_{tool}"]
    return dict(sorted(table.items(), key=lambda item: (plots.loss_rank(item[0][0]), item[0][1])))


def judged(value: float | None, target: float | None, form: str = "{:.1f}") -> str:
    """A cell: the value, and where it is below its target, that it is."""
    if value is None or target is None:
        return "-"
    shown = form.format(value)
    return shown if value >= target else f"**{shown}** (aim: {form.format(target)})"


def speed_table(records: Records, clock: str) -> str:
    faster = times_faster(records, clock)
    if not faster:
        return "Not taken."
    lines = ["| loss | ratio | e2e_sae | SAELens | dictionary_learning | our plain path |", "|---|---|---|---|---|---|"]
    for (loss, ratio), times in faster.items():
        cells = [judged(times.get(tool), TARGETS.get((tool, loss))) for tool in TOOLS]
        lines.append(f"| {loss} | {ratio:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def bfloat16_table(records: Records) -> str:
    """Our step in bfloat16 against the same step of e2e_sae as `speed_table` has."""
    if BFLOAT16 not in records:
        return "Not taken."
    lines = ["| loss | ratio | e2e_sae |", "|---|---|---|"]
    for row in records[BFLOAT16]["rows"]:
        times = judged(row["times_e2e_sae"], TARGETS["e2e_sae", row["loss"]])
        lines.append(f"| {row['loss']} | {row['ratio']:g} | {times} |")
    return "\n".join(lines)


def same_frontier_table(records: Records) -> str:
    """How far apart two ways of training one setting come out, by metric: half the pairs, and all, at most so far."""
    if SAME not in records:
        return "Not taken."
    found = records[SAME]
    metrics = list(found["two seeds"])
    lines = [f"| | {' | '.join(metrics)} |", "|---" * (1 + len(metrics)) + "|"]
    for key, label in (
        ("plain", "default and plain path"),
        ("bfloat16", "float32 and bfloat16"),
        ("two seeds", "two seeds"),
    ):
        cells = [f"{found[key][name]['median']:.2%} (at most {found[key][name]['max']:.1%})" for name in metrics]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def floor_table(records: Records) -> str:
    """Share of the floor, and what the floor is made of."""
    lines = [
        "| loss | ratio | SAE-tokens/s | share of the floor | encoder product | clean run | blocks above | all else "
        "| our plain path over the floor |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in records["step"]["rows"]:
        if row["clock"] == records["step"]["rows"][0]["clock"]:
            parts = [
                row.get(f"{name}_s", 0.0) / row["ours_s"] for name in ("encoder_product", "clean_run", "blocks_above")
            ]
            share = judged(row["share_of_floor"], FLOOR_TARGET, "{:.0%}")
            cells = [f"{part:.0%}" if part else "-" for part in (*parts, max(0.0, 1 - sum(parts)))]
            cells.append(f"{row['times_plain'] / row['share_of_floor']:.1f} times")
            rate = f"{row['sae_tokens_per_s']:,}"
            lines.append(f"| {row['loss']} | {row['ratio']:g} | {rate} | {share} | {' | '.join(cells)} |")
    return "\n".join(lines)


def memory_table(records: Records) -> str:
    lines = [
        "| loss | ratio | path | one more SAE adds | its weights, moments and gradients |",
        "|---|---|---|---|---|",
    ]
    for row in records["growth"]["rows"]:
        if row["axis"] == "memory":
            cells = f"{row['mib_per_sae']:.0f} MiB | {row['weights_moments_gradients_mib']:.0f} MiB"
            lines.append(f"| {row['loss']} | {row['ratio']:g} | {row['path']} | {cells} |")
    return "\n".join(lines)


def machine_table(records: Records) -> str:
    """Each machine, and below it what ran there with which options, and how busy it was."""
    on: dict[str, list[str]] = {}
    for name, record in records.items():
        about = record["machine"]
        where = f"{about['processor']}, {about['cores']} cores, {about['device']}, torch {about['torch']}"
        words = record["command"].split()
        options = [word for word, before in zip(words[3:], words[2:], strict=False) if "--out" not in (word, before)]
        on.setdefault(where, []).append(f"| {name} | {' '.join(options) or '-'} | {about.get('load_at_start', '-')} |")
    head = "| result | options | load at the start |\n|---|---|---|"
    return "\n\n".join(f"{where}:\n\n{head}\n" + "\n".join(lines) for where, lines in on.items())


TABLES: dict[str, Callable[[Records], str]] = {
    "speed-process": lambda records: speed_table(records, "process"),
    "speed-wall": lambda records: speed_table(records, "wall"),
    "speed-bfloat16": bfloat16_table,
    "floor": floor_table,
    "memory": memory_table,
    "same-frontier": same_frontier_table,
    "machines": machine_table,
}


def filled(document: str, records: Records) -> str:
    """The document with its tables as these results make them."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n\n{TABLES[match[1]](records)}\n\n<!-- end -->"

    return re.sub(r"<!-- table: ([\w-]+) -->.*?<!-- end -->", table, document, flags=re.DOTALL)


def update() -> None:
    """Fill in the tables and draw the pictures."""
    records = load()
    DOCUMENT.write_text(filled(DOCUMENT.read_text("utf-8"), records), "utf-8")
    plots.growth(records["growth"]["rows"], IMAGES / "performance-growth.png")
    plots.times_faster(times_faster(records, "process"), TARGETS, IMAGES / "performance-times-faster.png")


if __name__ == "__main__":
    update()
