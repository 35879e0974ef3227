"""What a sweep needs beside the machine: its model and data, MLflow, Ray, room for its files, and nobody in the way."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.findings import AS_SAID, Finding, ok, problem, warning
from orchestrator.display.go_on import resume_command

if TYPE_CHECKING:
    from orchestrator.folder.records import PackStatus
    from orchestrator.running.planned import Planned

FLOAT_BYTES = 4
CHECKPOINTS_KEPT = 2
STATE_COPIES = 3
"""Of a parameter in a checkpoint: itself and two averages of Adam's."""


def model(planned: "Planned") -> Iterator[Finding]:
    """Whether its shape, weights and tokenizer are here or can be had."""
    from trainer.models.source import model_folder

    config, facts = planned.sweep.model, planned.facts
    model_folder(config, "weights")
    yield ok("model", f"model {config.name}: {facts.n_layers} blocks, d_model {facts.d_model}")


def data(planned: "Planned") -> Iterator[Finding]:
    """Whether its splits can be opened and have a column to read. Reads no more than their beginning."""
    from trainer.data.source import quiet
    from trainer.data.sources import source_for

    config = planned.sweep.data
    splits = [config.split] if config.eval_split == "same" else [config.split, config.eval_split]
    for split in splits:
        source = source_for(config.dataset, split=split, column=config.column)
        with quiet():
            contents = source.look()
        count = "" if contents.n_documents is None else f", {contents.n_documents:,} documents"
        yield ok("data", f"{source.label}: column {contents.column!r} of {contents.kind}{count}")


def mlflow(uri: Callable[[], str]) -> Iterator[Finding]:
    """Whether the address answers, to the name it is called by."""
    from orchestrator.tracking import check_tracking, masked
    from orchestrator.tracking.store import Unreachable

    address = uri()
    try:
        check_tracking(address)
    except Unreachable as trouble:
        yield warning("mlflow", str(trouble), "start it; training does not wait for it, and it gets the rest later")
    else:
        yield ok("mlflow", f"{masked(address)} answers or can be made")


def ray() -> Iterator[Finding]:
    """Starts it as a sweep would and ends it again."""
    from orchestrator.display.streams import console_goes_to
    from orchestrator.running.checks import check_ray_address
    from orchestrator.running.run import try_ray

    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        check_ray_address(address)
    with tempfile.TemporaryDirectory(prefix="sae-doctor-") as folder, console_goes_to(Path(folder) / "ray.log"):
        machines = try_ray(Path(folder))
    there = "; ".join(f"{cpus:g} CPUs and {n_gpus:g} GPUs" for cpus, n_gpus in machines)
    yield ok("ray", f"{'the cluster at ' + address if address else 'Ray'} starts: {there}")


def disk_bytes(planned: "Planned") -> float:
    """Weights of all SAEs that are not there yet, and checkpoints of the packs that run side by side. About."""
    d_model = planned.facts.d_model
    sizes = {
        trial.trial_id: FLOAT_BYTES * (2 * d_model * (d_sae := trial.config.sae.d_sae(d_model)) + d_sae + d_model)
        for trial in planned.plan.trials
    }
    missing = sum(size for trial_id, size in sizes.items() if not planned.folder.sae(trial_id).exists())
    packs = sorted((sum(sizes[id_] for id_ in pack.trial_ids) for pack in planned.plan.packs), reverse=True)
    return float(missing + CHECKPOINTS_KEPT * STATE_COPIES * sum(packs[: planned.room.n_slots]))


def leftovers(runs: Path) -> Iterator[Finding]:
    """Launchers that are gone without a word, and workers that outlived them."""
    from orchestrator.commands.find_run import all_runs
    from orchestrator.commands.run_list import summary
    from orchestrator.commands.standing import RunState
    from orchestrator.folder.records import PackState
    from orchestrator.folder.run_folder import RunFolder
    from trainer.errors import BadInput

    n_runs = 0
    for path in all_runs(runs):
        n_runs += 1
        folder, line = RunFolder(path), summary(RunFolder(path))
        if line.trouble:
            yield warning("runs", f"{path.name} cannot be read: {line.trouble}", AS_SAID)
        if line.state is not RunState.CUT_OFF:
            continue
        yield warning("runs", f"{path.name} was cut off: its launcher is gone", resume_command(path))
        for pack in sorted(path.glob("packs/*/status.json")):
            try:
                status = folder.pack_status(pack.parent.name)
            except BadInput:
                continue
            if status is not None and status.state is PackState.RUNNING and _works_here(status):
                text = f"{path.name}: process {status.pid} still trains a pack, and nobody waits for it"
                yield problem("workers", text, f"kill {status.pid}")
    yield ok("runs", f"{n_runs} run folders in {runs}")


def _works_here(status: "PackStatus") -> bool:
    """Whether that very worker runs on this machine. One whose start is not known may be anybody by now."""
    from orchestrator.folder.processes import is_running

    is_ours = status.host == socket.gethostname() and status.pid is not None and status.pid_started is not None
    return is_ours and is_running(status.pid or 0, status.pid_started)
