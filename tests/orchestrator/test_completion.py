"""The shell completes names of runs, for every command that takes one."""

from pathlib import Path

import typer.main

from orchestrator import cli

TAKES_NO_RUN = {"launch", "doctor", "dashboard"}
"""Or the folder of all of them."""


def test_every_command_that_takes_a_run_completes_its_name(tmp_path: Path) -> None:
    for name in ("quickstart-11111111", "quickstart-22222222", "other-33333333"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text("{}")
    (tmp_path / "quiet").mkdir()
    completed: set[str] = set()
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        context = command.make_context(name, [], resilient_parsing=True)
        context.params["runs"] = tmp_path
        for parameter in command.params:
            found = sorted(item.value for item in parameter.shell_complete(context, "qui"))
            if found == ["quickstart-11111111", "quickstart-22222222"]:
                completed.add(name)
    assert completed | TAKES_NO_RUN == set(group.commands)  # pyright: ignore[reportAttributeAccessIssue]
