"""Which elements of an SAE are looked at: the most active ones, and a sample of the others that are alive."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from trainer.elements.found import How


class Look(NamedTuple):
    """How much is looked at."""

    n_elements: int
    """Of each SAE: half of them (rounded up) the most active ones."""
    n_snippets: int
    """Of each element."""


class Choice(NamedTuple):
    """The elements of one SAE."""

    elements: list[int]
    how: list[How]


def choose(firing_counts: Int[Tensor, " d_sae"], *, n_elements: int, seed: int) -> Choice:
    """The elements that fired on most tokens, the lower number first where they are equal; then, drawn by `seed`,
    others that fired at all. Fewer than `n_elements` only where no more are alive."""
    counts = firing_counts.cpu().numpy()
    by_count = np.argsort(-counts, kind="stable")
    alive = by_count[: int((counts > 0).sum())]
    n_active = n_elements - n_elements // 2
    active, others = alive[:n_active], np.sort(alive[n_active:])
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(others))[: n_elements - n_active]
    sampled = others[np.sort(drawn)]
    elements = [int(each) for each in (*active, *sampled)]
    return Choice(elements, ["most_active" if n < len(active) else "sampled" for n in range(len(elements))])


def padded(choices: list[Choice]) -> Int[Tensor, "n_saes n_chosen"]:
    """The elements of every SAE of a bank, filled up with element 0 where one has fewer than another."""
    longest = max((len(choice.elements) for choice in choices), default=0)
    rows = [choice.elements + [0] * (longest - len(choice.elements)) for choice in choices]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(choices), longest)
