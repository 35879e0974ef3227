"""The commands of `orchestrator`: one function each, which reads its options and calls who does the work.

Imports nothing heavy before a command runs, so that `--help` and completion are quick.
"""

import typer

from orchestrator.commands.compare import compare
from orchestrator.commands.dashboard import dashboard
from orchestrator.commands.doctor import doctor
from orchestrator.commands.evaluate import evaluate
from orchestrator.commands.export_command import export
from orchestrator.commands.export_sae import export_sae
from orchestrator.commands.frontier_command import frontier
from orchestrator.commands.paper import paper
from orchestrator.commands.plot import plot
from orchestrator.commands.resume import resume
from orchestrator.commands.retry import retry
from orchestrator.commands.status import status
from orchestrator.commands.stop import stop
from orchestrator.commands.sync import sync
from orchestrator.launch import launch

app = typer.Typer(
    name="orchestrator",
    help="Sweeps of sparse autoencoders on a language model, as Pareto frontiers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# Running sweeps.
app.command()(launch)
app.command()(status)
app.command()(resume)
app.command()(retry)
app.command()(stop)
# What came out of them.
app.command()(dashboard)
app.command()(frontier)
app.command()(compare)
app.command()(plot)
app.command()(paper)
app.command()(export)
app.command()(export_sae)
app.command()(evaluate)
# Around them.
app.command()(sync)
app.command()(doctor)


def main() -> None:
    """The console script `orchestrator`, and `python -m orchestrator`."""
    app(prog_name="orchestrator")
