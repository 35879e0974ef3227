"""What was asked for: the trials, the packs that train them, and the options of the launch."""

from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from orchestrator.folder.records.names import PackId, SweepId, TrialId
from trainer.config import TrialConfig
from trainer.values import Frozen


class PackEstimate(Frozen):
    """What one pack was expected to take."""

    seconds: float
    """Of training and measuring, in a process that has started."""
    memory_bytes: float
    micro_batch_rows: PositiveInt
    basis: str
    """What that rests on, such as `guessed` or `measured`."""


class Proposed(Frozen):
    """Why a trial is in a plan that is not in the grid: a search asked for it."""

    search: str
    """What was looked for, such as `match ce_loss_increase 0.1`."""
    round: PositiveInt
    why: str
    """For people."""
    chosen: list[str]
    """The fields whose values are not the grid's, such as `sparsity_coeff`."""


class SavedPlan(Frozen):
    """`plan.json`: the trials in full, and which pack trains which."""

    schema_version: Literal[1] = 1
    sweep_id: SweepId
    trials: dict[TrialId, TrialConfig]
    run_names: dict[TrialId, str]
    packs: dict[PackId, list[TrialId]]
    estimates: dict[PackId, PackEstimate] = Field(default={})
    """What packs were expected to take when they were planned."""
    removed: list[TrialId] = Field(default=[])
    """Trials that are still in a pack, and that the sweep asks for no longer."""
    proposed: dict[TrialId, Proposed] = Field(default={})
    """Trials that a search has added to those of the grid."""

    @property
    def wanted(self) -> set[str]:
        """The trials that the sweep asked for when it was last launched."""
        return set(self.trials) - set(self.removed)

    @model_validator(mode="after")
    def _fits_together(self) -> "SavedPlan":
        for trial_id, config in self.trials.items():
            if config.trial_id != trial_id:
                raise ValueError(f"trial {trial_id} has a config whose trial_id is {config.trial_id}")
        if self.run_names.keys() != self.trials.keys():
            raise ValueError("each trial has to have a name")
        packed = sorted(trial_id for trial_ids in self.packs.values() for trial_id in trial_ids)
        if packed != sorted(self.trials):
            raise ValueError("each trial has to be in exactly one pack")
        return self

    def trials_of(self, pack_id: str) -> tuple[TrialConfig, ...]:
        """The configs of one pack, in order: removed ones too, since the others' numbers depend on their company."""
        return tuple(self.trials[trial_id] for trial_id in self.packs[pack_id])


class SavedLaunch(Frozen):
    """`launch.json`: how the sweep was last launched, so that it can be gone on with by the run folder's name alone.

    What is asked is in `sweep.yaml`, overrides included; nothing here touches the numbers of a trial.
    """

    schema_version: Literal[1] = 1
    sweep_file: str
    """Absolute path of the file it was launched from; it may be gone."""
    cwd: str = ""
    """The folder it was launched in: relative paths of models and data are meant from there."""
    n_slots: PositiveInt | None = None
    local: bool = False
    tracking: bool = True
    path: Literal["auto", "dense", "sparse"] = "auto"
    share: bool = True
