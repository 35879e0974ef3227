"""What can happen to a sweep: the kinds of faults, how each is made to happen, and a random list of them from a seed.

Knows how to do harm and nothing about how it is made good.
"""

import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from benchmarks.chaos_sweep import CLOCK, PackNow, Sweep

PLACE_S = 15.0
"""That a place in the program is waited for. The sweep goes on, and must not be done before the next fault."""


class MLflowServer(Protocol):
    """What can be done to the server behind the door."""

    def kill(self) -> None: ...
    def start(self) -> None: ...


class HasMode(Protocol):
    mode: str


@dataclass
class Scene:
    """All that a fault may act upon."""

    sweep: Sweep
    door: HasMode | None
    server: MLflowServer | None
    own_disk: bool
    """Whether the run folder has a disk of its own, which may be filled."""
    scratch: Path
    dice: random.Random
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    """What ends a fault, and when, on the monotonic clock."""
    n_armed: int = 0

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.later.append((time.monotonic() + seconds, what))

    def running(self) -> list[PackNow]:
        return [pack for pack in self.sweep.packs().values() if pack.state == "running" and pack.pid]


@dataclass(frozen=True)
class Harm:
    """What was done."""

    what: str
    hit: tuple[PackNow, ...]
    """The packs that stand still by it."""
    over: bool
    """Whether the launch is over, or ends by it."""


@dataclass(frozen=True)
class Kind:
    """One row of the table."""

    name: str
    happen: Callable[[Scene], Harm | None]
    """None where it cannot happen now."""
    weight: float = 1.0
    needs: str = ""
    """`ray`, `mlflow`, `disk`, `clock`: where it makes no sense without."""
    last: bool = False
    """It happens when all rows are there."""


# Processes


def kill_worker(scene: Scene) -> Harm | None:
    return _to_worker(scene, signal.SIGKILL, "SIGKILL of a worker")


def stop_worker(scene: Scene) -> Harm | None:
    """It hangs: not even its own timer runs."""
    return _to_worker(scene, signal.SIGSTOP, "SIGSTOP of a worker")


def _to_worker(scene: Scene, number: signal.Signals, what: str) -> Harm | None:
    running = scene.running()
    if not running:
        return None
    pack = scene.dice.choice(running)
    assert pack.pid is not None
    with suppress(psutil.NoSuchProcess):
        if "ray" not in " ".join(psutil.Process(pack.pid).cmdline()).lower():
            return None
        psutil.Process(pack.pid).send_signal(number)
        return Harm(what, (pack,), over=False)
    return None


def kill_driver(scene: Scene) -> Harm:
    hit = tuple(scene.running())
    scene.sweep.send(signal.SIGKILL)
    return Harm("SIGKILL of the driver", hit, over=True)


def kill_everything(scene: Scene) -> Harm:
    hit = tuple(scene.running())
    scene.sweep.kill_everything()
    return Harm("SIGKILL of all processes at once", hit, over=True)


def kill_at_start(scene: Scene) -> Harm:
    """Twice: the second time in the middle of whatever a launch does before it trains."""
    hit = tuple(scene.running())
    scene.sweep.kill_everything()
    scene.sweep.start()
    time.sleep(scene.dice.uniform(0.5, 12))
    scene.sweep.kill_everything()
    return Harm("SIGKILL of all while it starts", hit, over=True)


def zombie(scene: Scene) -> Harm | None:
    """A worker that stands still while its driver dies, and comes back to life when another launch has its pack."""
    stopped = stop_worker(scene)
    if stopped is None:
        return None
    (pack,), hit = stopped.hit, tuple(scene.running())
    assert pack.pid is not None
    process = psutil.Process(pack.pid)
    scene.sweep.send(signal.SIGKILL)
    scene.after(scene.dice.uniform(5, 25), lambda: _go_on(process))
    return Harm("a worker outlives its driver", hit, over=True)


def _go_on(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGCONT)


def ask(number: signal.Signals, *, twice: bool = False, group: bool = False) -> Callable[[Scene], Harm]:
    """Ctrl-C, or what a machine sends that is about to be taken away."""
    name = "Ctrl-C" if number is signal.SIGINT else "SIGTERM"

    def happen(scene: Scene) -> Harm:
        hit = tuple(scene.running())
        scene.sweep.send(number, group=group)
        if twice:
            time.sleep(scene.dice.uniform(0, 1.5))
            scene.sweep.send(number, group=group)
        return Harm(f"{name}, twice" if twice else name, hit, over=True)

    return happen


def second_launch(scene: Scene) -> Harm:
    """Beside the one that runs; it has to refuse."""
    hit = tuple(scene.running())
    code = scene.sweep.second().returncode
    return Harm(f"a second launch (exit code {code})", hit, over=False)


# MLflow


