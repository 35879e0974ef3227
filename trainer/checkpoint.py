"""A pack's whole state as one file: safetensors, never pickle. What is read back is bitwise what was written.

Data order and learning rate are functions of the step, so parameters, moments, counts and the step are all there is.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trainer.errors import BadInput
from trainer.files import write_whole
from trainer.sae.density import Switch
from trainer.state import BankState, TrainState

SCHEMA = 1


def save_state(path: Path, state: TrainState, *, trial_ids: list[list[str]]) -> None:
    """Write `state` to `path`; `trial_ids` says, bank by bank, whose it is. The old file stays until the new is whole.

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
    content = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, {"state": json.dumps(facts)})
    write_whole(path, content)


def load_state(path: Path, state: TrainState, *, trial_ids: list[list[str]]) -> None:
    """Overwrite `state`, a fresh one of the same trials, in place.

    Raises:
        BadInput: the file is broken, of other trials, or of another version. `state` is then unchanged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["state"])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is not a whole checkpoint ({error}): delete it to start this pack over") from error
    if facts.get("schema") != SCHEMA or facts.get("trial_ids") != trial_ids:
        raise BadInput(f"{path} is a checkpoint of other trials, or of another version: delete it to start over")
    wanted = {f"{number}/{name}": t for number, bank in enumerate(state.banks) for name, t in _tensors(bank).items()}
    if {n: (t.shape, t.dtype) for n, t in found.items()} != {n: (t.shape, t.dtype) for n, t in wanted.items()}:
        raise BadInput(f"{path} holds tensors of other names or shapes: delete it to start this pack over")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    state.step = facts["step"]
    for bank, grad_norm_steps, (path_taken, switches) in zip(
        state.banks, facts["grad_norm_steps"], facts["switches"], strict=True
    ):
        bank.grad_norm_steps = grad_norm_steps
        bank.switch = replace(bank.switch, path=path_taken, switches=tuple(Switch(*switch) for switch in switches))


def _tensors(bank: BankState) -> dict[str, Tensor]:
    return {
        **bank.bank.parameters,
        **{f"mean/{name}": moments.mean for name, moments in bank.moments.items()},
        **{f"square/{name}": moments.square for name, moments in bank.moments.items()},
        "active": bank.active,
        "last_fired": bank.last_fired,
        "grad_norm_sum": bank.grad_norm_sum,
    }
