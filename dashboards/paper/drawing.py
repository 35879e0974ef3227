"""What the file of an analysis gives: its figures, and the words beside them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from matplotlib.figure import Figure

Lines = Sequence[Mapping[str, Any]]
Tables = Mapping[str, Lines]
"""Lines by name of the table; null is None. Tables without a line are there and empty."""


class Text(NamedTuple):
    """Words for the page. Plain text."""

    how_to_read: str
    """One or two sentences."""
    paper_found: str
    """One sentence on GPT2-small, with its number and figure or table."""
    captions: Mapping[str, str] = {}
    """By name of the figure."""


class Drawing(Protocol):
    """A module `dashboards/paper/<analysis>.py`."""

    TEXT: Text

    @staticmethod
    def figures(tables: Tables) -> dict[str, Figure]:
        """By name, which begins with the analysis' id; empty where there is nothing to draw.

        Made within `canvas.look()`. The same tables give the same bytes.
        """
        ...
