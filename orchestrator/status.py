"""`orchestrator status RUN`: how a sweep stands, from its run folder alone, from any machine that sees it."""

import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.progress import SweepView
    from orchestrator.records import SweepStatus
    from orchestrator.run_folder import RunFolder

WATCH_EVERY_S = 1.0


def status(
    run: Annotated[str, typer.Argument(help="Run folder, or the name or id of a sweep in the runs folder.")],
    runs: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds run folders.")] = Path("runs"),
    watch: Annotated[bool, typer.Option("--watch", help="Stay until the sweep ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Show how a sweep stands."""

    def command(streams: Streams) -> int:
        folder = find_run(run, runs)
        return _watch(folder, streams) if watch and not as_json else _show(folder, streams, as_json=as_json)

    raise typer.Exit(guarded(command, debug=debug))


def find_run(run: str, runs: Path) -> "RunFolder":
    """The run folder that a person means: a path, a sweep id, or a sweep's name, of which the newest is taken.

    Raises BadInput where there is none.
    """
    from orchestrator.run_folder import RunFolder
    from trainer.errors import BadInput

    for path in (Path(run), runs / run):
        if (path / "plan.json").is_file():
            return RunFolder(path)
    named = [path.parent for path in runs.glob(f"{run}-*/plan.json")] if "/" not in run else []
    if named:
        return RunFolder(max(named, key=lambda path: (path / "plan.json").stat().st_mtime))
    there = sorted(path.parent.name for path in runs.glob("*/plan.json"))
    known = f"there are {', '.join(there[:10])}" if there else f"there are none in {runs}"
    raise BadInput(f"no run {run!r}: expected a run folder or the name of a sweep; {known}")


def view_of(folder: "RunFolder") -> "tuple[SweepView, SweepStatus | None]":
    """How the sweep stands, from its files. Raises BadInput where they are no run folder's."""
    from orchestrator.jobs import now
    from orchestrator.progress import look, seconds_between
    from orchestrator.records import SweepState
    from trainer.errors import BadInput

    plan, status = folder.plan(), folder.status()
    if plan is None:
        raise BadInput(f"{folder.path} has no plan.json: expected a run folder")
    running = status is not None and status.state is SweepState.RUNNING and is_alive(status)
    packs = {pack_id: found for pack_id in plan.packs if (found := folder.pack_status(pack_id)) is not None}
    ended = {row.trial_id: row.status for row in folder.rows() if row.trial_id in plan.trials}
    elapsed_s = seconds_between(status.started_at, now() if running else status.updated_at) if status else 0.0
    return look(plan, packs, ended, elapsed_s=elapsed_s, active=running), status


def is_alive(status: "SweepStatus") -> bool:
    """Whether its driver runs still, as far as can be told from this machine."""
    if status.pid is None or status.host != socket.gethostname():
        return status.pid is not None
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _show(folder: "RunFolder", streams: Streams, *, as_json: bool) -> int:
    import json
    from dataclasses import asdict

    from rich.console import Console

    from orchestrator.files import without_non_finite
    from orchestrator.terminal import drawn

    view, status = view_of(folder)
    state = state_text(status)
    if as_json:
        value = {"state": state, "folder": str(folder.path), **asdict(view), "n_waiting": view.n_waiting}
        print(json.dumps(without_non_finite(value), indent=1), file=streams.out)
    else:
        console = Console(file=streams.out, width=None if streams.out.isatty() else 100)
        console.print(drawn(view, notes={"state": state, "folder": str(folder.path)}, max_rows=1000))
    return 0


def _watch(folder: "RunFolder", streams: Streams) -> int:
    from orchestrator.records import SweepState
    from orchestrator.terminal import choose_screen

    screen = choose_screen(err=streams.err, out=streams.out, plain=False, log_format="text")
    try:
        while True:
            view, status = view_of(folder)
            screen.update(view)
            if status is None or status.state is not SweepState.RUNNING or not is_alive(status):
                break
            time.sleep(WATCH_EVERY_S)
    finally:
        screen.close()
    return _show(folder, streams, as_json=False)


def state_text(status: "SweepStatus | None") -> str:
    """In a word or two, a driver that died without saying so included."""
    from orchestrator.records import SweepState

    if status is None:
        return "not started"
    if status.state is SweepState.RUNNING and not is_alive(status):
        return "cut off"
    return str(status.state)
