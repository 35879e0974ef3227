"""`orchestrator evaluate --sae DIR --like RUN`: SAEs of others, measured on a run's tokens and put beside its own.

With `--add` they become lines of the run's `frontier.parquet`. An SAE that the run itself trained is known as that.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.find_run import complete_run, find_run
from orchestrator.commands.options import AsJson, Debug, Plain, Runs
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.display.telling import Telling
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
            help="Folder of an SAE as SAELens saves it. Can be repeated.",
        ),
    ],
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="RUN",
            help="Run whose model and held-out text it is measured on.",
            autocompletion=complete_run,
        ),
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
    add: Annotated[
        bool,
        typer.Option("--add", help="Keep the result: the SAE is in RUN's frontier.parquet and pictures from then on."),
    ] = False,
    as_json: AsJson = False,
    runs: Runs = Path("runs"),
    plain: Plain = False,
    debug: Debug = False,
) -> None:
    """Measure SAEs that others trained as a run's own, and show them beside its frontier."""

    def command(streams: Streams) -> int:
        from orchestrator.commands.chosen import like_whom
        from orchestrator.display.plain import plain as plain_text
        from orchestrator.display.telling import Telling
        from orchestrator.fronts.external_text import as_json_text, as_markdown
        from trainer.external.folders import check_folder

        for path in sae:
            check_folder(path)
        folder = find_run(like, runs)
        own = [row for row in folder.rows() if row.status == "done"]
        reference = like_whom(own, trial, folder)
        if add:
            _check_addable(folder)
        with Telling(streams.err, plain_lines=plain) as tell:
            rows, twins = measured(folder, own, sae, reference, layer=layer, same_model=same_model, tell=tell)
            kept = [row for row in rows if row.sae_id not in twins]
            if add and kept:
                tell.phase("writing the frontier", quietly=True)
                _keep(folder, kept)
        text = as_json_text(rows, own, twins) if as_json else plain_text(as_markdown(rows, own, twins))
        print(text, file=streams.out)
        for row in rows:
            for note in row.notes:
                print(plain_text(f"note: {row.name} was {note}"), file=streams.err)
        for row in rows if add else ():
            if row.sae_id in twins:
                text = f"not kept: {row.name} is this run's own, and in its table already"
                print(plain_text(text), file=streams.err)
        if add and kept:
            print(f"kept in {folder.path / 'external'} and {folder.frontier}", file=streams.err)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def measured(
    folder: "RunFolder",
    own: "Sequence[Row]",
    paths: Sequence[Path],
    reference: "Row",
    *,
    layer: int | None,
    same_model: bool,
    tell: "Telling",
) -> "tuple[list[ExternalRow], dict[str, str]]":
    """The SAEs in `paths`, measured like `reference`, and by id the trials of those that the run itself trained.

    Raises BadInput before anything heavy starts where one cannot be read, and before measuring where one does not fit.
    """
    from orchestrator.commands.trained import model_and_rows_of
    from orchestrator.packs.held import device_name
    from trainer.external import measure, place, read_saelens

    saes = [read_saelens(path) for path in paths]
    tell.phase(f"loading model {reference.config.model.name} and text {reference.config.data.dataset}")
    model, rows = model_and_rows_of(reference, folder)
    placed = [place(sae, model=model, like=reference.config, layer=layer, same_model=same_model) for sae in saes]
    n_tokens = len(rows.evaluation) * rows.context
    found: list[ExternalRow] = []
    for start in range(0, len(saes), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        which = f"SAEs {start + 1} to {start + len(saes[part])} of " if len(saes) > AT_ONCE else ""
        tell.phase(f"measuring {which}{len(saes)} SAE{'s' * (len(saes) > 1)} on {n_tokens:,} held-out tokens")
        metrics = measure(
            saes[part], [p.layer for p in placed[part]], like=reference.config, model=model, rows=rows,
            heard=lambda done, total: tell.far(done, total, "batches"),
        )  # fmt: skip
        found += [
            _row(s, p, values, reference, device=device_name(model.device))
            for s, p, values in zip(saes[part], placed[part], metrics, strict=True)
        ]
    return found, {sae.sae_id: trial_id for sae in saes if (trial_id := _twin(sae, own, folder)) is not None}


def _twin(sae: "ExternalSAE", own: "Sequence[Row]", folder: "RunFolder") -> str | None:
    """The trial of this run that the SAE is: by the id that our export writes down, and by its weights."""
    row = next((row for row in own if row.trial_id == sae.trial_id), None)
    trained = folder.read_sae(row.trial_id) if row is not None else None
    if row is None or trained is None:
        return None
    tensors = trained[0]
    pairs = ((sae.w_enc, "w_enc"), (sae.b_enc, "b_enc"), (sae.dictionary, "dictionary"), (sae.b_dec, "b_dec"))
    same = all(
        ours.shape == tensors[name].shape and ours.float().allclose(tensors[name].float(), rtol=1e-3, atol=1e-5)
        for ours, name in pairs
    )
    return row.trial_id if same else None


def _check_addable(folder: "RunFolder") -> None:
    """Raise BadInput where the run's frontier cannot be made, before anything is measured for it."""
    from orchestrator.fronts.fronts_of_run import fronts_of_run

    fronts_of_run(folder)


def _keep(folder: "RunFolder", rows: "Sequence[ExternalRow]") -> None:
    """In files of their own, in the run's tables, and in its picture."""
    from dashboards.figures import write_figures
    from orchestrator.folder.clock import now
    from orchestrator.fronts.export import write_fronts
    from orchestrator.fronts.external import write_external
    from orchestrator.fronts.fronts_of_run import fronts_of_run, state_of

    write_external(folder, rows)
    name = folder.path.absolute().name
    write_fronts(folder, fronts_of_run(folder), sweep_id=name, state=state_of(folder), now=now(), snapshot=False)
    write_figures(folder.frontier, folder.path)


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
