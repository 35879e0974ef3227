"""A pack's whole state as one file: safetensors, never pickle. What is read back is bitwise what was written.

Data order and learning rate are functions of the step, so parameters, moments, counts and the step are all there is.
Tensors are written and read one at a time: where memory is short, a checkpoint needs little more of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainer.errors import BadInput
from trainer.files import write_parts_whole
from trainer.sae.density import Switch
from trainer.state import BankState, TrainState

SCHEMA = 1
_DTYPES = {
    torch.float64: "F64", torch.int64: "I64", torch.float32: "F32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.int16: "I16", torch.uint8: "U8", torch.int8: "I8", torch.bool: "BOOL",
}  # fmt: skip
"""As safetensors calls them, widest first: in this order every tensor is aligned."""


def save_state(path: Path, state: TrainState, *, trial_ids: list[list[str]]) -> str:
    """Write `state` to `path`; `trial_ids` says, bank by bank, whose it is. The old file stays until the new is whole.

    Returns the SHA-256 of what was written.

    Raises:
        OSError: the disk does not take it.
    """
    tensors = {f"{number}/{name}": t for number, bank in enumerate(state.banks) for name, t in _tensors(bank).items()}
    facts = {
        "schema": SCHEMA,
        "step": state.step,
        "trial_ids": trial_ids,
        "grad_norm_steps": [bank.grad_norm_steps for bank in state.banks],
        "switches": [[bank.switch.path, bank.switch.switches] for bank in state.banks],
    }
    sha256 = hashlib.sha256()

    def hashed() -> Iterator[bytes | memoryview]:
        for part in _safetensors(tensors, {"state": json.dumps(facts)}):
            sha256.update(part)
            yield part

    write_parts_whole(path, hashed())
    return sha256.hexdigest()


def state_bytes(state: TrainState) -> int:
    """About what `save_state` writes."""
    return sum(tensor.nbytes for bank in state.banks for tensor in _tensors(bank).values())


def load_state(path: Path, state: TrainState, *, trial_ids: list[list[str]]) -> None:
    """Overwrite `state`, a fresh one of the same trials or of some of them, in place.

    Raises:
        BadInput: the file is broken, of other trials, or of another version. `state` is then unchanged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["state"])
            if facts.get("schema") != SCHEMA:
                raise BadInput(f"{path} is a checkpoint of another version: delete it to start this pack over")
            banks = [_find(ids, facts["trial_ids"]) for ids in trial_ids]
            if any(bank is None for bank in banks):
                raise BadInput(f"{path} is a checkpoint of other trials: delete it to start this pack over")
            slots = [bank for bank in banks if bank is not None]
            _check_shapes(file, path, state, slots)
            _read(file, state, slots)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is not a whole checkpoint ({error}): delete it to start this pack over") from error
    state.step = facts["step"]
    for bank, (number, _, _) in zip(state.banks, slots, strict=True):
        path_taken, switches = facts["switches"][number]
        bank.grad_norm_steps = facts["grad_norm_steps"][number]
        bank.switch = bank.switch.resumed(path=path_taken, switches=tuple(Switch(*switch) for switch in switches))


class _Slots(NamedTuple):
    """Where the trials of a bank are in a file."""

    bank: int
    indices: list[int]
    n_saes: int
    """Of the bank in the file."""

    def shape(self, tensor: Tensor) -> list[int]:
        """Of the tensor in the file that holds the slots of `tensor`."""
        return [self.n_saes, *tensor.shape[1:]] if tensor.ndim else []


def _find(ids: list[str], there: list[list[str]]) -> _Slots | None:
    for number, bank in enumerate(there):
        if set(ids) <= set(bank):
            return _Slots(number, [bank.index(trial_id) for trial_id in ids], len(bank))
    return None


def _check_shapes(file: Any, path: Path, state: TrainState, banks: list[_Slots]) -> None:
    names: set[str] = set(file.keys())
    for state_bank, slots in zip(state.banks, banks, strict=True):
        wanted = {f"{slots.bank}/{name}": tensor for name, tensor in _tensors(state_bank).items()}
        if {name for name in names if name.startswith(f"{slots.bank}/")} != wanted.keys():
            raise BadInput(f"{path} holds tensors of other names: delete it to start this pack over")
        for name, tensor in wanted.items():
            found = file.get_slice(name)
            if (found.get_shape(), found.get_dtype()) != (slots.shape(tensor), _DTYPES[tensor.dtype]):
                raise BadInput(f"{path} holds tensors of other shapes: delete it to start this pack over")


@torch.no_grad()
def _read(file: Any, state: TrainState, banks: list[_Slots]) -> None:
    for state_bank, slots in zip(state.banks, banks, strict=True):
        for name, tensor in _tensors(state_bank).items():
            key = f"{slots.bank}/{name}"
            if not tensor.ndim or slots.indices == list(range(slots.n_saes)):
                tensor.copy_(file.get_tensor(key))
                continue
            part = file.get_slice(key)
            for slot, index in enumerate(slots.indices):
                tensor[slot].copy_(part[index : index + 1][0])


def _safetensors(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> Iterator[bytes | memoryview]:
    """The file, piece by piece: the length of its header, the header, each tensor."""
    order = list(_DTYPES)
    ordered = sorted(tensors.items(), key=lambda item: order.index(item[1].dtype))
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _tensors(bank: BankState) -> dict[str, Tensor]:
    return {
        **bank.bank.parameters,
        **{f"mean/{name}": moments.mean for name, moments in bank.moments.items()},
        **{f"square/{name}": moments.square for name, moments in bank.moments.items()},
        "active": bank.active,
        "diverged_at": bank.diverged_at,
        "diverged_terms": bank.diverged_terms,
        "last_fired": bank.last_fired,
        "grad_norm_sum": bank.grad_norm_sum,
    }
