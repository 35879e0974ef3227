"""Values of tables as people read them, the same in LaTeX and on the page."""

from typing import Any, NamedTuple

MANY, FEW = 1e6, 1e-3
"""Outside of these, numbers are written with an exponent."""


class Print(NamedTuple):
    """A table as it is printed."""

    title: str
    heads: tuple[str, ...]
    is_number: tuple[bool, ...]
    """By column: these stand on the right."""
    rows: tuple[tuple[str, ...], ...]
    label: str = ""
    """To refer to it: the name of its file."""


def cell(value: Any) -> str:
    """Four digits that count, whole numbers whole, yes and no, and a dash for nothing."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}".replace(",", " ") if abs(value) >= 10_000 else str(value)
        case float():
            return _number(value)
        case list() | tuple():
            return ", ".join(cell(item) for item in value[:6]) + (", ..." if len(value) > 6 else "")
        case _:
            return str(value)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    if not FEW <= abs(value) < MANY:
        return f"{value:.2e}"
    digits = max(0, 3 - _exponent(value))
    text = f"{value:.{digits}f}"
    return text if abs(value) < 10_000 else f"{round(value):,}".replace(",", " ")


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2])
