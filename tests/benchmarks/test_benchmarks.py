"""The benchmarks run, at toy shapes, and what they say follows from what they timed. No test looks at a time."""

import dataclasses
import importlib.util
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import all as all_benchmarks
from benchmarks import allocator, compare, floor, growth, machine, plots, report, setting, step, timing
from benchmarks.random_model import save_random_gpt2
from trainer.config import ModelConfig
from trainer.errors import EnvironmentProblem
from trainer.models import load_model


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> setting.Setting:
    folder = tmp_path_factory.mktemp("model")
    save_random_gpt2(folder, n_layer=3, n_embd=16, n_head=2, vocab_size=50, n_positions=16)
    return setting.Setting(
        model=str(folder), ratio=4, n_saes=2, l0=5, layer=1, batch_rows=4, context=16, loss="e2e_downstream"
    )


class Ticks:
    """A clock that says what it is told."""

    def __init__(self, *readings: float) -> None:
        self.readings = iter(readings)

    def now(self) -> float:
        return next(self.readings)


CLOCK = timing.Clock("process")


# --------------------------------------------------------------------------------------------------------- setting


@pytest.mark.parametrize("l0", [0.5, 5, 40])
def test_biases_give_the_l0_that_was_asked_for(l0: float) -> None:
    torch.manual_seed(0)
    w_enc, b_enc, x = torch.randn(2, 64, 8), torch.zeros(2, 64), torch.randn(500, 8)
    said = setting.hold_l0(w_enc, b_enc, x, l0=l0)
    fired = (torch.einsum("kfd,td->ktf", w_enc, x) + b_enc[:, None] > 0).float()
    assert said == pytest.approx(fired.sum(-1).mean().item(), rel=1e-5)
    assert said == pytest.approx(l0, rel=0.05)
    assert fired.mean(1).std() < 0.05  # no element does the work of the others


@pytest.mark.parametrize("loss", setting.LOSSES)
def test_a_timed_pack_steps_and_stays_as_it_is(toy: setting.Setting, loss: setting.Loss) -> None:
    ours = setting.OurPack(dataclasses.replace(toy, loss=loss), log_every_steps=1)
    before, first = {name: each.clone() for name, each in ours.tensors.items()}, ours.last_loss
    step_before = ours.pack.state.step
    ours()
    assert ours.pack.state.step == step_before + 1
    for name, each in ours.tensors.items():
        torch.testing.assert_close(each, before[name], rtol=0, atol=1e-8)
    assert ours.last_loss == pytest.approx(first, rel=1e-5)  # the same rows in another order
    assert all(moment.square.any() for moment in ours.pack.state.banks[0].moments.values())


# ---------------------------------------------------------------------------------------------------------- timing


def test_a_step_lies_between_two_questions_for_a_batch() -> None:
    batches = timing.Stamped("abc", Ticks(0, 10, 11, 14))  # type: ignore[arg-type]
    assert list(batches) == ["a", "b", "c"]
    assert batches.step_seconds(skip=1) == 2  # the median of 1 and 3


def test_everything_takes_turns_and_the_first_turn_does_not_count() -> None:
    order: list[str] = []

    def turn(name: str, seconds: Iterator[float]) -> timing.Turn:
        def run(clock: timing.Clock) -> float:
            del clock
            order.append(name)
            return next(seconds)

        return run

    medians = timing.in_turns(
        {"a": turn("a", iter((99, 1, 5, 2))), "b": turn("b", iter((99, 3, 3, 4)))}, repeats=3, clock=CLOCK
    )
    assert medians == {"a": 2, "b": 3}
    assert order == ["a", "b"] * 4


# ------------------------------------------------------------------------------------------------------- our step


def test_ratios_follow_from_the_seconds(toy: setting.Setting) -> None:
    seconds = floor.fastest(
        {"ours": 2.0, "plain": 5.0, "encoder_product:512": 0.5, "encoder_product:4096": 0.7, "clean_run": 0.2,
         "blocks_above": 0.3}
    )  # fmt: skip
    row = step.row_of(toy, seconds, l0=5, clock=CLOCK, n_threads=1)
    assert row["sae_tokens_per_s"] == 2 * 4 * 16 / 2
    assert row["times_plain"] == 2 * 5 / 2  # one after another: two SAEs take twice as long
    assert row["share_of_floor"] == (0.5 + 0.2 + 0.3) / 2
    assert row["share_of_encoder_product"] == 0.5 / 2


def test_our_step_and_its_floor_are_measured_for_every_loss(toy: setting.Setting) -> None:
    for loss in setting.LOSSES:
        row = step.measure(dataclasses.replace(toy, loss=loss), clock=CLOCK, n_threads=1, repeats=1)
        assert ("blocks_above_s" in row) == (loss != "local")
        assert math.isfinite(float(str(row["times_plain"])))


def test_the_blocks_above_are_run_forward_and_backward(toy: setting.Setting) -> None:
    model, calls = setting.model_of(toy), list[int]()
    block = model.block
    model.blocks = lambda residual, start, stop: (calls.extend(range(start, stop)), residual.clone())[1]  # type: ignore[method-assign]
    try:
        floor.blocks_above(toy)()
    finally:
        del model.blocks
    assert model.block == block
    assert calls == [0] + [1, 2] * toy.n_saes  # once below to get there, then above for each SAE


# ---------------------------------------------------------------------------------------------------------- peers


