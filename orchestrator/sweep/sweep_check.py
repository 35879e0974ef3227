"""Holds what a sweep file says to the schema, all of it at once, before anything is known of the model.

What comes out is the same tree with every value as the schema has it (1.0 for 1 where a number is wanted), so that
two ways to write one sweep become equal.
"""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from orchestrator.sweep.problems import Problems, came, did_you_mean
from orchestrator.sweep.resolve import BOTH, Chooser, chooser, chooses_by
from orchestrator.sweep.search_check import check_search
from orchestrator.sweep.sweep_schema import (
    DEPENDENT_SECTIONS,
    GRID_KEYS,
    GRID_LAYER,
    GRID_LOSS,
    LOSSES,
    NAME,
    NO_AXIS,
    REQUIRED,
    SECTIONS,
    TOP_LEVEL,
    Exclude,
    Field,
    Fields,
    all_fields,
    axes,
    fields_of,
    loss_options,
)
from orchestrator.sweep.yaml_lines import Key, Tree, TreePath

Checked = dict[str, Any]
Leaf = Callable[[Tree, TreePath, Field], Any]


def check(tree: Tree, problems: Problems) -> Checked:
    """The checked tree, section by section; of use only where no problem was noted."""
    if not isinstance(tree, dict):
        problems.add((), f"came {came(tree)}, expected a mapping with {', '.join(TOP_LEVEL)}")
        return {}
    checker = _Checker(problems)
    checker.keys(tree, (), known=TOP_LEVEL, required=REQUIRED)
    checked: Checked = {}
    if "name" in tree:
        checked["name"] = checker.leaf(tree["name"], ("name",), NAME)
    grid = tree.get("grid")
    axis_names = {str(key) for key in grid} if isinstance(grid, dict) else set[str]()
    for section, config in SECTIONS.items():
        if section == "search":
            checked[section] = check_search(tree.get(section, {}), checker)
        elif section in tree or section not in REQUIRED:
            checked[section] = checker.section(tree.get(section, {}), section, fields_of(config), axis_names)
    checked["loss"] = checker.losses(tree.get("loss", {}))
    if "grid" in tree:
        checked["grid"] = checker.grid(tree["grid"])
        for kind in checked["grid"].get("loss") or ():
            checker.options_of(kind, checked["loss"].get(kind, {}), axis_names)
    return checked


