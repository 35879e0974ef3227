"""Run folders as the page wants them: which there are, and each as a line of the list.

`detail.py` has one sweep whole, `trial.py` one trial. Reads files only and imports none of our other packages. What is
broken, half written or of a newer program becomes a sentence in its place, and the rest is shown.
"""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Generic, TypeVar

from dashboards.reading import (
    Fields,
    Unreadable,
    fields_in,
    number,
    plan_of,
    rows_of,
    stamp,
    table_of,
    text,
    told,
)
from dashboards.settings import layer_of, name_in
from dashboards.standing import held, standing

SWEEP_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
TRIAL_ID = r"[0-9a-f]{16}"
MARKS = ("plan.json", "status.json", "sweep.yaml", "frontier.parquet")
"""A folder with one of these is a run folder."""
EXTERNAL = "external"
"""In place of a loss: an SAE that somebody else trained."""
_SMALL = (*MARKS, "frontier_summary.parquet", "lease.json")

V = TypeVar("V")


class Kept(Generic[V]):
    """The newest few things that were made from files, for as long as those stay as they are."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, tuple[Hashable, V]] = OrderedDict()

    def get(self, key: Hashable, version: Hashable, make: Callable[[], V]) -> V:
        """That of this version, made if need be."""
        known = self._values.get(key)
        if known is None or known[0] != version:
            known = (version, make())
            self._values[key] = known
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)
        return known[1]


class Runs:
    """The run folders in one folder, or one of them alone."""

    def __init__(self, root: Path, *, only: str | None = None) -> None:
        self.root, self.only = root, only
        self._lines: Kept[Fields] = Kept(2000)

    @classmethod
    def at(cls, path: Path) -> "Runs":
        """Of a folder of runs, or of one run folder."""
        if is_run(path):
            path = path.absolute()
            return cls(path.parent, only=path.name)
        return cls(path)

    def folder(self, sweep_id: str) -> Path:
        """The run folder of that id. Raises `LookupError`, with a sentence, where there is none."""
        if re.fullmatch(SWEEP_ID, sweep_id) and self.only in (None, sweep_id):
            path = self.root / sweep_id
            if is_run(path):
                return path
        raise LookupError("there is no sweep of that id here; the list of sweeps has those that there are")

    def lines(self) -> list[Fields]:
        """A line per run folder, newest first."""
        found = [self.line(path) for path in self._folders()]
        # By what people think of as its start; a folder without a word from its driver by its plan.
        return sorted(
            found, key=lambda line: (line["started_at"] or line["updated_at"] or "", line["id"]), reverse=True
        )

    def line(self, path: Path) -> Fields:
        """One run folder in the list."""
        return self._lines.get(path, version_of(path), lambda: line_of(path))

    @property
    def version(self) -> str:
        """Another one whenever the list may say something else."""
        return digest([(path.name, version_of(path)) for path in self._folders()])

    def _folders(self) -> list[Path]:
        if self.only is not None:
            return [self.root / self.only]
        try:
            return sorted(path for path in self.root.iterdir() if not path.name.startswith(".") and is_run(path))
        except OSError:
            return []


def is_run(path: Path) -> bool:
    """Whether it is a run folder, also one that cannot be read."""
    return path.is_dir() and any(stamp(path / name) is not None for name in MARKS)


def version_of(path: Path) -> Hashable:
    """Another one whenever the line of that folder may say something else."""
    return tuple(stamp(path / name) for name in _SMALL[:-1]), stamp(path / "results"), held(path)


def digest(value: object) -> str:
    """Short and the same for the same."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:20]


def line_of(path: Path, *, ended_as: str = "") -> Fields:
    """A line of the list, anew. `ended_as` as in `standing`."""
    problems: list[str] = []
    line: Fields = {
        "id": path.name,
        "name": name_of(path, problems),
        **standing(path, problems, ended_as=ended_as),
        "n_rows": 0,
        "device_h": None,
        "hypervolume": None,
        **told(problems, lambda: _contents(path), {"model": None, "layers": [], "losses": []}),
        **told(problems, lambda: _results(path), {}),
        "problem": None,
    }
    if line["updated_at"] is None:
        line["updated_at"] = written_at(path)
    if not re.fullmatch(SWEEP_ID, path.name):
        line["id"] = f"unnamed-{digest(path.name)[:8]}"
        problems.insert(
            0, "the name of its folder cannot be an address: rename it with letters, digits, . _ and - only"
        )
        line |= {"state": "unreadable", "state_text": problems[0]}
    if problems and not line["n_trials"] and not line["n_rows"]:
        line |= {"state": "unreadable", "state_text": problems[0]}
    return line | {"problem": "; ".join(problems) or None}


def name_of(path: Path, problems: list[str]) -> str:
    """As its sweep file says, else the id without its hash."""
    return told(problems, lambda: name_in(path), "") or re.sub(r"-[0-9a-f]{8}$", "", path.name)


def written_at(path: Path, names: tuple[str, ...] = MARKS) -> str | None:
    """When the newest of these files was written."""
    from datetime import UTC, datetime

    times = [found[0] for name in names if (found := stamp(path / name)) is not None]
    return datetime.fromtimestamp(max(times) / 1e9, UTC).isoformat(timespec="milliseconds") if times else None


def hypervolume_of(summary: list[Fields]) -> float | None:
    """Mean over layers of the best loss's hypervolume in the first pair of metrics; None without a reference point."""
    summary = [line for line in summary if line.get("loss") != EXTERNAL]
    front = next((text(line.get("front")) for line in summary), "")
    best: dict[Any, float] = {}
    for line in summary:
        value = number(line.get("hypervolume"))
        if value is not None and line.get("front") == front:
            place = (line.get("model"), line.get("hookpoint"))
            best[place] = max(value, best.get(place, value))
    return sum(best.values()) / len(best) if best else None


def _results(path: Path) -> Fields:
    """What its tables say in short."""
    frontier = table_of(path, "frontier.parquet", columns=["device_s"])
    if frontier is None:
        return {}
    seconds = [number(row.get("device_s")) for row in rows_of(frontier.data)]
    known = [value for value in seconds if value is not None]
    found: Fields = {"n_rows": frontier.data.num_rows, "device_h": sum(known) / 3600 if known else None}
    summary = table_of(path, "frontier_summary.parquet", columns=["model", "hookpoint", "loss", "front", "hypervolume"])
    return found | ({"hypervolume": hypervolume_of(rows_of(summary.data))} if summary is not None else {})


def _contents(path: Path) -> Fields:
    """Model, layers and losses: of what is done, else of what is planned."""
    summary = None
    try:
        summary = table_of(path, "frontier_summary.parquet", columns=["model", "layer", "loss"])
    except Unreadable:
        summary = None  # the plan says it too
    if summary is not None and summary.data.num_rows:
        rows = rows_of(summary.data)
        models, layers, losses = ({row.get(name) for row in rows} for name in ("model", "layer", "loss"))
    else:
        trials = [fields_in(t) for t in fields_in((plan_of(path) or {}).get("trials")).values()]
        models = {fields_in(trial.get("model")).get("name") for trial in trials}
        layers = {layer_of(trial) for trial in trials}
        losses = {fields_in(trial.get("loss")).get("kind") for trial in trials}
    return {
        "model": ", ".join(sorted(str(model) for model in models if model is not None)) or None,
        "layers": sorted(layer for layer in layers if isinstance(layer, int)),
        "losses": sorted(str(loss) for loss in losses - {None, EXTERNAL}),
    }
