"""The sweep files that come with the program: they plan, they say what the paper says, and no damage to one ends in
anything but a plan or a message."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.planning.cost import plan_cost
from orchestrator.planning.plan import Plan, plan
from orchestrator.planning.plan_text import plan_text
from orchestrator.sweep.sweep_file import load_sweep
from orchestrator.sweep.sweep_schema import all_fields, written_default
from orchestrator.sweep.yaml_lines import parse
from tests.orchestrator.sweeps import SHAPES, SWEEPS
from trainer.errors import BadInput

FILES = sorted(SWEEPS.glob("*.yaml"))
TEXTS = [path.read_text("utf-8") for path in FILES]
FIELDS = [name for name, _ in all_fields()]
TREES = [parse(text, name="x").tree for text in TEXTS]


def planned(name: str, *overrides: str) -> Plan:
    sweep = load_sweep(SWEEPS / name, overrides)
    return plan(sweep, SHAPES[sweep.model.name])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_sweep_plans_and_says_so(path: Path) -> None:
    sweep = load_sweep(path)
    facts = SHAPES[sweep.model.name]
    found = plan(sweep, facts)
    assert len({trial.run_name for trial in found.trials}) == len(found.trials)
    assert found.sweep_id.startswith(path.stem.replace("_", "-"))
    assert plan_text(found, plan_cost(found.packs, facts), sweep).endswith("nothing was started")


def test_the_quick_start_has_three_losses_at_two_layers_or_more() -> None:
    configs = [trial.config for trial in planned("quickstart.yaml").trials]
    layers = {config.layer for config in configs}
    assert len(layers) >= 2
    for layer in layers:
        for kind in ("local", "e2e", "e2e_downstream"):
            assert sum(config.layer == layer and config.loss.kind == kind for config in configs) >= 4


def test_the_gpt2_sweep_holds_every_row_of_tables_2_and_3() -> None:
    names = {trial.run_name for trial in planned("gpt2_all_layers.yaml").trials}
    table_2 = [(2, 0.8, 0.5, 10), (6, 4, 3, 50), (10, 6, 1.5, 1.75)]
    table_3 = [(2, 4, 1.5, 35), (6, 6, 1.5, 50), (10, 10, 1.5, 1.75)]
    for layer, local, e2e, downstream in table_2 + table_3:
        for seed in (0, 1):
            for kind, coeff in (("local", local), ("e2e", e2e), ("e2e_downstream", downstream)):
                assert f"L{layer}-{kind}-c{coeff:g}-s{seed}" in names


def test_the_gpt2_sweep_trains_as_the_paper_did() -> None:
    configs = [trial.config for trial in planned("gpt2_all_layers.yaml").trials]
    assert {config.layer for config in configs} == set(range(12))
    assert {config.n_steps for config in configs} == {25_000}
    assert {config.tokens_per_step for config in configs} == {16_384}
    assert {config.sae.d_sae(768) for config in configs} == {46_080}
    assert {config.train.lr for config in configs} == {5e-4}
    assert {int(config.train.warmup_fraction * config.n_steps) for config in configs} == {1250}
    assert all(config.model.center_residual for config in configs)
    betas = {c.layer: c.loss.weights.downstream for c in configs if c.loss.kind == "e2e_downstream"}
    assert (betas[2], betas[6], betas[10]) == (2.5, 2.5, 0.05)
    assert 11 not in betas
    assert {c.loss.weights.kl for c in configs if c.loss.kind == "e2e_downstream"} == {0.5}


def test_figure_1_is_the_sixth_layer_with_the_coefficients_of_table_1() -> None:
    configs = [trial.config for trial in planned("gpt2_figure1.yaml").trials]
    assert {config.layer for config in configs} == {6}
    pairs = {(config.loss.kind, config.loss.sparsity_coeff) for config in configs}
    assert {("local", 4), ("e2e", 3), ("e2e_downstream", 50)} <= pairs


def test_tinystories_trains_every_loss_alike_and_can_be_set_to_the_figures_own_choice() -> None:
    alike = {(t.config.n_steps, t.config.train.lr) for t in planned("tinystories_1m.yaml").trials}
    assert alike == {(20_000, 1e-3)}
    text = (SWEEPS / "tinystories_1m.yaml").read_text("utf-8")
    own = dict(re.findall(r"^#     (tokens|lr): (\{.*\})$", text, re.MULTILINE))
    found = planned("tinystories_1m.yaml", *(f"train.{name}={value}" for name, value in own.items()))
    steps = {t.config.loss.kind: (t.config.n_steps * 20, t.config.train.lr) for t in found.trials}
    assert steps == {"local": (400_000, 1e-2), "e2e": (450_000, 1e-3), "e2e_downstream": (250_000, 1e-3)}


def test_the_gpt2_sweep_runs_on_a_small_local_model_too() -> None:
    class Tiny:
        n_layers, d_model, d_vocab, n_context = 2, 16, 100, 64

    sweep = load_sweep(
        SWEEPS / "gpt2_all_layers.yaml",
        ["model.name=/somewhere", "data.dataset=/elsewhere", "data.context=32", "train.tokens=2048",
         "train.batch_rows=2", "sae.ratio=2", "logging.eval_every_tokens=end"],
    )  # fmt: skip
    found = plan(sweep, Tiny())
    kinds = {(trial.config.layer, trial.config.loss.kind) for trial in found.trials}
    assert (0, "e2e_downstream") in kinds
    assert (1, "e2e_downstream") not in kinds
    assert {layer for layer, _ in kinds} == {0, 1}


def test_every_field_is_documented_with_what_it_takes_and_its_default() -> None:
    text = (SWEEPS / "README.md").read_text("utf-8").partition("## Every field")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    documented = {name.strip("`"): (takes, default) for name, takes, default, _ in rows}
    assert documented == {name: (field.words, written_default(field)) for name, field in all_fields()}
    assert all(row[3] for row in rows)


def test_every_shipped_sweep_is_in_the_readme() -> None:
    text = (SWEEPS / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+\.yaml)`", text, re.MULTILINE)) == {path.name for path in FILES}


# ---------------------------------------------------------------------------------------------------------------------
# Damage

ODD = st.sampled_from([
    None, True, False, 0, -1, 1, 2, 0.5, -0.5, 1e-300, 1e300, math.nan, math.inf, -math.inf, 10**17, 10**18, 10**40,
    "", " ", "x", "all", "off", "end", "auto", "last", "local", "e2e", "0-3", "5-2", "nan", "1e5", "builtin", "a\nb",
    "\x00", "\ud7ff", "\u00e9" * 200,
    [], {}, [[]], [{}], {"local": 1}, {0: 1}, {"0-3": [1], "2-9": [2]}, [1, 1], [None],
    {"local": {"e2e": 1}}, ["local"], {"e2e": [1], 3: [2]}, list(range(400)),
    {"local": {"0-99": [1, 2]}, "e2e": [3], "e2e_downstream": [4]},
]).map(copy.deepcopy)  # fmt: skip
KEYS = st.sampled_from([
    "layr", "local", "mixed", 3, "0-99999999", "train.lr", "data.context", "model.name", "loss.e2e.kl", "sae.ratio",
    "loss.e2e_downstream.kl_coeff", "seed", "exclude", "<<", "", " ", "tokens",
])  # fmt: skip


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


@st.composite
def damaged_tree(draw: st.DrawFn) -> str:
    tree: Any = {"top": copy.deepcopy(draw(st.sampled_from(TREES)))}
    for _ in range(draw(st.integers(1, 3))):
        *way, key = draw(st.sampled_from([place for place in places(tree) if place]))
        holder = tree
        for part in way:
            holder = holder[part]
        match draw(st.sampled_from(["delete", "replace", "replace", "rename", "add"])):
            case "delete" if way:
                del holder[key]
            case "rename" if isinstance(holder, dict) and way:
                holder[draw(KEYS)] = holder.pop(key)
            case "add" if isinstance(holder, dict) and way:
                holder[draw(KEYS)] = draw(ODD)
            case _:
                holder[key] = draw(ODD)
    return yaml.safe_dump(tree["top"], sort_keys=False, allow_unicode=True)


@st.composite
def damaged_text(draw: st.DrawFn) -> bytes:
    raw = draw(st.sampled_from(TEXTS)).encode()
    at = draw(st.integers(0, len(raw)))
    match draw(st.sampled_from(["truncate", "insert", "overwrite", "repeat line", "drop line"])):
        case "truncate":
            return raw[:at]
        case "insert":
            return raw[:at] + draw(st.binary(max_size=8)) + raw[at:]
        case "overwrite":
            junk = draw(st.text("[]{}:,#&*!|>'\"%@`- \n\t0e_", max_size=6)).encode()
            return raw[:at] + junk + raw[at + len(junk) :]
        case "repeat line":
            lines = raw.splitlines(keepends=True)
            line = draw(st.integers(0, len(lines) - 1))
            return b"".join([*lines[: line + 1], lines[line], *lines[line + 1 :]])
        case _:
            lines = raw.splitlines(keepends=True)
            del lines[draw(st.integers(0, len(lines) - 1))]
            return b"".join(lines)


def plan_or_message(path: Path, *overrides: str) -> None:
    """Load and plan; whatever else than `BadInput` is raised fails the test."""
    try:
        sweep = load_sweep(path, overrides)
        facts = SHAPES.get(sweep.model.name, SHAPES["builtin"])
        found = plan(sweep, facts)
    except BadInput as refusal:
        message = str(refusal)
    else:
        assert sum(len(pack.trials) for pack in found.packs) == len(found.trials) > 0
        assert len({trial.run_name for trial in found.trials}) == len(found.trials)
        assert all(trial.config.n_steps >= 1 and trial.config.layer < facts.n_layers for trial in found.trials)
        message = plan_text(found, plan_cost(found.packs, facts), sweep)
        assert message.endswith("nothing was started")
    assert message.strip()
    assert "Traceback" not in message


fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@settings(fuzz, max_examples=350)
@given(text=damaged_tree())
def test_a_damaged_sweep_is_a_plan_or_a_message(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_text(text, "utf-8")
    plan_or_message(path)


@settings(fuzz, max_examples=200)
@given(raw=damaged_text())
def test_a_damaged_file_is_a_plan_or_a_message(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(raw)
    plan_or_message(path)


@settings(fuzz, max_examples=100)
@given(path=st.sampled_from([*FIELDS, "grid.train.lr", "grid", "loss", "a.b", "", "grid.0.1"]),
       value=st.one_of(ODD.map(repr), st.text(max_size=12)))  # fmt: skip
def test_any_override_is_a_plan_or_a_message(path: str, value: str) -> None:
    plan_or_message(SWEEPS / "quickstart.yaml", f"{path}={value}")
