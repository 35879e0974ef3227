"""How a sweep stands, told by its small files: what its driver last said, whether that driver lives, and its packs.

Reads only. The driver's lock is looked at through a handle that cannot write, so a folder mounted for reading will do.
"""

import fcntl
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dashboards.reading import Fields, bytes_of, count, fields_in, inside, json_of, number, plan_of, text, told

STALE_AFTER_S = 60.0
"""A driver on another machine touches `lease.json` more often than that."""
COUNTS = ("n_trials", "n_done", "n_failed", "n_stopped", "n_dominated", "n_running")
_TEXTS = {
    "running": "running",
    "done": "every trial has ended",
    "failed": "it ended, and not one trial is done",
    "stopped": "stopped; the same command goes on with it",
    "incomplete": "its launcher is gone without a word; the same command goes on with it",
    "waiting": "planned; nothing has been trained yet",
    "unreadable": "nothing of it can be read",
}


def standing(folder: Path, problems: list[str], *, ended_as: str = "") -> Fields:
    """State, counts, progress and times of a sweep. What cannot be read is said in `problems` and left out.

    `ended_as`: `complete` or `stopped`, said by its driver who is about to end.
    """
    status: Fields | None = told(problems, lambda: json_of(folder, "status.json"), None)
    if ended_as:
        status = (status or {}) | {"state": ended_as}
    state = _state(status, is_held=not ended_as and held(folder))
    found = status or {}
    counts = {name: count(found.get(name)) for name in COUNTS}
    if status is None:
        counts |= _planned(folder, problems)
    if state != "running":
        counts["n_running"] = 0
    progress = {name: number(found.get(name)) for name in ("fraction", "eta_s", "eta_high_s")}
    if state != "running":
        progress |= {"eta_s": None, "eta_high_s": None}
    return {
        "state": state,
        "state_text": _TEXTS[state],
        **counts,
        "n_waiting": max(0, counts["n_trials"] - sum(counts[name] for name in COUNTS[1:])),
        **progress,
        "started_at": text(found.get("started_at")) or None,
        "updated_at": text(found.get("updated_at")) or None,
    }


def held(folder: Path) -> bool:
    """Whether a launch is at work on it, as far as can be told from here."""
    return _is_locked(folder) or _lives_elsewhere(folder)


def packs_of(folder: Path, pack_ids: Sequence[str], problems: list[str]) -> list[Fields]:
    """What the workers of these packs last said; packs that have not started are left out."""
    found: list[Fields] = []
    for pack_id in pack_ids:
        name = f"packs/{pack_id}/status.json"
        status: Fields | None = told(problems, lambda name=name: json_of(folder, name), None)
        if status is not None:
            found.append(
                {
                    "pack_id": pack_id,
                    "state": text(status.get("state")),
                    "trial_ids": [id_ for id_ in _list(status.get("trial_ids")) if isinstance(id_, str)],
                    "step": count(status.get("step")),
                    "n_steps": count(status.get("n_steps")),
                    "tokens_per_s": number(status.get("tokens_per_s")),
                    "attempt": count(status.get("attempt")),
                    "host": text(status.get("host")) or None,
                    "error": text(status.get("error")) or None,
                    "updated_at": text(status.get("updated_at")) or None,
                }
            )
    return found


def _state(status: Fields | None, *, is_held: bool) -> str:
    said = text((status or {}).get("state"))
    if is_held:
        return "running" if status is not None else "waiting"
    match said:
        case "complete":
            return "done" if status is None or count(status.get("n_done")) else "failed"
        case "running":
            return "incomplete"
        case "stopped":
            return "stopped"
        case _:
            return "waiting"


def _planned(folder: Path, problems: list[str]) -> dict[str, int]:
    """Where the driver has said nothing, or nothing that can be read."""
    plan: Fields | None = told(problems, lambda: plan_of(folder), None)
    n_trials = len(fields_in((plan or {}).get("trials"))) - len(_list((plan or {}).get("removed")))
    return {"n_trials": max(0, n_trials)}


def _is_locked(folder: Path) -> bool:
    """Whether somebody has the lock. It is ours for a moment, shared, which a launch that begins now waits for."""
    try:
        handle = os.open(inside(folder, ".lock"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False


def _lives_elsewhere(folder: Path) -> bool:
    """Whether a driver on another machine, whose lock cannot be seen here, has been heard of lately."""
    with suppress(OSError, ValueError):
        if bytes_of(folder, "lease.json") is None:
            return False
        holder = json_of(folder, "lease.json") or {}
        if holder.get("host") == socket.gethostname() or holder.get("folder_inode") != folder.stat().st_ino:
            return False
        return time.time() - (folder / "lease.json").stat().st_mtime < STALE_AFTER_S
    return False


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
