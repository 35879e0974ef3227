"""Holds the `search` section of a sweep file to the schema. Which fields there are depends on its `kind`."""

from typing import Any, Protocol

from orchestrator.search.space import Choices, Range
from orchestrator.sweep.problems import Problems, came, did_you_mean
from orchestrator.sweep.resolve import BOTH, Chooser, chooser
from orchestrator.sweep.sweep_schema import (
    SEARCH_COMMON,
    SEARCH_DEPENDENT,
    SEARCH_FIELDS,
    SEARCH_KINDS,
    Field,
    Search,
    axes,
    defaults,
    fields_of,
)
from orchestrator.sweep.yaml_lines import Key, Tree, TreePath

PATH: TreePath = ("search",)
BOUNDS = ("low", "high", "log")
CHOICES = "{low, high, log} or a list of values"
NOT_SEARCHED: dict[Key, str] = {
    "seed": "what is proposed is trained with every seed of the grid",
    "sae.start_from": "make it an axis of the grid",
}


class Checker(Protocol):
    """What the checker of a whole file has for all sections."""

    problems: Problems

    def leaf(self, value: Tree, path: TreePath, field: Field) -> Any: ...
    def dependent(self, value: Tree, path: TreePath, field: Field, allowed: frozenset[Chooser], leaf: Any) -> Any: ...


def check_search(tree: Tree, checker: Checker) -> dict[str, Any]:
    """The section with what it leaves out: `kind`, and the fields that belong to it."""
    fields, problems = fields_of(Search), checker.problems
    if not isinstance(tree, dict):
        problems.add(PATH, f"came {came(tree)}, expected a mapping with kind, and what belongs to that kind")
        return {"kind": "grid"}
    if "kind" not in tree and tree:
        problems.add(PATH, f"'kind' is missing; add it: one of {', '.join(SEARCH_KINDS)}")
        return {"kind": "grid"}
    kind = checker.leaf(tree.get("kind", "grid"), (*PATH, "kind"), fields["kind"])
    if kind not in SEARCH_FIELDS:
        return {"kind": "grid"}
    own = (*(SEARCH_COMMON if kind != "grid" else ()), *SEARCH_FIELDS[kind])
    _check_keys(tree, kind, own, problems)
    for name in own:
        if fields[name].required and name not in tree:
            problems.add(PATH, f"'{name}' is missing, and kind '{kind}' needs it; add it")
    found = {name: value for name, value in defaults(fields).items() if name in own}
    for name in own:
        if name not in tree:
            continue
        place = (*PATH, name)
        if name == "space":
            found[name] = _space(tree[name], place, checker)
        else:
            allowed = BOTH if name in SEARCH_DEPENDENT else frozenset[Chooser]()
            found[name] = checker.dependent(tree[name], place, fields[name], allowed, checker.leaf)
    return {"kind": kind, **found}


def _check_keys(tree: dict[Key, Tree], kind: str, own: tuple[str, ...], problems: Problems) -> None:
    for key in tree:
        if key == "kind" or key in own:
            continue
        kinds = [other for other, names in SEARCH_FIELDS.items() if key in (*SEARCH_COMMON, *names) and other != "grid"]
        if kinds:
            problems.add((*PATH, key), f"belongs to {', '.join(kinds)}, and kind is '{kind}'; remove one of the two")
        else:
            problems.add((*PATH, key), f"unknown key{did_you_mean(key, ('kind', *own))}")


def _space(tree: Tree, path: TreePath, checker: Checker) -> dict[str, Any]:
    if not isinstance(tree, dict):
        checker.problems.add(path, f"came {came(tree)}, expected a mapping from fields to {CHOICES}")
        return {}
    known = {name: field for name, field in axes().items() if name not in NOT_SEARCHED}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if key in NOT_SEARCHED:
            checker.problems.add((*path, key), f"is no field to search: {NOT_SEARCHED[key]}")
        elif key not in known:
            hint = did_you_mean(key, known) if len(known) < 12 or "did you mean" in did_you_mean(key, known) else ""
            checker.problems.add((*path, key), f"no field that can be an axis of the grid{hint}")
        else:
            allowed = frozenset[Chooser](("layer",)) if str(key).startswith("loss.") else BOTH
            found[str(key)] = _choices(value, (*path, key), known[str(key)], allowed, checker)
    return found


def _choices(value: Tree, path: TreePath, field: Field, allowed: frozenset[Chooser], checker: Checker) -> Any:
    """A range, a tuple of values, or a mapping by loss or layer to those."""
    if isinstance(value, list):
        return _listed(value, path, field, checker)
    if isinstance(value, dict) and value.keys() & {*BOUNDS}:
        return _range(value, path, field, checker)
    if not isinstance(value, dict):
        checker.problems.add(path, f"came {came(value)}, expected {CHOICES}")
        return None
    by = chooser(value, path, allowed=allowed, expected=CHOICES, problems=checker.problems)
    if by is None:
        return None
    return {key: _choices(inner, (*path, key), field, allowed - {by}, checker) for key, inner in value.items()}


def _listed(value: list[Tree], path: TreePath, field: Field, checker: Checker) -> Choices:
    if not value:
        checker.problems.add(path, "came an empty list, expected at least one value; remove the line or add a value")
    for index, entry in enumerate(value):
        if not isinstance(entry, list | dict) and entry in value[:index]:
            checker.problems.add(path, f"{came(entry)} comes twice; remove one")
    return tuple(checker.leaf(entry, (*path, index), field) for index, entry in enumerate(value))


def _range(value: dict[Key, Tree], path: TreePath, field: Field, checker: Checker) -> Choices | None:
    problems = checker.problems
    for key in value:
        if key not in BOUNDS:
            problems.add((*path, key), f"unknown key{did_you_mean(key, BOUNDS)}")
    log = value.get("log", False)
    if not isinstance(log, bool):
        problems.add((*path, "log"), f"came {came(log)}, expected true or false")
    ends: list[Any] = []
    for name in ("low", "high"):
        if name not in value:
            problems.add(path, f"'{name}' is missing; add it")
            return None
        end = checker.leaf(value[name], (*path, name), field)
        if end is None:
            return None
        if isinstance(end, bool) or not isinstance(end, int | float):
            problems.add(path, f"a range has no meaning for {field.words}; write a list of values")
            return None
        ends.append(end)
    low, high = ends
    if low >= high:
        problems.add(path, f"came low {low:g} and high {high:g}, expected low below high")
    elif log is True and low <= 0:
        problems.add((*path, "low"), f"came {low:g}, expected a number above 0 where log is true")
    return Range(low, high, log is True, whole=isinstance(low, int))
