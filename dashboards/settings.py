"""What a sweep was asked for: `sweep.yaml` as text and as plain values, and commands that go on from a run.

Commands are quoted for a shell, so that no name in them can be anything but a name.
"""

import json
import math
import re
import shlex
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import yaml

from dashboards.reading import Fields, Unreadable, bytes_of, fields_in, number

MOST_VALUES = 50_000
"""Aliases can make a short YAML file endless."""
MOST_YAML_BYTES = 2**20
_GRID_WORDS = ("layer", "loss", "sparsity_coeff", "seed", "exclude")


def sweep_text(folder: Path) -> str:
    """`sweep.yaml`; empty where there is none."""
    content = bytes_of(folder, "sweep.yaml") or b""
    if len(content) > MOST_YAML_BYTES:
        raise Unreadable("sweep.yaml is too large to show")
    return content.decode("utf-8", errors="replace")


def settings_of(text: str) -> Fields:
    """The values of a sweep file, as JSON has them."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Unreadable("sweep.yaml is no YAML: it was cut off or changed by hand") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise Unreadable("sweep.yaml is not as this program writes it: expected sections by name")
    left = [MOST_VALUES]
    return _plain(tree, left)


def name_in(folder: Path) -> str:
    """The sweep's name, from the first lines of its file alone; empty where it is not there."""
    try:
        content = (bytes_of(folder, "sweep.yaml") or b"")[:4096].decode("utf-8", errors="replace")
        found = re.search(r"^name:[ \t]*(\S.*)$", content, re.MULTILINE)
        value = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, RecursionError, ValueError):
        return ""
    return str(value)[:200] if isinstance(value, str | int | float) else ""


def commands_of(path: Path) -> dict[str, str]:
    """What one may want to do with a run next."""
    run = str(path)
    return {
        "status": command("status", run),
        "resume": command("resume", run),
        "retry": command("retry", run, "--failed"),
        "frontier": command("frontier", run),
        "export": command("export", run),
        "plot": command("plot", run, "-o", "figure.pdf"),
    }


def alone_command(path: Path, config: Mapping[str, Any], settings: Fields) -> str:
    """Trains this one trial again, in a run folder of its own; the trial, and so its id, is the same."""
    if not config or not settings:
        return ""
    loss = fields_in(config.get("loss"))
    grid: dict[str, Any] = {
        "layer": layer_of(config), "loss": loss.get("kind"), "sparsity_coeff": loss.get("sparsity_coeff"),
        "seed": config.get("seed"),
    }  # fmt: skip
    asked = fields_in(settings.get("grid"))
    space = fields_in(fields_in(settings.get("search")).get("space"))
    for axis in [*asked, *space]:
        if axis not in _GRID_WORDS and (value := _on_axis(config, str(axis))) is not None:
            grid[str(axis)] = value
    name = re.sub(r"[^A-Za-z0-9._-]", "-", str(settings.get("name") or "sweep"))[:80]
    words = ["launch", str(path / "sweep.yaml"), "--set", f"name={name}-alone"]
    words += ["--set", f"grid={json.dumps(grid, ensure_ascii=False)}"]
    return command(*words, *(("--set", "search={}") if settings.get("search") else ()))


def command(*words: str) -> str:
    """Of ours, as one types it."""
    return shlex.join(["python", "-m", "orchestrator", *words])


def layer_of(config: Mapping[str, Any]) -> int | None:
    """The block that a trial's SAE is in front of."""
    found = re.search(r"\.(\d+)\.", str(config.get("hookpoint")))
    return int(found[1]) if found else None


def _on_axis(config: Mapping[str, Any], axis: str) -> Any:
    """A trial's value on a further axis of the grid, such as `train.lr`; None where it has none."""
    section, *names = axis.split(".")
    if section == "loss" and len(names) == 2:
        return fields_in(config.get("loss")).get(names[1]) if names[0] == config["loss"]["kind"] else None
    return fields_in(config.get(section)).get(names[0]) if len(names) == 1 else None


def _plain(value: object, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise Unreadable("sweep.yaml stands for too many values to show")
    match value:
        case dict():
            return {str(key): _plain(item, left) for key, item in value.items()}
        case list() | tuple() | set():
            return [_plain(item, left) for item in value]
        case float():
            return number(value) if math.isfinite(value) else str(value)
        case date() | datetime():
            return value.isoformat()
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)
