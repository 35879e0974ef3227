"""Trained SAEs of a run folder as values for `trainer/export`, and the model and rows that they were trained on."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from orchestrator.commands.chosen import evaluated_alike, no_weights
from orchestrator.folder.records import Row
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import device_for, held_model, held_rows
from trainer.config import TrialConfig
from trainer.data import Rows, default_cache
from trainer.errors import BadInput, EnvironmentProblem
from trainer.export import TrainedSAE, firing_frequencies
from trainer.models import FrozenModel, ModelFacts, describe_model
from trainer.precision import DTYPES


def read_trained(folder: RunFolder, row: Row, *, sweep_id: str) -> TrainedSAE:
    """The SAE of a trial that is done, with all that its row knows of it.

    Raises:
        BadInput: its weights are not there.
    """
    found = folder.read_sae(row.trial_id)
    if found is None or row.facts is None:
        raise no_weights(folder, row)
    tensors, config = found
    about = {
        "trial_id": row.trial_id,
        "run_name": row.run_name,
        "sweep_id": sweep_id,
        **row.facts.model_dump(mode="json"),
        "versions": row.versions.model_dump(mode="json"),
        "finished_at": row.finished_at.isoformat(),
    }
    return TrainedSAE.of(tensors, config, metrics=row.metrics, about=about, model=_shape(config, folder))


def count_firing(
    trials: Sequence[tuple[Row, TrainedSAE]],
    folder: RunFolder,
    *,
    heard: Callable[[int, int, str], None] = lambda _done, _total, _what: None,
) -> list[Tensor]:
    """`trainer.export.firing_frequencies` of each SAE over its alive window, a clean run for all that share one.

    `heard` hears often how many tokens are counted, of how many.

    Raises:
        BadInput: the model or the text is not the one that the trials were trained on.
        EnvironmentProblem: one of them cannot be had here.
    """
    groups: dict[object, list[int]] = {}
    for index, (row, _) in enumerate(trials):
        groups.setdefault(evaluated_alike(row.config), []).append(index)
    found: dict[int, Tensor] = {}
    for members in groups.values():
        row = trials[members[0]][0]
        try:
            model, rows = model_and_rows_of(row, folder)
        except (BadInput, EnvironmentProblem) as problem:
            raise type(problem)(
                f"{problem}\nOr give --no-sparsity: only sparsity.safetensors is missing then."
            ) from None
        saes = [trials[index][1] for index in members]
        counted = firing_frequencies(
            saes,
            model=model,
            rows=rows,
            n_tokens=row.config.eval.alive_window_tokens,
            heard=lambda done, total: heard(done, total, "tokens"),
        )
        found |= dict(zip(members, counted, strict=True))
    return [found[index] for index in range(len(trials))]


def model_and_rows_of(row: Row, folder: RunFolder, *, at_least_single: bool = False) -> tuple[FrozenModel, Rows]:
    """The model and the rows that a trial was trained and measured on, on a GPU if there is one.

    `at_least_single`: the model in float32 where it was used in a half precision.

    Raises:
        BadInput: they are not what they were then.
        EnvironmentProblem: one of them cannot be had here.
    """
    config, facts = row.config, row.facts
    dtype = DTYPES[config.train.compute_dtype]
    if at_least_single and dtype.itemsize < torch.float32.itemsize:
        dtype = torch.float32
    cache = str(default_cache().absolute())
    with folder.where_launched():
        # Frozen values are hashable; pydantic does not tell the type checker.
        model = held_model(config.model, device_for(1.0), dtype)  # pyright: ignore[reportArgumentType]
        rows = held_rows(config.data, config.model, model.d_vocab, cache)  # pyright: ignore[reportArgumentType]
    then = (facts.model_hash, facts.data_hash, facts.eval_hash) if facts else ()
    for what, was, is_ in zip(
        (f"model {config.model.name}", f"text {config.data.dataset}", f"text {config.data.dataset}"),
        then,
        (model.content_hash, rows.data_hash, rows.eval_hash),
        strict=True,
    ):
        if was != is_:
            raise BadInput(
                f"the {what} is not what it was when {row.run_name} was trained (SHA-256 {was[:12]} then, {is_[:12]} "
                "now): numbers on it could not be compared"
            )
    return model, rows


def _shape(config: TrialConfig, folder: RunFolder) -> ModelFacts | None:
    """None where the model is not here any more: the SAE is."""
    with suppress(BadInput, EnvironmentProblem), folder.where_launched():
        return describe_model(config.model)
    return None
