"""Answers of a language model, each kept as it comes: what was paid for is not asked again after a kill.

An answer is kept under a hash of the model's name, the whole question and how long the answer may be. Neither address
nor key is part of it.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from orchestrator.folder.files import is_whole, sealed, write_text
from orchestrator.paper.endpoint import Answer, Client, Message

FORMAT = 1
LOOK_EVERY_S = 0.5
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Asker:
    """Asks, unless the answer is kept."""

    client: Client
    model: str
    folder: Path | None
    """None keeps nothing."""
    n_asked: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def ask(self, messages: Sequence[Message], *, number: int = 0) -> Answer:
        """`number`: of the same question asked again, since an answer could not be read."""
        path = self._path(messages, number)
        if (kept := _read(path)) is not None:
            return kept
        answer = self.client.ask(messages)
        with self._lock:
            self.n_asked += 1
        if path is not None:
            write_text(path, json.dumps(sealed(answer._asdict())) + "\n")
        return answer

    def _path(self, messages: Sequence[Message], number: int) -> Path | None:
        if self.folder is None:
            return None
        fields = [FORMAT, self.model, self.client.max_tokens, [dict(message) for message in messages], number]
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest[:24]}.json"


def for_each(
    things: Sequence[T], work: Callable[[T], R], asker: Asker, *, n_at_once: int, heard: Callable[[int, int], None]
) -> list[R]:
    """`work` on every thing, so many at once, in their order. The first that fails ends all; those in flight are waited
    for, since they are paid for. Of several tasks on one folder one asks at a time, so that the bound is one of all."""
    first: list[BaseException] = []

    def one(thing: T) -> R:
        try:
            return work(thing)
        except BaseException as problem:
            first.append(problem)
            asker.client.stop()  # at once: whoever asks next would be refused as well
            raise

    lock = nullcontext() if asker.folder is None else _Lock(asker.folder, lambda: heard(0, len(things)))
    with lock, ThreadPoolExecutor(max_workers=n_at_once) as pool:
        futures = [pool.submit(one, thing) for thing in things]
        try:
            waiting = set(futures)
            while waiting:
                _, waiting = wait(waiting, timeout=LOOK_EVERY_S, return_when=FIRST_COMPLETED)
                if first:
                    raise first[0]
                heard(len(things) - len(waiting), len(things))
        except BaseException:
            asker.client.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


class _Lock:
    """A lock on the folder that is waited for as long as it takes, and tells so."""

    def __init__(self, folder: Path, waits: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock, self._waits = FileLock(folder / "asking.lock"), waits

    def __enter__(self) -> None:
        from filelock import Timeout

        while True:
            try:
                self._lock.acquire(timeout=LOOK_EVERY_S)
                return
            except Timeout:
                self._waits()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _read(path: Path | None) -> Answer | None:
    try:
        fields = json.loads(path.read_bytes()) if path else None
    except (OSError, ValueError):
        return None
    if not isinstance(fields, dict) or not is_whole(fields):
        return None
    return Answer(str(fields["text"]), int(fields["n_in"]), int(fields["n_out"]))
