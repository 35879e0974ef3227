"""What happened, as events for people: of a pack from its status, of a trial from its row. Only makes them."""

from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.display.progress import where
from orchestrator.folder.clock import now
from orchestrator.folder.records import Event, PackState, PackStatus, Row, RowStatus, SavedPlan
from orchestrator.planning.estimates import compared_pack

Level = Literal["info", "warning", "error"]


def new_event(
    event: str,
    message: str,
    *,
    level: Level = "info",
    pack_id: str | None = None,
    trial_id: str | None = None,
    **fields: float | str | None,
) -> Event:
    """Something that happened just now."""
    return Event(
        time=now(),
        level=level,
        event=event,
        message=message,
        pack_id=pack_id,
        trial_id=trial_id,
        fields=dict(fields),
    )


def pack_news(status: PackStatus, plan: SavedPlan, rows: Mapping[str, Row]) -> Event | None:
    """A pack is in another state than before. `rows`: of the trials that ended, by id."""
    pack_id = status.pack_id
    trials = [plan.trials[trial_id] for trial_id in status.trial_ids if trial_id in plan.trials]
    name = f"pack {pack_id[:6]} ({where(trials)}, {len(trials)} trials)"
    match status.state:
        case PackState.RUNNING:
            return new_event("pack_started", f"{name} started", pack_id=pack_id)
        case PackState.DONE:
            ended = (rows[id_] for id_ in status.trial_ids if id_ in rows)
            compared = compared_pack(plan.estimates.get(pack_id), ended)
            fields: dict[str, Any] = {} if compared is None else compared.fields()
            return new_event("pack_done", f"{name} is done", pack_id=pack_id, **fields)
        case PackState.STOPPED:
            text = f"{name} stopped at step {status.step}"
            return new_event("pack_stopped", text, level="warning", pack_id=pack_id)
        case PackState.FAILED:
            return new_event("pack_failed", f"{name} failed: {status.error}", level="error", pack_id=pack_id)
        case PackState.WAITING:
            return None  # whoever has it tried again says so


def row_news(row: Row) -> Event | None:
    """A trial has ended. Of those that were cut off their pack tells."""
    name, pack_id, trial_id = row.run_name, row.pack_id, row.trial_id
    if row.status is RowStatus.DONE:
        l0, ce = _number(row, "l0"), _number(row, "ce_loss_increase")
        said = "" if l0 is None or ce is None else f": L0 {l0:.4g}, CE increase {ce:.4g}"
        return new_event(
            "trial_done", f"{name} is done{said}", pack_id=pack_id, trial_id=trial_id, l0=l0, ce_loss_increase=ce
        )
    if row.dominated is not None:
        return new_event(
            "trial_dominated", f"{name} is stopped: {row.dominated.text}", pack_id=pack_id, trial_id=trial_id
        )
    if row.status is RowStatus.FAILED:
        return new_event(
            "trial_failed", f"{name} failed: {row.error}", level="error", pack_id=pack_id, trial_id=trial_id
        )
    return None


def _number(row: Row, metric: str) -> float | None:
    value = row.metrics.get(metric)
    return value if isinstance(value, float) else None
