"""From what the trainer found about dictionary elements to words: the tokenizer's text, the documents' topics.

Never in the way of a trial: without a tokenizer tokens are shown by number, without labels there are no topics.
"""

import math
from collections.abc import Sequence
from contextlib import suppress

import torch

from orchestrator.folder.elements import ShownElement, ShownElements, ShownSnippet
from trainer.builtin.corpus import CorpusMissing
from trainer.config import TrialConfig
from trainer.data import Rows
from trainer.data.topics import CREDIT, Topics, topics_of
from trainer.elements import Element, Snippet
from trainer.errors import BadInput, EnvironmentProblem
from trainer.models.pieces import Pieces
from trainer.models.tokenizer import load_tokenizer

DIGITS = 5
"""Of activations: more are noise to a reader, and make the file longer."""


class Words:
    """What turns the elements of a pack's trials into text: made once, used for each."""

    def __init__(self, config: TrialConfig, rows: Rows) -> None:
        """`config`: of any trial of the pack."""
        self._n_eval_tokens = len(rows.evaluation) * rows.context
        tokenizer = None
        with suppress(BadInput, EnvironmentProblem):
            tokenizer = load_tokenizer(config.model)
        self._pieces = Pieces(tokenizer)
        self._topics: Topics | None = None
        if self._pieces.end_id is not None:
            with suppress(CorpusMissing):
                self._topics = topics_of(config.data, rows.evaluation, end_id=self._pieces.end_id)

    def of(self, trial_id: str, elements: Sequence[Element]) -> ShownElements:
        """The file of a trial."""
        return ShownElements(
            trial_id=trial_id,
            n_eval_tokens=self._n_eval_tokens,
            text_credit=None if self._topics is None else CREDIT,
            elements=[self._element(element) for element in elements],
        )

    def _element(self, element: Element) -> ShownElement:
        return ShownElement(
            index=element.index,
            chosen=element.chosen,
            density=short(element.density),
            mean_activation=short(element.mean_activation),
            max_activation=short(element.max_activation),
            top_tokens=[(self._pieces[token], count) for token, count in element.top_tokens],
            snippets=[
                self._snippet(snippet, topic)
                for snippet, topic in zip(element.snippets, self._topics_of(element.snippets), strict=True)
            ],
        )

    def _snippet(self, snippet: Snippet, topic: str | None) -> ShownSnippet:
        return ShownSnippet(
            row=snippet.row,
            position=snippet.position,
            start=snippet.start,
            activation=short(snippet.activation),
            topic=topic,
            tokens=[self._pieces[token] for token in snippet.tokens],
            activations=[short(activation) for activation in snippet.activations],
        )

    def _topics_of(self, snippets: Sequence[Snippet]) -> Sequence[str | None]:
        if self._topics is None or not snippets:
            return [None] * len(snippets)
        rows = torch.tensor([snippet.row for snippet in snippets])
        return self._topics.at(rows, torch.tensor([snippet.position for snippet in snippets]))


def short(value: float) -> float:
    """The same number with few digits."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else value
