"""All that is wrong with a sweep, gathered and said at once, each with its place. Knows no schema."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.sweep.yaml_lines import Tree, TreePath
from trainer.errors import BadInput

MAX_SHOWN = 30


@dataclass(frozen=True)
class Source:
    """Where the values of a sweep were written: a line of a file, or an override."""

    name: str
    labels: Mapping[TreePath, str]

    def where(self, path: TreePath) -> str:
        """Such as `sweeps/x.yaml:12` or `--set train.lr=1`, of the value or the nearest thing that holds it."""
        for length in range(len(path), -1, -1):
            if label := self.labels.get(path[:length]):
                return label
        return self.name


@dataclass
class Problems:
    """A list of problems without repetitions."""

    source: Source
    found: dict[str, None] = field(default_factory=dict[str, None])

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, path: TreePath, text: str) -> None:
        """`text` says what came, what was expected and, where that is not obvious, what to do."""
        place = f"{self.source.where(path)}  "
        self.found[place + (f"{dotted(path)}: " if path else "") + text] = None

    def raise_if_any(self) -> None:
        """
        Raises:
            BadInput: there are problems; its message holds all of them, one per line.
        """
        if not self.found:
            return
        lines = list(self.found)
        shown = [*lines[:MAX_SHOWN], *([f"... and {len(lines) - MAX_SHOWN} more"] if len(lines) > MAX_SHOWN else [])]
        head = [f"{self.source.name}: {len(lines)} problems, nothing was started"] if len(lines) > 1 else []
        raise BadInput("\n".join([*head, *shown]))


def dotted(path: TreePath) -> str:
    """A path as people and `--set` write it."""
    return ".".join(map(str, path))


def came(value: Tree) -> str:
    """A value for a message: short, and with its kind where the text alone could mislead."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {_short(repr(value))}"
        case list():
            return f"a list, {_short(repr(value))}" if value else "an empty list"
        case dict():
            return f"a mapping, {_short(repr(value))}" if value else "an empty mapping"
        case _:
            return _short(repr(value))


def _short(text: str, n_characters: int = 60) -> str:
    return text if len(text) <= n_characters else text[: n_characters - 3] + "..."


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or what is known where nothing is near."""
    names = list(known)
    near = difflib.get_close_matches(str(word)[:100], names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; expected one of {', '.join(names)}" if names else ""
