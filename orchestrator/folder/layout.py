"""Where each file of a run folder is.

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
      starts/<weights_id>.safetensors       trained SAEs that training starts from (driver)
      frontier.parquet  frontier.png  frontier.svg  snapshots/  manifest.json  ray/
      frontier_*.parquet  cache/            what follows from the frontier; lines of many rows, made anew if deleted
      report.html  search/found.json        the sweep as one page; what a search found (driver, at the end)

Knows names and paths, not what is in a file.
"""

import re
from pathlib import Path
from typing import Self

from orchestrator.folder.records import NAME, TRIAL_ID
from trainer.errors import BadInput


class Layout:
    """The places of one sweep's files. Names that could lead out of the folder raise `BadInput`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_sweep(cls, runs: Path, sweep_id: str) -> Self:
        """The folder of that sweep among all runs."""
        return cls(runs / _checked(sweep_id, NAME, "sweep id"))

    @property
    def lease(self) -> Path:
        return self.path / "lease.json"

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

    @property
    def mlflow(self) -> Path:
        """What is known about the copy of this sweep in MLflow; `orchestrator/tracking` has it to itself."""
        return self.path / "mlflow"

    def pack(self, pack_id: str) -> Path:
        """Folder of all that is about one pack."""
        return self.path / "packs" / _checked(pack_id, NAME, "pack id")

    def pack_log(self, pack_id: str) -> Path:
        """Text that the pack's worker printed."""
        return self.pack(pack_id) / "log.txt"

    def checkpoints(self, pack_id: str) -> Path:
        return self.pack(pack_id) / "checkpoints"

    def journal(self, trial_id: str) -> Path:
        """The file of the trial's curves, for who follows it while it grows; `curve` reads it whole."""
        return self.path / "journal" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.jsonl"

    def result(self, trial_id: str) -> Path:
        """The file of `row`."""
        return self.path / "results" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.json"

    def sae(self, trial_id: str) -> Path:
        """Folder of the trained SAE."""
        return self.path / "saes" / _checked(trial_id, TRIAL_ID, "trial id")

    def start(self, weights_id: str) -> Path:
        """Copy of an SAE that training starts from."""
        return self.path / "starts" / f"{_checked(weights_id, TRIAL_ID, 'SAE to start from')}.safetensors"

    def elements_file(self, trial_id: str) -> Path:
        """The file of `elements`."""
        return self.path / "elements" / f"{_checked(trial_id, TRIAL_ID, 'trial id')}.json"


def _checked(name: str, pattern: str, what: str) -> str:
    # fullmatch, since "$" lets a line end through.
    if not re.fullmatch(pattern, name):
        raise BadInput(f"{what} {name!r} cannot name a file of a run folder: expected a name matching {pattern}")
    return name
