"""The run folder: the truth about one sweep, and the only way in and out of its files.

    runs/<sweep_id>/
      sweep.yaml  plan.json  launch.json    what was asked, and with which options (driver)
      spare/                                the same once more, for when one of those is damaged (driver)
      runs.json                             which MLflow run is which trial (driver)
      status.json  events.jsonl             how it stands; what happened (driver)
      lease.json                            who runs it now (driver)
      packs/<pack_id>/status.json  events.jsonl  log.txt  owner
                                            how one pack stands, what happened, which attempt it is (its worker)
      packs/<pack_id>/checkpoints/<step>/   what it goes on from (its worker; gone when it is done)
      journal/<trial_id>.jsonl              curves (worker)
      results/<trial_id>.json               how the trial ended (worker)
      aside/<trial_id>.json                 how it ended before it was tried again (driver)
      saes/<trial_id>/sae.safetensors  config.json
      elements/<trial_id>.json              what dictionary elements are strong on (worker)
      frontier.parquet  frontier.png  frontier.svg  snapshots/  manifest.json  ray/
      frontier_*.parquet  cache/            what follows from the frontier; lines of many rows, made anew if deleted
      report.html  search/found.json        the sweep as one page; what a search found (driver, at the end)

Each file has one writer at a time. Readers need no lock and may come at any moment of a run: a file that is not there
yet is None or empty, a half-written last line is left out. What is broken raises `BadInput` with the file's name.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from orchestrator.folder.elements import ShownElements
from orchestrator.folder.files import (
    SEAL,
    append_lines,
    disk_problems_explained,
    is_whole,
    sealed,
    whole_lines,
    write_bytes,
    write_json,
    write_text,
)
from orchestrator.folder.records import (
    NAME,
    TRIAL_ID,
    CurvePoint,
    Event,
    Holder,
    Manifest,
    MLflowRuns,
    PackStatus,
    Row,
    SavedLaunch,
    SavedPlan,
    SweepStatus,
)
from orchestrator.folder.spare import SPARE, read_either, spare_text, why_spare, write_text_twice, write_twice
from trainer.config import TrialConfig
from trainer.errors import BadInput
from trainer.values import Frozen

if TYPE_CHECKING:
    from torch import Tensor

Record = TypeVar("Record", bound=Frozen)
DELETE_IT = "Delete it to have it made again."


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
    def report(self) -> Path:
        """The sweep as one HTML file."""
        return self.path / "report.html"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def ray_logs(self) -> Path:
        return self.path / "ray"

    def pack_log(self, pack_id: str) -> Path:
        """Text that the pack's worker printed."""
        return self._pack(pack_id) / "log.txt"

    def journal(self, trial_id: str) -> Path:
        """The file of the trial's curves, for who follows it while it grows; `curve` reads it whole."""
        return self._journal(trial_id)

    def result(self, trial_id: str) -> Path:
        """The file of `row`."""
        return self._result(trial_id)

    @property
    def mlflow(self) -> Path:
        """What is known about the copy of this sweep in MLflow; `orchestrator/tracking` has it to itself."""
        return self.path / "mlflow"

    def sae(self, trial_id: str) -> Path:
        """Folder of the trained SAE."""
        return self.path / "saes" / _checked(trial_id, TRIAL_ID, "trial id")

    # What was asked.
    def write_sweep(self, yaml: str) -> None:
        """The sweep file as resolved, overrides included."""
        write_text_twice(self.path, "sweep.yaml", yaml)

    def sweep(self) -> str | None:
        path = self.path / "sweep.yaml"
        try:
            return path.read_text(encoding="utf-8") if path.exists() else None
        except UnicodeDecodeError as damage:
            raise BadInput(f"{path} is no text in UTF-8: {damage.reason} at byte {damage.start}") from damage

    def mend_sweep(self) -> str | None:
        """Put `sweep.yaml` back as it was last written, and say so; None where nothing had to be done.

        What was there goes to `aside/`.
        """
        path, written = self.path / "sweep.yaml", spare_text(self.path, "sweep.yaml")
        there = path.read_bytes() if path.exists() else None
        if written is None or there == written.encode():
            return None
        if there is None:
            write_text(path, written)
            return f"{path} was gone; it is there again, as it was last launched"
        aside = self._set_aside(path)
        write_text(path, written)
        return (
            f"{path} was not what the last launch wrote: it was damaged, or changed by hand. It is again as it was; "
            f"what was there is now {aside}. To change a sweep, launch a changed sweep file"
        )

    @property
    def is_run(self) -> bool:
        """Whether a sweep was ever planned here."""
        return any((self.path / folder / "plan.json").is_file() for folder in ("", SPARE))

    def write_plan(self, plan: SavedPlan) -> None:
        write_twice(self.path, "plan.json", plan)

    def plan(self) -> SavedPlan | None:
        """From its spare copy where need be. Raises BadInput where neither can be read."""
        return read_either(self.path, "plan.json", SavedPlan)

    def write_launch(self, launch: SavedLaunch) -> None:
        write_twice(self.path, "launch.json", launch)

    def launch(self) -> SavedLaunch | None:
        """How it was last launched; None for a folder of an earlier version."""
        return read_either(self.path, "launch.json", SavedLaunch)

    def read_from_spares(self) -> list[str]:
        """What is damaged or gone, and read from its spare copy until it is written again."""
        found = (why_spare(self.path, "plan.json", SavedPlan), why_spare(self.path, "launch.json", SavedLaunch))
        return [why for why in found if why is not None]

    @property
    def lease(self) -> Path:
        return self.path / "lease.json"

    def write_holder(self, holder: Holder) -> None:
        _write(self.lease, holder)

    def holder(self) -> Holder | None:
        """Who said last that he runs this sweep; None for nobody, and where it cannot be told any more."""
        try:
            return _read(self.lease, Holder)
        except BadInput:
            return None

    def write_mlflow_runs(self, runs: MLflowRuns) -> None:
        _write(self.path / "runs.json", runs)

    def mlflow_runs(self) -> MLflowRuns | None:
        """None also where they cannot be read: they are found again by their tags."""
        try:
            return _read(self.path / "runs.json", MLflowRuns)
        except BadInput:
            return None

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

    def owner(self, pack_id: str) -> str | None:
        """The attempt that may write the pack's files; None before the first."""
        try:
            return (self._pack(pack_id) / "owner").read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_owner(self, pack_id: str, attempt: str) -> None:
        write_text(self._pack(pack_id) / "owner", attempt)

    def checkpoints(self, pack_id: str) -> Path:
        return self._pack(pack_id) / "checkpoints"

    def add_pack_event(self, event: Event) -> None:
        """What a worker has to say. The driver, who writes the sweep's events, passes it on."""
        assert event.pack_id is not None
        append_lines(self._pack(event.pack_id) / "events.jsonl", [event.model_dump_json()])

    def pack_events(self, pack_id: str) -> list[Event]:
        return list(_read_lines(self._pack(pack_id) / "events.jsonl", Event, skip_broken=True))

    def add_event(self, event: Event) -> None:
        append_lines(self.path / "events.jsonl", [event.model_dump_json()])

    def events(self) -> list[Event]:
        """All that happened so far, oldest first."""
        return list(_read_lines(self.path / "events.jsonl", Event, skip_broken=True))

    # What came out.
    def add_curve_points(self, trial_id: str, points: Iterable[CurvePoint]) -> None:
        """These outlast a loss of power."""
        append_lines(self._journal(trial_id), (point.line for point in points), durable=True)

    def curve(self, trial_id: str) -> list[CurvePoint]:
        """The trial's curves so far, by step, training before evaluation; of points that came twice the first."""
        return _once(_read_lines(self._journal(trial_id), CurvePoint))

    def journal_sha256(self, trial_id: str) -> str | None:
        """Of the file of its curves; None while there is none."""
        try:
            with self._journal(trial_id).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    def mend_curve(self, trial_id: str) -> tuple[list[CurvePoint], int]:
        """The curve, and how many lines that could not be read were left out, of the file too."""
        path = self._journal(trial_id)
        n_lines = sum(1 for _ in whole_lines(path))
        found = list(_read_lines(path, CurvePoint, skip_broken=True))
        if len(found) < n_lines:
            write_text(path, "".join(f"{point.line}\n" for point in found))
        return _once(found), n_lines - len(found)

    def write_row(self, row: Row) -> None:
        """With a hash of its own, so that damage is seen."""
        write_json(self._result(row.trial_id), sealed(row.model_dump(mode="json")))

    def row(self, trial_id: str) -> Row | None:
        """How the trial ended; None while it has not."""
        return _read_row(self._result(trial_id))

    def set_row_aside(self, trial_id: str) -> Path:
        """Move a result out of the way. Its trial has none then."""
        return self._set_aside(self._result(trial_id))

    def _set_aside(self, path: Path) -> Path:
        aside = self.path / "aside" / path.name
        with disk_problems_explained(aside):
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
        return aside

    def ended(self) -> list[str]:
        """The trials that have a row, by id."""
        return sorted(path.stem for path in (self.path / "results").glob("*.json") if re.fullmatch(TRIAL_ID, path.stem))

    def rows(self) -> list[Row]:
        """The rows of all trials that ended so far, by trial id."""
        paths = sorted((self.path / "results").glob("*.json"))
        found = (_read_row(path) for path in paths if re.fullmatch(TRIAL_ID, path.stem))
        return [row for row in found if row is not None]

    def write_sae(self, trial_id: str, tensors: Mapping[str, "Tensor"], config: TrialConfig) -> str:
        """The weights, and after them the config: where `config.json` is, the SAE is whole. Returns their SHA-256.

        `tensors`: w_enc "d_sae d_model", b_enc "d_sae", dictionary "d_sae d_model", b_dec "d_model".
        """
        from safetensors.torch import save

        folder = self.sae(trial_id)
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = save(on_cpu, metadata={"trial_id": trial_id})
        write_bytes(folder / "sae.safetensors", content)
        _write(folder / "config.json", config)
        return hashlib.sha256(content).hexdigest()

    def read_sae(self, trial_id: str) -> "tuple[dict[str, Tensor], TrialConfig] | None":
        """What `write_sae` wrote, on the CPU; None while it is not whole.

        Raises BadInput where the weights are not those of the trial's row.
        """
        from safetensors.torch import load

        config = _read(self.sae(trial_id) / "config.json", TrialConfig)
        if config is None:
            return None
        path = self.sae(trial_id) / "sae.safetensors"
        content, row = path.read_bytes(), self.row(trial_id)
        if row is not None and row.sae_sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise BadInput(
                f"{path} is not what was written: it was damaged. To train the trial again, delete "
                f"{self._result(trial_id)} and run: python -m orchestrator resume {self.path}"
            )
        return load(content), config

    def write_elements(self, elements: ShownElements) -> None:
        _write_compact(self._elements(elements.trial_id), elements)

    def elements(self, trial_id: str) -> ShownElements | None:
        """What single dictionary elements are strong on; None where that was not looked at."""
        return _read(self._elements(trial_id), ShownElements)

    def clear_leftovers(self) -> None:
        """Files that writers were killed in the middle of. For whoever has the lease."""
        for pattern in (
            ".*.tmp",
            "spare/.*.tmp",
            "results/.*.tmp",
            "journal/.*.tmp",
            "elements/.*.tmp",
            "saes/*/.*.tmp",
            "packs/*/.*.tmp",
        ):
            for path in self.path.glob(pattern):
                with suppress(OSError):
                    path.unlink()

    def write_manifest(self, manifest: Manifest) -> None:
        _write(self.path / "manifest.json", manifest)

    def manifest(self) -> Manifest:
        """The snapshots of the frontier; empty until there is one."""
        return _read(self.path / "manifest.json", Manifest) or Manifest()

    def _pack(self, pack_id: str) -> Path:
        return self.path / "packs" / _checked(pack_id, NAME, "pack id")

    def _journal(self, trial_id: str) -> Path:
        return self.path / "journal" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.jsonl"

    def _elements(self, trial_id: str) -> Path:
        return self.path / "elements" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.json"

    def _result(self, trial_id: str) -> Path:
        return self.path / "results" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.json"


