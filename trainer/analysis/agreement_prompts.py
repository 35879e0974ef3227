"""Beginnings of sentences after which one form of a verb is right and the other is wrong, drawn by a seed.

Four templates, as in Finlayson et al. 2021 and the paper's appendix I. All prompts of a template have the same length,
so a position means the same in each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from trainer.analysis.agreement_words import Pair, Words, token_of
from trainer.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Template = Literal["simple", "across_pp", "across_rc", "within_rc"]
TEMPLATES: tuple[Template, ...] = get_args(Template)


class Prompt(NamedTuple):
    """One of them, as words."""

    text: str
    correct: str
    wrong: str


@dataclass(frozen=True)
class Prompts:
    """Prompts of one template, as tokens."""

    template: Template
    texts: tuple[Prompt, ...]
    tokens: Int[Tensor, "prompts pos"]
    """The end-of-text token first, where the tokenizer has one, as before any document."""
    correct: Int[Tensor, " prompts"]
    wrong: Int[Tensor, " prompts"]
    """The forms of the verb."""


class _Draw(NamedTuple):
    """The choices in one prompt, as numbers of words."""

    subject: int
    other: int
    """Among the nouns without the subject."""
    middle: int
    """Preposition, or verb of the relative clause that is passed."""
    verb: int
    other_is_plural: int


def draw_prompts(
    template: Template,
    words: Words,
    tokenizer: "PreTrainedTokenizerFast",
    *,
    n_prompts: int,
    seed: int,
    paired: bool = True,
) -> Prompts:
    """`n_prompts` different prompts, or as many as the words give, half of them in either number.

    `paired`: each comes with its twin, the same but for the number of the noun that the verb agrees with. Whatever does
    not tell the numbers apart then has a mean logit difference of 0. Else the twins are drawn independently.

    Raises:
        BadInput: the tokenizer cuts the words of a sentence otherwise than single words.
    """
    dice = np.random.Generator(np.random.PCG64([seed, TEMPLATES.index(template)]))
    sizes = _sizes(template, words)
    total = int(np.prod([int(size) for size in sizes], dtype=object))
    n = max(1, min(-(-n_prompts // 2), total))
    draws = [_Draw(*map(int, np.unravel_index(at, sizes))) for at in _drawn(dice, total, n)]
    others = draws if paired else [_Draw(*map(int, np.unravel_index(at, sizes))) for at in _drawn(dice, total, n)]
    made = [
        _MAKERS[template](words, draw, plural)
        for both in zip(draws, others, strict=True)
        for draw, plural in zip(both, (False, True), strict=True)
    ]
    return _as_tokens(template, tuple(made), tokenizer)


def _drawn(dice: np.random.Generator, total: int, n: int) -> list[int]:
    return sorted(int(at) for at in dice.choice(total, size=n, replace=False, shuffle=False))


def _sizes(template: Template, words: Words) -> _Draw:
    n_others = len(words.nouns) - 1
    match template:
        case "simple":
            return _Draw(len(words.nouns), 1, 1, len(words.verbs), 1)
        case "across_pp":
            return _Draw(len(words.nouns), n_others, len(words.prepositions), len(words.verbs), 2)
        case "across_rc":
            return _Draw(len(words.nouns), n_others, len(words.transitive), len(words.verbs), 2)
        case "within_rc":
            return _Draw(len(words.nouns), n_others, 1, len(words.transitive), 2)


def _nouns(words: Words, draw: _Draw) -> tuple[Pair, Pair]:
    """The one that the verb agrees with, and another."""
    others = [noun for at, noun in enumerate(words.nouns) if at != draw.subject]
    return words.nouns[draw.subject], others[draw.other]


def _simple(words: Words, draw: _Draw, plural: bool) -> Prompt:
    return _prompt(f"The {words.nouns[draw.subject].form(plural=plural)}", words.verbs[draw.verb], plural)


def _across_pp(words: Words, draw: _Draw, plural: bool) -> Prompt:
    subject, other = _nouns(words, draw)
    phrase = f"{words.prepositions[draw.middle]} the {other.form(plural=bool(draw.other_is_plural))}"
    return _prompt(f"The {subject.form(plural=plural)} {phrase}", words.verbs[draw.verb], plural)


def _across_rc(words: Words, draw: _Draw, plural: bool) -> Prompt:
    subject, other = _nouns(words, draw)
    others = bool(draw.other_is_plural)
    clause = f"that the {other.form(plural=others)} {words.transitive[draw.middle].form(plural=others)}"
    return _prompt(f"The {subject.form(plural=plural)} {clause}", words.verbs[draw.verb], plural)


def _within_rc(words: Words, draw: _Draw, plural: bool) -> Prompt:
    subject, other = _nouns(words, draw)
    first = other.form(plural=bool(draw.other_is_plural))
    return _prompt(f"The {first} that the {subject.form(plural=plural)}", words.transitive[draw.verb], plural)


_MAKERS: dict[Template, Callable[[Words, _Draw, bool], Prompt]] = {
    "simple": _simple,
    "across_pp": _across_pp,
    "across_rc": _across_rc,
    "within_rc": _within_rc,
}


def _prompt(text: str, verb: Pair, plural: bool) -> Prompt:
    return Prompt(text, correct=verb.form(plural=plural), wrong=verb.form(plural=not plural))


def _as_tokens(template: Template, made: tuple[Prompt, ...], tokenizer: "PreTrainedTokenizerFast") -> Prompts:
    end: Any = tokenizer.eos_token_id
    before = [] if end is None else [int(end)]
    rows = [before + tokenizer.encode(one.text, add_special_tokens=False) for one in made]
    forms = {word: token_of(word, tokenizer) for one in made for word in (one.correct, one.wrong)}
    odd = next((one.text for one, row in zip(made, rows, strict=True) if len(row) != len(rows[0])), None)
    if odd is not None or None in forms.values():
        raise BadInput(
            f"the tokenizer cuts {odd or 'a verb'!r} into other tokens than the same words alone: subject-verb "
            "agreement needs prompts of one length"
        )
    correct, wrong = ([forms[getattr(one, which)] for one in made] for which in ("correct", "wrong"))
    return Prompts(template, made, torch.tensor(rows), torch.tensor(correct), torch.tensor(wrong))
