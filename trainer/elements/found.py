"""What was found about an element. Values only: row and token numbers, no text."""

from dataclasses import dataclass
from typing import Literal

How = Literal["most_active", "sampled"]
"""Why an element was looked at."""


@dataclass(frozen=True)
class Snippet:
    """One place where an element is strong, and the tokens around it."""

    row: int
    """Of the evaluation rows, counted from 0."""
    position: int
    """In that row."""
    start: int
    """The position of the first of `tokens`."""
    activation: float
    """At `position`."""
    tokens: tuple[int, ...]
    activations: tuple[float, ...]
    """At each of `tokens`."""


@dataclass(frozen=True)
class Element:
    """One dictionary element of one SAE over the evaluation rows."""

    index: int
    chosen: How
    density: float
    """Share of tokens on which it fires."""
    mean_activation: float
    """Over the tokens on which it fires; 0 where there are none."""
    max_activation: float
    top_tokens: tuple[tuple[int, int], ...]
    """Token and how often it is at one of the strongest places; the most frequent first."""
    snippets: tuple[Snippet, ...]
    """At most one of each row, the strongest first."""
