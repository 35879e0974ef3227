"""Finds the strongest places of chosen elements, batch by batch. What is kept does not grow with the rows.

Only the chosen elements are encoded, a few rows of the encoder, so it is the same on the dense and the sparse path and
costs little beside an evaluation. A place and the activation there are one number (`_keys`): larger where the
activation is larger, and of equal ones where the place comes first. So what is strongest does not depend on how the
rows are cut into batches.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from trainer.data import RowSet
from trainer.elements.choice import Choice, padded
from trainer.elements.found import Element, Snippet
from trainer.sae.bank import Bank

N_BEFORE, N_AFTER = 16, 7
"""Tokens of a snippet before and after its place; those of a row's edge lie on one side of it."""
N_STRONGEST = 64
"""Places of an element among which its top tokens are counted."""
N_TOP_TOKENS = 8
CHUNK_LATENTS = 2**22
"""Latents in memory at a time, about."""
_NOWHERE = -1
_LAST_PLACE = 2**32 - 1


class Collector:
    """The chosen elements of a bank, over the rows that were added so far."""

    def __init__(
        self, bank: Bank, choices: Sequence[Choice], *, n_snippets: int, context: int, compute_dtype: torch.dtype
    ) -> None:
        """`choices`: one for each SAE of the bank. `context`: tokens per row."""
        self._choices, self._context, self._compute_dtype = choices, context, compute_dtype
        self._bank, chosen = bank, padded(list(choices)).to(bank.w_enc.device)
        self._chosen = chosen
        self._n_chosen = chosen.shape[1]
        n, device = chosen.numel(), chosen.device
        self._width = min(context, N_BEFORE + 1 + N_AFTER)
        self._n_tokens = 0
        self._fired = torch.zeros(n, dtype=torch.int64, device=device)
        self._total = torch.zeros(n, dtype=torch.float64, device=device)
        self._strongest = torch.full((n, N_STRONGEST), _NOWHERE, dtype=torch.int64, device=device)
        self._best = torch.full((n, n_snippets), _NOWHERE, dtype=torch.int64, device=device)
        self._windows = torch.zeros(n, n_snippets, self._width, dtype=torch.float32, device=device)

    @torch.no_grad()
    def add(self, x: Float[Tensor, "batch pos d_model"], *, first_row: int) -> None:
        """Evaluation rows `first_row` and following: `x` is what the SAEs read there."""
        self._n_tokens += x.shape[0] * x.shape[1]
        at_once = max(1, CHUNK_LATENTS // max(1, x.shape[0] * x.shape[1] * self._n_chosen))
        for start in range(0, self._bank.n_saes if self._n_chosen else 0, at_once):
            saes = slice(start, start + at_once)
            self._add(self._latents(x, saes), first_row, slice(saes.start * self._n_chosen, saes.stop * self._n_chosen))

    def _latents(self, x: Tensor, saes: slice) -> Float[Tensor, "elements batch pos"]:
        chosen = self._chosen[saes]
        w_enc = torch.take_along_dim(self._bank.w_enc[saes], chosen[..., None], dim=1).flatten(0, 1)
        b_enc = torch.take_along_dim(self._bank.b_enc[saes], chosen, dim=1).flatten()
        products = w_enc.to(self._compute_dtype) @ x.flatten(0, 1).to(self._compute_dtype).T
        latents = functional.relu(products.to(b_enc.dtype) + b_enc[:, None])
        return rearrange(latents, "elements (batch pos) -> elements batch pos", batch=x.shape[0]).float()

    def _add(self, latents: Float[Tensor, "elements batch pos"], first_row: int, where: slice) -> None:
        self._fired[where] += (latents > 0).sum((1, 2))
        self._total[where] += latents.sum((1, 2), dtype=torch.float64)
        keys = _keys(latents, first_place=first_row * self._context)
        self._strongest[where] = _largest(torch.cat([self._strongest[where], keys.flatten(1)], dim=1), N_STRONGEST)[0]

        n_snippets = self._best.shape[1]
        best, position = keys.max(dim=-1)
        best, row = _largest(best, n_snippets)
        start = self._start(torch.take_along_dim(position, row, dim=1))
        offsets = (row * latents.shape[2] + start)[..., None] + torch.arange(self._width, device=start.device)
        windows = torch.take_along_dim(latents.flatten(1), offsets.flatten(1), dim=1).view(*offsets.shape)
        kept, index = _largest(torch.cat([self._best[where], best], dim=1), n_snippets)
        windows = torch.cat([self._windows[where], windows], dim=1)
        self._best[where], self._windows[where] = kept, torch.take_along_dim(windows, index[..., None], dim=1)

    def _start(self, position: Int[Tensor, "*places"]) -> Int[Tensor, "*places"]:
        return (position - N_BEFORE).clamp(0, self._context - self._width)

    def finish(self, evaluation: RowSet) -> list[tuple[Element, ...]]:
        """The elements of each SAE. `evaluation`: the rows that `add` was given the activations of."""
        columns = tuple(each.cpu() for each in (self._fired, self._total, self._strongest, self._best, self._windows))
        found: list[tuple[Element, ...]] = []
        for sae, choice in enumerate(self._choices):
            places = range(sae * self._n_chosen, sae * self._n_chosen + len(choice.elements))
            found.append(tuple(self._element(choice, n, [c[at] for c in columns], evaluation)
                               for n, at in enumerate(places)))  # fmt: skip
        return found

    def _element(self, choice: Choice, number: int, columns: list[Tensor], evaluation: RowSet) -> Element:
        fired, total, strongest, best, windows = columns
        rows, positions = self._places(strongest[strongest >= 0])
        tokens: Counter[int] = Counter(evaluation.at(rows, positions).tolist())
        n_fired = int(fired)
        return Element(
            index=choice.elements[number],
            chosen=choice.how[number],
            density=n_fired / self._n_tokens,
            mean_activation=float(total) / n_fired if n_fired else 0.0,
            max_activation=float(_activations(strongest[:1])[0]) if n_fired else 0.0,
            top_tokens=tuple(sorted(tokens.items(), key=lambda each: (-each[1], each[0]))[:N_TOP_TOKENS]),
            snippets=self._snippets(best[best >= 0], windows, evaluation),
        )

    def _snippets(self, best: Tensor, windows: Tensor, evaluation: RowSet) -> tuple[Snippet, ...]:
        rows, positions = self._places(best)
        starts = self._start(positions)
        around = starts[:, None] + torch.arange(self._width)
        tokens = evaluation.at(rows[:, None], around)
        columns = (rows, positions, starts, _activations(best), tokens, windows[: len(best)])
        return tuple(
            Snippet(row, position, start, activation, tuple(ids), tuple(activations))
            for row, position, start, activation, ids, activations in zip(*(c.tolist() for c in columns), strict=True)
        )

    def _places(self, keys: Int[Tensor, " places"]) -> tuple[Int[Tensor, " places"], Int[Tensor, " places"]]:
        """Row and position of each."""
        place = _LAST_PLACE - (keys & _LAST_PLACE)
        return place // self._context, place % self._context


def _keys(latents: Float[Tensor, "elements batch pos"], *, first_place: int) -> Int[Tensor, "elements batch pos"]:
    """The bits of the activation, which are in order as the activations are, then those of the place, backwards."""
    places = torch.arange(first_place, first_place + latents[0].numel(), device=latents.device).view(latents.shape[1:])
    keys = (latents.view(torch.int32).long() << 32) | (_LAST_PLACE - places)
    return torch.where(latents > 0, keys, _NOWHERE)


def _activations(keys: Int[Tensor, " places"]) -> Float[Tensor, " places"]:
    return (keys >> 32).int().view(torch.float32)


def _largest(keys: Int[Tensor, "elements n"], k: int) -> tuple[Int[Tensor, "elements k"], Int[Tensor, "elements k"]]:
    """The largest, in order, and where they were; all there are where they are fewer."""
    found = keys.topk(min(k, keys.shape[1]), dim=1)
    return found.values, found.indices
