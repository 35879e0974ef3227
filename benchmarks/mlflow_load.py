"""How fast curves get into MLflow, and whether all do: `python -m benchmarks.mlflow_load [--out results.json]`.

Two turns on each kind of store. `drain`: the journals of a whole sweep lie there, and one copier sends them. `live`:
one process per pack writes journals as workers do, once a second, while the mirror's thread copies; then how long the
end of the sweep waits. Each turn ends with a comparison of every point. PostgreSQL and S3 come with the test extra.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

from _pytest.outcomes import Skipped

from benchmarks.machine import Row, save, with_common
from orchestrator.folder.records import CurvePoint, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.tracking.audit import Audit, audit
from orchestrator.tracking.copier import Copier, silent
from orchestrator.tracking.mirror import Mirror
from orchestrator.tracking.tracked import Tracked
from orchestrator.tracking.trial_run import TrialRun
from tests.orchestrator.tracking import servers

STORES = ("sqlite", "postgres", "server over sqlite", "server over postgres")
METRICS = ("loss", "kl", "sparsity", "out_to_in", "l0", "grad_norm", "lr", "n_alive", "explained_variance", "mse")
DEADLINE_S = 600.0


class Load:
    """A sweep's journals: so many packs of so many trials."""

    def __init__(self, runs: Path, uri: str, name: str, *, n_packs: int, n_trials: int) -> None:
        self.runs, self.uri, self.name = runs, uri, name
        self.folder = RunFolder(runs / f"{name}-1")
        ids = [f"{n:016x}" for n in range(n_packs * n_trials)]
        self.packs = [ids[n * n_trials : (n + 1) * n_trials] for n in range(n_packs)]
        self.trials = [TrialRun(id_, f"run-{id_}", {"trial_id": id_}, {"seed": id_}) for id_ in ids]

    def copier(self) -> Copier:
        return Copier(self._tracked)

    def mirror(self) -> Mirror:
        return Mirror(self._tracked, tell=lambda level, text: print(f"  {level}: {text}"))

    @property
    def _tracked(self) -> Tracked:
        return Tracked(
            self.folder, self.uri, self.runs, sweep_name=self.name, sweep_id=f"{self.name}-1", trials=self.trials
        )

    def compared(self) -> Audit:
        """Every point of MLflow with every point of the journals."""
        copier = self.copier()
        copier.open()
        return audit(copier, self.folder, uri=self.uri, live=True, progress=silent)


def lines(first: int, n: int) -> list[CurvePoint]:
    """What a worker writes of one trial in `n` logged steps."""
    now_ms = time.time_ns() // 1_000_000
    return [
        CurvePoint(step=s, tokens=s, time_ms=now_ms + s, metrics={m: s / (k + 1) for k, m in enumerate(METRICS)})
        for s in range(first, first + n)
    ]


def work(path: Path, trial_ids: list[str], seconds: int, lines_per_s: int, ready: Barrier) -> None:
    """A worker that only writes journals."""
    ready.wait()
    folder, began_s = RunFolder(path), time.monotonic()
    for second in range(seconds):
        for trial_id in trial_ids:
            folder.add_curve_points(trial_id, lines(second * lines_per_s, lines_per_s))
        time.sleep(max(0.0, began_s + second + 1 - time.monotonic()))


def drain(load: Load, n_lines: int) -> Row:
    for trial in load.trials:
        load.folder.add_curve_points(trial.trial_id, lines(0, n_lines))
    copier, began_s = load.copier(), time.perf_counter()
    copier.open()
    opened_s = time.perf_counter()
    copier.copy(ended=True)
    copied_s = time.perf_counter()
    return {
        "points": copier.done.points,
        "runs_per_s": round(len(load.trials) / (opened_s - began_s), 1),
        "points_per_s": round(copier.done.points / (copied_s - opened_s)),
    }


def live(load: Load, seconds: int, lines_per_s: int) -> Row:
    mirror = load.mirror()
    mirror.start()
    mirror.wait_until_open(DEADLINE_S)
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(len(load.packs) + 1)
    workers = [
        spawn.Process(target=work, args=(load.folder.path, trial_ids, seconds, lines_per_s, ready))
        for trial_ids in load.packs
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.join()
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    mirror.publish(SweepState.COMPLETE, metrics={}, files=[])
    ended_s = time.perf_counter()
    behind = mirror.close(DEADLINE_S)
    points = len(load.trials) * seconds * lines_per_s * len(METRICS)
    return {
        "points": points,
        "points_per_s": round(points / took_s),
        "waited_at_the_end_s": round(time.perf_counter() - ended_s, 2),
        "share_of_a_core": round(cpu_s / took_s, 2),
        "behind": str(behind) if behind else "nothing",
    }


@contextmanager
def store(kind: str, folder: Path) -> Generator[str]:
    """The address of such a store, new and empty. Raises Skipped where a package is missing."""
    with ExitStack() as held:
        address = f"sqlite:///{folder}/mlflow.db"
        if "postgres" in kind:
            address, _ = held.enter_context(servers.postgres())
        if "server" in kind:
            address, _ = held.enter_context(
                servers.mlflow_server(folder, store=address, artifacts=str(folder / "served"))
            )
        yield address


def main() -> None:
    parser = with_common(argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter))
    parser.add_argument("--stores", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--packs", type=int, default=8)
    parser.add_argument("--trials", type=int, default=8, help="of each pack")
    parser.add_argument("--lines", type=int, default=300, help="of each journal, all there at the start")
    parser.add_argument("--seconds", type=int, default=20, help="how long journals grow")
    parser.add_argument("--lines-per-s", type=int, default=5, help="how fast each of them grows")
    options = parser.parse_args()
    rows: list[Row] = []
    notes = {"points": f"{len(METRICS)} to a line; {options.packs} packs of {options.trials} trials"}
    for kind in options.stores:
        with tempfile.TemporaryDirectory() as name:
            try:
                with store(kind, Path(name)) as uri:
                    for turn in ("drain", "live"):
                        load = Load(Path(name), uri, turn, n_packs=options.packs, n_trials=options.trials)
                        row = (
                            drain(load, options.lines)
                            if turn == "drain"
                            else live(load, options.seconds, options.lines_per_s)
                        )
                        found = load.compared()
                        rows.append(
                            {"store": kind, "turn": turn, **row, "lost": found.n_missing, "extra": len(found.left)}
                        )
                        print(rows[-1], flush=True)
                        save(options.out, device=options.device, notes=notes, rows=rows)
            except Skipped as missing:
                print(f"{kind}: {missing}")


if __name__ == "__main__":
    main()