def mlflow_killed(scene: Scene) -> Harm:
    assert scene.server is not None
    scene.server.kill()
    scene.after(scene.dice.uniform(2, 20), scene.server.start)
    return Harm("SIGKILL of MLflow's server", tuple(scene.running()), over=False)


def mlflow_says(mode: str, what: str) -> Callable[[Scene], Harm]:
    def happen(scene: Scene) -> Harm:
        door = scene.door
        assert door is not None
        door.mode = mode
        scene.after(scene.dice.uniform(2, 15), lambda: setattr(door, "mode", "pass"))
        return Harm(what, tuple(scene.running()), over=False)

    return happen


# Files


def damage(*patterns: str, newest: bool = False) -> Callable[[Scene], Harm]:
    """Everything is killed, and then such a file torn, emptied, gone or a bit of it flipped."""

    def happen(scene: Scene) -> Harm:
        hit = tuple(scene.running())
        folder = scene.sweep.run_folder
        scene.sweep.kill_everything()
        found = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
        if not found:
            return Harm("no such file then", hit, over=True)
        path = max(found, key=lambda path: path.stat().st_mtime) if newest else scene.dice.choice(sorted(found))
        how = scene.dice.choice(list(_DAMAGE))
        _DAMAGE[how](path, scene.dice)
        return Harm(f"{path.relative_to(folder)} {how}", hit, over=True)

    return happen


def _flip(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def _tear(path: Path, dice: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: dice.randrange(len(content))] if content else b"")


_DAMAGE: dict[str, Callable[[Path, random.Random], object]] = {
    "flipped": _flip,
    "torn": _tear,
    "emptied": lambda path, _: path.write_bytes(b""),
    "gone": lambda path, _: path.unlink(),
}


def moved(scene: Scene) -> Harm:
    """The run folder goes on under a name that shells, URLs and patterns would trip over."""
    hit = tuple(scene.running())
    scene.sweep.kill_everything()
    names = ["läufe 2", "ru'ns $HOME", "ラン", 'a "b" [c]*', "runs%20#1"]
    target = scene.sweep.runs.with_name(scene.dice.choice([n for n in names if n != scene.sweep.runs.name]))
    scene.sweep.runs.rename(target)
    scene.sweep.runs = target
    return Harm("run folder moved", hit, over=True)


def disk_full(scene: Scene) -> Harm:
    """Not one byte is left for a while."""
    ballast = scene.sweep.runs.parent / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0")
    scene.after(scene.dice.uniform(1, 8), lambda: ballast.unlink(missing_ok=True))  # two may overlap
    return Harm("the disk is full", tuple(scene.running()), over=False)


PLACES = (
    "write:*", "write.middle:*", "sync:*", "rename:*", "renamed:*", "append:*", "append.middle:*", "append.sync:*",
    "checkpoint.*", "bank", "evaluate", "rename:manifest.json", "rename:sae.safetensors",
    "write.middle:state.safetensors", "append.middle:*.jsonl", "rename:????????????????.json",
)  # fmt: skip


def at_a_place(*actions: str) -> Callable[[Scene], Harm]:
    """In the next launch, whoever comes by a certain place of the program meets it, once."""

    def happen(scene: Scene) -> Harm:
        hit = tuple(scene.running())
        scene.sweep.kill_everything()
        place, action = scene.dice.choice(PLACES), scene.dice.choice(actions)
        fault = f"{place}:{scene.dice.randint(1, 25)}={action}"
        scene.n_armed += 1
        once = scene.scratch / f"armed-{scene.n_armed}"
        scene.sweep.start(SAE_FRONTIER_FAULTS=fault, SAE_FRONTIER_FAULTS_ONCE=str(once))
        end_s = time.monotonic() + PLACE_S
        while not (once / "fault-0").exists() and scene.sweep.code is None and time.monotonic() < end_s:
            time.sleep(0.1)
        happened = "" if (once / "fault-0").exists() else " (not come by)"
        return Harm(f"{fault}{happened}", hit, over=False)

    return happen


# The clock


def clock_jump(scene: Scene) -> Harm:
    """Of driver and workers, days ahead or back, while they run."""
    by = scene.dice.choice(["+3d", "-2d", "+400d", "-30s", "+1h"])
    (scene.scratch / "clock").write_text(f"{by}\n")
    return Harm(f"the clock jumps by {by}", tuple(scene.running()), over=False)


def clock_environ(scratch: Path) -> dict[str, str]:
    """For processes whose clock can be made to jump; empty where there is no libfaketime."""
    if not CLOCK.is_file():
        return {}
    (scratch / "clock").write_text("+0d\n")
    return {
        "LD_PRELOAD": str(CLOCK),
        "FAKETIME_TIMESTAMP_FILE": str(scratch / "clock"),
        "FAKETIME_CACHE_DURATION": "2",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "FAKETIME_DISABLE_SHM": "1",
    }


