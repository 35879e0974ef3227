"""The shapes of the shipped models, and small sweeps for tests of plans."""

from pathlib import Path
from typing import NamedTuple

from orchestrator.sweep.sweep_file import Sweep, load_sweep

SWEEPS = Path(__file__).parents[2] / "sweeps"


class Shape(NamedTuple):
    """What a plan has to know of a model."""

    n_layers: int
    d_model: int
    d_vocab: int
    n_context: int


SHAPES = {
    "builtin": Shape(6, 128, 4096, 256),
    "gpt2": Shape(12, 768, 50257, 1024),
    "roneneldan/TinyStories-1M": Shape(8, 64, 50257, 2048),
}

SMALL = """\
name: small
model: {name: builtin}
data: {dataset: builtin, context: 16, eval_rows: 4}
train: {tokens: 1_000, batch_rows: 2}
sae: {ratio: 2}
loss: {e2e_downstream: {downstream_coeff: 2.5}}
grid:
  layer: [1, 3]
  loss: [local, e2e, e2e_downstream]
  sparsity_coeff: [0.5, 1]
"""


def small_sweep(folder: Path, *overrides: str, text: str = SMALL) -> Sweep:
    """`text` as a sweep file, loaded with overrides."""
    path = folder / "small.yaml"
    path.write_text(text, "utf-8")
    return load_sweep(path, overrides)
