"""Which SAEs of a run are looked at: by matched comparisons, on a front, or by name. No ids are pasted anywhere.

Loads no PyTorch, so that what cannot be done is said at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.commands.chosen import check_weights, chosen_rows
from orchestrator.folder.records import Row, RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.fronts_of_run import fronts_of_run, wanted_trials
from orchestrator.fronts.matched import Nearest, matches
from orchestrator.fronts.schema import EXTERNAL, Objective
from orchestrator.fronts.series import BASELINE
from orchestrator.fronts.summary import Fronts
from orchestrator.paper.against_local import against_local
from orchestrator.paper.analysis import Chosen, Group
from trainer.errors import BadInput

MATCHED = {"matched-ce": "ce_loss_increase", "matched-l0": "l0"}
FRONT = "front"
DEFAULT = ("matched-ce",)
ROUGH = 0.25
"""Of the target, from the lowest to the highest of the SAEs nearest to it: from there on it is told."""
_PLANE = Objective("l0", "ce_loss_increase")
_SHORT = {"ce_loss_increase": "ce", "l0": "l0-"}
_LONG = {"ce_loss_increase": "CE loss increase", "l0": "L0"}


def choose(
    folder: RunFolder, select: Sequence[str] = (), *, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> Chosen:
    """What `--select` means on this run.

    Raises BadInput where no trial is done, a name is not known, an SAE's weights are gone, or the SAEs do not share
    model and text.
    """
    from trainer.models import describe_model

    fronts = fronts_of_run(folder)
    done = _done(folder)
    groups: list[Group] = []
    rows: list[Row] = []
    notes: list[str] = []
    names = [one for one in select if one not in MATCHED and one != FRONT]
    for one in dict.fromkeys(select or DEFAULT):
        if one in MATCHED:
            groups += _matched(fronts, done, MATCHED[one], notes)
        elif one == FRONT:
            rows += [done[id_] for id_ in _on_a_front(fronts) if id_ in done]
            groups += _matched(fronts, done, "ce_loss_increase", notes)
    if names:
        named = chosen_rows(folder, trial_names=names, option="--select")
        rows += named
        groups += _by_layer(named)
    rows = in_order([*rows, *(row for group in groups for row in group.rows)])
    check_weights(folder, rows)
    _check_alike(rows, folder)
    first = rows[0]
    assert first.facts is not None  # a done row has them
    with folder.where_launched():
        facts = describe_model(first.config.model)
    return Chosen(
        rows=tuple(rows),
        groups=tuple({group.key: group for group in groups}.values()),
        done=tuple(row for row in in_order(done.values()) if _alike(row) == _alike(first)),
        facts=facts,
        context=first.config.data.context,
        n_eval_rows=first.facts.n_eval_tokens // first.config.data.context,
        settings=settings or {},
        against_local=against_local(fronts, eval_hash=first.facts.eval_hash),
        notes=tuple(dict.fromkeys(notes)),
    )


def in_order(rows: Iterable[Row]) -> list[Row]:
    """By layer, loss (local first), coefficient and seed; none twice."""
    return sorted({row.trial_id: row for row in rows}.values(), key=_order)


def _done(folder: RunFolder) -> dict[str, Row]:
    """Trials that the sweep asks for, are done, and have their SAE, by id."""
    wanted = wanted_trials(folder)
    return {
        row.trial_id: row
        for row in folder.rows()
        if row.status is RowStatus.DONE
        and (wanted is None or row.trial_id in wanted)
        and (folder.sae(row.trial_id) / "config.json").exists()
    }


def _matched(fronts: Fronts, done: Mapping[str, Row], metric: str, notes: list[str]) -> list[Group]:
    """The trials nearest to each target, a group per place and target, one trial per loss. Adds to `notes`."""
    found: list[Group] = []
    for place in fronts.places:
        here = [match for match in matches(place, [_PLANE], fronts.targets) if match.matched == metric]
        several_sizes = len({other.keys["d_sae"] for other in fronts.places}) > 1
        for target in dict.fromkeys(match.target for match in here):
            nearest = {
                match.nearest.trial_id: match.nearest for match in here
                if match.target == target and match.loss != EXTERNAL
            }  # fmt: skip
            rows = in_order(done[id_] for id_ in nearest if id_ in done)
            layer, size = place.keys["layer"], place.keys["d_sae"]
            title = f"layer {layer}, {_LONG[metric]} {target:.3g}"
            notes += [_gone(title, one) for id_, one in nearest.items() if id_ not in done]
            if not rows:
                continue
            offsets = {row.trial_id: nearest[row.trial_id].offset for row in rows}
            if max(offsets.values()) - min(offsets.values()) > ROUGH:
                notes.append(_rough(title, offsets))
            found.append(
                Group(
                    key=f"L{layer}-{_SHORT[metric]}{target:.3g}" + (f"-x{size}" if several_sizes else ""),
                    title=title + (f", {size} elements" if several_sizes else ""),
                    matched=metric,
                    target=target,
                    rows=tuple(rows),
                    offsets=offsets,
                )
            )
    if not found:
        raise BadInput(
            f"no SAEs of this run can be matched at {_LONG[metric]}: their weights are gone, or l0 or "
            "ce_loss_increase was not measured. Name trials in place of it: --select L3-e2e-c0.5-s0"
        )
    return found


def _gone(title: str, nearest: Nearest) -> str:
    return (
        f"{title}: the weights of {nearest.run_name} are gone, the nearest one of its loss, which is not compared there"
    )


def _rough(title: str, offsets: Mapping[str, float]) -> str:
    low, high = min(offsets.values()), max(offsets.values())
    return (
        f"{title}: the nearest SAEs are {low:+.0%} to {high:+.0%} off it, so not their loss alone is different; more "
        "coefficients in between, or another target in frontier.match, match them better"
    )


def _on_a_front(fronts: Fronts) -> list[str]:
    table = fronts.own
    flags = [table[name].to_pylist() for name in table.column_names if name.startswith("on_front_")]
    return [id_ for id_, *on in zip(table["trial_id"].to_pylist(), *flags, strict=True) if any(on)]


def _by_layer(rows: Sequence[Row]) -> list[Group]:
    layers = dict.fromkeys(row.config.layer for row in in_order(rows))
    return [
        Group(
            key=f"L{layer}-named",
            title=f"layer {layer}, named trials",
            matched="",
            target=None,
            rows=tuple(row for row in in_order(rows) if row.config.layer == layer),
        )
        for layer in layers
    ]


def _alike(row: Row) -> tuple[object, ...]:
    """Equal for SAEs on the same text of the same model."""
    facts = row.facts
    hashes = (facts.model_hash, facts.data_hash, facts.eval_hash) if facts else ()
    return (*hashes, row.config.model.center_residual, row.config.data.context)


def _check_alike(rows: Sequence[Row], folder: RunFolder) -> None:
    kinds = {_alike(row): row for row in rows}
    if len(kinds) > 1:
        names = ", ".join(row.run_name for row in kinds.values())
        raise BadInput(
            f"the chosen SAEs of {folder.path.name} are of {len(kinds)} models or texts, and cannot be compared: "
            f"choose those of one with --select, such as one of {names}"
        )


def _order(row: Row) -> tuple[int, bool, str, float, int, str]:
    config, loss = row.config, row.config.loss
    return config.layer, loss.kind != BASELINE, loss.kind, loss.sparsity_coeff, config.seed, row.trial_id
