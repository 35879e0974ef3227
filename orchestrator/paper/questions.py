"""What a language model is asked about an element, and how its answers are read: explain, then detect or simulate.

Text in, text out; asks nobody. An answer that cannot be read is None.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.display.plain import plain
from orchestrator.paper.endpoint import Message

LEVELS = 10
"""Activations are told as whole numbers from 0 to this, of the element's largest."""
LONGEST = 400
"""Characters of an explanation that are kept."""
TOKENS_PER_TOKEN = 1.5
"""Of the endpoint's tokenizer per token of ours, about: for what it will cost."""
EXPLAIN_OVERHEAD, DETECT_OVERHEAD, SIMULATE_OVERHEAD = 260, 220, 300
"""Tokens of a question beside its passages, about."""

_EXPLAIN = (
    "You study one unit inside a language model. You get passages of text in which it is active. Each token on which "
    "it is active stands in << >>, followed by how active it is, from 1 to 10, in brackets. Say in one short sentence "
    "what the unit responds to: the meaning, the kind of word, or what comes next in the text. Be specific, but let it "
    "hold for all passages. Do not list the passages or their marks. Answer with one line: Explanation: ..."
)
_DETECT = (
    "A unit inside a language model has been explained in one sentence. You get numbered passages of text. Decide for "
    "each whether the unit is active anywhere in it, judging by the explanation alone. Some, none or all of them may "
    "fit. Answer with nothing but a JSON list of the numbers of those in which it is active, such as [2, 5], or []."
)
_SIMULATE = (
    "A unit inside a language model has been explained in one sentence. You get numbered passages, each as a JSON list "
    "of tokens. Predict for each token how active the unit is on it, as a whole number from 0 (not at all, as on most) "
    "to 10, judging by the explanation alone. Answer with nothing but a JSON list that has for each passage the list "
    "of its numbers, one per token, such as [[0, 0, 7], [0, 3, 0]]."
)


@dataclass(frozen=True)
class Passage:
    """A piece of text, by token."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def text(self) -> str:
        return _on_a_line("".join(self.tokens))


def explain(passages: Sequence[Passage], *, largest: float) -> list[Message]:
    """`largest`: the activation that is told as 10."""
    lines = [f"{number}. {_marked(passage, largest)}" for number, passage in enumerate(passages, start=1)]
    return _asked(_EXPLAIN, "\n".join(lines))


def detect(explanation: str, passages: Sequence[Passage]) -> list[Message]:
    lines = [f"{number}. {passage.text}" for number, passage in enumerate(passages, start=1)]
    return _asked(_DETECT, "\n".join([f"Explanation: {explanation}", "", *lines]))


def simulate(explanation: str, passages: Sequence[Passage]) -> list[Message]:
    lines = [
        f"{number}. {json.dumps(passage.tokens, ensure_ascii=False)}"
        for number, passage in enumerate(passages, start=1)
    ]
    return _asked(_SIMULATE, "\n".join([f"Explanation: {explanation}", "", *lines]))


def read_explanation(answer: str) -> str | None:
    """The sentence, on one line."""
    _, _, after = answer.rpartition("Explanation:")
    text = plain(" ".join((after or answer).split()).strip("\"'* "))
    return text[:LONGEST] or None


def read_detection(answer: str, n_passages: int) -> frozenset[int] | None:
    """The passages that were named, counted from 0."""
    for found in _lists(answer):
        if all(isinstance(one, int) and not isinstance(one, bool) and 1 <= one <= n_passages for one in found):
            return frozenset(one - 1 for one in found)
    return None


def read_simulation(answer: str, lengths: Sequence[int]) -> list[float] | None:
    """All numbers one after another, where there is one for each token of each passage."""
    for found in _lists(answer):
        if [len(one) if isinstance(one, list) else -1 for one in found] != list(lengths):
            continue
        numbers = [value for one in found for value in one]
        if all(isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LEVELS
               for value in numbers):  # fmt: skip
            return [float(value) for value in numbers]
    return None


def _asked(task: str, text: str) -> list[Message]:
    return [{"role": "system", "content": task}, {"role": "user", "content": text}]


def _marked(passage: Passage, largest: float) -> str:
    parts: list[str] = []
    for token, activation in zip(passage.tokens, passage.activations, strict=True):
        level = max(1, round(LEVELS * activation / largest)) if activation > 0 and largest > 0 else 0
        parts.append(f"<<{token}>>[{level}]" if level else token)
    return _on_a_line("".join(parts))


def _on_a_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", "\\n").strip(" ")


def _lists(answer: str) -> list[list[Any]]:
    """The JSON lists in it that are in no other one, the last first: models like to think aloud before."""
    found: list[list[Any]] = []
    decoder, at = json.JSONDecoder(), 0
    while match := re.compile(r"\[").search(answer, at):
        try:
            value, at = decoder.raw_decode(answer, match.start())
        except (ValueError, RecursionError):
            at = match.end()
            continue
        found.append(value)
    return found[::-1]
