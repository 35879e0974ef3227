"""Runs in a list: each told by its small files alone, so that hundreds of them are listed at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.commands.standing import RunState, moment_text, state_of
from orchestrator.folder.lease import who_holds
from orchestrator.folder.records import SweepStatus
from orchestrator.folder.run_folder import RunFolder
from trainer.errors import BadInput


@dataclass(frozen=True)
class Summary:
    """A run in a list, told by its small files alone."""

    folder: Path
    state: RunState | None
    """None where it cannot be read."""
    status: SweepStatus | None
    trouble: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """Name, state, done of all, failed, left, last word."""
        status = self.status
        if self.state is None:
            return self.folder.name, "unreadable", "", "", "", ""
        if status is None:
            return self.folder.name, str(self.state), "", "", "", ""
        left = status.n_trials - status.n_done - status.n_failed - status.n_dominated
        counts = (f"{status.n_done}/{status.n_trials}", str(status.n_failed or ""), str(left or ""))
        return self.folder.name, str(self.state), *counts, moment_text(status.updated_at)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        status = self.status
        counts = {
            name: getattr(status, name) if status is not None else None
            for name in ("n_trials", "n_done", "n_failed", "n_stopped", "n_running", "n_dominated")
        }
        return {
            "run": self.folder.name,
            "folder": str(self.folder),
            "state": str(self.state) if self.state is not None else None,
            **counts,
            "updated_at": status.updated_at.isoformat() if status is not None else None,
            "trouble": self.trouble or None,
        }


def summary(folder: RunFolder) -> Summary:
    """How a run stands, as its driver last counted."""
    try:
        holder = who_holds(folder)
        status = folder.status()
        return Summary(folder.path, state_of(status, holder), status)
    except BadInput as problem:
        return Summary(folder.path, None, None, str(problem))