class _Checker:
    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def keys(self, tree: dict[Key, Tree], path: TreePath, *, known: tuple[str, ...], required: tuple[str, ...]) -> None:
        for key in tree:
            if key not in known:
                self.problems.add((*path, key), f"unknown key{_suggest(path, key, known)}")
        for name in required:
            if name not in tree:
                self.problems.add(path, f"'{name}' is missing; add it")

    def leaf(self, value: Tree, path: TreePath, field: Field) -> Any:
        """One value against one field."""
        try:
            return field.check(value)
        except ValidationError as error:
            places = {_place(value, path, details["loc"]) for details in error.errors()}
            for place, part in sorted(places, key=str):
                if any(other != place and other[: len(place)] == place for other, _ in places):
                    continue  # what is wrong lies deeper
                more = " (or: is it too long, or not a whole number?)" if _is_large(part) else ""
                self.problems.add(place, f"came {part}, expected {field.words}{more}")
            return None

    def section(self, tree: Tree, section: str, fields: Fields, axis_names: set[str]) -> Checked:
        if not isinstance(tree, dict):
            self.problems.add((section,), f"came {came(tree)}, expected a mapping with {', '.join(fields)}")
            return {}
        dependent = section in DEPENDENT_SECTIONS
        given_by_grid = axis_names if dependent else set[str]()
        required = tuple(name for name, field in fields.items() if field.required)
        missing_allowed = {name for name in required if f"{section}.{name}" in given_by_grid}
        self.keys(
            tree, (section,), known=tuple(fields), required=tuple(n for n in required if n not in missing_allowed)
        )
        allowed = BOTH if dependent else frozenset[Chooser]()
        return self._values(tree, (section,), fields, allowed)

    def _values(self, tree: dict[Key, Tree], path: TreePath, fields: Fields, allowed: frozenset[Chooser]) -> Checked:
        return {
            str(key): self.dependent(value, (*path, key), fields[key], allowed, self.leaf)
            for key, value in tree.items()
            if isinstance(key, str) and key in fields
        }

    def losses(self, tree: Tree) -> Checked:
        path: TreePath = ("loss",)
        if not isinstance(tree, dict):
            self.problems.add(path, f"came {came(tree)}, expected a mapping from {', '.join(LOSSES)} to their options")
            return {}
        self.keys(tree, path, known=tuple(LOSSES), required=())
        checked: Checked = {}
        for kind in LOSSES:
            options, fields = tree.get(kind, {}), loss_options(kind)
            if not isinstance(options, dict):
                self.problems.add((*path, kind), f"came {came(options)}, expected a mapping with {', '.join(fields)}")
                continue
            if "sparsity_coeff" in options:
                self.problems.add((*path, kind, "sparsity_coeff"), "belongs to the grid; write grid.sparsity_coeff")
            rest = {key: value for key, value in options.items() if key != "sparsity_coeff"}
            self.keys(rest, (*path, kind), known=tuple(fields), required=())
            checked[kind] = self._values(rest, (*path, kind), fields, frozenset(("layer",)))
        return checked

    def options_of(self, kind: str, options: Checked, axis_names: set[str]) -> None:
        """A kind that the grid uses has all options that it cannot do without."""
        for name, field in loss_options(kind).items():
            if field.required and name not in options and f"loss.{kind}.{name}" not in axis_names:
                self.problems.add(("loss", kind), f"'{name}' is missing, and the grid asks for '{kind}'; add it")

    def grid(self, tree: Tree) -> Checked:
        path: TreePath = ("grid",)
        if not isinstance(tree, dict):
            self.problems.add(path, f"came {came(tree)}, expected a mapping with layer, loss, sparsity_coeff, seed")
            return {}
        for key in tree:
            if key in NO_AXIS:
                self.problems.add((*path, key), "a sweep is on one model; write a sweep file for each model")
            elif key not in (*GRID_KEYS, *axes()):
                hint = _suggest(path, key, (*GRID_KEYS, *axes()))
                self.problems.add((*path, key), f"no axis a grid can have{hint}")
        for name in ("layer", "loss", "sparsity_coeff"):
            if name not in tree:
                self.problems.add(path, f"'{name}' is missing; add it")
        checked: Checked = {"exclude": self._excludes(tree.get("exclude", []))}
        for name, field in (("layer", GRID_LAYER), ("loss", GRID_LOSS)):
            if name in tree:
                checked[name] = self._plain_axis(tree[name], (*path, name), field)
        checked["axes"] = {
            name: self.dependent(tree[name], (*path, name), field, self._choosers(name), self._axis)
            for name, field in axes().items()
            if name in tree
        }
        return checked

    def _choosers(self, axis: str) -> frozenset[Chooser]:
        return frozenset(("layer",)) if axis.startswith("loss.") else BOTH

    def _plain_axis(self, value: Tree, path: TreePath, field: Field) -> Any:
        self._no_repetition(value, path)
        found = self.leaf(value, path, field)
        return found if found is None or found == "all" or isinstance(found, tuple) else (found,)

    def _axis(self, value: Tree, path: TreePath, field: Field) -> list[Any]:
        self._no_repetition(value, path)
        if isinstance(value, list):
            return [self.leaf(entry, (*path, index), field) for index, entry in enumerate(value)]
        return [self.leaf(value, path, field)]

    def _no_repetition(self, value: Tree, path: TreePath) -> None:
        if not isinstance(value, list):
            return
        if not value:
            self.problems.add(path, "came an empty list, expected at least one value; remove the line or add a value")
        plain = [entry for entry in value if not isinstance(entry, list | dict)]
        for index, entry in enumerate(plain):
            if entry in plain[:index]:
                self.problems.add(path, f"{came(entry)} comes twice; remove one")

    def _excludes(self, value: Tree) -> list[Exclude]:
        path: TreePath = ("grid", "exclude")
        if not isinstance(value, list):
            self.problems.add(
                path, f"came {came(value)}, expected a list such as [{{layer: last, loss: e2e_downstream}}]"
            )
            return []
        fields = fields_of(Exclude)
        found: list[Exclude] = []
        for index, entry in enumerate(value):
            inner = (*path, index)
            if not isinstance(entry, dict) or not entry:
                self.problems.add(inner, f"came {came(entry)}, expected a mapping with {', '.join(fields)}")
                continue
            self.keys(entry, inner, known=tuple(fields), required=())
            values = self._values(entry, inner, fields, frozenset())
            if not any(part is None for part in values.values()):
                found.append(Exclude(**values))
        return found

    def dependent(self, value: Tree, path: TreePath, field: Field, allowed: frozenset[Chooser], leaf: Leaf) -> Any:
        """A value, or a mapping that chooses one by loss or by layer."""
        if not isinstance(value, dict) or not allowed:
            return leaf(value, path, field)
        by = chooser(value, path, allowed=allowed, expected=field.words, problems=self.problems)
        inner_allowed = allowed - {by} if by else frozenset[Chooser]()
        checked = {
            key: self.dependent(inner, (*path, key), field, inner_allowed, leaf)
            for key, inner in value.items()
            if by or (chooses_by(key) and not isinstance(inner, dict))
        }
        return checked if by else None


def _suggest(path: TreePath, key: Key, known: tuple[str, ...]) -> str:
    elsewhere = [name for name, _ in all_fields() if name.split(".")[-1] == key]
    near = did_you_mean(key, known)
    if "did you mean" not in near and elsewhere:
        return f"; did you mean '{elsewhere[0]}'?"
    if "did you mean" not in near and len(known) > 12:
        return f"; expected such as {', '.join(known[:8])}"
    return near


def _place(value: Tree, path: TreePath, location: tuple[int | str, ...]) -> tuple[TreePath, str]:
    """Where in a value an error is, and what came there. Names of union branches in `location` end the way."""
    for part in location:
        in_mapping = isinstance(value, dict) and part in value
        in_list = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if in_mapping or in_list:
            value, path = value[part], (*path, part)  # pyright: ignore[reportOptionalSubscript, reportIndexIssue, reportArgumentType, reportCallIssue]
    return path, came(value)


def _is_large(text: str) -> bool:
    return "e+" in text
