"""A plan as jobs for workers, and the files by which they, and later launches, know of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from orchestrator.folder.clock import now
from orchestrator.folder.records import PackState, PackStatus, Row, SavedLaunch
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.schema import objective_columns
from orchestrator.packs.fence import fence_off
from orchestrator.packs.jobs import PackJob
from orchestrator.running.planned import Planned
from orchestrator.sweep.objectives import judged_by
from trainer.data import default_cache

CHECKPOINT_EVERY = "SAE_FRONTIER_CHECKPOINT_S"
"""Seconds between checkpoints in place of what their cost suggests: for tests, which are short."""


def make_jobs(planned: Planned, kept: Sequence[Row]) -> list[PackJob]:
    """The packs that have trials without such a row, dearest first."""
    resources, logging, estimates = planned.sweep.resources, planned.sweep.logging, planned.saved.estimates
    frontier = planned.sweep.frontier
    have = {row.trial_id for row in kept}
    return [
        PackJob(
            folder=str(planned.folder.path.absolute()),
            pack_id=pack.pack_id,
            trial_ids=left,
            cache=str(default_cache().absolute()),
            cpus=resources.cpus_per_pack,
            gpus=resources.gpus_per_pack,
            micro_batch_rows=estimates[pack.pack_id].micro_batch_rows,
            log_every_steps=logging.log_every_steps,
            eval_every_tokens=None if logging.eval_every_tokens == "end" else logging.eval_every_tokens,
            n_elements=logging.elements,
            n_snippets=logging.element_snippets,
            path=planned.options.path,
            stop_dominated=None if frontier.stop_dominated == "off" else frontier.stop_dominated,
            objectives=_directions(judged_by(frontier, planned.sweep.search)),
            launch_id=planned.launch_id,
            hung_after_s=60 * resources.hung_after_minutes,
            checkpoint_every_s=float(every) if (every := os.environ.get(CHECKPOINT_EVERY)) else None,
        )
        for pack in planned.plan.packs
        if (left := [id_ for id_ in pack.trial_ids if id_ not in have and id_ in planned.trial_ids])
    ]


def _directions(names: Sequence[str]) -> dict[str, Literal["lower", "higher"]]:
    """Which way each of these metrics is good."""
    columns = objective_columns()
    return {name: "higher" if columns[name].better == "higher" else "lower" for name in names}


def write_plan(planned: Planned, jobs: Sequence[PackJob]) -> None:
    """The sweep and its plan, and each of these packs as waiting. Who worked on them before may write no more."""
    folder = planned.folder
    folder.write_sweep(planned.sweep.to_yaml())
    folder.write_plan(planned.saved)
    folder.write_launch(saved_launch(planned))
    write_waiting(folder, jobs)


def saved_launch(planned: Planned) -> SavedLaunch:
    """The options of this launch, for whoever goes on with the run folder alone."""
    options = planned.options
    before = planned.folder.launch() if options.folder is not None else None
    return SavedLaunch(
        sweep_file=before.sweep_file if before else str(options.sweep_file.absolute()),
        cwd=before.cwd if before else str(Path.cwd()),
        n_slots=options.n_slots,
        local=options.local,
        tracking=options.tracking,
        path=options.path,
        share=options.share,
    )


def write_waiting(folder: RunFolder, jobs: Sequence[PackJob]) -> None:
    """Each of these packs as one that nobody works on."""
    for job in jobs:
        fence_off(folder, job.pack_id)
        folder.write_pack_status(
            PackStatus(pack_id=job.pack_id, state=PackState.WAITING, trial_ids=job.trial_ids, updated_at=now())
        )
