"""Faults at random moments of a sweep, against its twin that nobody disturbed: `python -m benchmarks.chaos [--out F]`.

    main    the sweep on Ray, its curves going to MLflow's own server over SQLite: at least 50 faults of all kinds
    local   the same in one process (`--local`)
    memory  on Ray, faults that are out of memory: packs are split, so numbers are compared up to the order of sums

After each fault that ends a launch the same command comes again, `launch` and `resume` by turns, until the sweep is
done. Moments are drawn from a seed as shares of the sweep's steps; what a fault then meets is up to the machine. The
run folder lies on a small disk in memory where one can be mounted, so that it can be filled; clocks jump where Debian's
libfaketime is installed (`local` alone: Ray does not start with it). Real processes; nothing else should run there.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.chaos_compare import compared, is_close, is_equal
from benchmarks.chaos_faults import (
    Harm,
    MLflowServer,
    PackNow,
    Planned,
    Scene,
    clock_environ,
    kind_of,
    memory_faults,
    random_faults,
)
from benchmarks.chaos_sweep import Door, Sweep, small_disk
from benchmarks.machine import Row, machine

N_TRIALS = 18
DISK_MB = 512
POLL_S = 0.1
STALL_S = 600.0
RECOVERY_S = 30.0
"""That the next fault waits for the one before to be made good. A pack that was hit may have to wait for a slot, while
the others train on: the sweep must not be done by then."""
MOST_LAUNCHES = 250
MOST_EARLY = 6
"""Launches in a row that end by themselves."""


class Ended(Exception):
    """The sweep came to an end that it should not have."""


class Chaos:
    """One disturbed sweep from its first launch to its end."""

    def __init__(self, scene: Scene, faults: list[Planned]) -> None:
        self.scene, self.sweep, self.faults = scene, scene.sweep, faults
        self.records: list[Row] = []
        self.odd: list[Row] = []
        """Launches that ended by themselves, and not with a sweep that is done."""
        self._early = self._early_at = 0
        self._open: list[tuple[Row, float, dict[str, PackNow]]] = []

    def run(self) -> None:
        """To its end. Raises Ended."""
        self.sweep.start()
        for fault in self.faults:
            if not self._until(fault):
                break
            self._happen(fault)
        while self.sweep.code is None or not self._is_done():
            self._look()
        while self.scene.later:
            time.sleep(POLL_S)
            self._end_what_is_due()
        self.sweep.start()  # once more, as a user does who sees that MLflow has not got everything
        self.sweep.wait()

    def _until(self, fault: Planned) -> bool:
        """Until it is due. False where the sweep is done before."""
        while True:
            self._look()
            if self.sweep.code is not None and self._is_done():
                return False
            if not fault.impatient and any(time.monotonic() - since_s < RECOVERY_S for _, since_s, _ in self._open):
                continue
            if fault.kind.last and self.sweep.n_rows() == N_TRIALS and self.sweep.code is None:
                time.sleep(self.scene.dice.uniform(0, 3))
                return True
            if not fault.kind.last and self.sweep.share_done() >= fault.at:
                time.sleep(self.scene.dice.uniform(0, 0.5))
                return True

    def _happen(self, fault: Planned) -> None:
        harm: Harm | None = None
        for _ in range(50):  # some need a worker that trains
            if (harm := fault.kind.happen(self.scene)) is not None or self.sweep.code is not None:
                break
            time.sleep(0.2)
        record: Row = {
            "kind": fault.kind.name,
            "what": harm.what if harm else "not possible then",
            "at": round(fault.at, 4),
        }
        self.records.append(record)
        print(
            f"{len(self.records):3} {time.strftime('%H:%M:%S')} launch {self.sweep.n_launches:3} {record}", flush=True
        )
        if harm is None:
            return
        for other, _, _ in self._open:
            other["lost_s"] = None  # cannot be told from the next one's
        self._open = [(record, time.monotonic(), {pack.pack_id: pack for pack in harm.hit})]
        if harm.over:
            while self.sweep.code is None:
                self._end_what_is_due()
                time.sleep(POLL_S)
            record["exit_code"] = self.sweep.code
            self.sweep.start()

    def _look(self) -> None:
        time.sleep(POLL_S)
        self._end_what_is_due()
        self._see_recovered(time.monotonic())
        if self.sweep.code is not None and not self._is_done():
            self._again()

    def _end_what_is_due(self) -> None:
        """Faults that last for a while."""
        for due in [each for each in self.scene.later if each[0] <= time.monotonic()]:
            self.scene.later.remove(due)
            due[1]()

    def _see_recovered(self, now_s: float) -> None:
        there = self.sweep.packs()
        for record, since_s, hit in list(self._open):
            further = all(
                (now := there.get(id_)) is not None and (now.state == "done" or now.step > pack.step)
                for id_, pack in hit.items()
            )
            if further and not (hit and self.sweep.code is not None):
                record["lost_s"] = round(now_s - since_s, 2)
                self._open.remove((record, since_s, hit))
            elif now_s - since_s > STALL_S:
                raise Ended(f"no recovery from {record}: {self.sweep.said()[-2000:]}")

    def _is_done(self) -> bool:
        """Whether the launch ended with every trial done or diverged."""
        return self.sweep.code in (0, 3) and self.sweep.n_rows() == N_TRIALS and '"complete"' in _status(self.sweep)

    def _again(self) -> None:
        """The launch is over, and the sweep is not."""
        said = self.sweep.said().replace(str(self.sweep.folder), "PATH")
        record: Row = {
            "code": self.sweep.code,
            "launch": self.sweep.n_launches,
            "after": self.records[-1]["what"] if self.records else "nothing",
            "said": said[-300:],
        }
        self.odd.append(record)
        print(f"    launch {self.sweep.n_launches} ended with {self.sweep.code}: {said[-300:]}", flush=True)
        self._early = self._early + 1 if self.sweep.n_launches == self._early_at + 1 else 1
        self._early_at = self.sweep.n_launches
        if self.sweep.n_launches > MOST_LAUNCHES or self._early > MOST_EARLY:
            raise Ended("too many launches")
        self.sweep.start()


def _status(sweep: Sweep) -> str:
    try:
        return (sweep.run_folder / "status.json").read_text()
    except (OSError, ValueError):
        return ""


@contextmanager
def mlflow(folder: Path) -> Generator[tuple[Door, MLflowServer, str]]:
    """MLflow's server behind a door, and the address of its store."""
    from tests.orchestrator.tracking import servers

    store = f"sqlite:///{folder}/mlflow.db"
    with servers.mlflow_server(folder, store=store, artifacts=str(folder / "served")) as (url, server):
        door = Door(int(url.rpartition(":")[2]))
        try:
            yield door, server, store
        finally:
            door.close()


