"""`orchestrator export-sae RUN`: trained SAEs of a run folder as files that other tools load.

Which trials, and where to; what is in the files is `trainer/export`. The target folder appears whole.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import Debug, Plain, Run, Runs
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.display.telling import Telling
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
    run: Run,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to write; new or empty.")],
    format: Annotated[Format, typer.Option("--format", help="Whose files to write.")] = "saelens",
    front: Annotated[
        bool, typer.Option("--front", help="The trials on a frontier: what is taken without --trial or --all.")
    ] = False,
    trial: Annotated[
        list[str] | None, typer.Option("--trial", metavar="ID", help="This trial, by id or name. Can be repeated.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every trial that is done.")] = False,
    layer: Annotated[
        list[int] | None, typer.Option("--layer", metavar="N", help="Only trials of this layer. Can be repeated.")
    ] = None,
    sparsity: Annotated[
        bool,
        typer.Option(
            "--sparsity/--no-sparsity",
            help="saelens: count how often elements fire (runs the model; dashboards want it).",
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write into a folder that holds files.")] = False,
    runs: Runs = Path("runs"),
    plain: Plain = False,
    debug: Debug = False,
) -> None:
    """Write trained SAEs as files of SAELens, dictionary_learning or e2e_sae.

    Without --trial or --all: those of the trials that are on a frontier.
    """

    def command(streams: Streams) -> int:
        from orchestrator.commands.chosen import check_weights, chosen_rows
        from orchestrator.commands.export_target import check_target, placed
        from orchestrator.display.telling import Telling
        from trainer.errors import BadInput

        if front + bool(trial) + every > 1:
            raise BadInput("--front, --trial and --all exclude each other: give one of them, or none for --front")
        check_target(to, overwrite=overwrite)
        folder = find_run(run, runs)
        rows = chosen_rows(folder, trial_names=trial or (), every=every, layers=layer or ())
        check_weights(folder, rows)
        folders = folder_names(rows, format=format)
        with Telling(streams.err, plain_lines=plain) as tell, placed(to) as stage:
            for index, (row, sae) in enumerate(zip(rows, _saes(folder, rows, format, sparsity, tell), strict=True)):
                tell.phase(f"writing {folders[index]} ({index + 1} of {len(rows)})", quietly=True)
                stage.add(folders[index], sae, row=row, format=format)
            stage.finish(sweep_id=_sweep_id(folder), format=format)
        for name in folders:
            print(to / name, file=streams.out)
        hint = HOW_TO_LOAD[format].format(folder=to / folders[0])
        what = "1 SAE is" if len(rows) == 1 else f"{len(rows)} SAEs are"
        print(f"{what} in {to}; load with  {hint}", file=streams.err)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def folder_names(rows: "Sequence[Row]", *, format: Format) -> list[str]:
    """Where each SAE goes below the target, as the format's tools look for it.

    Raises BadInput where the format cannot say where one of them sits.
    """
    import re

    from trainer.errors import BadInput

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
    from trainer.export.dictionary_learning import submodule_name  # after the refusal: it loads PyTorch

    names: list[str] = []
    for _, same_place in groupby(rows, key=lambda row: row.config.layer):
        names += [f"{submodule_name(row.config.layer)}/trainer_{index}" for index, row in enumerate(same_place)]
    return names


def _sweep_id(folder: "RunFolder") -> str:
    plan = folder.plan()
    return plan.sweep_id if plan else folder.path.name


def _saes(
    folder: "RunFolder", rows: "Sequence[Row]", format: Format, sparsity: bool, tell: "Telling"
) -> "Iterator[TrainedSAE]":
    """The SAEs of `rows` in order, a few in memory at a time."""
    from dataclasses import replace

    from orchestrator.commands.trained import count_firing, read_trained

    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        saes = [read_trained(folder, row, sweep_id=_sweep_id(folder)) for row in part]
        uncounted = [i for i, sae in enumerate(saes) if sae.firing_frequency is None]
        if format == "saelens" and sparsity and uncounted:
            of_all = f", SAEs {start + 1} to {start + len(part)} of {len(rows)}" if len(rows) > AT_ONCE else ""
            tell.phase(f"{WHY_THE_MODEL_RUNS} {part[0].config.data.dataset}{of_all}")
            counted = count_firing([(part[i], saes[i]) for i in uncounted], folder, heard=tell.far)
            for i, frequency in zip(uncounted, counted, strict=True):
                saes[i] = replace(saes[i], firing_frequency=frequency)
        yield from saes
