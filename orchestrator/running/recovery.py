"""What becomes of packs that no worker finished: split, tried again, or given up. The driver's side, between rounds.

Ray starts a pack again whose worker died, a few times. Here is what it cannot know: that a pack was too large, or that
it came on between its deaths and deserves more of them.
"""

from collections.abc import Mapping
from dataclasses import replace

from orchestrator.folder.records import PackState
from orchestrator.packs import checkpoints
from orchestrator.packs.fence import fence_off
from orchestrator.packs.jobs import PackJob, PackOutcome
from orchestrator.packs.memory import killed_for_memory
from orchestrator.planning.kept_packs import split
from orchestrator.planning.planned import Pack
from orchestrator.running.earlier_rows import kept_rows
from orchestrator.running.monitor import Monitor
from orchestrator.running.pack_jobs import make_jobs, write_waiting
from orchestrator.running.planned import Planned
from orchestrator.running.stopping import StopRequest


class Recovery:
    """Of one launch. `planned` is its plan as it is now."""

    def __init__(self, planned: Planned, monitor: Monitor, stop: StopRequest) -> None:
        self.planned = planned
        self._monitor, self._stop = monitor, stop
        self._steps: dict[str, int | None] = {}  # of the newest checkpoints when the round began
        self._n_killed = killed_for_memory()

    def jobs_after(self, outcomes: Mapping[str, PackOutcome]) -> list[PackJob]:
        """What is to be run next, given how a round of packs ended. Nothing once a stop is asked for."""
        if self._stop.asked:
            return []
        memory_ran_out, self._n_killed = killed_for_memory() > self._n_killed, killed_for_memory()
        again: set[str] = set()
        for outcome in outcomes.values():
            died = outcome.reason == "died"
            if outcome.state is not PackState.FAILED:
                continue
            if (outcome.reason == "memory" or (died and memory_ran_out)) and self._n_trials(outcome.pack_id) > 1:
                again |= {half.pack_id for half in self._split(outcome)}
            elif died and self._came_on(outcome.pack_id):
                text = f"pack {outcome.pack_id[:6]} came on between its deaths, and is tried again"
                self._monitor.event("pack_tried_again", text, level="warning", pack_id=outcome.pack_id)
                again.add(outcome.pack_id)
        if not again:
            return []
        jobs = [job for job in make_jobs(self.planned, kept_rows(self.planned)) if job.pack_id in again]
        write_waiting(self.planned.folder, jobs)
        self.begin(jobs)
        return jobs

    def begin(self, jobs: list[PackJob]) -> None:
        """A round of these packs begins."""
        self._steps = {job.pack_id: self._newest_step(job.pack_id) for job in jobs}

    def _split(self, outcome: PackOutcome) -> tuple[Pack, Pack]:
        """First the halves' checkpoints, then the plan that names them: cut off in between, the whole pack is left."""
        folder = self.planned.folder
        plan, halves = split(self.planned.plan, outcome.pack_id)
        fence_off(folder, outcome.pack_id)
        for half in halves:
            checkpoints.copy(folder.checkpoints(outcome.pack_id), folder.checkpoints(half.pack_id))
        before = self.planned.saved
        self.planned = replace(self.planned, plan=plan, before=before)
        folder.write_plan(self.planned.saved)
        checkpoints.remove(folder.checkpoints(outcome.pack_id))
        sizes = " and ".join(str(len(half.trials)) for half in halves)
        step = self._newest_step(halves[0].pack_id) or 0
        text = f"pack {outcome.pack_id[:6]} is split into packs of {sizes} trials, from step {step}: {outcome.error}"
        self._monitor.replan(self.planned.saved)
        self._monitor.event(
            "pack_split",
            text,
            level="warning",
            pack_id=outcome.pack_id,
            first=halves[0].pack_id,
            second=halves[1].pack_id,
            step=step,
        )
        return halves

    def _came_on(self, pack_id: str) -> bool:
        newest, before = self._newest_step(pack_id), self._steps.get(pack_id)
        return newest is not None and (before is None or newest > before)

    def _newest_step(self, pack_id: str) -> int | None:
        return checkpoints.newest_step(self.planned.folder.checkpoints(pack_id))

    def _n_trials(self, pack_id: str) -> int:
        return next(len(pack.trials) for pack in self.planned.plan.packs if pack.pack_id == pack_id)
