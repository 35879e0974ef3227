"""From trials to packs. Pure.

Only trials that share batches may share a pack. Trials of one kind form one bank, so they stay together where that
leaves no slot idle; no pack is larger than its slot holds. Of several ways to cut, the one is taken that ends first if
packs take somewhat longer or shorter than estimated: that weighs clean runs that are repeated against slots that idle.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from orchestrator.planning.cost import Costing, SAECost
from orchestrator.planning.pack_memory import Needs, fewest_rows, sae_needs, shared_bytes
from orchestrator.planning.planned import Pack, PlannedTrial
from orchestrator.planning.shape import banks_of
from orchestrator.planning.slots import likely_finishing_s

MAX_AUTO_TRIALS = 64
"""More gains little (the shared clean run is cheap by then), and loses more when a pack breaks."""
PACKS_PER_SLOT = (1, 2, 3, 4, 6, 8, 12)
GOOD_ENOUGH = 1.02
"""A way to cut with fewer packs is preferred if it ends at most this much later."""
BISECTIONS = 24


@dataclass(frozen=True)
class _Kind:
    """Trials of one bank, and what each of them takes."""

    trials: tuple[PlannedTrial, ...]
    cost: SAECost
    needs: Needs

    @property
    def seconds(self) -> float:
        return self.cost.bank_s + len(self.trials) * self.cost.sae_s


@dataclass(frozen=True)
class _Group:
    """All trials that share batches, those of one kind together, and those that need the same clean run."""

    kinds: tuple[_Kind, ...]
    room: float
    """Bytes of a slot that are left for SAEs."""
    max_trials: int

    @property
    def clean_s(self) -> float:
        return max(kind.cost.clean_s for kind in self.kinds)

    @property
    def seconds(self) -> float:
        """Of its SAEs."""
        return sum(kind.seconds for kind in self.kinds)


@dataclass
class _Filling:
    """A pack while it is filled."""

    trials: list[PlannedTrial] = field(default_factory=list[PlannedTrial])
    clean_s: float = 0.0
    saes_s: float = 0.0
    state: float = 0.0
    result: float = 0.0
    active: float = 0.0

    @property
    def seconds(self) -> float:
        return self.clean_s + self.saes_s

    def n_that_fit(self, kind: _Kind, limit_s: float, group: _Group) -> float:
        """How many SAEs of a kind that has none in it yet still fit."""
        cost, needs, left = kind.cost, kind.needs, group.room - self.state
        spare_s = limit_s - max(self.clean_s, cost.clean_s) - self.saes_s - cost.bank_s
        return min(
            group.max_trials - len(self.trials),
            spare_s // cost.sae_s,
            (left - max(self.active, self.result)) // needs.state,
            left // (needs.state + needs.active),
            (left - self.result) // (needs.state + needs.result),
        )

    def take(self, kind: _Kind, trials: Sequence[PlannedTrial]) -> None:
        n, cost, needs = len(trials), kind.cost, kind.needs
        self.trials += trials
        self.clean_s = max(self.clean_s, cost.clean_s)
        self.saes_s += cost.bank_s + n * cost.sae_s
        self.state += n * needs.state
        self.result += n * needs.result
        self.active = max(self.active, n * needs.active)


def make_packs(trials: Iterable[PlannedTrial], costing: Costing, *, max_trials: int, n_slots: int) -> tuple[Pack, ...]:
    """Packs for `n_slots` slots side by side, dearest first. A trial too large for any slot is a pack of its own."""
    groups = _groups(trials, costing, max_trials)
    if not groups:
        return ()
    ways = [_in_order(way) for way in _ways(groups, n_slots)]
    ends = [likely_finishing_s([pack.seconds for pack in way], n_slots) for way in ways]
    good = [way for way, end in zip(ways, ends, strict=True) if end <= GOOD_ENOUGH * min(ends)]
    return tuple(Pack(tuple(pack.trials)) for pack in min(good, key=len))


def _groups(trials: Iterable[PlannedTrial], costing: Costing, max_trials: int) -> list[_Group]:
    sharing: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        sharing.setdefault(trial.config.shares_batches_with, []).append(trial)
    return [_group(members, costing, max_trials) for members in sharing.values()]


def _group(members: Sequence[PlannedTrial], costing: Costing, max_trials: int) -> _Group:
    """Kinds with the longest clean run first: whoever is cut off at the end shares a short one."""
    kinds: dict[object, list[PlannedTrial]] = {}
    for trial in members:
        kinds.setdefault(trial.config.bank_key, []).append(trial)
    first = members[0].config
    rows = fewest_rows(first, costing.device)
    made = [
        _Kind(
            tuple(same),
            costing.sae(same[0].config),
            sae_needs(same[0].config, costing.shape, device=costing.device, rows=rows),
        )
        for same in kinds.values()
    ]
    made.sort(key=lambda kind: (-kind.cost.clean_s, kind.trials[0].config.layer))
    shared = shared_bytes(banks_of(trial.config for trial in members), costing.shape, device=costing.device, rows=rows)
    return _Group(tuple(made), costing.memory_bytes - costing.base_bytes - shared, max_trials)


def _ways(groups: Sequence[_Group], n_slots: int) -> Iterator[list[_Filling]]:
    """Some ways to cut: banks whole or not, and from the fewest packs that are possible to many for each slot."""
    total = sum(group.seconds for group in groups)
    for whole in (True, False):
        fewest = [len(_fill(group, inf, whole)) for group in groups]
        for packs_per_slot in (0, *PACKS_PER_SLOT):
            yield [
                pack
                for group, least in zip(groups, fewest, strict=True)
                for pack in _even(group, max(least, round(n_slots * packs_per_slot * group.seconds / total)), whole)
            ]


def _in_order(packs: list[_Filling]) -> list[_Filling]:
    return sorted(packs, key=lambda pack: (-pack.seconds, pack.trials[0].trial_id))


def _even(group: _Group, n_packs: int, whole: bool) -> list[_Filling]:
    """At most `n_packs` packs, the dearest as cheap as can be."""
    low, high = 0.0, 1.001 * (group.clean_s + group.seconds)
    best = _fill(group, high, whole)
    if len(best) == sum(len(kind.trials) for kind in group.kinds):
        return best  # nothing left to cut
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        packs = _fill(group, middle, whole)
        if len(packs) <= n_packs and max(pack.seconds for pack in packs) <= high:
            best, high = packs, middle
        else:
            low = middle
    return best


def _fill(group: _Group, limit_s: float, whole: bool) -> list[_Filling]:
    """Kinds in their order, in packs none of which is dearer than `limit_s`, longer or larger than a slot holds.

    Unless a single trial is. With `whole`, a bank is cut only where a pack of its own does not hold it.
    """
    packs = [_Filling()]
    for kind in group.kinds:
        start, size = 0, len(kind.trials)
        while start < size:
            fit, left = packs[-1].n_that_fit(kind, limit_s, group), size - start
            if packs[-1].trials and (fit < 1 or (whole and fit < left)):
                packs.append(_Filling())
                continue
            n = left if fit >= left else max(1, int(fit))
            if not packs[-1].trials:
                n = ceil(left / ceil(left / n))  # equal parts, where it takes several
            packs[-1].take(kind, kind.trials[start : start + n])
            start += n
            if n < left:
                packs.append(_Filling())
    return packs


__all__ = ["MAX_AUTO_TRIALS", "make_packs"]
