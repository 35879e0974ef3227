"""What the comparisons with other tools share: their rows, and the loop over clocks, ratios and losses."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

from benchmarks.allocator import as_it_stands
from benchmarks.machine import Row, save, show, with_common
from benchmarks.setting import Loss, OurPack, Setting, with_shape
from benchmarks.timing import Clock, Turn, clocks, in_turns, once

RATIOS = (16, 60)
STEPS_PER_TURN = 2
"""Steps of a peer's own training loop per turn; the first, which allocates, is not counted."""
Peers = Callable[[Setting, OurPack], Mapping[str, Turn]]
"""Makes turns of other tools, by name."""


def parser_of(doc: str | None, *, losses: Sequence[Loss]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    with_shape(with_common(parser))
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    parser.add_argument("--losses", nargs="+", choices=losses, default=losses)
    return parser


def compare(
    setting: Setting, peers: Peers, *, saes_per_step: int | None = None, clock: Clock, n_threads: int, repeats: int
) -> Row:
    """One row. A peer's step trains `saes_per_step` SAEs, or as many as ours."""
    torch.set_num_threads(n_threads)
    ours = OurPack(setting)
    others = {name: as_it_stands(turn) for name, turn in peers(setting, ours).items()}
    turns: dict[str, Turn] = {"ours": once(ours), **others}
    seconds = in_turns(turns, repeats=repeats, clock=clock)
    scale = setting.n_saes / (saes_per_step or setting.n_saes)
    return {
        **setting.axes(),
        "l0": round(ours.l0, 1),
        "clock": clock.kind,
        "n_threads": n_threads,
        "sae_tokens_per_s": round(setting.n_saes * setting.tokens_per_step / seconds["ours"]),
        **{f"times_{name}": round(scale * seconds[name] / seconds["ours"], 2) for name in seconds if name != "ours"},
        **{f"{name}_s": round(each, 5) for name, each in seconds.items()},
    }


def run(
    arguments: argparse.Namespace, peers: Peers, *, saes_per_step: int | None = None, notes: dict[str, str]
) -> None:
    """Print one line per row, and write them if asked to."""
    rows: list[Row] = []
    shape = Setting.from_arguments(arguments)
    for clock, n_threads in clocks(arguments.device, arguments.clocks):
        for ratio in arguments.ratios:
            for loss in arguments.losses:
                setting = dataclasses.replace(shape, loss=loss, ratio=ratio)
                row = compare(
                    setting, peers, saes_per_step=saes_per_step, clock=clock, n_threads=n_threads,
                    repeats=arguments.repeats,
                )  # fmt: skip
                rows.append(row)
                show(row)
    save(arguments.out, device=arguments.device, notes=notes, rows=rows)