STANDING = (
    "packs/*/status.json",
    "packs/*/events.jsonl",
    "packs/*/owner",
    "status.json",
    "lease.json",
    "events.jsonl",
    "manifest.json",
    "frontier.parquet",
)
KILLED = "everything killed"
ASKED = ("plan.json", "sweep.yaml", "launch.json", "runs.json", "mlflow/cursor.json")
KINDS: tuple[Kind, ...] = (
    Kind("worker killed", kill_worker, 3, needs="ray"),
    Kind("worker hangs (SIGSTOP)", stop_worker, 0.5, needs="ray"),
    Kind("worker outlives its driver", zombie, needs="ray"),
    Kind("driver killed", kill_driver, 2, needs="ray"),
    Kind(KILLED, kill_everything, 2),
    Kind("everything killed while it starts", kill_at_start),
    Kind("everything killed at the end", kill_everything, 0.5, last=True),
    Kind("SIGTERM", ask(signal.SIGTERM)),
    Kind("Ctrl-C", ask(signal.SIGINT, group=True)),
    Kind("Ctrl-C twice", ask(signal.SIGINT, twice=True, group=True)),
    Kind("second launch", second_launch, 0.5),
    Kind("killed at a place in the program", at_a_place("kill"), 2),
    Kind("write refused (full, read-only, I/O error)", at_a_place("enospc", "erofs", "eio"), 2),
    Kind("disk full", disk_full, needs="disk"),
    Kind("checkpoint damaged", damage("packs/*/checkpoints/[0-9]*/*", newest=True), 2),
    Kind("row damaged", damage("results/????????????????.json")),
    Kind("journal damaged", damage("journal/*.jsonl"), 2),
    Kind("status, lease or events damaged", damage(*STANDING), 0.5),
    Kind("plan, sweep, options or runs damaged", damage(*ASKED), 2),
    Kind("run folder moved", moved, 0.5),
    Kind("MLflow's server killed", mlflow_killed, 1.5, needs="mlflow"),
    Kind("MLflow answers 503", mlflow_says("503", "503 for a while"), needs="mlflow"),
    Kind("MLflow's answers get lost", mlflow_says("cut", "answers are lost for a while"), needs="mlflow"),
    Kind("MLflow does not answer", mlflow_says("hang", "no answers for a while"), needs="mlflow"),
    Kind("clock jumps", clock_jump, needs="clock"),
)


def kind_of(record: dict[str, Any]) -> str | None:
    """What happened, from a fault's record: None where it was not possible then. Where nobody came by a place, its
    launch had been killed for it all the same."""
    if str(record["what"]).endswith("then"):
        return None
    return KILLED if str(record["what"]).endswith("(not come by)") else str(record["kind"])


@dataclass(frozen=True)
class Planned:
    """One fault of the list, and when it is due."""

    kind: Kind
    at: float
    """Share of all steps that are done by then."""
    impatient: bool
    """Whether it comes although the one before may not be made good."""


def random_faults(n: int, *, dice: random.Random, there: Sequence[str]) -> list[Planned]:
    """Each kind once at least, as far as `n` goes, at moments that are spread evenly over the sweep's steps."""
    kinds = [kind for kind in KINDS if not kind.needs or kind.needs in there]
    dice.shuffle(kinds)
    drawn = kinds[:n] + dice.choices(kinds, [kind.weight for kind in kinds], k=max(0, n - len(kinds)))
    dice.shuffle(drawn)
    moments = sorted(dice.uniform(0.005, 0.98) for kind in drawn if not kind.last)
    early = [
        Planned(kind, at, dice.random() < 0.25)
        for kind, at in zip((k for k in drawn if not k.last), moments, strict=True)
    ]
    return early + [Planned(kind, 1.0, impatient=False) for kind in drawn if kind.last]


def memory_runs_out(scene: Scene) -> Harm:
    """In the next launch, at a step or in an evaluation of whoever comes by it first."""
    hit = tuple(scene.running())
    scene.sweep.kill_everything()
    place = scene.dice.choice(["bank", "step", "evaluate", "loaded"])
    fault = f"{place}:{scene.dice.randint(1, 30)}=oom" if place in ("bank", "evaluate") else "bank:2=oom"
    scene.n_armed += 1
    once = scene.scratch / f"armed-{scene.n_armed}"
    scene.sweep.start(SAE_FRONTIER_FAULTS=fault, SAE_FRONTIER_FAULTS_ONCE=str(once))
    return Harm(fault, hit, over=False)


def memory_faults(n: int, *, dice: random.Random) -> list[Planned]:
    """Out of memory and kills by turns."""
    kinds = [
        Kind("out of memory", memory_runs_out),
        *(kind for kind in KINDS if kind.happen in (kill_worker, kill_everything)),
    ]
    moments = sorted(dice.uniform(0.005, 0.9) for _ in range(n))
    return [Planned(kinds[n % 2 * dice.randint(1, 2)], at, impatient=False) for n, at in enumerate(moments)]
