"""`elements/<trial_id>.json`: what dictionary elements of a trial are strong on, as text. A value; no paths, no model.

A new field with a default keeps the schema version; a field removed, renamed or of another meaning raises it.
"""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt

from orchestrator.folder.records import Number, TrialId
from trainer.values import Frozen


class ShownSnippet(Frozen):
    """Tokens around one place where an element is strong. The place itself is `tokens[position - start]`."""

    row: NonNegativeInt
    """Of the evaluation rows, counted from 0."""
    position: NonNegativeInt
    """In that row."""
    start: NonNegativeInt
    """The position of the first token shown."""
    activation: Number
    topic: str | None = None
    """Of the document there, where the data has such labels."""
    tokens: list[str]
    """With the spaces that belong to them; `#17` where there is no text for a token."""
    activations: list[Number]


class ShownElement(Frozen):
    """One dictionary element."""

    index: NonNegativeInt
    chosen: Literal["most_active", "sampled"]
    """Why it is shown: it fires most often on the alive window, or it was drawn from the others that fire there."""
    density: NonNegativeFloat
    """Share of the evaluation tokens on which it fires."""
    mean_activation: Number
    """Over the tokens on which it fires."""
    max_activation: Number
    top_tokens: list[tuple[str, NonNegativeInt]]
    """Token, and how often it is at one of the 64 strongest places; the most frequent first."""
    snippets: list[ShownSnippet]
    """At most one of each row, the strongest first."""


class ShownElements(Frozen):
    """The file."""

    schema_version: Literal[1] = 1
    trial_id: TrialId
    n_eval_tokens: NonNegativeInt
    text_credit: str | None = None
    """Who is to be named where the snippets are shown."""
    elements: list[ShownElement]
