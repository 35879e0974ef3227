"""Everything that can be wrong with what a sweep needs is found here, before anything is written to the runs folder."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.display.screen import Screen
from orchestrator.folder.clock import now
from orchestrator.folder.records import Event, Row
from orchestrator.running.planned import Planned
from orchestrator.tracking import Unreachable, check_tracking, masked
from trainer.config import SCRATCH, TrialConfig
from trainer.data import prepare_rows
from trainer.errors import BadInput, EnvironmentProblem

LARGEST_LOADED_TWICE = 1_000_000_000
"""Parameters of a model that is loaded here once to see that it can be; larger ones are left to the workers."""


def check_ray_address(address: str) -> None:
    """Whether somebody listens at `host:port` or `ray://host:port`: Ray itself would try for minutes.

    Says nothing about other kinds of addresses, such as `auto`. Raises EnvironmentProblem.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as problem:
        raise EnvironmentProblem(
            f"no answer from the Ray cluster at RAY_ADDRESS={address} ({problem}). Is it running? Unset RAY_ADDRESS to "
            "run on this machine alone"
        ) from None


def check_everything(planned: Planned, screen: Screen, configs: Sequence[TrialConfig], kept: Sequence[Row]) -> None:
    """All that could be wrong with what these trials need, and with joining them to those that are `kept`.

    Writes to the cache of rows and nowhere else.

    Raises BadInput or EnvironmentProblem.
    """
    if planned.options.tracking:
        screen.phase(f"looking for MLflow at {masked(planned.tracking_uri)}")
        try:
            check_tracking(planned.tracking_uri)
        except Unreachable as problem:  # the run folder keeps everything until it is back
            said = f"training does not wait for MLflow, which gets everything once it answers: {problem}"
            screen.event(Event(time=now(), level="warning", event="trouble", message=said))
    if not planned.options.local and (address := os.environ.get("RAY_ADDRESS", "")):
        check_ray_address(address)
    screen.phase(f"preparing rows of {planned.sweep.data.dataset}")
    for config in {config.shares_batches_with: config for config in configs}.values():
        rows = prepare_rows(
            config.data,
            model=config.model,
            d_vocab=planned.facts.d_vocab,
            n_context=planned.facts.n_context,
            progress=screen.preparing,
        )
        rows.train_batch(0, config.train.batch_rows)
        _check_same(kept, config, {"data_hash": rows.data_hash, "eval_hash": rows.eval_hash}, "text")
    _check_starts(planned, configs)
    screen.phase(f"loading {planned.sweep.model.name}")
    _check_model(planned, configs[0], kept)


def check_writable(runs: Path) -> None:
    """Whether run folders can be made there. Makes nothing. Raises BadInput or EnvironmentProblem."""
    folder = runs.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise BadInput(f"--runs {runs}: {folder} is a file, expected a folder or a place for one")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise EnvironmentProblem(
            f"no permission to write in {folder}, where the results would go; choose another place: --runs FOLDER"
        )


def _check_model(planned: Planned, config: TrialConfig, kept: Sequence[Row]) -> None:
    from orchestrator.packs.held import held_model
    from trainer.precision import DTYPES

    if planned.facts.n_parameters <= LARGEST_LOADED_TWICE:
        import torch

        dtype = DTYPES[config.train.compute_dtype]
        model = held_model(config.model, torch.device("cpu"), dtype)  # pyright: ignore[reportArgumentType]
        _check_same(kept, config, {"model_hash": model.content_hash}, "model")


def _check_starts(planned: Planned, configs: Sequence[TrialConfig]) -> None:
    """Whether every SAE that training starts from is at hand: given now, or kept by the run folder."""
    for start in sorted({config.sae.start_from for config in configs} - {SCRATCH, *planned.sweep.starts}):
        try:
            planned.folder.read_start(start)
        except BadInput as problem:
            raise BadInput(f"{problem}. Give its folder again: --set sae.start_from=FOLDER") from None


def _check_same(kept: Sequence[Row], config: TrialConfig, now: Mapping[str, str], what: str) -> None:
    """Whether trials that are done had the same data and model: a name or a folder may hold something else by now."""
    for row in kept:
        if row.facts is None or (row.config.data, row.config.model) != (config.data, config.model):
            continue
        changed = [name for name, value in now.items() if getattr(row.facts, name) != value]
        if changed:
            raise BadInput(
                f"the {what} is another one than that of {row.run_name}, which is done ({', '.join(changed)} differs): "
                "their results cannot share a frontier. Put the old one back, or begin anew with --runs FOLDER"
            )
