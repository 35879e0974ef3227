"""A scatter plot in braille characters: two by four dots in each. An overview of a shape, no more. Pure."""

from collections.abc import Sequence
from math import isfinite, log10
from typing import NamedTuple

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a character, by row and column."""


class Dot(NamedTuple):
    """A point of a series."""

    x: float
    y: float
    series: int


class Cell(NamedTuple):
    """A character and the series of its last dot; None where it is empty."""

    character: str
    series: int | None


def scatter(dots: Sequence[Dot], *, width: int, height: int) -> list[list[Cell]]:
    """Rows of characters from the top down, both axes logarithmic. Dots that have no logarithm are left out."""
    shown = [
        Dot(log10(x), log10(y), series) for x, y, series in dots if x > 0 and y > 0 and isfinite(x) and isfinite(y)
    ]
    bits = [[0] * width for _ in range(height)]
    series: list[list[int | None]] = [[None] * width for _ in range(height)]
    if shown:
        columns = _placed([dot.x for dot in shown], 2 * width)
        rows = _placed([dot.y for dot in shown], 4 * height)
        for dot, column, row in zip(shown, columns, rows, strict=True):
            down = 4 * height - 1 - row
            bits[down // 4][column // 2] |= _DOTS[down % 4][column % 2]
            series[down // 4][column // 2] = dot.series
    return [
        [Cell(chr(0x2800 + bits[row][column]), series[row][column]) for column in range(width)] for row in range(height)
    ]


def _placed(values: Sequence[float], n: int) -> list[int]:
    """Each value's place among `n`, from the least to the most."""
    low, high = min(values), max(values)
    if high == low:
        return [n // 2] * len(values)
    return [round((value - low) / (high - low) * (n - 1)) for value in values]
