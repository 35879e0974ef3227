"""What is said at the end, and where no machine has room."""

import pytest

from orchestrator.running.result_text import spread
from orchestrator.running.run import does_not_fit


@pytest.mark.parametrize(("n", "most"), [(1, 3), (3, 3), (7, 3), (100, 20)])
def test_a_long_front_is_shown_from_end_to_end(n: int, most: int):
    shown = spread(range(n), most)
    assert len(shown) == min(n, most)
    assert (shown[0], shown[-1]) == (0, n - 1)
    assert shown == sorted(set(shown))


def test_who_has_no_room_is_told_what_to_ask_for():
    both = does_not_fit(4, 1, have=[(2, 0)])
    assert "cpus_per_pack=2" in both
    assert "gpus_per_pack=0" in both
    cpus = does_not_fit(4, 0, have=[(2, 0), (3, 1)])
    assert "cpus_per_pack=3" in cpus
    assert "gpus_per_pack=0" not in cpus
