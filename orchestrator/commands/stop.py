"""`orchestrator stop RUN`: ask the launcher of a run to stop, wait until it has, and say what is done and what is left.

On its own machine the launcher gets the signal that it knows; elsewhere it finds a file in the run folder.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.find_run import find_run
from orchestrator.commands.options import Debug, Run, Runs
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from orchestrator.commands.standing import Standing
    from orchestrator.display.screen import Screen
    from orchestrator.folder.records import Holder
    from orchestrator.folder.run_folder import RunFolder

POLL_S = 0.2
TAKEN_WITHIN_S = 10.0
"""After this long a second signal is sent even where nobody has seen that the first one came."""


def stop(
    run: Run,
    runs: Runs = Path("runs"),
    at_once: Annotated[
        bool, typer.Option("--now", help="Do not wait for the current step; what was saved last is kept.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Stop a running sweep from another terminal, as Ctrl-C would in its own. Ctrl-C here only ends waiting."""

    def command(streams: Streams) -> int:
        from orchestrator.commands.standing import stand
        from orchestrator.folder.lease import who_holds

        folder = find_run(run, runs)
        holder = who_holds(folder)
        if holder is None:
            print(f"{folder.path.name} is not running", file=streams.err)
        else:
            _stop(folder, holder, streams, at_once=at_once)
        _say_how_it_stands(stand(folder), streams)
        return 0

    raise typer.Exit(guarded(command, debug=debug))


def ask(folder: "RunFolder", holder: "Holder", *, at_once: bool) -> str:
    """Ask once; `at_once` a second time as soon as the first was taken. Returns how, in words.

    Raises EnvironmentProblem where it cannot be asked.
    """
    import signal

    from orchestrator.commands.standing import holder_text, is_here
    from orchestrator.folder.files import write_text
    from orchestrator.folder.processes import kill
    from orchestrator.packs.jobs import stop_file

    file = stop_file(folder.path)
    if not is_here(holder) or not kill(holder.pid, holder.pid_started, signal.SIGTERM):
        write_text(file, "now\n" if at_once else "")
        return f"left a word for {holder_text(holder)}"
    if at_once:
        start_s = time.monotonic()
        while not file.exists() and is_here(holder) and time.monotonic() - start_s < TAKEN_WITHIN_S:
            time.sleep(0.05)
        kill(holder.pid, holder.pid_started, signal.SIGTERM)
    return f"asked {holder_text(holder)}"


def _stop(folder: "RunFolder", holder: "Holder", streams: Streams, *, at_once: bool) -> None:
    from orchestrator.display.terminal import choose_screen

    how = ask(folder, holder, at_once=at_once)
    screen = choose_screen(err=streams.err, out=streams.out, plain=False, log_format="text")
    screen.phase(f"{how} to stop {'at once' if at_once else 'after the current step'}")
    try:
        _wait(folder, holder, screen)
    finally:
        screen.close()


def _wait(folder: "RunFolder", holder: "Holder", screen: "Screen") -> None:
    """Until it holds the run folder no longer."""
    from orchestrator.commands.standing import Onlooker
    from orchestrator.folder.lease import who_holds
    from trainer.errors import BadInput

    onlooker, said = Onlooker(folder), ""
    while (there := who_holds(folder)) is not None and there.launch_id == holder.launch_id:
        try:
            n_packs = len(onlooker.look().view.packs)
        except BadInput:  # half written for a moment, or torn: there is still somebody to wait for
            n_packs = 0
        packs = "1 pack still runs" if n_packs == 1 else f"{n_packs} packs still run"
        text = packs if n_packs else "packs have stopped, the frontier is being written"
        if text != said:
            screen.phase(said := text)
        time.sleep(POLL_S)


def _say_how_it_stands(standing: "Standing", streams: Streams) -> None:
    from orchestrator.display.plain import plain
    from orchestrator.display.screen import counts_text

    lines = [f"{standing.view.sweep_id}: {standing.who}", counts_text(standing.view)]
    lines += [f"to go on:  {standing.go_on}"] if standing.go_on else []
    print(plain("\n".join(lines)), file=streams.out)
