"""Our whole optimizer step against our own plain path and against the floor: `python -m benchmarks.step --out FILE`.

A step is a pack's: clean run, every SAE forward and backward, clipping, Adam. It is timed against

- the same SAEs one run after another on the dense path (packs of one, `path="dense"`), and
- the floor (`floor.py`): what no way of training these SAEs can leave out, timed alone.

Everything takes turns in one process. CPU: process time on one thread, then wall time on two. GPU: wall time.
"""

import dataclasses

import torch

from benchmarks.compare import parser_of
from benchmarks.floor import fastest, floor_parts
from benchmarks.machine import Row, save, show
from benchmarks.setting import LOSSES, OurPack, Setting
from benchmarks.timing import Clock, Turn, clocks, in_turns, once

NOTES = {"plain": "packs of one, dense path, one after another", "floor": "see floor.py"}


def measure(setting: Setting, *, clock: Clock, n_threads: int, repeats: int) -> Row:
    """One row: seconds of each, and the ratios that are claimed."""
    torch.set_num_threads(n_threads)
    ours, plain = OurPack(setting), OurPack(setting.of_one(), path="dense")
    turns: dict[str, Turn] = {"ours": once(ours), "plain": once(plain)}
    turns |= {name: once(part) for name, part in floor_parts(setting, ours).items()}
    seconds = fastest(in_turns(turns, repeats=repeats, clock=clock))
    return row_of(setting, seconds, l0=ours.l0, clock=clock, n_threads=n_threads)


def row_of(setting: Setting, seconds: dict[str, float], *, l0: float, clock: Clock, n_threads: int) -> Row:
    step_s = seconds["ours"]
    floor_s = sum(seconds[name] for name in ("encoder_product", "clean_run", "blocks_above") if name in seconds)
    return {
        **setting.axes(),
        "l0": round(l0, 1),
        "clock": clock.kind,
        "n_threads": n_threads,
        "sae_tokens_per_s": round(setting.n_saes * setting.tokens_per_step / step_s),
        "times_plain": round(setting.n_saes * seconds["plain"] / step_s, 2),
        "share_of_floor": round(floor_s / step_s, 3),
        "share_of_encoder_product": round(seconds["encoder_product"] / step_s, 3),
        **{f"{name}_s": round(each, 5) for name, each in seconds.items()},
    }


def main() -> None:
    """Print one line per row, and write them if asked to."""
    arguments = parser_of(__doc__, losses=LOSSES).parse_args()
    shape = Setting.from_arguments(arguments)
    rows: list[Row] = []
    for clock, n_threads in clocks(arguments.device, arguments.clocks):
        for ratio in arguments.ratios:
            for loss in arguments.losses:
                setting = dataclasses.replace(shape, loss=loss, ratio=ratio)
                rows.append(measure(setting, clock=clock, n_threads=n_threads, repeats=arguments.repeats))
                show(rows[-1])
    save(arguments.out, device=arguments.device, notes=NOTES, rows=rows)


if __name__ == "__main__":
    main()
