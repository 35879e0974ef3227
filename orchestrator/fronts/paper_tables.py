"""Matched comparisons in the form of the paper's Tables 1 to 3, and its summary ratio: as Markdown and as LaTeX.

A row per loss: its trial nearest to the target as the paper has it (coefficient, L0, alive elements, CE increase), the
offset from the target where that is large, and what is interpolated there, with its ratio to local's.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from orchestrator.fronts.matched import Match
from orchestrator.fronts.schema import Objective
from orchestrator.fronts.series import BASELINE, Place
from orchestrator.fronts.share import Share
from orchestrator.fronts.words import name_of, number, where

FAR = 0.15
"""From this offset on the nearest trial is marked: it is too far from the target to stand for it."""
MARK = "*"


class TextTable(NamedTuple):
    """A table before it has a form."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def matched_tables(matches: Sequence[Match]) -> list[TextTable]:
    """One per matched metric, all layers below each other."""
    metrics = dict.fromkeys(match.matched for match in matches)
    return [_matched_table(metric, [match for match in matches if match.matched == metric]) for metric in metrics]


def share_tables(found: Sequence[tuple[Place, Objective, Mapping[str, Share]]]) -> list[TextTable]:
    """The paper's summary: one table per pair of metrics, a row per place, a column per loss, and means over places."""
    tables: list[TextTable] = []
    for plane in dict.fromkeys(plane for _, plane, _ in found):
        here = [(place, by_loss) for place, at, by_loss in found if at == plane and {*by_loss} - {BASELINE}]
        losses = list(dict.fromkeys(loss for _, by_loss in here for loss in by_loss if loss != BASELINE))
        if not losses:
            continue
        rows = [
            (_place(place), *(_share(by_loss.get(loss)) for loss in losses), _range(by_loss)) for place, by_loss in here
        ]
        if len(here) > 1:
            means = [[by_loss[loss].mean for _, by_loss in here if loss in by_loss] for loss in losses]
            rows.append(("mean", *(f"{sum(values) / len(values):.2f}" for values in means), ""))
        title = f"{name_of(plane.y)} as a share of local's at equal {name_of(plane.x)}"
        note = f"Mean over 20 evenly spaced values of {name_of(plane.x)}, interpolated along the frontiers."
        tables.append(TextTable(title, ("SAEs", *losses, f"{name_of(plane.x)} from, to"), tuple(rows), note))
    return tables


def markdown(table: TextTable) -> str:
    """As a Markdown table under its title."""
    lines = [f"**{table.title}**", "", _row(table.heads), "|" + "---|" * len(table.heads)]
    lines += [_row([cell.replace("|", "\\|") for cell in row]) for row in table.rows]
    return "\n".join([*lines, *(["", table.note] if table.note else []), ""])


def latex(table: TextTable) -> str:
    """As a LaTeX table with booktabs rules."""
    columns = "".join("l" if head in ("SAEs", "loss") else "r" for head in table.heads)
    body = [" & ".join(_tex(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(' '.join([table.title + '.', table.note]).strip())}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(_tex(head) for head in table.heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _matched_table(metric: str, matches: Sequence[Match]) -> TextTable:
    reads = list(dict.fromkeys(match.reads for match in matches))
    read_heads = [head for read in reads for head in (f"{name_of(read)} there", "of local's")]
    heads = ("SAEs", f"{name_of(metric)} at", "loss", *(head for _, head in _SHOWN), *read_heads)
    note = (
        f"Left: the trial nearest to the target ({MARK}: more than {100 * FAR:.0f} % off). Right: at the target, "
        "interpolated along the frontier of each seed, mean over seeds with its 95 % interval."
    )
    return TextTable(f"At matched {name_of(metric)}", heads, tuple(_matched_rows(matches, reads)), note)


_SHOWN = (
    ("sparsity_coeff", "coefficient"),
    ("l0", "L0"),
    ("n_alive_elements", "alive"),
    ("ce_loss_increase", "CE increase"),
)


def _matched_rows(matches: Sequence[Match], reads: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for (_, target), group in groupby(matches, lambda match: (_key(match), match.target)):
        by_loss: dict[str, dict[str, Match]] = {}
        for match in group:
            by_loss.setdefault(match.loss, {})[match.reads] = match
        for place, by_read in enumerate(by_loss.values()):
            first = next(iter(by_read.values()))
            yield (
                "" if place else _where(first.place),
                "" if place else number(target),
                first.name,
                *(_shown(first, column) for column, _ in _SHOWN),
                *(cell for read in reads for cell in _interpolated(by_read.get(read))),
            )


def _shown(match: Match, column: str) -> str:
    text = number(getattr(match.nearest, column), 4 if column == "n_alive_elements" else 3)
    return f"{text}{MARK}" if column == match.matched and abs(match.nearest.offset) > FAR else text


def _interpolated(match: Match | None) -> tuple[str, str]:
    if match is None or match.value is None:
        return "-", "-"
    ends = f" ({number(match.low)} to {number(match.high)})" if match.low is not None else ""
    return f"{number(match.value)}{ends}", "-" if match.ratio is None else f"{match.ratio:.2f}"


def _key(match: Match) -> tuple[str | int, ...]:
    return tuple(match.place.values())


def _where(keys: Mapping[str, str | int]) -> str:
    return where(keys["layer"], d_sae=keys["d_sae"])


def _place(place: Place) -> str:
    return _where(place.keys)


def _share(share: Share | None) -> str:
    if share is None:
        return "-"
    ends = f" ({share.low:.2f} to {share.high:.2f})" if share.low is not None and share.high is not None else ""
    return f"{share.mean:.2f}{ends}"


def _range(by_loss: Mapping[str, Share]) -> str:
    ranges = {(share.x_from, share.x_to) for loss, share in by_loss.items() if loss != BASELINE}
    return "; ".join(f"{number(low)} to {number(high)}" for low, high in sorted(ranges))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
