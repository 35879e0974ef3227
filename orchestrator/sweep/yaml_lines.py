"""YAML text into plain values that remember their lines. Knows nothing of sweeps.

Scalars are read as YAML 1.2's core schema has them, not as PyYAML's 1.1: `5e-4` is a number, `off` is a word, `012` is
twelve. `1_000` is a number too. Anchors, aliases, tags and several documents in a file are refused.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import yaml

from trainer.errors import BadInput

Key: TypeAlias = str | int
Tree: TypeAlias = "dict[Key, Tree] | list[Tree] | str | int | float | bool | None"
TreePath: TypeAlias = tuple[Key, ...]
"""Keys and list indices from the top of a document down to one value."""

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_INTEGER_DIGITS = 18  # the largest that always fits 64 bits; longer ones are read as floats

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = {"": None, "~": None, "null": None, "true": True, "false": False} | {
    sign + word: float(sign + word[1:]) for word in (".inf", ".nan") for sign in ("", "+", "-")
}


class Complaint(NamedTuple):
    """Something in the text that can be told without knowing what it is for."""

    path: TreePath
    line: int
    text: str


class Document(NamedTuple):
    """`lines` counts from 1 and has an entry for each value, that of its key where it has one."""

    tree: Tree
    lines: dict[TreePath, int]
    complaints: list[Complaint]


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        BadInput: no such file, a folder, too large, not readable, or not UTF-8.
    """
    try:
        if path.is_dir():
            raise BadInput(f"{path}: is a folder, expected a YAML file; name a file in it")
        if not path.exists():
            raise BadInput(f"{path}: no such file{_neighbours(path)}")
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{path}: expected a text file of at most {MAX_BYTES:,} bytes")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{str(path)[:200]!r}: cannot be read: {reason}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}:{line}  byte {error.start} is not UTF-8 text; save the file as UTF-8") from None


def _neighbours(path: Path) -> str:
    found = sorted(str(other) for other in path.parent.glob("*.yaml"))[:12] if path.parent.is_dir() else []
    return f"; there are {', '.join(found)}" if found else f"; and none ending in .yaml in {path.parent}"


def parse(text: str, *, name: str, with_lines: bool = True) -> Document:
    """The one document in `text`; `name` stands for it in messages, with or without the line.

    Raises:
        BadInput: not YAML, or nested too deeply.
    """
    try:
        composer = _Composer(yaml.parse(text, Loader=_LOADER))
        return Document(composer.document(), composer.lines, composer.complaints)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}  column {mark.column + 1}: " if mark and with_lines else f"{name}  "
        raise BadInput(f"{where}not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{name}  not YAML: {reason}") from None
    except _TooDeep as error:
        where = f"{name}:{error.args[0]}" if with_lines else name
        raise BadInput(f"{where}  nested more than {MAX_DEPTH} deep") from None


def scalar(text: str) -> str | int | float | bool | None:
    """What a scalar without quotes means. Whole numbers may be written as `1_000` or `1e3`."""
    if text.lower() in _SPECIAL:
        return _SPECIAL[text.lower()]
    if _INTEGER.fullmatch(text) and sum(map(str.isdigit, text)) <= MAX_INTEGER_DIGITS:
        return int(text)
    if not _FLOAT.fullmatch(text):
        return text
    number = float(text)
    whole_in_scientific = "e" in text.lower() and number.is_integer() and abs(number) < 10.0**15
    return int(number) if whole_in_scientific else number


class _TooDeep(Exception):
    pass


class _Composer:
    """Builds values from the parser's events. Where a value is refused, None stands in for it."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self.lines: dict[TreePath, int] = {(): 1}
        self.complaints: list[Complaint] = []

    def document(self) -> Tree:
        tree: Tree = None
        n_documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                n_documents += 1
                if n_documents > 1:
                    self._complain((), event, "a second document begins here, expected one; remove the line '---'")
                    break
                tree = self._value(next(self._events), ())
        return tree

    def _value(self, event: yaml.Event, path: TreePath) -> Tree:
        if len(path) > MAX_DEPTH:
            raise _TooDeep(event.start_mark.line + 1)
        self.lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._complain(path, event, "anchors (&) and aliases (*) are not read; write the value out")
        if tag := getattr(event, "tag", None):
            self._complain(path, event, f"the tag {tag} is not read; remove it")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        return None

    def _scalar(self, event: yaml.ScalarEvent, path: TreePath) -> Tree:
        text: str = event.value
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            self._complain(path, event, f"{text[:40]!r} holds a control character or a line break; remove it")
            return None
        return text if event.style else scalar(text)

    def _sequence(self, path: TreePath) -> Tree:
        items: list[Tree] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: TreePath) -> Tree:
        entries: dict[Key, Tree] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key is None or key in entries:
                if key is not None:
                    first = self.lines[*path, key]
                    self._complain((*path, key), event, f"comes twice, first in line {first}; remove one")
                self._skip(next(self._events), path)
                continue
            self.lines[*path, key] = event.start_mark.line + 1
            entries[key] = self._value(next(self._events), (*path, key))
        return entries

    def _key(self, event: yaml.Event, path: TreePath) -> Key | None:
        if isinstance(event, yaml.ScalarEvent):
            key = self._scalar(event, path)
            if isinstance(key, str | int) and not isinstance(key, bool):
                return key
        else:
            self._skip(event, path)
        self._complain(path, event, "a key here is neither a word nor a whole number")
        return None

    def _skip(self, event: yaml.Event, path: TreePath) -> None:
        """Read past a value. What it holds gets no lines that anything could ask for, and no complaints."""
        n_complaints = len(self.complaints)
        self._value(event, (*path, "\0"))
        del self.complaints[n_complaints:]

    def _complain(self, path: TreePath, event: yaml.Event, text: str) -> None:
        self.complaints.append(Complaint(path, event.start_mark.line + 1, text))
