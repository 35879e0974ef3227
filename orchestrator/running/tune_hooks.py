"""What Ray Tune calls while it runs packs, and what Ray's metrics are given.

The two classes that Tune calls hold nothing but paths, since Tune pickles them.

Imports Ray: `run.py` imports this file when it starts Ray, and nobody else does.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.util import metrics

from orchestrator.folder.clock import now
from orchestrator.folder.records import Event, PackState, PackStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.jobs import PackJob, stop_file
from orchestrator.running.gauges import GAUGES, readings

GAUGES_EVERY_S = 5.0


@contextmanager
def exported(folder: Path, *, tracking: bool) -> Generator[None]:
    """While inside, this process hands the sweep's gauges to Ray. Nothing that goes wrong with them is told."""
    ended = threading.Event()
    gauges = {name: metrics.Gauge(name, gauge.description, gauge.labels) for name, gauge in GAUGES.items()}

    def export() -> None:
        while not ended.wait(GAUGES_EVERY_S):
            with suppress(Exception):
                for reading in readings(RunFolder(folder), tracking=tracking):
                    gauges[reading.name].set(reading.value, tags=reading.labels)

    thread = threading.Thread(target=export, name="gauges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class PackDeaths(tune.Callback):
    """Notes a worker's death in its pack's status, which the dead worker cannot."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._note(trial, PackState.FAILED)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._note(trial, PackState.WAITING)
        self._say_tried_again(trial)

    def _note(self, trial: Any, state: PackState) -> None:
        # Whatever is raised here would end the whole sweep.
        try:
            job = PackJob.model_validate_json(trial.config["job"])
            folder = RunFolder(Path(self._folder))
            status = folder.pack_status(job.pack_id) or PackStatus(
                pack_id=job.pack_id, state=state, trial_ids=job.trial_ids, updated_at=now()
            )
            note = {"state": state, "error": "its worker died", "updated_at": now(), "tokens_per_s": None}
            folder.write_pack_status(status.model_copy(update=note))
        except Exception:
            return

    def _say_tried_again(self, trial: Any) -> None:
        """As an event: nobody may look at the status before the next attempt has begun."""
        try:
            pack_id = PackJob.model_validate_json(trial.config["job"]).pack_id
            text = f"pack {pack_id[:6]} is tried again: its worker died"
            event = Event(time=now(), level="warning", event="pack_waiting", message=text, pack_id=pack_id)
            RunFolder(Path(self._folder)).add_pack_event(event)
        except Exception:
            return


class StopWhenIdle(tune.Stopper):
    """Ends Tune's run when a stop is asked for and no worker is busy with its last step any more."""

    def __init__(self, folder: str, pack_ids: list[str]) -> None:
        self._folder, self._pack_ids = folder, pack_ids

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        try:
            folder = Path(self._folder)
            if not stop_file(folder).exists():
                return False
            statuses = [RunFolder(folder).pack_status(pack_id) for pack_id in self._pack_ids]
        except Exception:
            return False
        return not any(status is not None and status.state is PackState.RUNNING for status in statuses)
