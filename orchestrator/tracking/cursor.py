"""`mlflow/cursor.json` in the run folder: what MLflow has acknowledged. Losing it costs time and nothing else.

MLflow drops points that it has already, so whatever is sent again makes no difference.
"""

from pydantic import Field, NonNegativeInt, ValidationError

from orchestrator.folder.files import write_text
from orchestrator.folder.records import TrialId
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.tail import Place
from trainer.values import Frozen


class Sent(Frozen):
    """What one run has got."""

    run_id: str
    """What follows is about this run; another one has got nothing."""
    n_bytes: NonNegativeInt = 0
    """Of the journal."""
    mark: str = ""
    newest_ms: NonNegativeInt = 0
    """Time of the newest point among them."""
    row: str = ""
    """Hash of the row whose metrics and status were sent; empty while there is none."""
    lists: str = ""
    """The same for the file with its metrics that are lists."""
    status: str = ""
    """In MLflow's words."""
    final_ms: NonNegativeInt = 0
    """Time of the final metrics; 0 while it has none."""
    is_doubtful: bool = False
    """Whether it may have points that the run folder has not: curves or a row were damaged and made again."""

    @property
    def place(self) -> Place:
        return Place(self.n_bytes, self.mark, self.newest_ms)

    def at(self, place: Place) -> "Sent":
        return self.model_copy(update=place._asdict())


class Cursor(Frozen):
    """The file."""

    schema_version: int = 1
    trials: dict[TrialId, Sent] = Field(default={})
    published: dict[str, str] = Field(default={})
    """On the sweep's run: hash of each file that is there, by name, and of the numbers."""
    parent_run_id: str = ""


def read_cursor(folder: RunFolder) -> Cursor:
    """An empty one where there is none, or none that can be read."""
    try:
        cursor = Cursor.model_validate_json((folder.mlflow / "cursor.json").read_bytes())
    except (OSError, ValidationError):
        return Cursor()
    return cursor if cursor.schema_version == 1 else Cursor()


def write_cursor(folder: RunFolder, cursor: Cursor) -> None:
    """Raises EnvironmentProblem where the disk refuses."""
    write_text(folder.mlflow / "cursor.json", cursor.model_dump_json() + "\n")
