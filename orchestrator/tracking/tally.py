"""What was done for MLflow, and what is left to do, as people are told it."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass
class Done:
    """What was done so far."""

    runs_made: int = 0
    runs_completed: int = 0
    """They lacked params or tags."""
    doubles_removed: int = 0
    points: int = 0
    endings: int = 0
    """Final metrics, states and times of ending."""
    files: int = 0

    @property
    def lines(self) -> list[str]:
        """In words, what there is to say; nothing where nothing was done."""
        said = {
            "{} runs made": self.runs_made,
            "params or tags added to {} runs": self.runs_completed,
            "{} second runs of a trial moved to MLflow's trash": self.doubles_removed,
            "{} points sent": self.points,
            "final metrics or the state of {} runs put right": self.endings,
            "{} files sent": self.files,
        }
        return [text.format(f"{count:,}") for text, count in said.items() if count]


class Behind(NamedTuple):
    """What MLflow has not got."""

    n_lines: int
    """Of journals."""
    n_endings: int
    """Final metrics and states of trials."""
    n_trials: int
    """Trials that lack one or the other."""
    files: bool
    """Something of the sweep's own run, or a trial's file."""
    reason: str

    def __str__(self) -> str:
        parts = [f"{self.n_lines:,} lines of curves"] if self.n_lines else []
        parts += [f"how {self.n_endings:,} trials ended"] if self.n_endings else []
        parts += ["the sweep's numbers or files"] if self.files else []
        what = " and ".join(parts) or "its runs"
        return f"{what} ({self.reason})" if self.reason else what
