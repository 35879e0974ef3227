"""The run folder: the truth about one sweep, and the only way in and out of its files. `layout.py` draws it.

Each file has one writer at a time. Readers need no lock and may come at any moment of a run: a file that is not there
yet is None or empty, a half-written last line is left out. What is broken raises `BadInput` with the file's name.
"""

import hashlib
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.folder.curves import mend_curve, read_curve
from orchestrator.folder.elements import ShownElements
from orchestrator.folder.files import append_lines, disk_problems_explained, write_bytes, write_text
from orchestrator.folder.layout import Layout
from orchestrator.folder.record_files import (
    read_lines,
    read_record,
    read_sealed,
    write_compact,
    write_record,
    write_sealed,
)
from orchestrator.folder.records import (
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

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.sae.weights import SAEWeights


class RunFolder(Layout):
    """The files of one sweep. Making one touches nothing; folders appear with the first file in them."""

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

    @contextmanager
    def where_launched(self) -> Generator[None]:
        """In here, relative paths of models and data mean what they meant when the sweep was launched.

        On another machine, or where nobody knows any more, they mean what they mean here.
        """
        launch = None
        with suppress(BadInput):
            launch = self.launch()
        there = Path(launch.cwd) if launch and launch.cwd else Path.cwd()
        with chdir(there if there.is_dir() else Path.cwd()):
            yield

    def read_from_spares(self) -> list[str]:
        """What is damaged or gone, and read from its spare copy until it is written again."""
        found = (why_spare(self.path, "plan.json", SavedPlan), why_spare(self.path, "launch.json", SavedLaunch))
        return [why for why in found if why is not None]

    def write_holder(self, holder: Holder) -> None:
        write_record(self.lease, holder)

    def holder(self) -> Holder | None:
        """Who said last that he runs this sweep; None for nobody, and where it cannot be told any more."""
        try:
            return read_record(self.lease, Holder)
        except BadInput:
            return None

    def write_mlflow_runs(self, runs: MLflowRuns) -> None:
        write_record(self.path / "runs.json", runs)

    def mlflow_runs(self) -> MLflowRuns | None:
        """None also where they cannot be read: they are found again by their tags."""
        try:
            return read_record(self.path / "runs.json", MLflowRuns)
        except BadInput:
            return None

    # How it stands.
    def write_status(self, status: SweepStatus) -> None:
        write_record(self.path / "status.json", status)

    def status(self) -> SweepStatus | None:
        return read_record(self.path / "status.json", SweepStatus)

    def write_pack_status(self, status: PackStatus) -> None:
        write_record(self.pack(status.pack_id) / "status.json", status)

    def pack_status(self, pack_id: str) -> PackStatus | None:
        """None until its worker has started."""
        return read_record(self.pack(pack_id) / "status.json", PackStatus)

    def owner(self, pack_id: str) -> str | None:
        """The attempt that may write the pack's files; None before the first."""
        try:
            return (self.pack(pack_id) / "owner").read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_owner(self, pack_id: str, attempt: str) -> None:
        write_text(self.pack(pack_id) / "owner", attempt)

    def add_pack_event(self, event: Event) -> None:
        """What a worker has to say. The driver, who writes the sweep's events, passes it on."""
        assert event.pack_id is not None
        append_lines(self.pack(event.pack_id) / "events.jsonl", [event.model_dump_json()])

    def pack_events(self, pack_id: str) -> list[Event]:
        return list(read_lines(self.pack(pack_id) / "events.jsonl", Event, skip_broken=True))

    def add_event(self, event: Event) -> None:
        append_lines(self.path / "events.jsonl", [event.model_dump_json()])

    def events(self) -> list[Event]:
        """All that happened so far, oldest first."""
        return list(read_lines(self.path / "events.jsonl", Event, skip_broken=True))

    # What came out.
    def add_curve_points(self, trial_id: str, points: Iterable[CurvePoint]) -> None:
        """These outlast a loss of power."""
        append_lines(self.journal(trial_id), (point.line for point in points), durable=True)

    def curve(self, trial_id: str) -> list[CurvePoint]:
        """The trial's curves so far, by step, training before evaluation; of points that came twice the first."""
        return read_curve(self.journal(trial_id))

    def journal_sha256(self, trial_id: str) -> str | None:
        """Of the file of its curves; None while there is none."""
        try:
            with self.journal(trial_id).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None

    def mend_curve(self, trial_id: str) -> tuple[list[CurvePoint], int]:
        """The curve, and how many lines that could not be read were left out, of the file too."""
        return mend_curve(self.journal(trial_id))

    def write_row(self, row: Row) -> None:
        """With a hash of its own, so that damage is seen."""
        write_sealed(self.result(row.trial_id), row)

    def row(self, trial_id: str) -> Row | None:
        """How the trial ended; None while it has not."""
        return read_sealed(self.result(trial_id), Row)

    def set_row_aside(self, trial_id: str) -> Path:
        """Move a result out of the way. Its trial has none then."""
        return self._set_aside(self.result(trial_id))

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
        found = (read_sealed(path, Row) for path in paths if re.fullmatch(TRIAL_ID, path.stem))
        return [row for row in found if row is not None]

    def write_sae(self, trial_id: str, tensors: Mapping[str, "Tensor"], config: TrialConfig) -> str:
        """The weights, and after them the config: where `config.json` is, the SAE is whole. Returns their SHA-256.

        `tensors`: w_enc "d_sae d_model", b_enc "d_sae", dictionary "d_sae d_model", b_dec "d_model".
        """
        from safetensors.torch import save

        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        content = save(on_cpu, metadata={"trial_id": trial_id})
        write_bytes(self.sae(trial_id) / "sae.safetensors", content)
        write_record(self.sae(trial_id) / "config.json", config)
        return hashlib.sha256(content).hexdigest()

    def read_sae(self, trial_id: str) -> "tuple[dict[str, Tensor], TrialConfig] | None":
        """What `write_sae` wrote, on the CPU; None while it is not whole.

        Raises BadInput where the weights are not those of the trial's row.
        """
        from safetensors.torch import load

        config = read_record(self.sae(trial_id) / "config.json", TrialConfig)
        if config is None:
            return None
        path = self.sae(trial_id) / "sae.safetensors"
        content, row = path.read_bytes(), self.row(trial_id)
        if row is not None and row.sae_sha256 not in (None, hashlib.sha256(content).hexdigest()):
            raise BadInput(
                f"{path} is not what was written: it was damaged. To train the trial again, delete "
                f"{self.result(trial_id)} and run: python -m orchestrator resume {self.path}"
            )
        return load(content), config

    def write_start(self, sae: "SAEWeights") -> None:
        """A copy of an SAE that training starts from, so that nothing outside is needed any more."""
        from safetensors.torch import save

        tensors = {name: getattr(sae, name).contiguous() for name in ("w_enc", "b_enc", "dictionary", "b_dec")}
        write_bytes(self.start(sae.weights_id), save(tensors))

    def read_start(self, weights_id: str) -> "SAEWeights":
        """What `write_start` wrote.

        Raises BadInput where it is not there, or not what was written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        from trainer.sae.weights import SAEWeights

        path = self.start(weights_id)
        try:
            sae = SAEWeights(**load(path.read_bytes()))
        except FileNotFoundError:
            raise BadInput(f"no SAE to start from is known as {weights_id}: {path} is not there") from None
        except (SafetensorError, TypeError):
            raise BadInput(f"{path} is not what was written: it was damaged") from None
        if sae.weights_id != weights_id:
            raise BadInput(f"{path} is not what was written: it was damaged")
        return sae

    def write_elements(self, elements: ShownElements) -> None:
        write_compact(self.elements_file(elements.trial_id), elements)

    def elements(self, trial_id: str) -> ShownElements | None:
        """What single dictionary elements are strong on; None where that was not looked at."""
        return read_record(self.elements_file(trial_id), ShownElements)

    def clear_leftovers(self) -> None:
        """Files that writers were killed in the middle of. For whoever has the lease."""
        for folder in ("", "spare/", "results/", "journal/", "elements/", "starts/", "saes/*/", "packs/*/"):
            for path in self.path.glob(f"{folder}.*.tmp"):
                with suppress(OSError):
                    path.unlink()

    def write_manifest(self, manifest: Manifest) -> None:
        write_record(self.path / "manifest.json", manifest)

    def manifest(self) -> Manifest:
        """The snapshots of the frontier; empty until there is one."""
        return read_record(self.path / "manifest.json", Manifest) or Manifest()
