"""The commands of `orchestrator`: one function each, which reads its options and calls who does the work.

Imports nothing heavy before a command runs, so that `--help` and completion are quick.
"""

import typer

from orchestrator.launch import launch
from orchestrator.status import status

app = typer.Typer(
    name="orchestrator",
    help="Sweeps of sparse autoencoders on a language model, as Pareto frontiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(launch)
app.command()(status)


def main() -> None:
    """The console script `orchestrator`, and `python -m orchestrator`."""
    app(prog_name="orchestrator")
