"""A search's rounds in one launch: when nothing is left to run, its next trials are planned, written down and run.

The plan is on the disk before a round starts. So a launch that is cut off leaves trials that are run first next time,
and only then the search is asked again: with the same rows as without the cut, for the same trials.
"""

from collections.abc import Callable, Mapping

from orchestrator.packs.jobs import PackJob, PackOutcome
from orchestrator.running import finish
from orchestrator.running.earlier_rows import kept_rows
from orchestrator.running.monitor import Monitor
from orchestrator.running.next_round import next_round, write_study
from orchestrator.running.pack_jobs import make_jobs, write_waiting
from orchestrator.running.planned import Planned
from orchestrator.running.recovery import Recovery
from orchestrator.running.stopping import StopRequest
from orchestrator.search.searching import Round

MOST_REASONS = 3


class Rounds:
    """Of one launch: after its packs, and what becomes of those that failed, comes what the search asks for."""

    def __init__(
        self,
        recovery: Recovery,
        monitor: Monitor,
        stop: StopRequest,
        on_more: Callable[[Planned], None] = lambda _: None,
    ) -> None:
        """`on_more` hears of a plan with more trials, before they run."""
        self._recovery, self._monitor, self._stop = recovery, monitor, stop
        self._on_more = on_more
        self._outcomes: dict[str, PackOutcome] = {}

    @property
    def planned(self) -> Planned:
        """As it is now."""
        return self._recovery.planned

    def jobs_after(self, outcomes: Mapping[str, PackOutcome]) -> list[PackJob]:
        """What is to be run next, given how a round of packs ended. Nothing once a stop is asked for."""
        jobs = self._recovery.jobs_after(outcomes)
        self._outcomes |= outcomes
        if jobs or self._stop.asked or self.planned.searching is None:
            return jobs
        self._monitor.look()
        finish.write_missing_rows(self.planned, self._outcomes, self._monitor, cut_off=False)
        self._monitor.look()
        planned, asked = next_round(self.planned)
        self._say_refused(asked)
        write_study(planned)
        finish.write_found(planned)
        return self._begin(planned, asked) if asked else []

    def _begin(self, planned: Planned, asked: Round) -> list[PackJob]:
        folder = planned.folder
        folder.write_plan(planned.saved)
        self._recovery.planned = planned
        self._monitor.replan(planned.saved)
        self._on_more(planned)
        jobs = make_jobs(planned, kept_rows(planned))
        jobs = [job for job in jobs if {*job.trial_ids} & {trial.trial_id for trial in asked.trials}]
        write_waiting(folder, jobs)
        self._recovery.begin(jobs)
        self.say(asked)
        return jobs

    def say(self, asked: Round) -> None:
        """Which round begins, and what for."""
        text = f"search round {asked.number}: {len(asked.trials)} trials: {_reasons(asked)}"
        self._monitor.event("search_round", text, round=asked.number, n_trials=len(asked.trials))

    def _say_refused(self, asked: Round) -> None:
        for text in asked.refused:
            said = f"the search proposed a trial that is impossible, and goes on without it: {text}"
            self._monitor.event("proposal_refused", said, level="warning")


def _reasons(asked: Round) -> str:
    """What is being looked for and where, of the first few."""
    reasons = dict.fromkeys(
        f"L{trial.config.layer} {trial.config.loss.kind} {trial.proposed.why}"
        for trial in asked.trials
        if trial.proposed is not None
    )
    more = f" and {len(reasons) - MOST_REASONS} more" if len(reasons) > MOST_REASONS else ""
    return "; ".join(list(reasons)[:MOST_REASONS]) + more
