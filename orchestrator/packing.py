"""From trials to packs. Pure.

Only trials that share batches may share a pack. Trials of one layer, loss and dictionary size form one bank, so they
stay together where that does not leave a slot idle; packs cost about the same, and none is larger than its slot holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil

from orchestrator.cost import Shape, own_bytes, shared_bytes, trial_flops
from orchestrator.planned import Pack, PlannedTrial

MAX_AUTO_TRIALS = 64
"""More gains little (the shared clean run is cheap by then), and loses more when a pack breaks."""
SPLIT_ABOVE = 1.25
"""Banks are cut where keeping them whole makes the busiest slot work this many times an even share."""


@dataclass(frozen=True)
class Slot:
    """What a pack may take."""

    max_trials: int
    memory_bytes: float


@dataclass(frozen=True)
class _Piece:
    """Trials that are not separated, and what they cost together."""

    trials: tuple[PlannedTrial, ...]
    flops: float
    n_bytes: float


def make_packs(trials: Iterable[PlannedTrial], shape: Shape, *, slot: Slot, n_slots: int) -> tuple[Pack, ...]:
    """Packs for `n_slots` slots side by side, dearest first. A trial too large for any slot is a pack of its own."""
    groups: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        groups.setdefault(trial.config.shares_batches_with, []).append(trial)
    total = sum(_flops(group, shape) for group in groups.values())
    packs: list[_Piece] = []
    for group in groups.values():
        share = max(1, round(n_slots * _flops(group, shape) / total))
        packs += _pack_group(group, shape, slot, share)
    packs.sort(key=lambda piece: (-piece.flops, piece.trials[0].trial_id))
    return tuple(Pack(piece.trials) for piece in packs)


def _pack_group(group: Sequence[PlannedTrial], shape: Shape, slot: Slot, share: int) -> list[_Piece]:
    """Packs of trials that share batches, for `share` slots or a multiple of them."""
    ordered = sorted(group, key=_bank)
    banks = [list(bank) for _, bank in groupby(ordered, key=_bank)]
    room = slot.memory_bytes - shared_bytes(group[0].config, shape)
    whole = [piece for bank in banks for piece in _chunks(bank, shape, slot.max_trials, room)]
    fewest = max(share, len(_fill(whole, float("inf"), slot.max_trials, room)))
    singly = [_piece([trial], shape) for trial in ordered]
    even = ceil(fewest / share) * share
    candidates = [
        _even(pieces, min(n_packs, len(ordered)), slot.max_trials, room)
        for pieces, n_packs in ((whole, fewest), (whole, even), (singly, even))
    ]
    bearable = SPLIT_ABOVE * sum(piece.flops for piece in whole) / min(share, len(ordered))
    times = [_time(packs, share) for packs in candidates]
    return next((packs for packs, time in zip(candidates, times, strict=True) if time <= bearable),
                candidates[times.index(min(times))])  # fmt: skip


def _time(packs: Sequence[_Piece], n_slots: int) -> float:
    """FLOPs of the busiest slot, if each takes the dearest pack that is left."""
    loads = [0.0] * n_slots
    for pack in sorted(packs, key=lambda pack: -pack.flops):
        loads[loads.index(min(loads))] += pack.flops
    return max(loads)


def _bank(trial: PlannedTrial) -> tuple[int, str, float]:
    return trial.config.layer, trial.config.loss.kind, trial.config.sae.ratio


def _piece(trials: Sequence[PlannedTrial], shape: Shape) -> _Piece:
    n_bytes = sum(own_bytes(trial.config, shape) for trial in trials)
    return _Piece(tuple(trials), _flops(trials, shape), n_bytes)


def _flops(trials: Iterable[PlannedTrial], shape: Shape) -> float:
    return sum(trial_flops(trial.config, shape) for trial in trials)


def _chunks(bank: Sequence[PlannedTrial], shape: Shape, max_trials: int, room: float) -> list[_Piece]:
    """A bank in as few equal parts as fit a slot each."""
    largest = max(own_bytes(trial.config, shape) for trial in bank)
    fit = max(1, min(max_trials, int(max(0.0, room) / largest)))
    n_chunks = ceil(len(bank) / fit)
    bounds = [round(index * len(bank) / n_chunks) for index in range(n_chunks + 1)]
    return [_piece(bank[start:end], shape) for start, end in pairwise(bounds)]


def _even(pieces: Sequence[_Piece], n_packs: int, max_trials: int, room: float) -> list[_Piece]:
    """Pieces in their order, cut into at most `n_packs` packs so that the dearest is as cheap as can be."""
    low, high = max(piece.flops for piece in pieces), sum(piece.flops for piece in pieces)
    best = _fill(pieces, high, max_trials, room)
    n_packs = max(n_packs, len(best))
    for _ in range(40):
        middle = (low + high) / 2
        packs = _fill(pieces, middle, max_trials, room)
        if len(packs) <= n_packs:
            best, high = packs, middle
        else:
            low = middle
    return best


def _fill(pieces: Sequence[_Piece], limit: float, max_trials: int, room: float) -> list[_Piece]:
    """Pieces in their order, in packs none of which is dearer than `limit`, longer or larger than a slot holds."""
    bins: list[list[_Piece]] = []
    flops = n_bytes = n_trials = 0.0
    for piece in pieces:
        fits = flops + piece.flops <= limit and n_bytes + piece.n_bytes <= room
        if not bins or not fits or n_trials + len(piece.trials) > max_trials:
            bins.append([])
            flops = n_bytes = n_trials = 0.0
        bins[-1].append(piece)
        flops, n_bytes, n_trials = flops + piece.flops, n_bytes + piece.n_bytes, n_trials + len(piece.trials)
    return [_joined(pieces_of_bin) for pieces_of_bin in bins]


def _joined(pieces: Sequence[_Piece]) -> _Piece:
    trials = tuple(trial for piece in pieces for trial in piece.trials)
    return _Piece(trials, sum(piece.flops for piece in pieces), sum(piece.n_bytes for piece in pieces))
