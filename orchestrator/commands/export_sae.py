"""`orchestrator export-sae RUN`: trained SAEs of a run folder as files that other tools load.

Which trials, and where to; what is in the files is `trainer/export`. The target folder appears whole.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.folder.records import Row
    from orchestrator.folder.run_folder import RunFolder
    from trainer.export import TrainedSAE

Format = Literal["saelens", "dictionary_learning", "e2e_sae"]
AT_ONCE = 8
"""SAEs in memory at a time."""
WHY_THE_MODEL_RUNS = "counting how often elements fire (--no-sparsity leaves this out), on text of"
HOW_TO_LOAD = {
    "saelens": 'sae_lens.SAE.load_from_disk("{folder}")',
    "dictionary_learning": 'dictionary_learning.AutoEncoder.from_pretrained("{folder}/ae.pt")',
    "e2e_sae": 'e2e_sae.SAETransformer.from_local_path("{folder}")',
}


def export_sae(
    run: Annotated[str, typer.Argument(help="Run folder, or the name or id of a sweep in the runs folder.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to write; new or empty.")],
    format: Annotated[Format, typer.Option("--format", help="Whose files to write.")] = "saelens",
    front: Annotated[bool, typer.Option("--front", help="The trials on a frontier. The default.")] = False,
    trial: Annotated[
        list[str] | None, typer.Option("--trial", metavar="ID", help="This trial, by id or name; may be repeated.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every trial that is done.")] = False,
    layer: Annotated[
        list[int] | None, typer.Option("--layer", metavar="N", help="Only trials of this layer; may be repeated.")
    ] = None,
    sparsity: Annotated[
        bool,
        typer.Option(
            "--sparsity/--no-sparsity",
            help="saelens: count how often elements fire (runs the model; dashboards want it).",
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write into a folder that holds files.")] = False,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds run folders.")] = Path("runs"),
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Write trained SAEs as files of SAELens, dictionary_learning or e2e_sae."""

    def command(streams: Streams) -> int:
        from orchestrator.commands.export_target import check_target, placed
        from trainer.errors import BadInput

        if front + bool(trial) + every > 1:
            raise BadInput("--front, --trial and --all exclude each other: give one of them, or none for --front")
        folder = find_run(run, runs)
        rows = chosen_rows(folder, trial_names=trial or (), every=every, layers=layer or ())
        folders = folder_names(rows, format=format)
        check_target(to, overwrite=overwrite)
        with placed(to) as stage:
            for index, (row, sae) in enumerate(zip(rows, _saes(folder, rows, format, sparsity, streams), strict=True)):
                stage.add(folders[index], sae, row=row, format=format)
            stage.finish(sweep_id=_sweep_id(folder), format=format)
        for name in folders:
            print(to / name, file=streams.out)
        hint = HOW_TO_LOAD[format].format(folder=to / folders[0])
        what = "1 SAE is" if len(rows) == 1 else f"{len(rows)} SAEs are"
        print(f"{what} in {to}; load with  {hint}", file=streams.err)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def chosen_rows(
    folder: "RunFolder", *, trial_names: Sequence[str] = (), every: bool = False, layers: Sequence[int] = ()
) -> "list[Row]":
    """The rows of the trials to export, by layer, loss, coefficient and seed: named ones, all, or those on a frontier.

    Raises BadInput where one is not known or not done, or none is left.
    """
    from orchestrator.folder.records import RowStatus
    from trainer.errors import BadInput

    rows = {row.trial_id: row for row in folder.rows()}
    done = {id_: row for id_, row in rows.items() if row.status is RowStatus.DONE}
    if not done:
        raise BadInput(f"no trial of {folder.path.name} is done yet: there is no SAE to export")
    if trial_names:
        wanted = [_named(name, rows) for name in dict.fromkeys(trial_names)]
        if undone := [row.run_name for row in wanted if row.trial_id not in done]:
            raise BadInput(f"no SAE of {', '.join(undone)}: expected trials that are done")
    elif every:
        wanted = list(done.values())
    else:
        on_front = _on_a_front(folder)
        wanted = [row for id_, row in done.items() if id_ in on_front]
    kept = [row for row in wanted if not layers or row.config.layer in layers]
    if not kept:
        there = ", ".join(str(layer) for layer in sorted({row.config.layer for row in wanted}))
        raise BadInput(
            f"none of the {len(wanted)} chosen trials of {folder.path.name} is at layer "
            f"{' or '.join(map(str, layers))}: they are at {there}"
        )
    return sorted(kept, key=_order)


