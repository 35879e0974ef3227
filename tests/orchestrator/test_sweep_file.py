"""Sweep files: what they may say, and how they say what is wrong."""

from pathlib import Path

import pytest

from orchestrator.planning.plan import plan
from orchestrator.sweep.resolve import NoValue, choose
from orchestrator.sweep.sweep_file import load_sweep
from orchestrator.sweep.yaml_lines import parse, scalar
from tests.orchestrator.sweeps import SHAPES, SMALL, small_sweep
from trainer.errors import BadInput

BUILTIN = SHAPES["builtin"]


def complaint(folder: Path, *overrides: str, text: str = SMALL) -> str:
    with pytest.raises(BadInput) as caught:
        plan(small_sweep(folder, *overrides, text=text), BUILTIN)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4), ("1_000", 1000), ("409_600_000", 409_600_000), ("1e6", 1_000_000), ("1.5e3", 1500),
        ("-3", -3), ("-.inf", float("-inf")),
        ("012", 12), (".5", 0.5), ("2.", 2.0), ("off", "off"), ("yes", "yes"), ("true", True), ("~", None), ("", None),
        ("12:30", "12:30"), ("1__0", "1__0"), ("0x10", "0x10"), ("2024-01-01", "2024-01-01"),
        ("9" * 5000, float("inf")),
    ],
)  # fmt: skip
def test_a_scalar_reads_as_people_mean_it(text: str, value: object) -> None:
    read = scalar(text)
    assert read == value
    assert type(read) is type(value)


def test_a_quoted_scalar_is_text() -> None:
    assert parse('["5e-4", \'true\', "1"]', name="x").tree == ["5e-4", "true", "1"]


def test_every_value_knows_its_line() -> None:
    lines = parse("a: 1\nb:\n  - c: 2\n  -\n    d: {e: 3}\n", name="x").lines
    assert lines[("a",)] == 1
    assert lines[("b",)] == 2
    assert lines["b", 0, "c"] == 3
    assert lines["b", 1, "d", "e"] == 5


def test_a_good_file_is_read_as_written(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "train.clip_norm=off", "logging.eval_every_tokens=64")
    assert sweep.data.context == 16
    assert sweep.train["clip_norm"] == "off"
    assert sweep.train["lr"] == 5e-4
    assert sweep.grid.axes["seed"] == [0]
    assert sweep.resources.trials_per_pack == "auto"
    assert sweep.logging.eval_every_tokens == 64
    assert [plane.x for plane in sweep.frontier.planes] == ["l0", "n_alive_elements"]


