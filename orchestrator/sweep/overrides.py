"""`--set a.b=c`: values of a sweep file replaced from the command line. The value is YAML."""

from collections.abc import Sequence
from copy import deepcopy

from orchestrator.sweep.problems import Problems, Source, came
from orchestrator.sweep.sweep_schema import TRIAL_SECTIONS
from orchestrator.sweep.yaml_lines import Document, Key, Tree, TreePath, parse
from trainer.errors import BadInput


def overridden(document: Document, overrides: Sequence[str], *, name: str) -> tuple[Tree, Problems]:
    """The tree with every override applied in turn, and an empty or not so empty list of problems to go on with."""
    labels = {path: f"{name}:{line}" for path, line in document.lines.items()}
    problems = Problems(Source(name, labels))
    for complaint in document.complaints:
        problems.add(complaint.path, complaint.text)
    tree = deepcopy(document.tree)
    for override in overrides:
        _apply(tree, override, labels, problems)
    return tree, problems


def _apply(tree: Tree, override: str, labels: dict[TreePath, str], problems: Problems) -> None:
    label = f"--set {override[:100]}"
    written, equals, text = override.partition("=")
    if not equals or not all(written.strip().split(".")):
        _complain(problems, label, "expected FIELD=VALUE, such as --set train.tokens=1_000_000")
        return
    path = _path(written.strip())
    try:
        value = parse(text, name=label, with_lines=False)
    except BadInput as error:
        _complain(problems, str(error))
        return
    for complaint in value.complaints:
        _complain(problems, label, complaint.text)
    if isinstance(tree, dict):
        _put(tree, path, value.tree, label, labels, problems)


def _put(tree: dict[Key, Tree], path: TreePath, value: Tree, label: str, labels: dict[TreePath, str],
         problems: Problems) -> None:  # fmt: skip
    at = tree
    for depth, key in enumerate(path[:-1], start=1):
        if key not in at:
            labels[path[:depth]] = label
        inner = at.setdefault(key, {})
        if not isinstance(inner, dict):
            holder = ".".join(map(str, path[:depth]))
            _complain(problems, label, f"{holder} is {came(inner)}, not a mapping; set it whole: --set {holder}=...")
            return
        at = inner
    at[path[-1]] = value
    for other in [other for other in labels if other[: len(path)] == path]:
        del labels[other]
    labels[path] = label


def _path(written: str) -> TreePath:
    """Keys of a dotted path. Whole numbers are layers; in the grid and in what a search may choose from, `train.lr` is
    one key, the name of an axis."""
    parts: list[Key] = [int(part) if part.isascii() and part.isdigit() else part for part in written.split(".")]
    axis = 1 if parts[0] == "grid" else 2 if parts[:2] == ["search", "space"] else len(parts)
    if len(parts) > axis + 1:
        n_parts = {**dict.fromkeys(TRIAL_SECTIONS, 2), "loss": 3}.get(str(parts[axis]), 1)
        parts[axis : axis + n_parts] = [".".join(map(str, parts[axis : axis + n_parts]))]
    return tuple(parts)


def _complain(problems: Problems, *texts: str) -> None:
    problems.found["  ".join(texts)] = None
