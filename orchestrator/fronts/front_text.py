"""The frontiers of a sweep on a terminal: the trials on them, how large and sure they are, who beats whom, warnings."""

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.display.plain import plain
from orchestrator.fronts.cautions import Caution
from orchestrator.fronts.notes import notes
from orchestrator.fronts.others import of_source, standings
from orchestrator.fronts.schema import EXTERNAL, Objective
from orchestrator.fronts.sentences import too_few
from orchestrator.fronts.series import BASELINE, Series, planes
from orchestrator.fronts.share import Share
from orchestrator.fronts.summary import Fronts, Volume, key_of
from orchestrator.fronts.words import name_of, number, where

MOST_CAUTIONS = 20


def print_fronts(fronts: Fronts, console: Console, *, trials: bool) -> None:
    """Everything, per set of objectives. `trials`: with a line per trial on a frontier."""
    for objective in fronts.objectives:
        heading = " and ".join(name_of(name) for name in objective)
        console.print(_summary(fronts, objective, f"Frontiers in {heading}"))
        console.print()
        if trials:
            for series in fronts.series:
                console.print(_trials(series, objective))
                console.print()
    if fronts.others:
        console.print(_others(fronts))
        console.print()
    _print_statements(fronts, console)
    for note in notes(fronts):
        console.print(Text.assemble(("note     ", "yellow"), plain(note)), soft_wrap=True)
    if notes(fronts):
        console.print()
    print_cautions(fronts.warnings, console)


def _print_statements(fronts: Fronts, console: Console) -> None:
    said = [match for match in fronts.matches if match.statement]
    if not said:
        return
    console.print("Against local, on the same text and at the same layer", style="bold")
    for match in said:
        console.print(f"  {where(match.place['layer'])}: {match.brief}", highlight=False, markup=False, soft_wrap=True)
    few = [match.against.n_seeds for match in said if match.against is not None and match.against.low is None]
    if few:
        which = "" if len(few) == len(said) else "Where no interval is shown: "
        text = too_few(max(few))
        console.print(f"  {which}{text if not which else text[0].lower() + text[1:]}", highlight=False, soft_wrap=True)
    console.print()


def print_cautions(cautions: Sequence[Caution], console: Console, *, most: int = MOST_CAUTIONS) -> None:
    """Those of one kind with the same advice once, with the frontiers that they are about."""
    lines = list(gathered(cautions))
    for what, text in lines[:most]:
        console.print(Text.assemble(("warning  ", "yellow"), f"{what}: {text}"), soft_wrap=True)
    if len(lines) > most:
        console.print(f"... and {len(lines) - most} more warnings, all in frontier_summary.parquet")
    if lines:
        console.print()


def gathered(cautions: Sequence[Caution]) -> list[tuple[str, str]]:
    """(where, text) of each; of several frontiers with the same kind the first in full, and which others."""
    found: list[tuple[str, str]] = []
    ordered = sorted(cautions, key=lambda caution: list(type(caution.kind)).index(caution.kind))
    for _, group in groupby(ordered, lambda caution: caution.kind):
        first, *others = group
        more = (
            f" The same holds, with other numbers, for {_listed([other.where for other in others])}." if others else ""
        )
        found.append((first.where, f"{first.sentence}. {first.fix}{more}"))
    return found


def _listed(names: Sequence[str]) -> str:
    shown = "; ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _summary(fronts: Fronts, objective: Objective, title: str) -> Table:
    heads = ["SAEs", "loss", "trials", "seeds", "on front", "on joint front", "hypervolume"]
    shares = fronts.shares if objective in planes([objective]) else {}
    heads += [f"{name_of(objective.y)} of local's"] if objective.is_plane else []
    table = _table(title, heads, n_text=2)
    on = {kind: dict(zip(fronts.table["trial_id"].to_pylist(), fronts.table[f"on_{kind}_{objective.label}"].to_pylist(),
                         strict=True)) for kind in ("front", "joint_front")}  # fmt: skip
    before = None
    for series in fronts.series:
        ids = [trial_id for trial_id in series["trial_id"] if on["front"][trial_id]]
        place = where(series.layer, d_sae=series.keys["d_sae"])
        cells = ["" if place == before else place, series.loss, str(len(series)), str(len(series.seeds)), str(len(ids))]
        cells += [
            str(sum(on["joint_front"][trial_id] for trial_id in ids)),
            volume_text(fronts.volume(series, objective)),
        ]
        if objective.is_plane:
            cells.append(_share(shares.get((key_of(series.keys), objective), {}).get(series.loss)))
        table.add_row(*cells)
        before = place
    return table


def _others(fronts: Fronts) -> Table:
    """SAEs that others trained, each against the sweep's own trials at its hookpoint."""
    planes_here = [" and ".join(name_of(name) for name in objective) for objective in fronts.objectives]
    heads = ["SAE", "where", "L0", "CE increase", "alive", *(f"in {plane}" for plane in planes_here)]
    table = _table("SAEs of others, on the same text", heads, n_text=2)
    for column in table.columns[5:]:
        column.justify = "left"
    lines = of_source(fronts.table, EXTERNAL)
    by_objective = [standings(lines, fronts.own, objective) for objective in fronts.objectives]
    for row, line in enumerate(lines.select(["run_name", "layer", "d_sae", *_SHOWN]).to_pylist()):
        values = [number(line[name], 4) for name in _SHOWN]
        stands = [found[row].text for found in by_objective]
        table.add_row(plain(line["run_name"]), where(line["layer"], d_sae=line["d_sae"]), *values, *stands)
    return table


_SHOWN = ("l0", "ce_loss_increase", "n_alive_elements")


def volume_text(found: Volume | None) -> str:
    """Mean over seeds with its interval; a dash without a reference point."""
    if found is None or (over := found.over_seeds) is None:
        return "-"
    ends = f" ({number(over.low)} to {number(over.high)})" if over.low is not None else ""
    return f"{number(over.mean)}{ends}"


def _share(share: Share | None) -> str:
    if share is None:
        return "-"
    if share.loss == BASELINE:
        return "1"
    ends = f" ({share.low:.2f} to {share.high:.2f})" if share.low is not None and share.high is not None else ""
    return f"{share.mean:.2f}{ends}"


def _trials(series: Series, objective: Objective) -> Table:
    front = series.front(objective)
    metrics = list(dict.fromkeys([*objective, "l0", "ce_loss_increase", "n_alive_elements"]))
    table = _table(where(series.layer, series.loss, series.keys["d_sae"]),
                   ["trial", "coefficient", "seed", *(name_of(name) for name in metrics)], n_text=1)  # fmt: skip
    for row in front[objective.x].argsort(kind="stable"):
        values = [number(float(front[name][row]), 4) for name in metrics]
        table.add_row(
            str(front["run_name"][row]), f"{front['sparsity_coeff'][row]:g}", str(front["seed"][row]), *values
        )
    return table


def _table(title: str, heads: Sequence[str], *, n_text: int) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 3, 0, 0), header_style="dim"
    )
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < n_text else "right", no_wrap=True)
    return table
