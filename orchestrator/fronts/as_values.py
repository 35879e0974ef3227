"""What frontiers say as plain values for JSON: dataclasses as objects, all kinds of tuples as lists."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def as_values(found: Any) -> Any:
    """Of a dataclass, and of whatever is in it. `dataclasses.asdict` cannot make an `Objective` anew."""
    if is_dataclass(found):
        return {field.name: as_values(getattr(found, field.name)) for field in fields(found)}
    if isinstance(found, Mapping):
        return {str(key): as_values(value) for key, value in found.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(found, tuple | list):
        return [as_values(value) for value in found]
    return found
