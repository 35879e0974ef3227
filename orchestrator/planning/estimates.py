"""What packs took, beside what they were expected to take. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.display.words import bytes_text, duration_text
from orchestrator.folder.records import PackEstimate, Row, RowStatus, SavedPlan


@dataclass(frozen=True)
class Compared:
    """Of one pack, or of several: seconds are sums, bytes those of the largest."""

    n_packs: int
    estimated_s: float
    actual_s: float
    estimated_bytes: float
    actual_bytes: float
    basis: str
    """What the estimate rested on."""

    def fields(self) -> dict[str, float | str | None]:
        """For an event, and for machines."""
        return {
            "estimated_s": round(self.estimated_s, 1),
            "actual_s": round(self.actual_s, 1),
            "estimated_memory_bytes": round(self.estimated_bytes),
            "actual_memory_bytes": round(self.actual_bytes),
            "basis": self.basis,
        }

    def text(self) -> str:
        """One line for people."""
        return (
            f"{duration_text(self.actual_s)} of work in {self.n_packs} {'pack' if self.n_packs == 1 else 'packs'}, "
            f"{bytes_text(self.actual_bytes)} in the largest; estimated {duration_text(self.estimated_s)} and "
            f"{bytes_text(self.estimated_bytes)} ({self.basis})"
        )


def compared_pack(estimate: PackEstimate | None, rows: Iterable[Row]) -> Compared | None:
    """`rows`: those of the pack's trials. None where nothing was estimated, or none of its trials is done."""
    done = [row.cost for row in rows if row.status is RowStatus.DONE]
    seconds = [each for cost in done if (each := cost.get("pack_s")) is not None]
    if estimate is None or not seconds:
        return None
    return Compared(
        n_packs=1,
        estimated_s=estimate.seconds,
        actual_s=max(seconds),
        estimated_bytes=estimate.memory_bytes,
        actual_bytes=max(each for cost in done if (each := cost.get("peak_memory_bytes", 0.0)) is not None),
        basis=estimate.basis,
    )


def compared_by_pack(plan: SavedPlan, rows: Iterable[Row]) -> dict[str, Compared]:
    """Every pack of the plan that is done."""
    by_pack: dict[str, list[Row]] = {}
    for row in rows:
        by_pack.setdefault(row.pack_id, []).append(row)
    found = {id_: compared_pack(plan.estimates.get(id_), by_pack.get(id_, [])) for id_ in plan.packs}
    return {pack_id: compared for pack_id, compared in found.items() if compared is not None}


def in_all(packs: Iterable[Compared]) -> Compared | None:
    """Of all these packs together; None where there are none."""
    packs = list(packs)
    if not packs:
        return None
    return Compared(
        n_packs=len(packs),
        estimated_s=sum(pack.estimated_s for pack in packs),
        actual_s=sum(pack.actual_s for pack in packs),
        estimated_bytes=max(pack.estimated_bytes for pack in packs),
        actual_bytes=max(pack.actual_bytes for pack in packs),
        basis=" and ".join(dict.fromkeys(pack.basis for pack in packs)),
    )


def as_json(packs: Mapping[str, Compared]) -> dict[str, Any] | None:
    """For machines; None where nothing was estimated."""
    total = in_all(packs.values())
    if total is None:
        return None
    return {**total.fields(), "packs": {pack_id: pack.fields() for pack_id, pack in packs.items()}}