def test_a_peer_that_trains_one_sae_at_a_time_is_timed_for_all_of_them(toy: setting.Setting) -> None:
    def peers(shape: setting.Setting, ours: setting.OurPack) -> dict[str, timing.Turn]:
        assert ours.pack.trials[0].sae.ratio == shape.ratio
        return {"peer": lambda clock: 7.0}

    one = compare.compare(toy, peers, saes_per_step=1, clock=CLOCK, n_threads=1, repeats=1)
    assert one["times_peer"] == pytest.approx(2 * 7.0 / float(str(one["ours_s"])), rel=0.05)
    both = compare.compare(toy, peers, clock=CLOCK, n_threads=1, repeats=1)
    assert both["times_peer"] == pytest.approx(7.0 / float(str(both["ours_s"])), rel=0.05)


def test_a_peer_has_memory_and_precision_as_without_us_and_ours_are_back_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    monkeypatch.setattr(allocator, "hand_back_freed_memory", lambda: order.append("hand back"))
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: order.append("keep"))

    def fails(clock: timing.Clock) -> float:
        order.extend([clock.kind, torch.get_float32_matmul_precision()])
        raise ValueError

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(ValueError):  # noqa: PT011 - it has no message
            allocator.as_it_stands(fails)(CLOCK)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert order == ["hand back", "process", "highest", "keep"]


def test_a_missing_peer_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.peer_model import peer

    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(EnvironmentProblem, match=r"sae_lens .*sae-lens is needed.*performance\.md"):
        peer("sae_lens", package="sae-lens")


@pytest.mark.skipif(importlib.util.find_spec("transformer_lens") is None, reason="needs transformer-lens")
@pytest.mark.filterwarnings("ignore")
def test_the_peers_run_the_model_that_we_run(toy: setting.Setting) -> None:
    from benchmarks.peer_model import hooked_transformer

    ours, tokens = setting.model_of(toy), setting.tokens_of(toy)
    logits, cache = hooked_transformer(toy).run_with_cache(tokens)
    residual = ours.blocks(ours.embed(tokens), 0, toy.layer)
    torch.testing.assert_close(cache[f"blocks.{toy.layer}.hook_resid_pre"], residual, rtol=1e-4, atol=1e-5)
    expected = ours.logits(ours.blocks(residual, toy.layer, ours.n_layers))
    torch.testing.assert_close(logits.log_softmax(-1), expected.log_softmax(-1), rtol=1e-4, atol=1e-4)


def test_every_benchmark_is_run_with_the_python_that_has_what_it_needs(tmp_path: Path) -> None:
    def modules(**given: object) -> list[tuple[str, str]]:
        found = list(all_benchmarks.commands(tmp_path, more=["--device", "cuda"], **given))  # type: ignore[arg-type]
        assert all(command[-2:] == ["--device", "cuda"] for command in found)
        return [(command[0], command[2].removeprefix("benchmarks.")) for command in found]

    alone = modules(peers_python=None, e2e_sae=None)
    assert alone == [(sys.executable, "step"), (sys.executable, "growth")]
    everything = modules(peers_python="python-with-peers", e2e_sae=tmp_path)
    others = [name for python, name in everything if python == "python-with-peers"]
    assert others == ["compare_e2e_sae", "compare_e2e_sae", "compare_saelens", "compare_dictionary_learning"]
    assert set(report.SOURCES.values()) <= {name for _, name in everything}
    assert all(importlib.util.find_spec(f"benchmarks.{name}") for _, name in everything)


# --------------------------------------------------------------------------------------------- growth and pictures


def test_growth_is_measured_along_every_axis_and_drawn(toy: setting.Setting, tmp_path: Path) -> None:
    values = {"n_saes": (1, 3), "ratio": (2, 4), "l0": (2, 5), "layer": (0, 1)}
    rows = [
        row
        for axis in growth.AXES
        for row in growth.along(axis, values[axis], dataclasses.replace(toy, loss="e2e"), clock=CLOCK, repeats=1)
    ]
    for axis, asked in values.items():
        assert [row[axis] for row in rows if row["axis"] == axis] == pytest.approx(list(asked), rel=0.05)
    plots.growth(rows, tmp_path / "growth.png")
    times = {("local", 16.0): {"e2e_sae": 8.0, "plain": 9.0}, ("e2e", 16.0): {"plain": 2.0}}
    plots.times_faster(times, report.TARGETS, tmp_path / "times.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("growth.png", "times.png"))


def test_a_peak_holds_at_least_the_weights(toy: setting.Setting) -> None:
    assert growth.peak_mib(toy, "sparse") > 1


# --------------------------------------------------------------------------------------------------------- results


def test_a_value_below_its_aim_says_so() -> None:
    assert report.judged(3.6, 4) == "**3.6** (aim: 4.0)"
    assert report.judged(4.0, 4) == "4.0"
    assert report.judged(None, 4) == "-"


def test_results_are_written_with_machine_and_command_and_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "step.json"
    machine.save(path, device="cpu", notes={"a": "b"}, rows=[{"x": 1.5}])
    record = report.load(path.parent)["step"]
    assert record["rows"] == [{"x": 1.5}]
    assert record["machine"]["torch"] == torch.__version__
    assert machine.without_paths(["--e2e-sae", str(tmp_path), "local"]) == [
        "--e2e-sae",
        f"PATH/{tmp_path.name}",
        "local",
    ]


def test_the_document_shows_the_results_that_are_kept() -> None:
    document = report.DOCUMENT.read_text("utf-8")
    assert set(report.TABLES) == set(re.findall(r"<!-- table: ([\w-]+) -->", document))
    assert report.filled(document, report.load()) == document


def test_the_random_model_is_one_that_we_load(toy: setting.Setting) -> None:
    assert load_model(ModelConfig(name=toy.model)).facts.n_layers == 3