def undisturbed(folder: Path, options: argparse.Namespace, *, local: bool, uri: str | None) -> tuple[Path, float]:
    """The twin: its run folder and the seconds that it took."""
    folder.mkdir()
    twin = Sweep(folder, folder / "runs", n_tokens=options.tokens, local=local, uri=uri)
    began_s = time.monotonic()
    twin.start()
    code = twin.wait()
    if code != 3:  # two of its trials diverge
        raise Ended(f"the twin ended with code {code}: {twin.said()}")
    return twin.run_folder, time.monotonic() - began_s


def disturbed(part: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One part: the twin, the sweep, and how they compare."""
    local, with_mlflow = part == "local", part != "memory"
    folder.mkdir()
    twin_uri = f"sqlite:///{folder}/twin.db" if with_mlflow else None
    twin, twin_s = undisturbed(folder / "twin", options, local=local, uri=twin_uri)
    print(f"{part}: the twin took {twin_s:.0f} s", flush=True)
    dice = random.Random(options.seed)
    with ExitStack() as held:
        own_disk = held.enter_context(small_disk(folder / "disk", DISK_MB))
        (folder / "store").mkdir()
        door, server, store = held.enter_context(mlflow(folder / "store")) if with_mlflow else (None, None, None)
        uri = door.url if door else None
        sweep = Sweep(folder, folder / "disk" / "runs", n_tokens=options.tokens, local=local, uri=uri)
        clock = clock_environ(folder) if options.clock and local else {}  # Ray's server does not start with it
        sweep.environ = {"SAE_FRONTIER_CHECKPOINT_S": str(options.checkpoint_s), **clock}
        there = [*(["ray"] if not local else []), *(["mlflow"] if with_mlflow else [])]
        there += [*(["disk"] if own_disk else []), *(["clock"] if clock else [])]
        n = options.faults if part == "main" else options.more_faults
        faults = memory_faults(n, dice=dice) if part == "memory" else random_faults(n, dice=dice, there=there)
        chaos = Chaos(Scene(sweep, door, server, own_disk, folder, dice), faults)
        began_s = time.monotonic()
        failed = ""
        try:
            chaos.run()
        except Ended as why:
            failed = str(why)
        finally:
            sweep.kill_everything()
        took_s = time.monotonic() - began_s
        found = compared(sweep.run_folder, twin, uri=store, twin_uri=twin_uri)
        if options.keep:
            shutil.copytree(sweep.runs, options.keep / part / "runs", dirs_exist_ok=True, symlinks=True)
    happened = [record for record in chaos.records if kind_of(record) is not None]
    result = {
        "part": part,
        "n_faults": len(happened),
        "n_launches": sweep.n_launches,
        "twin_s": round(twin_s, 1),
        "took_s": round(took_s, 1),
        "equal": is_close(found) if part == "memory" else is_equal(found),
        "failed": failed.replace(str(folder), "PATH"),
        "compared": found,
        "launches_that_ended_early": chaos.odd,
        "faults": chaos.records,
    }
    if options.keep:
        for log in folder.glob("launch-*.txt"):
            shutil.copy(log, options.keep / part)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["main", "local", "memory"], metavar="PART")
    parser.add_argument("--out", type=Path, help="JSON file to write, or to put these parts into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=64, help="in the part `main`")
    parser.add_argument("--more-faults", type=int, default=16, help="in each of the other parts")
    parser.add_argument("--tokens", type=int, default=153_600, help="of each trial; 256 to a step")
    parser.add_argument("--checkpoint-s", type=float, default=1.0, help="seconds between checkpoints")
    parser.add_argument("--clock", action=argparse.BooleanOptionalAction, default=True, help="whether clocks jump")
    parser.add_argument("--keep", type=Path, help="folder to keep run folders and what launches said")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name:
            result = disturbed(part, Path(name) / part, options)
        shown = {name: value for name, value in result.items() if name not in ("faults", "launches_that_ended_early")}
        print(json.dumps(shown, indent=1), flush=True)
        if options.out:
            _put(options.out, result, options)


def _leave(*_: object) -> None:
    """Servers and disks are cleared away on the way out."""
    sys.exit(143)


def _put(path: Path, result: dict[str, Any], options: argparse.Namespace) -> None:
    """Into the results there, in place of those of the same part."""
    before = json.loads(path.read_text())["parts"] if path.exists() else []
    settings = {name: getattr(options, name) for name in ("seed", "tokens", "checkpoint_s")}
    parts = [each for each in before if each["part"] != result["part"]]
    record = {"command": "python -m benchmarks.chaos", "machine": machine("cpu"), "settings": settings}
    path.write_text(json.dumps({**record, "parts": [*parts, result]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
