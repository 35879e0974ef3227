"""State dicts for tools that read nothing else: `torch.save` of plain tensors, so that `weights_only=True` loads them.

Written, never read: reading such files of others can run code.
"""

from collections.abc import Mapping
from io import BytesIO

import torch
from torch import Tensor


def state_dict_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """A `.pt` file of these tensors on the CPU; the same bytes for the same tensors."""
    buffer = BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, buffer)
    return buffer.getvalue()
