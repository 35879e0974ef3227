"""What a launch is asked for, and the sweep that follows from it: planned, not yet begun. Writes nothing."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from orchestrator.folder.records import PackEstimate, SavedPlan
from orchestrator.folder.run_folder import RunFolder
from orchestrator.planning.cost import Costing, PlanCost, plan_cost
from orchestrator.planning.kept_packs import saved_plan
from orchestrator.planning.plan import Plan
from orchestrator.running.machine import Room
from orchestrator.search.searching import Searching
from orchestrator.sweep.sweep_file import Sweep
from orchestrator.sweep.sweep_home import Home
from orchestrator.tracking import resolve_tracking_uri, whole_address
from trainer.models import ModelFacts


@dataclass(frozen=True)
class LaunchOptions:
    """What was asked for on the command line."""

    sweep_file: Path
    overrides: Sequence[str] = ()
    runs: Path = Path("runs")
    local: bool = False
    tracking: bool = True
    retry_failed: bool = False
    n_slots: int | None = None
    allow_changed: bool = False
    """Whether to begin anew beside a run folder of the same name whose trials mean something else."""
    include_removed: bool = False
    """Whether results of trials that the sweep has no longer are shown too."""
    path: Literal["auto", "dense", "sparse"] = "auto"
    """How SAEs compute: through positive latents only once those are few, or always one way."""
    share: bool = True
    """Whether trials share packs. Off, each is trained alone: the same numbers, slower."""
    calibrate: bool = False
    """Whether to time some real steps before anything is planned."""
    folder: Path | None = None
    """The run folder to go on with, whatever its name; None for the one that the sweep has."""
    notes: tuple[str, ...] = ()
    """What had to be put right before."""


@dataclass(frozen=True)
class Planned:
    """A sweep that can be started, as far as its file, its model's shape and this machine tell."""

    options: LaunchOptions
    sweep: Sweep
    facts: ModelFacts
    room: Room
    plan: Plan
    home: Home
    costing: Costing
    before: SavedPlan | None = None
    """The plan of the run folder, if there is one: its packs are kept."""
    launch_id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def folder(self) -> RunFolder:
        return self.home.folder

    @property
    def trial_ids(self) -> frozenset[str]:
        """The trials that the sweep asks for now."""
        return frozenset(trial.trial_id for trial in self.plan.trials)

    @property
    def saved(self) -> SavedPlan:
        """As the run folder keeps it."""
        return saved_plan(self.plan, self.estimates, self.before)

    @cached_property
    def searching(self) -> Searching | None:
        """What comes after the grid, if anything does."""
        n_grid = sum(trial.proposed is None for trial in self.plan.trials)
        return Searching.of(self.sweep, self.facts, n_grid)

    @cached_property
    def cost(self) -> PlanCost:
        """What its packs will take."""
        return plan_cost(self.plan.packs, self.facts, self.costing)

    @property
    def estimates(self) -> dict[str, PackEstimate]:
        """The same, as the run folder keeps it."""
        return {
            pack.pack_id: PackEstimate(
                seconds=pack.seconds,
                memory_bytes=pack.memory_bytes,
                micro_batch_rows=pack.micro_batch_rows,
                basis=pack.basis,
            )
            for pack in self.cost.packs
        }

    @property
    def tracking_uri(self) -> str:
        uri = self.sweep.tracking.uri
        # That of a resumed run is written without its password.
        configured = None if uri == "default" else whole_address(uri, environ=os.environ)
        return resolve_tracking_uri(configured, runs=self.options.runs, environ=os.environ)
