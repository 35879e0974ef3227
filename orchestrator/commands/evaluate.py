"""`orchestrator evaluate --sae DIR --like RUN`: SAEs of others, measured on a run's tokens and put beside its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.folder.records import Row
    from orchestrator.folder.run_folder import RunFolder
    from orchestrator.fronts.external import ExternalRow
    from trainer.external import ExternalSAE, Placed

AT_ONCE = 8
"""SAEs in memory at a time."""


def evaluate(
    sae: Annotated[
        list[Path],
        typer.Option(
            "--sae",
            metavar="DIR",
            help="Folder of an SAE as SAELens saves it; may be repeated.",
        ),
    ],
    like: Annotated[
        str, typer.Option("--like", metavar="RUN", help="Run whose model and held-out text it is measured on.")
    ],
    trial: Annotated[
        str | None,
        typer.Option("--trial", metavar="ID", help="The trial to measure like, where trials of RUN differ in that."),
    ] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", metavar="N", help="Where it sits, if its folder does not say.")
    ] = None,
    same_model: Annotated[
        bool, typer.Option("--same-model", help="It was made on RUN's model, whatever the names say.")
    ] = False,
    add: Annotated[bool, typer.Option("--add", help="Keep the result in the run folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds run folders.")] = Path("runs"),
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Measure SAEs that others trained as a run's own, and show them beside its frontier."""

    def command(streams: Streams) -> int:
        from orchestrator.display.plain import plain
        from orchestrator.fronts.external import write_external
        from orchestrator.fronts.external_text import as_json_text, as_markdown

        folder = find_run(like, runs)
        own = [row for row in folder.rows() if row.status == "done"]
        rows = measured(folder, own, sae, trial=trial, layer=layer, same_model=same_model, streams=streams)
        if add:
            write_external(folder, rows)
        print(as_json_text(rows, own) if as_json else plain(as_markdown(rows, own)), file=streams.out)
        for row in rows:
            for note in row.notes:
                print(plain(f"note: {row.name} was {note}"), file=streams.err)
        if add:
            print(f"kept in {folder.path / 'external'} and {folder.path / 'external.parquet'}", file=streams.err)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def measured(
    folder: "RunFolder",
    own: "Sequence[Row]",
    paths: Sequence[Path],
    *,
    trial: str | None,
    layer: int | None,
    same_model: bool,
    streams: Streams,
) -> "list[ExternalRow]":
    """The SAEs in `paths`, measured like the trials of the run.

    Raises BadInput before anything heavy starts where one cannot be read, and before measuring where one does not fit.
    """
    from orchestrator.commands.trained import model_and_rows_of
    from orchestrator.packs.held import device_name
    from trainer.external import measure, place, read_saelens

    reference = like_whom(own, trial, folder)
    saes = [read_saelens(path) for path in paths]
    names = f"model {reference.config.model.name} and text {reference.config.data.dataset}"
    print(f"loading {names}", file=streams.err, flush=True)
    model, rows = model_and_rows_of(reference)
    placed = [place(sae, model=model, like=reference.config, layer=layer, same_model=same_model) for sae in saes]
    print(
        f"measuring {len(saes)} SAE{'s' * (len(saes) > 1)} on {len(rows.evaluation) * rows.context:,} held-out tokens",
        file=streams.err,
        flush=True,
    )
    found: list[ExternalRow] = []
    for start in range(0, len(saes), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        metrics = measure(saes[part], [p.layer for p in placed[part]], like=reference.config, model=model, rows=rows)
        found += [
            _row(s, p, values, reference, device=device_name(model.device))
            for s, p, values in zip(saes[part], placed[part], metrics, strict=True)
        ]
    return found


def like_whom(own: "Sequence[Row]", trial: str | None, folder: "RunFolder") -> "Row":
    """The trial whose model, text and alive window the evaluation has.

    Raises BadInput where none is done, or they differ and none is named.
    """
    from orchestrator.commands.export_sae import chosen_rows
    from orchestrator.commands.trained import evaluated_alike
    from trainer.errors import BadInput

    if trial is not None:
        return chosen_rows(folder, trial_names=(trial,))[0]
    if not own:
        raise BadInput(f"no trial of {folder.path.name} is done yet: there is nothing to compare with")
    kinds = {evaluated_alike(row.config): row for row in own}
    if len(kinds) > 1:
        names = ", ".join(row.run_name for row in kinds.values())
        raise BadInput(
            f"the trials of {folder.path.name} are measured in {len(kinds)} ways (model, text, alive window or "
            f"precision): choose one with --trial, such as {names}"
        )
    return own[0]


def _row(
    sae: "ExternalSAE", placed: "Placed", metrics: "Mapping[str, float | list[float]]", like: "Row", *, device: str
) -> "ExternalRow":
    from orchestrator.folder.clock import now
    from orchestrator.folder.versions import versions_on
    from orchestrator.fronts.external import ExternalRow
    from trainer.models import hookpoint_name

    assert like.facts is not None  # a done row has them
    return ExternalRow(
        sae_id=sae.sae_id,
        name=sae.name,
        source=str(sae.folder.resolve()),
        hookpoint=hookpoint_name(placed.layer),
        layer=placed.layer,
        like=like.config,
        facts=like.facts.model_copy(update={"d_model": sae.d_model, "d_sae": sae.d_sae, "n_train_tokens": 0}),
        metrics={name: [*value] if isinstance(value, list) else value for name, value in metrics.items()},
        notes=[*placed.notes],
        saelens=sae.config,
        versions=versions_on(device),
        measured_at=now(),
    )
