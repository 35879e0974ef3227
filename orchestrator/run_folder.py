"""The run folder: the truth about one sweep, and the only way in and out of its files.

    runs/<sweep_id>/
      sweep.yaml  plan.json  runs.json      what was asked; which MLflow run is which trial (driver)
      status.json  events.jsonl             how it stands; what happened (driver)
      packs/<pack_id>/status.json  log.txt  how one pack stands (its worker)
      journal/<trial_id>.jsonl              curves (worker)
      results/<trial_id>.json               how the trial ended (worker)
      saes/<trial_id>/sae.safetensors  config.json
      frontier.parquet  frontier.png  frontier.svg  snapshots/  manifest.json  ray/

Each file has one writer at a time. Readers need no lock and may come at any moment of a run: a file that is not there
yet is None or empty, a half-written last line is left out. What is broken raises `BadInput` with the file's name.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from orchestrator.files import append_lines, disk_problems_explained, whole_lines, write_bytes, write_json, write_text
from orchestrator.records import (
    NAME,
    TRIAL_ID,
    CurvePoint,
    Event,
    Manifest,
    MLflowRuns,
    PackStatus,
    Row,
    SavedPlan,
    SweepStatus,
)
from trainer.config import TrialConfig
from trainer.errors import BadInput
from trainer.values import Frozen

if TYPE_CHECKING:
    from torch import Tensor

Record = TypeVar("Record", bound=Frozen)


class RunFolder:
    """The files of one sweep. Making one touches nothing; folders appear with the first file in them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_sweep(cls, runs: Path, sweep_id: str) -> "RunFolder":
        """The folder of that sweep among all runs. Raises `BadInput` for a name that could lead elsewhere."""
        return cls(runs / _checked(sweep_id, NAME, "sweep id"))

    # Where the rest is, for those who write it themselves.
    @property
    def frontier(self) -> Path:
        return self.path / "frontier.parquet"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def ray_logs(self) -> Path:
        return self.path / "ray"

    def pack_log(self, pack_id: str) -> Path:
        """Text that the pack's worker printed."""
        return self._pack(pack_id) / "log.txt"

    def sae(self, trial_id: str) -> Path:
        """Folder of the trained SAE."""
        return self.path / "saes" / _checked(trial_id, TRIAL_ID, "trial id")

    # What was asked.
    def write_sweep(self, yaml: str) -> None:
        """The sweep file as resolved, overrides included."""
        write_text(self.path / "sweep.yaml", yaml)

    def sweep(self) -> str | None:
        path = self.path / "sweep.yaml"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def write_plan(self, plan: SavedPlan) -> None:
        _write(self.path / "plan.json", plan)

    def plan(self) -> SavedPlan | None:
        return _read(self.path / "plan.json", SavedPlan)

    def write_mlflow_runs(self, runs: MLflowRuns) -> None:
        _write(self.path / "runs.json", runs)

    def mlflow_runs(self) -> MLflowRuns | None:
        return _read(self.path / "runs.json", MLflowRuns)

    # How it stands.
    def write_status(self, status: SweepStatus) -> None:
        _write(self.path / "status.json", status)

    def status(self) -> SweepStatus | None:
        return _read(self.path / "status.json", SweepStatus)

    def write_pack_status(self, status: PackStatus) -> None:
        _write(self._pack(status.pack_id) / "status.json", status)

    def pack_status(self, pack_id: str) -> PackStatus | None:
        """None until its worker has started."""
        return _read(self._pack(pack_id) / "status.json", PackStatus)

    def add_event(self, event: Event) -> None:
        append_lines(self.path / "events.jsonl", [event.model_dump_json()])

    def events(self) -> list[Event]:
        """All that happened so far, oldest first."""
        return list(_read_lines(self.path / "events.jsonl", Event))

    # What came out.
    def add_curve_points(self, trial_id: str, points: Iterable[CurvePoint]) -> None:
        append_lines(self._journal(trial_id), (point.model_dump_json() for point in points))

    def curve(self, trial_id: str) -> list[CurvePoint]:
        """The trial's curves so far, in the order they were written."""
        return list(_read_lines(self._journal(trial_id), CurvePoint))

    def clear_curve(self, trial_id: str) -> None:
        """Forget the curves of an attempt that starts over."""
        path = self._journal(trial_id)
        with disk_problems_explained(path):
            path.unlink(missing_ok=True)

    def write_row(self, row: Row) -> None:
        _write(self._result(row.trial_id), row)

    def row(self, trial_id: str) -> Row | None:
        """How the trial ended; None while it has not."""
        return _read(self._result(trial_id), Row)

    def rows(self) -> list[Row]:
        """The rows of all trials that ended so far, by trial id."""
        paths = sorted((self.path / "results").glob("*.json"))
        found = (_read(path, Row) for path in paths if re.fullmatch(TRIAL_ID, path.stem))
        return [row for row in found if row is not None]

    def write_sae(self, trial_id: str, tensors: Mapping[str, "Tensor"], config: TrialConfig) -> None:
        """The weights, and after them the config: where `config.json` is, the SAE is whole.

        `tensors`: w_enc "d_sae d_model", b_enc "d_sae", dictionary "d_sae d_model", b_dec "d_model".
        """
        from safetensors.torch import save

        folder = self.sae(trial_id)
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(folder / "sae.safetensors", save(on_cpu, metadata={"trial_id": trial_id}))
        _write(folder / "config.json", config)

    def read_sae(self, trial_id: str) -> "tuple[dict[str, Tensor], TrialConfig] | None":
        """What `write_sae` wrote, on the CPU; None while it is not whole."""
        from safetensors.torch import load

        config = _read(self.sae(trial_id) / "config.json", TrialConfig)
        return None if config is None else (load((self.sae(trial_id) / "sae.safetensors").read_bytes()), config)

    def write_manifest(self, manifest: Manifest) -> None:
        _write(self.path / "manifest.json", manifest)

    def manifest(self) -> Manifest:
        """The snapshots of the frontier; empty until there is one."""
        return _read(self.path / "manifest.json", Manifest) or Manifest()

    def _pack(self, pack_id: str) -> Path:
        return self.path / "packs" / _checked(pack_id, NAME, "pack id")

    def _journal(self, trial_id: str) -> Path:
        return self.path / "journal" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.jsonl"

    def _result(self, trial_id: str) -> Path:
        return self.path / "results" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.json"


def _checked(name: str, pattern: str, what: str) -> str:
    # fullmatch, since "$" lets a line end through.
    if not re.fullmatch(pattern, name):
        raise BadInput(f"{what} {name!r} cannot name a file of a run folder: expected a name matching {pattern}")
    return name


def _write(path: Path, record: Frozen) -> None:
    write_json(path, record.model_dump(mode="json"))


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    return _parsed(content, kind, where=str(path), what_to_do="Delete it to have it made again.")


def _read_lines(path: Path, kind: type[Record]) -> Iterator[Record]:
    for number, line in enumerate(whole_lines(path), start=1):
        yield _parsed(line, kind, where=f"{path}, line {number}", what_to_do="Delete that line to read the rest.")


def _parsed(content: bytes | str, kind: type[Record], *, where: str, what_to_do: str) -> Record:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(_problem(entry["loc"], entry["msg"]) for entry in error.errors(include_url=False))
        raise BadInput(f"{where} is not a readable {kind.__name__}: {problems}. {what_to_do}") from error


def _problem(location: tuple[int | str, ...], message: str) -> str:
    at = ".".join(str(part) for part in location)
    return f"{at}: {message}" if at else message
