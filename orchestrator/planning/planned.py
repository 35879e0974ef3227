"""What a plan is: trials in packs, as values and as JSON. Pure."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import ValidationError

from orchestrator.folder.records import Proposed
from trainer.config import TrialConfig
from trainer.errors import BadInput

PLAN_SCHEMA = 1


@dataclass(frozen=True)
class PlannedTrial:
    """One SAE setting of a sweep."""

    run_name: str
    """Unique within its plan, such as `L3-e2e-c0.5-s0`; ends in the values of further axes where there are any."""
    config: TrialConfig
    proposed: Proposed | None = field(default=None, compare=False)
    """By a search; None for a trial of the grid."""

    @property
    def trial_id(self) -> str:
        return self.config.trial_id


@dataclass(frozen=True)
class Pack:
    """Trials that train together on one clean run: one Ray trial."""

    trials: tuple[PlannedTrial, ...]

    @cached_property
    def pack_id(self) -> str:
        """Twelve hex digits of the SHA-256 of the sorted trial ids."""
        return hashlib.sha256("\n".join(sorted(self.trial_ids)).encode()).hexdigest()[:12]

    @property
    def trial_ids(self) -> tuple[str, ...]:
        return tuple(trial.trial_id for trial in self.trials)


@dataclass(frozen=True)
class Plan:
    """Every trial of a sweep, by layer, loss, coefficient and seed, those that a search proposed at the end; and the
    same in packs, dearest pack first."""

    sweep_id: str
    trials: tuple[PlannedTrial, ...]
    packs: tuple[Pack, ...]

    def to_json(self) -> str:
        """Trials in full, packs by their ids."""
        trials = [
            {"trial_id": trial.trial_id, "run_name": trial.run_name, "config": trial.config.model_dump(mode="json")}
            for trial in self.trials
        ]
        packs = [{"pack_id": pack.pack_id, "trial_ids": list(pack.trial_ids)} for pack in self.packs]
        plan = {"schema": PLAN_SCHEMA, "sweep_id": self.sweep_id, "trials": trials, "packs": packs}
        return json.dumps(plan, indent=1)

    @classmethod
    def from_json(cls, text: str, *, name: str = "plan.json") -> "Plan":
        """The plan that `to_json` wrote.

        Raises:
            BadInput: it is no such plan, or a trial in it is not the one its id says: another version of this program
                wrote it, or somebody changed it.
        """
        try:
            plan = json.loads(text)
            if plan["schema"] != PLAN_SCHEMA:
                raise BadInput(f"{name}: plan schema {plan['schema']!r}, expected {PLAN_SCHEMA}; plan the sweep again")
            trials = {entry["trial_id"]: _trial(entry, name) for entry in plan["trials"]}
            packs = tuple(Pack(tuple(trials[trial_id] for trial_id in pack["trial_ids"])) for pack in plan["packs"])
            return cls(str(plan["sweep_id"]), tuple(trials.values()), packs)
        except (KeyError, TypeError, ValidationError, json.JSONDecodeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(f"{name}: not a plan of this program ({type(error).__name__}: {reason})") from None


def _trial(entry: dict[str, object], name: str) -> PlannedTrial:
    trial = PlannedTrial(str(entry["run_name"]), TrialConfig.model_validate_json(json.dumps(entry["config"])))
    if trial.trial_id != entry["trial_id"]:
        raise BadInput(
            f"{name}: trial {entry['trial_id']} ({trial.run_name}) has a config whose id is {trial.trial_id}; it was "
            f"changed or comes from another version; plan the sweep again in a new folder"
        )
    return trial
