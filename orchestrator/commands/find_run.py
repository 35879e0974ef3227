"""Run folders by what a person calls them. Reads names, and of plans only whether they are there."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from orchestrator.folder.run_folder import RunFolder

PLAN = "plan.json"
MOST_NAMED = 10


def find_run(run: str, runs: Path) -> "RunFolder":
    """The run folder that a person means: a path, a sweep id, or a sweep's name, of which the newest is taken.

    Raises BadInput where there is none.
    """
    from orchestrator.folder.run_folder import RunFolder
    from trainer.errors import BadInput

    for path in (Path(run), runs / run):
        if RunFolder(path).is_run or (path / "sweep.yaml").is_file():
            return RunFolder(path)
    named = [path for path in all_runs(runs) if path.name.rpartition("-")[0] == run]
    if named:
        return RunFolder(named[0])
    there = sorted(path.name for path in all_runs(runs))
    more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
    known = f"there are {', '.join(there[:MOST_NAMED])}{more}" if there else f"there are none in {runs}"
    raise BadInput(f"no run {run!r}: expected a run folder or the name of a sweep; {known}")


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """For the shell: names of runs that begin like this."""
    runs = Path(ctx.params.get("runs") or "runs")
    return [path.name for path in all_runs(runs) if path.name.startswith(incomplete)]


def all_runs(runs: Path) -> list[Path]:
    """Every run folder in `runs`, that which was launched last first."""
    found = {path.parent: path.stat().st_mtime for path in runs.glob(f"*/{PLAN}") if path.is_file()}
    return sorted(found, key=lambda path: (-found[path], path.name))
