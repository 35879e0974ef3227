"""How often each dictionary element fires, for the analyses that look at alive elements alone.

Counted as `n_alive_elements` is: final weights, frozen, over the first `eval.alive_window_tokens` tokens in the order
of training. Kept beside the tasks' results by what it depends on, since several analyses ask for the same SAEs.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrator.folder.files import is_whole, sealed, write_text
from orchestrator.folder.records import Row
from trainer.data import Rows
from trainer.export import TrainedSAE, firing_frequencies
from trainer.models import FrozenModel

FORMAT = 1


class Asked(NamedTuple):
    """An SAE whose elements are counted."""

    row: Row
    sae: TrainedSAE


def firing_of(
    asked: Sequence[Asked],
    *,
    model: Callable[[], FrozenModel],
    rows: Callable[[], Rows],
    kept: Path | None,
    heard: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Float[Tensor, " d_sae"]]:
    """Of each SAE, the share of tokens on which each element fires (float64, CPU), in the order asked.

    Those that are not in the folder `kept` are counted together, with one clean run for all that have the same window.
    Model and rows are those of all of them, and are not loaded where nothing has to be counted.
    """
    files = [_file(kept, one) if kept else None for one in asked]
    found = {number: counted for number, file in enumerate(files) if (counted := _read(file)) is not None}
    windows: dict[int, list[int]] = {}
    for number, one in enumerate(asked):
        if number not in found:
            windows.setdefault(one.row.config.eval.alive_window_tokens, []).append(number)
    for n_tokens, members in windows.items():
        frozen = model()
        saes = [_in_dtype_of(frozen, asked[number].sae) for number in members]
        counted = firing_frequencies(saes, model=frozen, rows=rows(), n_tokens=n_tokens, heard=heard)
        for number, frequency in zip(members, counted, strict=True):
            found[number] = frequency
            if (file := files[number]) is not None:
                _write(file, frequency)
    return [found[number] for number in range(len(asked))]


def _in_dtype_of(model: FrozenModel, sae: TrainedSAE) -> TrainedSAE:
    """Where training was in a half precision, both are in float32 here."""
    return replace(sae, w_enc=sae.w_enc.to(model.device, model.dtype), b_enc=sae.b_enc.to(model.device, model.dtype))


def _file(folder: Path, asked: Asked) -> Path:
    """Named by all that the counts depend on: the encoder itself, model, rows and window."""
    config, facts = asked.row.config, asked.row.facts
    known = hashlib.sha256()
    for weights in (asked.sae.w_enc, asked.sae.b_enc):
        known.update(weights.cpu().contiguous().view(torch.uint8).numpy().data)
    fields = {
        "format": FORMAT,
        "hookpoint": config.hookpoint,
        "model": facts.model_hash if facts else config.model.name,
        "center_residual": config.model.center_residual,
        "data": facts.data_hash if facts else config.data.dataset,
        "n_tokens": config.eval.alive_window_tokens,
    }
    known.update(json.dumps(fields, sort_keys=True).encode())
    return folder / f"{known.hexdigest()[:24]}.json"


def _write(file: Path, frequency: Tensor) -> None:
    write_text(file, json.dumps(sealed({"firing_frequency": frequency.tolist()}), separators=(",", ":")) + "\n")


def _read(file: Path | None) -> Tensor | None:
    """None where it was not counted, or cannot be read any more."""
    if file is None:
        return None
    try:
        fields = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(fields, dict) or not is_whole(fields) or "firing_frequency" not in fields:
        return None
    return torch.tensor(fields["firing_frequency"], dtype=torch.float64)
