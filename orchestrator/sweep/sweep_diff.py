"""What differs between two sweeps, in lines for people, and whether their common trials mean the same. Pure.

Sweeps are compared as they are meant, not as they are written: `1e6` is `1_000_000`, a default is its value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from pydantic import BaseModel

from orchestrator.sweep.resolve import NoValue, choose
from orchestrator.sweep.sweep_file import Sweep
from orchestrator.tracking.address import masked


class _Missing:
    """Stands where one of two sweeps has no value."""

    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()


@dataclass(frozen=True)
class Difference:
    """One field that two sweeps have otherwise."""

    path: str
    """As `--set` writes it, such as `train.tokens` or `grid.sparsity_coeff.e2e`."""
    before: Any
    after: Any

    @property
    def line(self) -> str:
        """`train.tokens: 200_000 -> 400_000`; for lists of the grid what came and went, `grid.layer: +4 -2`."""
        if self.path.startswith("grid.") and isinstance(_listed(self.before), list):
            before, after = _listed(self.before), _listed(self.after)
            if isinstance(after, list):
                came = [f"+{_text(value)}" for value in after if value not in before]
                went = [f"-{_text(value)}" for value in before if value not in after]
                return f"{self.path}: {' '.join([*came, *went]) or 'in another order'}"
        return f"{self.path}: {_text(self.before)} -> {_text(self.after)}"


def differences(before: Sweep, after: Sweep) -> tuple[Difference, ...]:
    """Every field that differs, in the order of a sweep file. Empty where both ask for the same."""
    old, new = _fields(before), _fields(after)
    found: list[Difference] = []
    for path in dict.fromkeys((*old, *new)):
        found += _compared(path, old.get(path, MISSING), new.get(path, MISSING))
    return tuple(found)


def same_meaning(before: Sweep, after: Sweep) -> bool:
    """Whether a trial of both, of the same layer, loss and place in the grid, is trained and measured alike.

    So only the grid has changed, or what does not touch trials, or a loss or layer came or went with its own options.
    """
    if before.name != after.name:
        return False
    axes = {*before.grid.axes, *after.grid.axes}
    cells = list(product(_common_losses(before, after), _common_layers(before, after)))
    if not cells:
        return _without(_meaning(before), axes) == _without(_meaning(after), axes)
    return all(
        _without(_meaning_of_cell(before, loss, layer), axes) == _without(_meaning_of_cell(after, loss, layer), axes)
        for loss, layer in cells
    )


def _fields(sweep: Sweep) -> dict[str, Any]:
    """Every value by dotted path; those of the grid as lists."""
    grid, tracking = sweep.grid, sweep.tracking.model_dump()
    found: dict[str, Any] = {"name": sweep.name} | _meaning(sweep)
    found["grid.layer"] = grid.layer if isinstance(grid.layer, str) else list(grid.layer)
    found["grid.loss"] = list(grid.loss)
    found |= {f"grid.{name}": values for name, values in grid.axes.items()}
    found["grid.exclude"] = [entry.model_dump(mode="json", exclude_defaults=True) for entry in grid.exclude]
    found |= {f"search.{name}": value for name, value in sweep.search.items()}
    found |= {f"frontier.{name}": value for name, value in sweep.frontier.model_dump(mode="json").items()}
    found |= _dumped("resources", sweep.resources) | _dumped("logging", sweep.logging)
    return found | {f"tracking.{name}": masked(str(value)) for name, value in tracking.items()}


def _meaning(sweep: Sweep) -> dict[str, Any]:
    """What trials are made of beside the grid, values that depend on loss or layer as they stand."""
    found = _dumped("model", sweep.model) | _dumped("data", sweep.data)
    for section, values in (("train", sweep.train), ("sae", sweep.sae)):
        found |= {f"{section}.{name}": value for name, value in values.items()}
    found |= _dumped("eval", sweep.eval)
    for kind in sorted(sweep.grid.loss):
        found |= {f"loss.{kind}.{name}": value for name, value in sweep.loss[kind].items()}
    return found


def _meaning_of_cell(sweep: Sweep, loss: str, layer: int) -> dict[str, Any]:
    """The same for one loss and layer: plain values, and no options of other losses."""
    found: dict[str, Any] = {}
    for path, value in _meaning(sweep).items():
        if path.startswith("loss.") and path.split(".")[1] != loss:
            continue
        try:
            found[path] = choose(value, (), loss=loss, layer=layer).value
        except NoValue:
            found[path] = MISSING
    return found


def _common_losses(before: Sweep, after: Sweep) -> list[str]:
    return [kind for kind in before.grid.loss if kind in after.grid.loss]


def _common_layers(before: Sweep, after: Sweep) -> list[int]:
    """Layers that both have. Where both have all, the first of each layer's range that a value depends on."""
    old, new = before.grid.layer, after.grid.layer
    if isinstance(old, str) and isinstance(new, str):
        return sorted({0, *_layers_named(before), *_layers_named(after)})
    if isinstance(old, str) or isinstance(new, str):
        return list(new if isinstance(old, str) else old)  # pyright: ignore[reportReturnType]
    return [layer for layer in old if layer in new]


def _layers_named(sweep: Sweep) -> Iterator[int]:
    from orchestrator.sweep.resolve import layer_span

    def of(value: Any) -> Iterator[int]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if (span := layer_span(key)) is not None:
                    yield from (span[0], span[1] + 1)
                yield from of(inner)

    for value in _meaning(sweep).values():
        yield from of(value)


def _compared(path: str, before: Any, after: Any) -> Iterator[Difference]:
    """Differences of one field; where one of the two depends on loss or layer, both are seen as if they did."""
    if isinstance(before, dict) or isinstance(after, dict):
        keys = dict.fromkeys(key for value in (before, after) if isinstance(value, dict) for key in value)
        for key in keys:
            yield from _compared(f"{path}.{key}", _at(before, key), _at(after, key))
    elif before != after:
        yield Difference(path, before, after)


def _at(value: Any, key: Any) -> Any:
    return value.get(key, MISSING) if isinstance(value, dict) else value


def _without(values: dict[str, Any], axes: set[str]) -> dict[str, Any]:
    """Less the fields that the grid gives."""
    return {path: value for path, value in values.items() if path not in axes}


def _dumped(section: str, values: BaseModel) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in values.model_dump(mode="json").items()}


def _listed(value: Any) -> Any:
    return [] if value is MISSING else value


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= 10_000:
            return f"{value:_}"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return f"[{', '.join(map(_text, value))}]"
        case dict():
            return f"{{{', '.join(f'{key}: {_text(inner)}' for key, inner in value.items())}}}"
        case _:
            return str(value)
