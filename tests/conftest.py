"""Tests run on one thread: their tensors are tiny, and other tests may run beside them. Triton's kernels, written for a
GPU, are interpreted; Triton wants to know that before anything imports it.
"""

import os

import hypothesis
import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "1")
torch.set_num_threads(1)
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

LONGEST = ("test_ray_killed", "test_launch", "test_page", "test_recovery", "test_end_to_end", "test_check", "test_sync")
"""Files whose slow tests take longest. They come first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
