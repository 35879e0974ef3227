"""What `style.json` says about losses and metrics, for pictures. Knows no data and draws nothing."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LossLook:
    """How the trials of a loss are drawn. The shape always doubles the colour."""

    label: str
    color: str
    marker: str


@dataclass(frozen=True)
class Axis:
    """One metric along one side of a panel."""

    column: str
    name: str
    unit: str
    scale: str
    better: str

    @property
    def label(self) -> str:
        """Name and, where the name does not say it, unit in a second line."""
        return f"{self.name}\n({self.unit})" if self.unit and self.unit not in self.name else self.name


def loss_look(loss: str) -> LossLook:
    """Of any loss; one that the style does not know is grey."""
    entry = _style()["losses"].get(loss, {"label": loss, "color": "#555555", "marker": "s"})
    return LossLook(entry["label"], entry["color"], entry["marker"])


def loss_rank(loss: str) -> tuple[int, str]:
    """Sorts losses as the style lists them, others after."""
    order = list(_style()["losses"])
    return (order.index(loss) if loss in order else len(order), loss)


def axis(column: str, *, unit: str, better: str) -> Axis:
    """Of any metric; one that the style does not know is linear and has its column's name."""
    entry = _style()["metrics"].get(column, {"label": column.replace("_", " "), "scale": "linear"})
    return Axis(column, entry["label"], unit, entry["scale"], better)


@cache
def _style() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("style.json").read_text(encoding="utf-8"))
