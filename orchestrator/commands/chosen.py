"""Which trials of a run are meant: named ones, all, those on a frontier; and the one to measure like.

Loads no PyTorch, so that what cannot be done is said at once.
"""

from collections.abc import Sequence

from orchestrator.folder.records import Row, RowStatus
from orchestrator.folder.run_folder import RunFolder
from trainer.config import TrialConfig
from trainer.errors import BadInput


def chosen_rows(
    folder: RunFolder,
    *,
    trial_names: Sequence[str] = (),
    every: bool = False,
    layers: Sequence[int] = (),
    option: str = "--trial",
) -> list[Row]:
    """The rows of the trials to export, by layer, loss, coefficient and seed: named ones, all, or those on a frontier.

    `option`: by which they were named. Raises BadInput where one is not known or not done, or none is left.
    """
    rows = {row.trial_id: row for row in folder.rows()}
    done = {id_: row for id_, row in rows.items() if row.status is RowStatus.DONE}
    if not done:
        raise BadInput(f"no trial of {folder.path.name} is done yet: there is no SAE to export")
    if trial_names:
        wanted = [_named(name, rows, option) for name in dict.fromkeys(trial_names)]
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


def check_weights(folder: RunFolder, rows: Sequence[Row]) -> None:
    """Raise BadInput where the SAE of one of them is not in the run folder."""
    for row in rows:
        if row.facts is None or not (folder.sae(row.trial_id) / "config.json").exists():
            raise no_weights(folder, row)


def no_weights(folder: RunFolder, row: Row) -> BadInput:
    """What to raise for a trial whose SAE is gone."""
    return BadInput(f"{folder.sae(row.trial_id)} has no SAE of {row.run_name}: its weights were moved or deleted")


def like_whom(own: Sequence[Row], trial: str | None, folder: RunFolder) -> Row:
    """The trial whose model, text and alive window an evaluation has.

    Raises BadInput where none is done, or they differ and none is named.
    """
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


def evaluated_alike(config: TrialConfig) -> tuple[object, ...]:
    """Equal for trials whose metrics are over the same tokens of the same model in the same precision."""
    return config.model, config.data, config.eval, config.train.compute_dtype


def _on_a_front(folder: RunFolder) -> set[str]:
    from orchestrator.fronts.export import read_frontier

    table = read_frontier(folder.frontier)
    fronts = [table[name].to_pylist() for name in table.column_names if name.startswith("on_front_")]
    return {trial_id for trial_id, *on in zip(table["trial_id"].to_pylist(), *fronts, strict=True) if any(on)}


def _named(name: str, rows: dict[str, Row], option: str) -> Row:
    found = [row for row in rows.values() if name == row.run_name or (len(name) >= 4 and row.trial_id.startswith(name))]
    if len(found) != 1:
        known = ", ".join(sorted(row.run_name for row in (found or rows.values()))[:10])
        what = "several trials begin with" if found else "no trial that ended is"
        raise BadInput(f"{option} {name}: {what} {name!r}; expected a trial id or a name such as {known}")
    return found[0]


def _order(row: Row) -> tuple[int, str, float, int, str]:
    config = row.config
    return config.layer, config.loss.kind, config.loss.sparsity_coeff, config.seed, row.trial_id