def test_the_resolved_copy_is_the_same_sweep(tmp_path: Path) -> None:
    coefficients = "grid.sparsity_coeff={local: [1], e2e: {0-3: [2]}}"
    sweep = small_sweep(tmp_path, "train.clip_norm=off", "train.lr=1e-5", coefficients, "grid.loss=[local, e2e]")
    copy = tmp_path / "copy.yaml"
    copy.write_text(sweep.to_yaml(), "utf-8")
    assert load_sweep(copy) == sweep
    assert load_sweep(copy).sweep_id == sweep.sweep_id


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lr=-1", "train.lr: came -1, expected a number above 0"),
        ("train.lr=.nan", "train.lr: came nan, expected a number above 0"),
        ("train.lr='1'", "train.lr: came the text '1'"),
        ("train.lr=", "train.lr: came nothing (null)"),
        ("train.tokens=1.5", "came 1.5, expected a whole number of at least 1"),
        ("train.tokens=31", "train.tokens: came 31, expected at least one step's tokens: one step takes 32"),
        ("trian.lr=1", "trian: unknown key; did you mean 'train'?"),
        ("train.lrr=1", "train.lrr: unknown key; did you mean 'lr'?"),
        ("sparsity_coeff=1", "did you mean 'grid.sparsity_coeff'?"),
        ("data.context=257", "data.context: came 257, expected 2 to 256: builtin reads at most 256 tokens"),
        ("data.context=1", "data.context: came 1, expected 2 to 256"),
        ("grid.layer=[1, 6]", "grid.layer: came 6, expected 0 to 5: builtin has 6 blocks"),
        ("grid.layer=[]", "grid.layer: came an empty list"),
        ("grid.layer=[1, 1]", "grid.layer: 1 comes twice"),
        ("grid.layer=every", "grid.layer: came the text 'every'"),
        ("grid.loss=[locale]", "grid.loss.0: came the text 'locale', expected one of local, e2e"),
        ("grid.sparsity_coeff=[0]", "grid.sparsity_coeff.0: came 0, expected a number above 0"),
        ("grid.sparsity_coeff=[.nan]", "came nan"),
        ("grid.sparsity_coeff=[1, 1.0]", "comes twice"),
        ("grid.sparsity_coeff=[]", "grid.sparsity_coeff: came an empty list"),
        ("grid.sparsity_coeff={local: [1], e2e: [1]}", "no value for loss 'e2e_downstream', only for local, e2e"),
        ("grid.sparsity_coeff={0-2: [1]}", "no value for layer 3, only for 0-2"),
        ("grid.sparsity_coeff={0-2: [1], 2-3: [2]}", "layer 2 has two values"),
        ("grid.sparsity_coeff={locl: [1], e2e: [1]}", "neither a loss nor a layer; did you mean 'local'?"),
        ("grid.sparsity_coeff={local: [1], 2: [1]}", "losses and layers at once"),
        ("grid.sparsity_coeff={local: {e2e: [1]}}", "the loss is settled here already"),
        ("grid.train.lrr=[1]", "grid.train.lrr: no axis a grid can have; did you mean 'train.lr'?"),
        ("grid.train.lr=[1e-3, 0]", "grid.train.lr.1: came 0"),
        ("grid.model.name=[builtin, gpt2]", "a sweep is on one model"),
        ("grid.exclude=[{layer: end}]", "grid.exclude.0.layer: came the text 'end', expected"),
        ("grid.exclude=[{lyer: 1}]", "grid.exclude.0.lyer: unknown key; did you mean 'layer'?"),
        ("grid.exclude=[{layer: [1, 3]}]", "no trial is left"),
        ("grid.layer=[5]", "layer 5 is the last of builtin: no later hookpoint for 'e2e_downstream'; add exclude"),
        ("grid.loss=mixed", "at least one of local_coeff, kl_coeff, downstream_coeff above 0"),
        ("loss.local_then_e2e.switch_at=1.5", "loss.local_then_e2e.switch_at: came 1.5, expected a number from 0 to 1"),
        ("loss.local_then_e2e.kl_scale=mse", "kl_scale: came the text 'mse', expected one of fixed, as_local"),
        ("loss.local_then_e2e.kl_coeff=0", "loss.local_then_e2e.kl_coeff: came 0, expected a number above 0"),
        ("loss.local_then_e2e.swich_at=0.5", "unknown key; did you mean 'switch_at'?"),
        ("grid={layer: 5, loss: local_then_e2e, sparsity_coeff: 1, loss.local_then_e2e.downstream_coeff: [0, 1]}",
         "no later hookpoint for 'local_then_e2e'; add exclude"),
        ("loss={}", "loss.e2e_downstream: 'downstream_coeff' is missing, and the grid asks for 'e2e_downstream'"),
        ("loss.local.sparsity_coeff=1", "write grid.sparsity_coeff"),
        ("loss.e2e.sparsity_p={e2e: 1}", "the loss is settled here already"),
        ("sae.ratio=1e300", "sae.ratio: came 1e+300, expected at most 131072"),
        ("data.eval_rows={local: 1}", "data.eval_rows: came a mapping"),
        ("train={tokens: 64}", "train: 'batch_rows' is missing"),
        ("train.schedule=trapezoid", None),
        ("logging.eval_every_tokens=31", "logging.eval_every_tokens: came 31, expected at least one step's 32, or end"),
        ("resources.gpus_per_pack=1.5", "resources.gpus_per_pack: came 1.5"),
        ("frontier.objectives=[[l0, loss]]", "frontier.objectives.0.1: came the text 'loss'"),
        ("frontier.objectives=[[l0, l0]]", "frontier.objectives.0: came a list, ['l0', 'l0'], expected"),
        ("name=../x", "name: came the text '../x'"),
        ("model.name=\"a\\nb\"", "control character"),
        ("grid.seed=[0, 18446744073709551616]", "grid.seed.1: came 1.8446744073709552e+19"),
        ("grid.seed={a: &x 1, b: *x}", "anchors"),
        ("train.tokens.x=3", "train.tokens is 1000, not a mapping; set it whole: --set train.tokens=..."),
        ("train.tokens", "expected FIELD=VALUE"),
        ("train.tokens=[", "not YAML"),
        ("train..lr=1", "expected FIELD=VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_clear_message(tmp_path: Path, override: str, expected: str | None) -> None:
    if expected is None:
        plan(small_sweep(tmp_path, override), BUILTIN)
        return
    message = complaint(tmp_path, override)
    assert expected in message
    assert "--set " in message or "small.yaml:" in message


def test_an_override_is_named_in_place_of_a_line(tmp_path: Path) -> None:
    assert complaint(tmp_path, "sae.ratio=-1").startswith("--set sae.ratio=-1  sae.ratio: came -1")


def test_a_problem_in_the_file_has_its_line(tmp_path: Path) -> None:
    message = complaint(tmp_path, text=SMALL.replace("context: 16", "context: 300"))
    assert message.startswith("small.yaml:3  data.context: came 300")


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    message = complaint(tmp_path, "sae.ratio=0", "train.lr=x", text=SMALL.replace("layer: [1, 3]", "layr: [1]"))
    assert "small.yaml: 4 problems, nothing was started" in message
    for expected in ("sae.ratio", "train.lr", "grid.layr", "'layer' is missing"):
        assert expected in message


def test_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    message = complaint(tmp_path, text=SMALL.replace("{ratio: 2}", "{ratio: 2, ratio: 3}"))
    assert message == "small.yaml:5  sae.ratio: comes twice, first in line 5; remove one"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "small.yaml:1  came nothing (null), expected a mapping"),
        (b"- a\n- b\n", "small.yaml:1  came a list"),
        (b"a: [1\nb: 2\n", "small.yaml:2  column"),
        (b"a: 1\nb: \xff\n", "small.yaml:2  byte 8 is not UTF-8"),
        ("name: x".encode("utf-16"), "is not UTF-8"),
        (b"a: \x00", "not YAML"),
        (b"[" * 100_000, "nested more than 20 deep"),
        (b"a: 1\n---\nb: 2\n", "a second document"),
        (b"a: !!python/object:os.system 1\n", "the tag"),
        (b"? [1]\n: 2\n", "a key here is neither a word nor a whole number"),
        (b"a" * 1_000_001, "at most 1,000,000 bytes"),
    ],
)
def test_what_is_no_sweep_file_is_one_clear_message(tmp_path: Path, raw: bytes, expected: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_bytes(raw)
    with pytest.raises(BadInput) as caught:
        load_sweep(path)
    assert expected in str(caught.value)


def test_a_missing_file_and_a_folder_say_what_is_there(tmp_path: Path) -> None:
    small_sweep(tmp_path)
    with pytest.raises(BadInput, match=r"smal\.yaml: no such file; there are .*small\.yaml"):
        load_sweep(tmp_path / "smal.yaml")
    with pytest.raises(BadInput, match="is a folder, expected a YAML file"):
        load_sweep(tmp_path)
    with pytest.raises(BadInput, match="cannot be read: File name too long"):
        load_sweep("x" * 5000 + "/a.yaml")


def test_a_value_is_chosen_by_loss_and_layer_in_either_nesting() -> None:
    by_loss = {"local": {"0-3": 1, 4: 2}, "e2e": 3}
    by_layer = {"0-3": {"local": 1, "e2e": 3}, 4: {"local": 2, "e2e": 3}}
    for loss in ("local", "e2e"):
        for layer in range(5):
            first = choose(by_loss, (), loss=loss, layer=layer).value  # pyright: ignore[reportArgumentType]
            assert first == choose(by_layer, (), loss=loss, layer=layer).value  # pyright: ignore[reportArgumentType]
    with pytest.raises(NoValue, match="layer 5"):
        choose(by_loss, (), loss="local", layer=5)  # pyright: ignore[reportArgumentType]
