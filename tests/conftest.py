"""Tests run on one thread: their tensors are tiny, and other tests may run beside them."""

import torch

torch.set_num_threads(1)
