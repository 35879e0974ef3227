"""What the sparse path costs: `python -m benchmarks.sparse_path [--out results.json]`.

Forward and backward of a bank on random activations, on one thread, at chosen mean L0. Each row holds medians, over
alternating repeats in this one process, of process time as multiples of the encoder product alone: the floor that no
path can go below. `step` is the numba path with Adam. b_enc is set so that each L0 is met; every element fires about
equally often.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from trainer.optimizer import AdamMoments, adam_step_
from trainer.sae import sparse, sparse_cpu, sparse_torch
from trainer.sae.bank import Bank, dense_forward
from trainer.sae.types import BankOutput

RATIOS = (16, 60)
PACK_SIZES = (5, 8)
"""Measured at the usual L0 only; one SAE is measured at all."""
USUAL_L0 = 30
MOST_L0_FOR_TORCH = 300
"""Above it the path in torch operations takes longer than anyone would wait."""
D_MODEL = 128
N_TOKENS = 1024


def random_bank(*, n_saes: int, d_sae: int, x: Tensor, l0: float) -> Bank:
    """A bank that fires `l0` elements per token on `x`."""
    w_enc = torch.randn(n_saes, d_sae, D_MODEL) / D_MODEL**0.5
    sample = (x[:256] @ w_enc[0, :2048].T).flatten()
    threshold = sample.kthvalue(max(1, round(len(sample) * (1 - l0 / d_sae)))).values
    return Bank(
        w_enc=w_enc.requires_grad_(),
        b_enc=torch.full((n_saes, d_sae), -float(threshold)).requires_grad_(),
        w_dec=(torch.randn(n_saes, d_sae, D_MODEL) / d_sae**0.5).requires_grad_(),
        b_dec=torch.zeros(n_saes, D_MODEL).requires_grad_(),
    )


def sparse_forward(bank: Bank, x: Tensor) -> BankOutput:
    """A forward pass on the sparse path, with whichever engine is in place."""
    return sparse.sparse_bank(x, w_enc=bank.w_enc, b_enc=bank.b_enc, w_dec=bank.w_dec, b_dec=bank.b_dec)


def gradients(bank: Bank, out: BankOutput, grad_output: Tensor) -> list[Tensor]:
    """A backward pass."""
    return list(
        torch.autograd.grad(
            [out.output, out.l1], list(bank.parameters.values()), [grad_output, torch.ones_like(out.l1)]
        )
    )


def paths(bank: Bank, x: Tensor) -> dict[str, Callable[[], object]]:
    """The floor and each path, by name."""
    grad_output = torch.randn(bank.n_saes, len(x), D_MODEL) / len(x)
    weights = bank.w_enc.detach().reshape(-1, D_MODEL)
    products = torch.empty(min(len(weights), 4096), len(x))

    def floor() -> None:
        for rows in weights.split(len(products)):
            torch.mm(rows, x.T, out=products[: len(rows)])

    def sparse_with(engine: object) -> list[Tensor]:
        with patch.object(sparse, "engine_for", return_value=engine):
            return gradients(bank, sparse_forward(bank, x), grad_output)

    parameters = list(bank.parameters.values())
    moments = [AdamMoments.zeros_like(each) for each in parameters]

    return {
        "encoder product": floor,
        "sparse, numba": lambda: sparse_with(sparse_cpu),
        "sparse, torch": lambda: sparse_with(sparse_torch),
        "dense": lambda: gradients(bank, dense_forward(bank, x, compute_dtype=torch.float32), grad_output),
        "step": lambda: adam_step_(parameters, sparse_with(sparse_cpu), moments, step=1, lr=0.0),
    }


def medians_ms(timed: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median process time of each, in turns; the first turn is not counted."""
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(repeats + 1):
        for name, run in timed.items():
            start = time.process_time()
            run()
            times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def measure(*, ratio: int, n_saes: int, l0: float, repeats: int) -> dict[str, float]:
    """One row."""
    torch.manual_seed(0)
    x = torch.randn(N_TOKENS, D_MODEL)
    bank = random_bank(n_saes=n_saes, d_sae=ratio * D_MODEL, x=x, l0=l0)
    timed = paths(bank, x)
    if l0 > MOST_L0_FOR_TORCH:
        del timed["sparse, torch"]
    times = medians_ms(timed, repeats)
    floor = times.pop("encoder product")
    measured = float(sparse_forward(bank, x).l0.mean())
    row = {"ratio": ratio, "n_saes": n_saes, "l0": round(measured, 1), "encoder product, ms": round(floor, 2)}
    return {**row, **{name: round(each / floor, 2) for name, each in times.items()}}


def rows(l0s: list[float], repeats: int) -> Iterator[dict[str, float]]:
    """One row per shape and L0."""
    for ratio in RATIOS:
        for l0 in (*l0s, ratio * D_MODEL / 4, ratio * D_MODEL / 2):
            yield measure(ratio=ratio, n_saes=1, l0=l0, repeats=repeats)
        for n_saes in PACK_SIZES:
            yield measure(ratio=ratio, n_saes=n_saes, l0=USUAL_L0, repeats=repeats)


def main() -> None:
    """Print one line per row, and write them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--l0", type=float, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: list[dict[str, float]] = []
    for row in rows(arguments.l0, arguments.repeats):
        found.append(row)
        print("  ".join(f"{name} {value:g}" for name, value in row.items()), flush=True)
    if arguments.out:
        machine = {
            "processor": platform.processor(),
            "torch": torch.__version__,
            "d_model": D_MODEL,
            "tokens": N_TOKENS,
        }
        arguments.out.write_text(json.dumps({**machine, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
