"""Tests run on one thread: their tensors are tiny, and other tests may run beside them. Triton's kernels, written for a
GPU, are interpreted; Triton wants to know that before anything imports it.
"""

import os

import torch

os.environ.setdefault("TRITON_INTERPRET", "1")
torch.set_num_threads(1)
