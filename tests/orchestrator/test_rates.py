"""Rates: seconds as sums, fits that reproduce what was measured, and the file that keeps them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning import kept_rates
from orchestrator.planning.kept_rates import keep_rates, machine_key, read_rates
from orchestrator.planning.rates import Rates, Work, fitted, guessed, scaled

RATES = Rates(product_flops=1e10, model_flops=2e10, moved_bytes=1e9, calls=1e4, start_s=3, base_bytes=5e8)
positive = st.floats(0.25, 4)


def test_seconds_are_a_sum_over_kinds_of_work() -> None:
    work = Work(product_flops=1e10, model_flops=1e10, moved_bytes=3e9, calls=5e3)
    assert RATES.seconds(work) == pytest.approx(1 + 0.5 + 3 + 0.5)
    assert RATES.seconds(work + work * 2) == pytest.approx(15)
    assert work.flops == 2e10


@given(st.tuples(positive, positive, positive, positive))
def test_a_fit_finds_the_rates_that_made_the_times(times: tuple[float, float, float, float]) -> None:
    """Works that differ in what they are made of, timed on a machine so many times faster at each kind of work."""
    product, model, moved, calls = times
    truth = RATES.model_copy(
        update={"product_flops": 1e10 * product, "model_flops": 2e10 * model, "moved_bytes": 1e9 * moved,
                "calls": 1e4 * calls}
    )  # fmt: skip
    works = [
        Work(*(amount * (20 if kind == strong else 1) for kind, amount in enumerate((1e10, 2e10, 1e9, 1e4))))
        for strong in range(4)
    ]
    found = fitted(RATES, [(work, truth.seconds(work)) for work in works])
    for work in works:
        assert found.seconds(work) == pytest.approx(truth.seconds(work), rel=0.1)
    assert found.is_measured


def test_what_was_not_measured_keeps_its_rate() -> None:
    found = fitted(RATES, [(Work(model_flops=1e12), 10.0)])
    assert found.model_flops == pytest.approx(1e11, rel=0.05)
    assert found.product_flops == pytest.approx(RATES.product_flops)
    assert found.moved_bytes == pytest.approx(RATES.moved_bytes)


def test_more_threads_are_guessed_to_be_faster_but_not_in_starting_operations() -> None:
    one, four = guessed("cpu"), guessed("cpu", n_threads=4)
    assert 2 < four.product_flops / one.product_flops < 4
    assert four.calls == one.calls
    assert scaled(RATES, 2).moved_bytes == 2e9


def test_kept_rates_come_back_beside_those_of_other_machines(tmp_path: Path) -> None:
    keep_rates(tmp_path / "cache", "one", RATES)
    keep_rates(tmp_path / "cache", "two", guessed("gpu"))
    assert read_rates(tmp_path / "cache", "one") == RATES
    assert read_rates(tmp_path / "cache", "two") == guessed("gpu")
    assert read_rates(tmp_path / "cache", "three") is None


@pytest.mark.parametrize("content", ["", "{", '{"machines": {"one": {"calls": "many"}}}', "[]"])
def test_a_broken_file_is_as_good_as_none_and_is_made_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "rates.json").write_text(content)
    assert read_rates(tmp_path, "one") is None
    keep_rates(tmp_path, "one", RATES)
    assert read_rates(tmp_path, "one") == RATES


def test_rates_hold_for_one_device_number_of_threads_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {machine_key("cpu", n_threads=threads, n_slots=slots) for threads in (1, 2) for slots in (1, 2)}
    monkeypatch.setattr(kept_rates, "_version", lambda _: "99")
    keys.add(machine_key("cpu", n_threads=1, n_slots=1))
    monkeypatch.setattr(kept_rates, "_cpu_name", lambda: "another one")
    keys.add(machine_key("cpu", n_threads=1, n_slots=1))
    assert len(keys) == 6
