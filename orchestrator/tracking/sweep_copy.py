"""The sweep's own run in MLflow, as `trial_copy.py` has those of trials: what it shows, and what it has got of that."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.points import send_ending
from orchestrator.tracking.publication import SWEEP_STATUS, Publication, missing_parts, send_part
from orchestrator.tracking.sweep_runs import make_parent
from orchestrator.tracking.trial_copy import Way

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class SweepCopy:
    """One run. Without a publication it is RUNNING."""

    def __init__(self, folder: RunFolder, run_id: str, published: Mapping[str, str]) -> None:
        """`published`: hashes of what it has got by name, as far as is known."""
        self.run_id, self.published = run_id, dict(published)
        self.publication: Publication | None = None
        self._folder, self._status = folder, ""

    def take(self, client: "MlflowClient", experiment_id: str, sweep_id: str, found: "Run | None") -> None:
        """The run that was found, or a new one."""
        if found is None:
            run_id, self._status = make_parent(client, experiment_id, sweep_id), "RUNNING"
        else:
            run_id, self._status = found.info.run_id, found.info.status
        if run_id != self.run_id:
            self.run_id, self.published = run_id, {}
        if self.publication is None and self._status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
            self._status = "RUNNING"

    def copy(self, way: Way) -> None:
        """Send what is new."""
        publication = self.publication
        if publication is None:
            return
        status = SWEEP_STATUS[publication.state]
        if self._status != status:
            if status == "RUNNING":
                way.client.update_run(self.run_id, status=status)
            else:
                send_ending(way.client, self.run_id, status, time_ms=publication.time_ms)
            self._status = status
            way.done.endings += 1
        for name, content in missing_parts(self._folder, publication, self.published).items():
            if way.put(lambda name=name: send_part(way.client, self.run_id, self._folder, publication, name)):
                self.published[name] = content
                way.done.files += 1

    @property
    def is_complete(self) -> bool:
        """Whether it has got everything."""
        publication = self.publication
        return publication is None or (
            self._status == SWEEP_STATUS[publication.state]
            and not missing_parts(self._folder, publication, self.published)
        )

    def forget_lost_files(self, client: "MlflowClient") -> None:
        """Look which files it has, so that the others are sent again. Raises what MLflow raises."""
        there = {file.path for file in client.list_artifacts(self.run_id)}
        self.published = {name: sent for name, sent in self.published.items() if not name or Path(name).name in there}
