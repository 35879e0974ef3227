"""docs/commands.md tells of every command, with all its arguments and options as `--help` has them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from orchestrator import cli
from tests.orchestrator.made_run import made_run
from tests.tiny import ROOT

TEXT = (ROOT / "docs/commands.md").read_text("utf-8")
GROUP: Any = typer.main.get_command(cli.app)
COMMANDS: dict[str, Any] = GROUP.commands


def section(name: str) -> str:
    """What the document says of a command; empty if it does not."""
    found = re.search(rf"^## `{name}`\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def row(parameter: Any) -> str:
    """An argument or option as a line of the document's table."""
    is_argument = parameter.param_type_name == "argument"
    names = (
        [parameter.metavar or parameter.name.upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    )
    return f"| {', '.join(f'`{name}`' for name in names)} | {parameter.help or ''} |"


def test_the_document_has_each_command_in_the_order_of_the_help() -> None:
    assert re.findall(r"^## `(\w[\w-]*)`$", TEXT, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_document_has_each_option_as_the_help_says_it(name: str) -> None:
    wanted = [row(parameter) for parameter in COMMANDS[name].params]
    written = [line for line in section(name).splitlines() if line.startswith("| `")]
    assert written == wanted, f"write this below '## `{name}`':\n" + "\n".join(wanted)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_shown_at_work(name: str) -> None:
    assert re.search(rf"^```sh\npython -m orchestrator(?:\.launch| {name})\b", section(name), re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_text_is_empty(name: str) -> None:
    assert COMMANDS[name].help
    assert all(parameter.help for parameter in COMMANDS[name].params)


def test_the_keys_of_status_as_json_are_those_that_are_written(tmp_path: Path) -> None:
    made_run(tmp_path)
    shown = CliRunner().invoke(cli.app, ["status", "demo", "--runs", str(tmp_path), "--json"])
    [written] = re.findall(r"`status RUN --json` has the keys (.*?)\.", TEXT, re.DOTALL)
    assert re.findall(r"`(\w+)`", written) == list(json.loads(shown.stdout))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_names_of_runs_are_completed_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("completion asked the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    for name in ("demo-12345678", "demo-22222222", "other-33333333"):
        made_run(tmp_path / "runs", name)
    monkeypatch.chdir(tmp_path)
    line = "orchestrator status de"
    asked = {
        "_ORCHESTRATOR_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    ran = CliRunner().invoke(cli.app, [], prog_name="orchestrator", env=asked)
    assert set(re.findall(r"[a-z]+-\d{8}", ran.stdout)) == {"demo-12345678", "demo-22222222"}
