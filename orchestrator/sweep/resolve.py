"""Values that depend on the loss or on the layer: how they are written, and which one a trial gets. Pure.

A mapping whose keys are all losses, or all layers, stands for one value each; the two may be nested either way round.
A layer key is a number or a range that includes both ends: `{0-3: 2.5, 4: 1.0}`.
"""

import re
from itertools import pairwise
from typing import Literal, NamedTuple

from orchestrator.sweep.problems import Problems, came, did_you_mean
from orchestrator.sweep.yaml_lines import Key, Tree, TreePath
from trainer.losses import LOSS_KINDS

Chooser = Literal["loss", "layer"]
BOTH: frozenset[Chooser] = frozenset(("loss", "layer"))
_RANGE = re.compile(r"([0-9]{1,6})-([0-9]{1,6})")


class NoValue(LookupError):
    """A choice that has nothing for a loss or a layer. Arguments: path of the mapping, what came and what to do."""


class Chosen(NamedTuple):
    """A value and where it was written."""

    value: Tree
    path: TreePath


def layer_span(key: Key) -> tuple[int, int] | None:
    """First and last layer that a key stands for; None if it is no layer key."""
    if isinstance(key, int):
        return (key, key) if key >= 0 else None
    match = _RANGE.fullmatch(key)
    return (int(match[1]), int(match[2])) if match and int(match[1]) <= int(match[2]) else None


def choose(value: Tree, path: TreePath, *, loss: str, layer: int) -> Chosen:
    """The value for one loss and layer.

    Raises:
        NoValue: a mapping has no entry for them.
    """
    while isinstance(value, dict):
        key = _matching(value, loss=loss, layer=layer)
        if key is None:
            asked = f"loss '{loss}'" if any(key in LOSS_KINDS for key in value) else f"layer {layer}"
            given = ", ".join(map(str, value))
            raise NoValue(path, f"no value for {asked}, only for {given}; add one, or take {asked} out of the grid")
        value, path = value[key], (*path, key)
    return Chosen(value, path)


def _matching(choices: dict[Key, Tree], *, loss: str, layer: int) -> Key | None:
    for key in choices:
        span = layer_span(key)
        if key == loss or (span and span[0] <= layer <= span[1]):
            return key
    return None


def chooser(choices: dict[Key, Tree], path: TreePath, *, allowed: frozenset[Chooser], expected: str,
            problems: Problems) -> Chooser | None:  # fmt: skip
    """What a mapping chooses by. None, and a problem is noted, where it is no choice that is allowed here."""
    by = [chooses_by(key) for key in choices]
    if not choices or (set(by) == {None} and not _near_a_loss(choices)):
        problems.add(path, f"came {came(choices)}, expected {expected}{_or_mapping(allowed)}")
    elif None in by:
        for key in (key for key, kind in zip(choices, by, strict=True) if kind is None):
            hint = did_you_mean(key, LOSS_KINDS) if "loss" in by or _near_a_loss(choices) else "; expected a layer"
            problems.add((*path, key), f"neither a loss nor a layer{hint}")
    elif len(set(by)) > 1:
        problems.add(path, f"came {came(choices)}: its keys are losses and layers at once; nest one in the other")
    elif by[0] not in allowed:
        problems.add(path, f"came {came(choices)}: the {by[0]} is settled here already; expected {expected}")
    elif clash := _overlap(choices):
        problems.add(path, f"layer {clash} has two values; give each layer one")
    else:
        return by[0]
    return None


def chooses_by(key: Key) -> Chooser | None:
    """What a key belongs to, if it is one of a choice."""
    if key in LOSS_KINDS:
        return "loss"
    return "layer" if layer_span(key) else None


def _near_a_loss(choices: dict[Key, Tree]) -> bool:
    return any("did you mean" in did_you_mean(key, LOSS_KINDS) for key in choices)


def _or_mapping(allowed: frozenset[Chooser]) -> str:
    return f", or a mapping from {' or '.join(sorted(allowed, reverse=True))} to that" if allowed else ""


def _overlap(choices: dict[Key, Tree]) -> str | None:
    spans = sorted(span for key in choices if (span := layer_span(key)))
    for (_, last), (first, _) in pairwise(spans):
        if first <= last:
            return str(first)
    return None