def _checked(name: str, pattern: str, what: str) -> str:
    # fullmatch, since "$" lets a line end through.
    if not re.fullmatch(pattern, name):
        raise BadInput(f"{what} {name!r} cannot name a file of a run folder: expected a name matching {pattern}")
    return name


def _write(path: Path, record: Frozen) -> None:
    write_json(path, record.model_dump(mode="json"))


def _write_compact(path: Path, record: Frozen) -> None:
    """On one line: for what has many numbers, and is read by programs."""
    write_text(path, record.model_dump_json() + "\n")


def _read(path: Path, kind: type[Record]) -> Record | None:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _parsed(content, kind, where=str(path), what_to_do=DELETE_IT)


def _read_row(path: Path) -> Row | None:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fields = json.loads(content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or SEAL not in fields:  # rows of earlier versions have none
        return _parsed(content, Row, where=str(path), what_to_do=DELETE_IT)
    was_whole = is_whole(fields)
    row = _parsed(json.dumps(fields), Row, where=str(path), what_to_do=DELETE_IT)
    if not was_whole:
        raise BadInput(f"{path} is not what was written: it was damaged, or changed by hand. {DELETE_IT}")
    return row


def _read_lines(path: Path, kind: type[Record], *, skip_broken: bool = False) -> Iterator[Record]:
    for number, line in enumerate(whole_lines(path), start=1):
        try:
            yield _parsed(line, kind, where=f"{path}, line {number}", what_to_do="Delete that line to read the rest.")
        except BadInput:
            if not skip_broken:
                raise


def _once(points: Iterable[CurvePoint]) -> list[CurvePoint]:
    found: dict[object, CurvePoint] = {}
    for point in points:
        found.setdefault(point.key, point)
    # Not as they were written: a line that was damaged is made again, and then the last one.
    by_name = sorted(found.values(), key=lambda point: sorted(point.metrics), reverse=True)
    return sorted(by_name, key=lambda point: point.step)


def _parsed(content: bytes | str, kind: type[Record], *, where: str, what_to_do: str) -> Record:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(_problem(entry["loc"], entry["msg"]) for entry in error.errors(include_url=False))
        raise BadInput(f"{where} is not a readable {kind.__name__}: {problems}. {what_to_do}") from error


def _problem(location: tuple[int | str, ...], message: str) -> str:
    at = ".".join(str(part) for part in location)
    return f"{at}: {message}" if at else message
