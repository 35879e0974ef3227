"""Run folders made by hand, in whatever state a test wants them: no model, no training."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock

from orchestrator.folder.clock import now
from orchestrator.folder.processes import started
from orchestrator.folder.records import Holder, PackState, PackStatus, RowStatus, SavedPlan, SweepState, SweepStatus
from orchestrator.folder.run_folder import RunFolder
from tests.orchestrator.rows import a_config, a_row

TRIALS = [
    a_config(loss=loss, coeff=coeff, layer=layer) for layer in (1, 2) for loss in ("local", "e2e") for coeff in (1, 2)
]
PACKS = {"aaaaaaaaaaaa": TRIALS[:4], "bbbbbbbbbbbb": TRIALS[4:]}
GONE = 2**22 + 1
"""A process that cannot be: Linux counts up to 2**22."""


def made_run(
    runs: Path,
    name: str = "demo-12345678",
    *,
    state: SweepState | None = SweepState.COMPLETE,
    n_done: int = 8,
    n_failed: int = 0,
    pid: int | None = None,
    at: datetime | None = None,
    error: str = "diverged at step 3",
) -> RunFolder:
    """Eight trials in two packs, the first `n_done` done and the next `n_failed` failed, the second pack at half."""
    folder = RunFolder(runs / name)
    folder.write_plan(
        SavedPlan(
            sweep_id=name,
            trials={trial.trial_id: trial for trial in TRIALS},
            run_names={trial.trial_id: trial.run_name for trial in TRIALS},
            packs={pack_id: [trial.trial_id for trial in trials] for pack_id, trials in PACKS.items()},
        )
    )
    for index, trial in enumerate(TRIALS[: n_done + n_failed]):
        if index < n_done:
            folder.write_row(a_row(trial, l0=10.0 * (1 + index), ce=0.5 / (1 + index)))
        else:
            folder.write_row(a_row(trial, status=RowStatus.FAILED, error=error))
    moment = at or now()
    if state is not None:
        running = state is SweepState.RUNNING
        folder.write_status(
            SweepStatus(
                sweep_id=name,
                state=state,
                n_trials=len(TRIALS),
                n_done=n_done,
                n_failed=n_failed,
                pid=(pid or os.getpid()) if running else None,
                host=socket.gethostname() if running else None,
                started_at=moment - timedelta(minutes=3),
                updated_at=moment,
            )
        )
    if state is SweepState.RUNNING:
        write_pack(folder, at=moment)
    return folder


def write_pack(folder: RunFolder, *, at: datetime, error: str | None = None) -> None:
    """The second pack, half way."""
    trials = PACKS["bbbbbbbbbbbb"]
    folder.write_pack_status(
        PackStatus(
            pack_id="bbbbbbbbbbbb",
            state=PackState.RUNNING,
            trial_ids=[trial.trial_id for trial in trials],
            step=trials[0].n_steps // 2,
            n_steps=trials[0].n_steps,
            tokens_per_s=1000.0,
            latest={trials[0].trial_id: {"eval/l0": 33.0, "eval/ce_loss_increase": 0.25}},
            error=error,
            updated_at=at,
        )
    )


@contextmanager
def held(folder: RunFolder, *, pid: int | None = None, since: datetime | None = None) -> Generator[Holder]:
    """As if a launcher, this process or `pid`, were at work on it."""
    pid = pid or os.getpid()
    holder = Holder(
        launch_id="0123456789abcdef",
        host=socket.gethostname(),
        pid=pid,
        pid_started=started(pid),
        started_at=since or now() - timedelta(minutes=3),
    )
    with FileLock(folder.path / ".lock"):
        folder.write_holder(holder)
        yield holder
