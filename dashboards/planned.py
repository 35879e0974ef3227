"""What a sweep's driver planned, and how it stands: trials, packs, and the rounds of a search."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dashboards.reading import Fields, count, fields_in, json_of, number, text, told
from dashboards.runs import SWEEP_ID, TRIAL_ID
from dashboards.settings import layer_of
from dashboards.standing import held, packs_of


def trials_of(
    folder: Path, plan: Mapping[str, Any], packs: Sequence[Fields], rows: Iterable[Fields], *, is_running: bool
) -> list[Fields]:
    """Every trial of the plan and how it stands."""
    names, removed = fields_in(plan.get("run_names")), {str(id_) for id_ in plan.get("removed") or ()}
    done = {row["trial_id"] for row in rows}
    pack_of = {id_: pack for pack, ids in fields_in(plan.get("packs")).items() for id_ in ids}
    running = {id_: pack for pack in packs if is_running and pack["state"] == "running" for id_ in pack["trial_ids"]}
    found: list[Fields] = []
    for trial_id, config in fields_in(plan.get("trials")).items():
        ended = {} if trial_id in done else _ended(folder, trial_id)
        state = "done" if trial_id in done else text(ended.get("status")) or ("running" if trial_id in running else "")
        pack = running.get(trial_id, {})
        loss = fields_in(config.get("loss"))
        found.append(
            {
                "trial_id": trial_id,
                "run_name": text(names.get(trial_id)) or trial_id,
                "state": "removed" if trial_id in removed else state or "waiting",
                "layer": layer_of(config),
                "loss": loss.get("kind"),
                "sparsity_coeff": number(loss.get("sparsity_coeff")),
                "seed": config.get("seed"),
                "ratio": number(fields_in(config.get("sae")).get("ratio")),
                "pack_id": pack_of.get(trial_id),
                "step": pack.get("step") if state == "running" else None,
                "n_steps": pack.get("n_steps") if state == "running" else None,
                "error": why_ended(ended),
            }
        )
    return found


def state_of_one(folder: Path, plan: Mapping[str, Any], trial_id: str) -> str:
    """How a trial stands that has no result yet: `running` or `waiting`."""
    mine = [pack_id for pack_id in pack_ids(plan) if trial_id in fields_in(plan.get("packs"))[pack_id]]
    states = [pack["state"] for pack in packs_of(folder, mine, [])]
    return "running" if "running" in states and held(folder) else "waiting"


def why_ended(result: Mapping[str, Any]) -> str | None:
    """Why a trial has no numbers in the table; None for one that is done or has not ended."""
    by = fields_in(result.get("dominated"))
    if by:
        return f"dominated by {text(by.get('by_name'))} after {count(by.get('tokens')):,} tokens, and so stopped early"
    return text(result.get("error")) or None


def shown_packs(packs: Sequence[Fields], plan: Mapping[str, Any], *, is_running: bool) -> list[Fields]:
    """With their layers and losses in place of trials; what a driver that is gone left running is cut off."""
    trials = fields_in(plan.get("trials"))
    shown: list[Fields] = []
    for pack in packs:
        configs = [fields_in(trials.get(trial_id)) for trial_id in pack["trial_ids"]]
        state = "stopped" if pack["state"] == "running" and not is_running else pack["state"]
        rest = {name: value for name, value in pack.items() if name != "trial_ids"}
        shown.append(
            rest
            | {
                "state": state,
                "n_trials": len(configs),
                "layers": sorted({layer for config in configs if (layer := layer_of(config)) is not None}),
                "losses": sorted({str(fields_in(config.get("loss")).get("kind")) for config in configs if config}),
            }
        )
    return shown


def pack_ids(plan: Mapping[str, Any]) -> list[str]:
    """Those that can be names of folders."""
    return [pack_id for pack_id in fields_in(plan.get("packs")) if re.fullmatch(SWEEP_ID, pack_id)]


def search_of(folder: Path, plan: Mapping[str, Any], settings: Mapping[str, Any]) -> Fields | None:
    """What was looked for after the grid, round by round, and what came of it; None where nothing was."""
    asked = fields_in(settings.get("search"))
    proposed = [fields_in(why) for why in fields_in(plan.get("proposed")).values()]
    if not proposed and asked.get("kind", "grid") == "grid":
        return None
    rounds: dict[int, list[str]] = {}
    for why in proposed:
        rounds.setdefault(count(why.get("round")), []).append(text(why.get("why")))
    said = json_of(folder, "search/found.json") or {}
    return {
        "label": text(said.get("label")) or next((text(why.get("search")) for why in proposed), str(asked.get("kind"))),
        "rounds": [
            {"round": n, "n_trials": len(whys), "why": list(dict.fromkeys(whys))} for n, whys in sorted(rounds.items())
        ],
        "found": [
            {"text": text(one.get("text")), "reached": one.get("reached") is True}
            for one in said.get("found") or []
            if isinstance(one, dict)
        ],
    }


def _ended(folder: Path, trial_id: str) -> Fields:
    """How a trial ended that is not in the table; nothing while it has not."""
    if not re.fullmatch(TRIAL_ID, trial_id):
        return {}
    return told(
        [],
        lambda: json_of(folder, f"results/{trial_id}.json") or {},
        {"status": "failed", "error": "its result is damaged"},
    )
