"""How much of a sweep's curves MLflow has not got yet, from the run folder alone: for whoever watches from outside."""

from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.cursor import read_cursor


def spool_bytes(folder: RunFolder) -> int:
    """Bytes of journals beyond what MLflow has acknowledged. A copy that keeps up leaves a few seconds' worth."""
    sent = read_cursor(folder).trials
    sizes = {path.stem: path.stat().st_size for path in (folder.path / "journal").glob("*.jsonl")}
    return sum(max(0, size - (sent[id_].n_bytes if id_ in sent else 0)) for id_, size in sizes.items())
