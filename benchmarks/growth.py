"""How the cost of a step grows: `python -m benchmarks.growth --out FILE`.

SAE-tokens per second of our whole step against pack size, dictionary ratio, L0 and layer, one axis at a time from one
usual setting. Settings of one axis take turns in one process (CPU: process time, one thread). Then the memory that a
process takes at its peak, by pack size, each measured in a process of its own: the slope is memory per SAE.
"""

import argparse
import dataclasses
import multiprocessing
import re
import resource
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.machine import Row, save, show, with_common
from benchmarks.setting import Loss, OurPack, Setting, with_shape
from benchmarks.timing import Clock, clocks, in_turns, once

AXES: dict[str, tuple[float, ...]] = {
    "n_saes": (1, 2, 4, 8, 16),
    "ratio": (4, 8, 16, 32, 60),
    "l0": (10, 30, 100, 300),
    "layer": (0, 1, 2, 3, 4, 5),
}
GROWTH_LOSSES: tuple[Loss, ...] = ("local", "e2e")
MEMORY_PACKS = (1, 8)
MEMORY_RATIOS = (60,)
MIB = 2**20


def along(axis: str, values: tuple[float, ...], usual: Setting, *, clock: Clock, repeats: int) -> list[Row]:
    """Rows of one axis."""
    settings = [dataclasses.replace(usual, **{axis: value}) for value in values]  # type: ignore[arg-type]
    packs = [OurPack(setting) for setting in settings]
    turns = {str(number): once(pack) for number, pack in enumerate(packs)}
    seconds = in_turns(turns, repeats=repeats, clock=clock).values()
    return [
        {
            "axis": axis, **setting.axes(), "l0": round(pack.l0, 1), "step_s": round(each, 5),
            "sae_tokens_per_s": round(setting.n_saes * setting.tokens_per_step / each),
        }
        for setting, pack, each in zip(settings, packs, seconds, strict=True)
    ]  # fmt: skip


def peak_mib(setting: Setting, path: str) -> float:
    """Peak memory of this process (on a GPU: of what torch allocated there) after three steps."""
    torch.set_num_threads(1)
    pack = OurPack(setting, path=path)  # type: ignore[arg-type]
    pack()
    if setting.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / MIB
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says there includes the process that this one was started from
        return int(re.findall(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def memory(setting: Setting, *, path: str) -> Row:
    """Peaks by pack size, each in a fresh process, and what one more SAE adds."""
    sizes = MEMORY_PACKS
    context = multiprocessing.get_context("spawn")
    peaks: list[float] = []
    for n_saes in sizes:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            peaks.append(pool.submit(peak_mib, dataclasses.replace(setting, n_saes=n_saes), path).result())
    slope = statistics.linear_regression(sizes, peaks).slope
    d_sae = round(setting.ratio * setting.d_model)
    parameters = 2 * d_sae * setting.d_model + d_sae + setting.d_model
    return {
        "axis": "memory", **setting.axes(), "n_saes": list(sizes), "path": path,
        "peak_mib": [round(peak) for peak in peaks], "mib_per_sae": round(slope, 1),
        "weights_moments_gradients_mib": round(4 * 4 * parameters / MIB, 1),
    }  # fmt: skip


def main() -> None:
    """Print one line per row; and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    with_shape(with_common(parser)).set_defaults(repeats=2)

    arguments = parser.parse_args()
    clock, n_threads = clocks(arguments.device, arguments.clocks)[0]
    torch.set_num_threads(n_threads)
    shape = Setting.from_arguments(arguments)
    rows: list[Row] = []

    def take(more: list[Row]) -> None:
        rows.extend(more)
        for row in more:
            show(row)

    for axis, values in AXES.items():
        for loss in GROWTH_LOSSES:
            usual = dataclasses.replace(shape, loss=loss)
            take(along(axis, values, usual, clock=clock, repeats=arguments.repeats))
    for loss in GROWTH_LOSSES:
        for ratio in MEMORY_RATIOS:
            for path in ("sparse", "dense"):
                take([memory(dataclasses.replace(shape, loss=loss, ratio=ratio), path=path)])
    notes = {"clock": f"{clock.kind}, {n_threads} thread(s)", "memory": "peak of the whole process, Python included"}
    save(arguments.out, device=arguments.device, notes=notes, rows=rows)


if __name__ == "__main__":
    main()
