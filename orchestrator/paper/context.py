"""What a running task asks for: SAEs, model, rows and tokenizer, each loaded when it is asked for.

Model and rows are held by the process, so tasks that follow each other in one process load them once.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from orchestrator.commands.trained import model_and_rows_of, read_trained
from orchestrator.folder.records import Row
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import device_for
from orchestrator.paper.analysis import Task
from orchestrator.paper.firing import Asked, firing_of
from trainer.analysis import Writer, load_writer
from trainer.config import ModelConfig
from trainer.data import Rows
from trainer.errors import BadInput
from trainer.export import TrainedSAE
from trainer.models import FrozenModel, load_tokenizer
from trainer.pulse import pulse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TELL_EVERY_S = 0.5


class TaskContext:
    """The `Context` of one task."""

    def __init__(
        self,
        folder: RunFolder,
        task: Task,
        *,
        far: Callable[[float], None] = lambda _: None,
        kept: Path | None = None,
    ) -> None:
        """`far` hears now and then which share of the task is done. `kept`: a folder for what several tasks ask for."""
        self._folder, self._task, self._far, self._kept = folder, task, far, kept
        self._told_s = 0.0
        self._saes: dict[str, TrainedSAE] = {}
        self._rows: dict[str, Row] = {}
        self._firing: dict[str, torch.Tensor] = {}

    @property
    def device(self) -> torch.device:
        return device_for(1.0 if self._task.needs_model else 0.0)

    def row(self, trial_id: str) -> Row:
        if trial_id not in self._rows:
            row = self._folder.row(trial_id)
            if row is None:
                raise BadInput(f"{self._folder.path} has no result of trial {trial_id} any more: it was deleted")
            self._rows[trial_id] = row
        return self._rows[trial_id]

    def sae(self, trial_id: str) -> TrainedSAE:
        if trial_id not in self._saes:
            row = self.row(trial_id)
            sae = read_trained(self._folder, row, sweep_id=self._folder.path.name)
            if sae.config.hookpoint != row.config.hookpoint or sae.config.model != row.config.model:
                raise BadInput(
                    f"the SAE in {self._folder.sae(trial_id)} is of {sae.config.hookpoint} of {sae.config.model.name}, "
                    f"and its trial {row.run_name} of {row.config.hookpoint} of {row.config.model.name}: the files of "
                    "two trials were mixed up"
                )
            self._saes[trial_id] = _moved(sae, self.device)
        return self._saes[trial_id]

    def firing(self, trial_id: str) -> torch.Tensor:
        if trial_id not in self._firing:
            layer = self.row(trial_id).config.layer
            ids = [id_ for id_ in self._task.subjects if self.row(id_).config.layer == layer]
            asked = [Asked(self.row(id_), self.sae(id_)) for id_ in dict.fromkeys([trial_id, *ids])]
            counted = firing_of(
                asked,
                model=self.model,
                rows=self.rows,
                kept=self._kept,
                heard=lambda done, total: self.heard(done, 2 * total),  # the task itself comes after it
            )
            self._firing |= {one.row.trial_id: frequency for one, frequency in zip(asked, counted, strict=True)}
        return self._firing[trial_id]

    def model(self) -> FrozenModel:
        return self._model_and_rows()[0]

    def rows(self) -> Rows:
        return self._model_and_rows()[1]

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        with self._folder.where_launched():
            return _held_tokenizer(self.row(self._task.subjects[0]).config.model)  # pyright: ignore[reportArgumentType]

    def writer(self) -> Writer:
        with self._folder.where_launched():
            return load_writer(self.row(self._task.subjects[0]).config.model, device=self.device)

    def answers(self) -> Path | None:
        return self._kept.parent / "answers" if self._kept else None

    def heard(self, done: int, total: int) -> None:
        pulse("paper")
        if total > 0 and time.monotonic() - self._told_s >= TELL_EVERY_S:
            self._told_s = time.monotonic()
            self._far(done / total)

    def _model_and_rows(self) -> tuple[FrozenModel, Rows]:
        return model_and_rows_of(self.row(self._task.subjects[0]), self._folder, at_least_single=True)


@lru_cache(maxsize=1)
def _held_tokenizer(config: ModelConfig) -> "PreTrainedTokenizerFast":
    return load_tokenizer(config)


def _moved(sae: TrainedSAE, device: torch.device) -> TrainedSAE:
    frequency = sae.firing_frequency
    return replace(
        sae,
        w_enc=sae.w_enc.to(device),
        b_enc=sae.b_enc.to(device),
        dictionary=sae.dictionary.to(device),
        b_dec=sae.b_dec.to(device),
        firing_frequency=None if frequency is None else frequency.to(device),
    )
