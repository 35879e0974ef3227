"""The checkpoints of one pack: folders that appear whole, each with a manifest by which damage is seen.

    packs/<pack_id>/checkpoints/<step>/state.safetensors  manifest.json

Two are kept: if the newest is damaged, the one before it is used. What a state is, is the business of
`trainer.checkpoint`.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.folder.files import is_whole, sealed
from orchestrator.folder.records import CheckpointManifest
from trainer.checkpoint import load_state, save_state
from trainer.errors import BadInput
from trainer.faults import Killed, fault_point
from trainer.files import sync_folder, write_whole
from trainer.state import TrainState

STATE, MANIFEST = "state.safetensors", "manifest.json"
KEPT = 2
SHARE = 0.02
"""Of the time, at most, for checkpoints."""
LEAST_S = 5.0
"""Between two checkpoints, at least."""


class Pace:
    """When the next one is due, from what the last one cost."""

    def __init__(self, *, every_s: float | None = None, least_s: float = LEAST_S) -> None:
        """`every_s`: that often, whatever it costs."""
        self._every_s, self._least_s = every_s, least_s
        self._interval_s = least_s if every_s is None else every_s
        self._last_s = time.monotonic()

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._last_s >= self._interval_s

    def took(self, cost_s: float) -> None:
        """One was made just now."""
        self._last_s = time.monotonic()
        if self._every_s is None:
            self._interval_s = max(self._least_s, cost_s / SHARE)


def save(
    where: Path, state: TrainState, *, manifest: CheckpointManifest, before_commit: Callable[[], None] = lambda: None
) -> None:
    """Make a checkpoint: written beside its place, synced, renamed; then all but the newest two are removed.

    `manifest` comes without hashes. `before_commit` is called when all but the rename is done; what it raises leaves no
    checkpoint. Raises OSError where the disk refuses.
    """
    target = where / str(manifest.step)
    if not target.exists():
        where.mkdir(parents=True, exist_ok=True)
        beside = where / f".{manifest.step}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        fault_point("checkpoint.before")
        try:
            beside.mkdir()
            sha256 = save_state(beside / STATE, state, trial_ids=manifest.trial_ids)
            fault_point("checkpoint.before_manifest")
            whole = manifest.model_copy(update={"files": {STATE: sha256}})
            write_whole(beside / MANIFEST, json.dumps(sealed(whole.model_dump(mode="json")), indent=2).encode())
            before_commit()
            fault_point("checkpoint.before_rename")
            beside.rename(target)
        except Killed:
            raise
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        fault_point("checkpoint.renamed")
        sync_folder(where)
    fault_point("checkpoint.before_prune")
    for step in steps(where)[KEPT:]:
        remove(where / str(step))


def restore(
    where: Path,
    state: TrainState,
    *,
    trial_ids: list[list[str]],
    n_points: Callable[[int], Mapping[str, int]],
    say_damaged: Callable[[int, str], None],
) -> CheckpointManifest | None:
    """Bring `state` to the newest checkpoint that is whole. None where there is none; `state` is then as it was.

    `n_points`: points in the journal of each trial up to a step. A checkpoint that follows more of them is of no use,
    since they would be missing for ever. `say_damaged` is told the step of each checkpoint that cannot be used, and
    why; it is removed.
    """
    _clean(where)
    for step in steps(where):
        try:
            manifest = _checked(where / str(step), trial_ids)
            _check_journals(manifest, n_points(manifest.step))
            load_state(where / str(step) / STATE, state, trial_ids=trial_ids)
        except BadInput as problem:
            say_damaged(step, str(problem))
            remove(where / str(step))
            continue
        return manifest
    return None


def began_with(where: Path) -> CheckpointManifest | None:
    """The newest manifest that can be read, which says how the pack computes."""
    for step in steps(where):
        with suppress(BadInput):
            return _manifest(where / str(step))
    return None


def newest_step(where: Path) -> int | None:
    """Of the newest checkpoint, whole or not."""
    return next(iter(steps(where)), None)


def steps(where: Path) -> list[int]:
    """Of all checkpoints, newest first."""
    try:
        return sorted((int(path.name) for path in where.iterdir() if path.name.isdecimal()), reverse=True)
    except OSError:
        return []


def remove(path: Path) -> None:
    """A checkpoint, or all of them. Out of sight first: half of one that is being removed is no damage."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.removed")
    with suppress(OSError):
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def copy(source: Path, target: Path) -> None:
    """The newest two checkpoints for another pack, which takes the trials it has. Links where that can be done."""
    for step in steps(source)[:KEPT]:
        if (target / str(step)).exists():
            continue
        beside = target / f".{step}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        beside.mkdir(parents=True)
        for name in (STATE, MANIFEST):
            try:
                os.link(source / str(step) / name, beside / name)
            except OSError:
                shutil.copyfile(source / str(step) / name, beside / name)
        beside.rename(target / str(step))
    if target.exists():
        sync_folder(target)


def _clean(where: Path) -> None:
    """What killed attempts left half done. Removals that go on elsewhere are no trouble."""
    for pattern in (".*.tmp", ".*.removed"):
        for path in where.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _checked(path: Path, trial_ids: list[list[str]]) -> CheckpointManifest:
    manifest = _manifest(path)
    try:
        for name, sha256 in manifest.files.items():
            with (path / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    raise BadInput(f"{path / name} is not what was written")
    except OSError as error:
        raise BadInput(f"{path} is not whole: {error}") from error
    if str(manifest.step) != path.name or STATE not in manifest.files:
        raise BadInput(f"{path} is another checkpoint than its name says")
    there = {trial_id for bank in manifest.trial_ids for trial_id in bank}
    if not {trial_id for bank in trial_ids for trial_id in bank} <= there:
        raise BadInput(f"{path} is of other trials")
    return manifest


def _manifest(path: Path) -> CheckpointManifest:
    try:
        fields = json.loads((path / MANIFEST).read_bytes())
        was_whole = is_whole(fields)
        manifest = CheckpointManifest.model_validate_json(json.dumps(fields))
    except (OSError, ValueError, AttributeError) as error:  # pydantic's errors are ValueErrors
        raise BadInput(f"{path / MANIFEST} is not whole: {str(error).splitlines()[0]}") from error
    if not was_whole:
        raise BadInput(f"{path / MANIFEST} is not what was written")
    return manifest


def _check_journals(manifest: CheckpointManifest, n_points: Mapping[str, int]) -> None:
    short = [id_ for id_, n in n_points.items() if n < manifest.n_points.get(id_, 0)]
    if short:
        raise BadInput(f"the journal of trial {short[0]} has lost points that came before this checkpoint")