def folder_names(rows: "Sequence[Row]", *, format: Format) -> list[str]:
    """Where each SAE goes below the target, as the format's tools look for it.

    Raises BadInput where the format cannot say where one of them sits.
    """
    import re

    from trainer.errors import BadInput
    from trainer.export.dictionary_learning import submodule_name

    if format != "dictionary_learning":
        plain = [re.sub(r"[^A-Za-z0-9._-]+", "_", row.run_name) for row in rows]
        return [
            name if plain.count(name) == 1 else f"{name}-{row.trial_id}" for name, row in zip(plain, rows, strict=True)
        ]
    if unnamable := [row.run_name for row in rows if row.config.layer == 0]:
        raise BadInput(
            "dictionary_learning names a place by the block whose output it is, so SAEs at the input of block 0 "
            f"cannot be exported to it: {', '.join(unnamable)}. Choose the others with --layer, or another --format"
        )
    names: list[str] = []
    for _, same_place in groupby(rows, key=lambda row: row.config.layer):
        names += [f"{submodule_name(row.config.layer)}/trainer_{index}" for index, row in enumerate(same_place)]
    return names


def _on_a_front(folder: "RunFolder") -> set[str]:
    from orchestrator.fronts.export import read_frontier

    table = read_frontier(folder.frontier)
    fronts = [table[name].to_pylist() for name in table.column_names if name.startswith("on_front_")]
    return {trial_id for trial_id, *on in zip(table["trial_id"].to_pylist(), *fronts, strict=True) if any(on)}


def _named(name: str, rows: "dict[str, Row]") -> "Row":
    from trainer.errors import BadInput

    found = [row for row in rows.values() if name == row.run_name or (len(name) >= 4 and row.trial_id.startswith(name))]
    if len(found) != 1:
        known = ", ".join(sorted(row.run_name for row in (found or rows.values()))[:10])
        what = "several trials begin with" if found else "no trial that ended is"
        raise BadInput(f"--trial {name}: {what} {name!r}; expected a trial id or a name such as {known}")
    return found[0]


def _order(row: "Row") -> tuple[int, str, float, int, str]:
    config = row.config
    return config.layer, config.loss.kind, config.loss.sparsity_coeff, config.seed, row.trial_id


def _sweep_id(folder: "RunFolder") -> str:
    plan = folder.plan()
    return plan.sweep_id if plan else folder.path.name


def _saes(
    folder: "RunFolder", rows: "Sequence[Row]", format: Format, sparsity: bool, streams: Streams
) -> "Iterator[TrainedSAE]":
    """The SAEs of `rows` in order, a few in memory at a time."""
    from dataclasses import replace

    from orchestrator.commands.trained import count_firing, read_trained

    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        saes = [read_trained(folder, row, sweep_id=_sweep_id(folder)) for row in part]
        uncounted = [i for i, sae in enumerate(saes) if sae.firing_frequency is None]
        if format == "saelens" and sparsity and uncounted:
            if start == 0:
                print(f"{WHY_THE_MODEL_RUNS} {part[0].config.data.dataset}", file=streams.err, flush=True)
            counted = count_firing([(part[i], saes[i]) for i in uncounted])
            for i, frequency in zip(uncounted, counted, strict=True):
                saes[i] = replace(saes[i], firing_frequency=frequency)
        yield from saes
