"""Words for sentences that test agreement of subject and verb, and which of them a tokenizer has as single tokens.

A list of our own. No model and no sentences: those are `agreement_prompts.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Pair:
    """A word in both numbers."""

    singular: str
    plural: str

    def form(self, *, plural: bool) -> str:
        return self.plural if plural else self.singular


def _pairs(text: str) -> tuple[Pair, ...]:
    return tuple(Pair(*both.split("/")) for both in text.split())


NOUNS = _pairs("""
    actor/actors animal/animals area/areas artist/artists athlete/athletes author/authors bird/birds book/books boy/boys
    brother/brothers building/buildings car/cars cat/cats child/children city/cities coach/coaches community/communities
    company/companies cook/cooks country/countries cousin/cousins culture/cultures customer/customers dancer/dancers
    doctor/doctors dog/dogs driver/drivers element/elements farmer/farmers father/fathers friend/friends game/games
    girl/girls group/groups guard/guards horse/horses house/houses island/islands judge/judges king/kings
    language/languages lawyer/lawyers leader/leaders letter/letters man/men manager/managers method/methods
    minister/ministers mother/mothers mountain/mountains neighbor/neighbors novel/novels nurse/nurses officer/officers
    parent/parents person/people pilot/pilots plant/plants player/players poet/poets president/presidents river/rivers
    scientist/scientists secretary/secretaries sister/sisters soldier/soldiers state/states student/students
    system/systems teacher/teachers theory/theories tree/trees waiter/waiters woman/women worker/workers writer/writers
""")
"""Things and people, in an order that means nothing."""

VERBS = _pairs("""
    is/are was/were has/have does/do acts/act appears/appear becomes/become begins/begin brings/bring comes/come
    contains/contain continues/continue depends/depend describes/describe enjoys/enjoy falls/fall gets/get gives/give
    goes/go grows/grow includes/include knows/know laughs/laugh leads/lead likes/like lives/live looks/look makes/make
    means/mean moves/move needs/need plays/play produces/produce provides/provide refers/refer remains/remain runs/run
    says/say seems/seem serves/serve sings/sing sits/sit sleeps/sleep stands/stand starts/start takes/take talks/talk
    thinks/think uses/use waits/wait walks/walk wants/want works/work writes/write
""")
"""May follow a subject that is complete."""

TRANSITIVE = _pairs("""
    admires/admire avoids/avoid blames/blame brings/bring calls/call covers/cover describes/describe fears/fear
    finds/find follows/follow forms/form gives/give hates/hate helps/help hurts/hurt includes/include joins/join
    knows/know leads/lead likes/like loves/love makes/make meets/meet needs/need plays/play produces/produce
    provides/provide respects/respect sees/see serves/serve shows/show supports/support takes/take trusts/trust
    uses/use wants/want watches/watch writes/write
""")
"""May end a relative clause whose object is what the clause is about: `the man that the dogs follow`."""

PREPOSITIONS = ("near", "behind", "with", "beside", "across", "around", "from", "above", "of")
BEFORE = "The"
OTHERS = ("the", "that")
LEAST = {"nouns": 4, "verbs": 2, "verbs of relative clauses": 2, "prepositions": 1}
"""Fewer words than these are not enough for four templates."""


@dataclass(frozen=True)
class Words:
    """What of the list is one token each, after another word."""

    nouns: tuple[Pair, ...]
    verbs: tuple[Pair, ...]
    transitive: tuple[Pair, ...]
    prepositions: tuple[str, ...]


def words_for(tokenizer: "PreTrainedTokenizerFast") -> Words:
    """The words of the list that the tokenizer has whole.

    Raises:
        BadInput: too few of them.
    """

    def whole(*words: str) -> bool:
        return all(token_of(word, tokenizer) is not None for word in words)

    def both(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
        return tuple(pair for pair in pairs if whole(pair.singular, pair.plural))

    found = Words(both(NOUNS), both(VERBS), both(TRANSITIVE), tuple(word for word in PREPOSITIONS if whole(word)))
    counts = dict(zip(LEAST, map(len, (found.nouns, found.verbs, found.transitive, found.prepositions)), strict=True))
    lacks = [word for word in OTHERS if not whole(word)]
    if lacks or any(counts[kind] < least for kind, least in LEAST.items()):
        raise BadInput(_too_few(counts, lacks))
    return found


def token_of(word: str, tokenizer: "PreTrainedTokenizerFast") -> int | None:
    """Its one token where it follows another word; None where it has several, or is not known."""
    alone = tokenizer.encode(BEFORE, add_special_tokens=False)
    after = tokenizer.encode(f"{BEFORE} {word}", add_special_tokens=False)
    if len(after) != len(alone) + 1 or after[:-1] != alone:
        return None
    text = tokenizer.decode(after[-1:], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return after[-1] if str(text).strip() == word else None  # some tokenizers drop what they do not know


def _too_few(counts: dict[str, int], lacks: Sequence[str]) -> str:
    there = ", ".join(f"{counts[kind]} {kind} (at least {least})" for kind, least in LEAST.items())
    return (
        "the tokenizer does not have the words for subject-verb agreement. Looked for as single tokens after a space: "
        f"{len(NOUNS)} nouns, {len(VERBS)} verbs and {len(TRANSITIVE)} verbs of relative clauses in both numbers, such "
        f"as {_some(NOUNS)}, {_some(VERBS)} and {_some(TRANSITIVE[13:])}; {len(PREPOSITIONS)} prepositions, such as "
        f"{', '.join(PREPOSITIONS[:2])}; and {' and '.join(OTHERS)}. Found: {there}"
        + (f"; not {' and not '.join(lacks)}" if lacks else "")
        + ". It takes a model with an English tokenizer of whole words"
    )


def _some(pairs: Sequence[Pair]) -> str:
    return ", ".join(f"{pair.singular}/{pair.plural}" for pair in pairs[:2])
