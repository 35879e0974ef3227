"""`python -m orchestrator.launch SWEEP.yaml`: plan a sweep, run what of it is not done, show its frontier.

Options and output only; the work is in `driver.py`. Imports nothing heavy before it has to, so that `--help` is quick.
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import Debug, LogFormats, Overrides, Plain, Runs
from orchestrator.display.go_on import resume_command
from orchestrator.display.streams import LogFormat, Streams, guarded

if TYPE_CHECKING:
    from orchestrator.running.planned import LaunchOptions


def launch(
    sweep: Annotated[
        Path, typer.Argument(metavar="SWEEP", help="Sweep file, such as sweeps/quickstart.yaml.", show_default=False)
    ],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and start nothing.")] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Train in this process, without Ray: slower, same numbers, for debuggers.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try trials again that failed before.")] = False,
    slots: Annotated[
        int | None,
        typer.Option(
            min=1, help="Packs to run side by side. Default: what this machine has room for.", show_default=False
        ),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Time some real steps first: for better estimates of time, and better packs."),
    ] = False,
    no_share: Annotated[
        bool, typer.Option("--no-share", help="Train each trial alone: the same numbers, slower, for comparisons.")
    ] = False,
    dense: Annotated[
        bool, typer.Option("--dense", help="Compute with all latents, zeros too: for comparisons.")
    ] = False,
    tracking: Annotated[bool, typer.Option("--tracking/--no-tracking", help="Record the runs in MLflow.")] = True,
    plain: Plain = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result, or the plan, as JSON.")] = False,
    log_format: LogFormats = "text",
    allow_changed: Annotated[
        bool,
        typer.Option(
            "--allow-changed",
            help="Begin anew although a run of the same name exists whose trials mean something else.",
        ),
    ] = False,
    include_removed: Annotated[
        bool,
        typer.Option("--include-removed", help="Show results of trials too that the sweep file has no longer."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Run a sweep, or what of it is not done yet, and show its frontier.

    The same command again goes on where the last one stopped. Exit codes: 0 all trials are done, 2 bad input,
    3 some trials failed, 4 something is missing on this machine, 130 or 143 stopped by a signal.
    """

    def command(streams: Streams) -> int:
        from orchestrator.running.planned import LaunchOptions

        options = LaunchOptions(
            sweep,
            tuple(overrides or ()),
            runs,
            local,
            tracking,
            retry_failed,
            slots,
            allow_changed=allow_changed,
            include_removed=include_removed,
            path="dense" if dense else "auto",
            share=not no_share,
            calibrate=calibrate,
        )
        if dry_run:
            return _dry_run(options, streams, plain=plain, log_format=log_format, as_json=as_json)
        return run_and_tell(options, streams, plain=plain, log_format=log_format, as_json=as_json)

    raise typer.Exit(guarded(command, debug=debug))


def _dry_run(options: "LaunchOptions", streams: Streams, *, plain: bool, log_format: LogFormat, as_json: bool) -> int:
    from orchestrator.display.plain import plain as plain_text
    from orchestrator.display.plain import plain_json
    from orchestrator.running.prepare import described, described_as_json, read_and_plan
    from orchestrator.sweep.sweep_home import another_meaning, changes_text

    planned = read_and_plan(options, only_look=True)
    if options.calibrate:
        from orchestrator.display.terminal import choose_screen
        from orchestrator.running.calibrate import calibrated

        screen = choose_screen(err=streams.err, out=streams.out, plain=plain, log_format=log_format)
        try:
            planned = calibrated(planned, screen)
        finally:
            screen.close()
    for text in (another_meaning(planned.home, planned.trial_ids), changes_text(planned.home, planned.trial_ids)):
        if text:
            print(plain_text(text), file=streams.err, end="\n\n")
    print(plain_json(described_as_json(planned)) if as_json else plain_text(described(planned)), file=streams.out)
    return 0


def run_and_tell(
    options: "LaunchOptions", streams: Streams, *, plain: bool, log_format: LogFormat, as_json: bool
) -> int:
    """Run what is left, show how it goes and what came out. Returns the exit code."""
    from orchestrator.commands.status import print_json
    from orchestrator.display.plain import plain as plain_text
    from orchestrator.display.terminal import WIDTH, SafeConsole, choose_screen
    from orchestrator.running.driver import launch
    from orchestrator.running.result_text import as_json as result_as_json
    from orchestrator.running.result_text import print_result

    screen = choose_screen(err=streams.err, out=streams.out, plain=plain, log_format=log_format)
    try:
        result, exit_code = launch(options, screen)
    except KeyboardInterrupt:  # before anything trained
        screen.close()
        print(plain_text(f"to begin again:  {command_to_go_on(options)}"), file=streams.err)
        raise
    finally:
        screen.close()
    if as_json:
        print_json(result_as_json(result, exit_code=exit_code), streams)
        return exit_code
    words = streams.err if log_format == "json" else streams.out
    print_result(result, SafeConsole(file=words, width=None if words.isatty() else WIDTH))
    return exit_code


def command_to_go_on(options: "LaunchOptions") -> str:
    """The same command once more."""
    if options.folder is not None:
        return resume_command(options.folder)
    words = [Path(sys.executable).name, "-m", "orchestrator.launch", str(options.sweep_file)]
    for override in options.overrides:
        words += ["--set", override]
    if options.runs != Path("runs"):
        words += ["--runs", str(options.runs)]
    if options.n_slots:
        words += ["--slots", str(options.n_slots)]
    flags = {
        "--local": options.local,
        "--no-tracking": not options.tracking,
        "--retry-failed": options.retry_failed,
        "--allow-changed": options.allow_changed,
        "--include-removed": options.include_removed,
        "--no-share": not options.share,
        "--dense": options.path == "dense",
    }
    return shlex.join([*words, *(flag for flag, is_set in flags.items() if is_set)])


def main() -> None:
    """The single command of `python -m orchestrator.launch`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(launch)
    app(prog_name="python -m orchestrator.launch")


if __name__ == "__main__":
    # Under its importable name, so that other processes find what is defined here.
    from orchestrator.launch import main as imported_main

    sys.exit(imported_main())
