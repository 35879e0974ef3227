"""The `search` section of a sweep file: what may stand there, and what is said of what may not."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.search.fill import Fill
from orchestrator.search.match import Match
from orchestrator.search.planners import planner_of
from orchestrator.search.sampled import Bound, Sampled
from orchestrator.search.searching import Searching
from orchestrator.search.space import Range
from orchestrator.search.tried import Planner, Series
from orchestrator.search.volume import FillVolume
from orchestrator.sweep.sweep_diff import differences, same_meaning
from orchestrator.sweep.sweep_file import load_sweep
from orchestrator.sweep.sweep_schema import SAMPLERS, SEARCH_COMMON, SEARCH_FIELDS, Search, fields_of
from tests.orchestrator.sweeps import SHAPES, SMALL, small_sweep
from trainer.errors import BadInput

FACTS = SHAPES["builtin"]


def planner(folder: Path, *overrides: str) -> Planner:
    found = planner_of(small_sweep(folder, *overrides), FACTS)
    assert found is not None
    return found[0]


def problems(folder: Path, search: str, *overrides: str) -> str:
    """What is said of SMALL with that section, its lines from line 11 on."""
    with pytest.raises(BadInput) as refusal:
        planner_of(small_sweep(folder, *overrides, text=f"{SMALL}{search}"), FACTS)
    return str(refusal.value).replace(str(folder / "small.yaml"), "F")


def test_every_field_belongs_to_a_kind():
    known = {"kind", *SEARCH_COMMON, *(name for names in SEARCH_FIELDS.values() for name in names)}
    assert known == set(fields_of(Search))


def test_without_the_section_there_is_only_the_grid(tmp_path: Path):
    sweep = small_sweep(tmp_path)
    assert sweep.search == {"kind": "grid"}
    assert planner_of(sweep, FACTS) is None


def test_the_section_is_no_part_of_what_trials_mean(tmp_path: Path):
    plain, searching = small_sweep(tmp_path), small_sweep(tmp_path, "search={kind: fill, l0: [5, 500]}")
    assert searching.sweep_id == plain.sweep_id
    assert same_meaning(plain, searching)
    assert "search.l0: nothing -> [5, 500]" in {each.line for each in differences(plain, searching)}


def test_a_sweep_with_a_search_reads_the_same_from_its_own_copy(tmp_path: Path):
    sweep = small_sweep(
        tmp_path, "search={kind: tpe}", "search.space.train.lr.low=1e-4", "search.space.train.lr.high=1"
    )
    (tmp_path / "copy.yaml").write_text(sweep.to_yaml())
    assert load_sweep(tmp_path / "copy.yaml").search == sweep.search
    assert sweep.search["space"] == {"train.lr": Range(1e-4, 1.0)}


def test_fill_has_a_range_for_every_series_of_the_grid(tmp_path: Path):
    found = planner(
        tmp_path, "grid.sae.ratio=[2, 4]", "search={kind: fill, l0: {1: [5, 50], 3: [8, 500]}, max_gap: 0.1}"
    )
    assert isinstance(found, Fill)
    assert len(found.l0) == 2 * 3 * 2
    assert found.l0[Series(3, "e2e", (("sae.ratio", 4.0),))] == (8.0, 500.0)
    assert found.max_gap == 0.1
    assert isinstance(planner(tmp_path, "search={kind: fill, l0: [5, 50], by: hypervolume}"), FillVolume)


def test_match_takes_targets_by_loss_and_layer(tmp_path: Path):
    found = planner(tmp_path, "search={kind: match, target: {1: 0.1, 3: {local: 0.3, e2e: 0.2, e2e_downstream: 0.2}}}")
    assert isinstance(found, Match)
    assert found.target[Series(3, "local")] == 0.3
    assert (found.metric, found.tolerance, found.max_trials) == ("ce_loss_increase", 0.05, 4)


def test_a_changed_target_is_another_search(tmp_path: Path):
    labels = {
        planner(tmp_path, f"search={{kind: match, target: {target}}}").label
        for target in ("0.1", "0.2", "{1: 0.1, 3: 0.2}")
    }
    assert len(labels) == 3


@pytest.mark.parametrize("kind", SAMPLERS)
def test_samplers_search_the_coefficients_that_the_grid_spans_and_whatever_else_is_given(tmp_path: Path, kind: str):
    space = "{train.lr: {low: 1e-4, high: 1e-2, log: true}, loss.e2e_downstream.kl_coeff: [0.5, 1.0]}"
    found = planner(tmp_path, "grid.sae.ratio=[2, 4]", f"search={{kind: {kind}, space: {space}}}")
    assert isinstance(found, Sampled)
    by_name = {group.name: group.space for group in found.groups}
    assert by_name["L1 e2e"] == {
        "sparsity_coeff": Range(0.5, 1.0, log=True),
        "sae.ratio": (2.0, 4.0),
        "train.lr": Range(1e-4, 1e-2, log=True),
    }
    assert by_name["L1 e2e_downstream"]["loss.e2e_downstream.kl_coeff"] == (0.5, 1.0)
    assert found.objectives == (("l0", "minimize"), ("ce_loss_increase", "minimize"))


def test_objectives_may_be_others_and_know_what_is_better(tmp_path: Path):
    found = planner(tmp_path, "search={kind: tpe, objectives: [explained_variance, l0, device_s]}")
    assert isinstance(found, Sampled)
    assert found.objectives == (("explained_variance", "maximize"), ("l0", "minimize"), ("device_s", "minimize"))


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("search: 3", "F:11  search: came 3, expected a mapping with kind, and what belongs to that kind"),
        ("search: {l0: [5, 50]}", "F:11  search: 'kind' is missing; add it: one of grid, fill, match"),
        ("search: {kind: nsga}", "F:11  search.kind: came the text 'nsga', expected one of grid, fill,"),
        ("search: {kind: fill}", "F:11  search: 'l0' is missing, and kind 'fill' needs it; add it"),
        ("search: {kind: match}", "F:11  search: 'target' is missing"),
        ("search: {kind: fill, l0: [500, 5]}", "F:11  search.l0: came a list, [500, 5], expected a list of two"),
        (
            "search: {kind: fill, l0: [5, 50], target: 3}",
            "F:11  search.target: belongs to match, and kind is 'fill'; remove one of the two",
        ),
        ("search: {kind: fill, l0: [5, 50], max_gab: 3}", "search.max_gab: unknown key; did you mean 'max_gap'?"),
        ("search: {kind: grid, budget: 3}", "search.budget: belongs to fill, match, random"),
        (
            "search:\n  kind: match\n  target: {local: 0.1}",
            "F:13  search.target: no value for loss 'e2e', only for local; add one, or take loss 'e2e' out of the grid",
        ),
        ("search: {kind: tpe, space: {seed: [1, 2]}}", "search.space.seed: is no field to search"),
        ("search: {kind: tpe, space: {train.lrr: [1, 2]}}", "search.space.train.lrr: no field that can be an axis"),
        ("search: {kind: tpe, space: {train.lr: 1}}", "search.space.train.lr: came 1, expected {low, high, log} or"),
        ("search: {kind: tpe, space: {train.lr: {low: 1}}}", "search.space.train.lr: 'high' is missing; add it"),
        ("search: {kind: tpe, space: {train.lr: {low: 1, high: 0.5}}}", "came low 1 and high 0.5, expected low below"),
        ("search: {kind: tpe, space: {train.lr: []}}", "search.space.train.lr: came an empty list"),
        ("search: {kind: tpe, space: {train.lr: [1, 1]}}", "search.space.train.lr: 1 comes twice; remove one"),
        (
            "search: {kind: tpe, space: {train.schedule: {low: cosine, high: trapezoid}}}",
            "search.space.train.schedule: a range has no meaning for one of cosine, trapezoid; write a list of values",
        ),
        (
            "search: {kind: tpe, space: {train.tokens: {low: 100, high: 3, log: true}}}",
            "came low 100 and high 3, expected low below high",
        ),
        (
            "search: {kind: tpe, space: {train.warmup_fraction: {low: 0, high: 1, log: true}}}",
            "search.space.train.warmup_fraction.low: came 0, expected a number above 0 where log is true",
        ),
        (
            "search: {kind: tpe, space: {train.tokens: {low: 3, high: 100}}}",
            "F:11  search.space: its lowest values make an impossible trial: F:4  train.tokens: came 3, expected at",
        ),
        (
            "search: {kind: tpe, space: {data.context: [16, 300]}}",
            "F:11  search.space.data.context: 300 makes an impossible trial: F:3  data.context: came 300,",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, search: str, said: str):
    assert said in problems(tmp_path, search)


def test_budgets_are_as_many_trials_as_the_grid_has_unless_something_else_is_said(tmp_path: Path):
    def most(*overrides: str) -> str:
        found = Searching.of(small_sweep(tmp_path, *overrides), FACTS, 12)
        assert found is not None
        return found.most_text

    assert most("search={kind: fill, l0: [5, 50]}") == "at most 12 trials more"
    assert most("search={kind: tpe, budget: 30}") == "at most 30 trials more"
    assert most("search={kind: tpe, budget_tokens: 30_000}") == "at most 30,000 SAE-tokens more"
    assert most("search={kind: tpe, budget: 5, budget_tokens: 9}") == "at most 5 trials more and 9 SAE-tokens more"
    assert most("search={kind: match, target: 0.1, max_trials: 3}", "grid.seed=[0, 1]") == "at most 36 trials more"


ODD = st.sampled_from(
    ["null", "true", "0", "-1", "1", "0.5", "1e300", ".nan", ".inf", "''", "x", "[]", "{}", "[1]", "[5, 50]", "[1, x]",
     "{local: 1}", "{1: 2, 3: 4}", "{low: 1, high: 2}", "{low: 1, high: 2, log: 3}", "{train.lr: {low: 1, high: 2}}",
     "{train.lr: {local: [1], e2e: [2]}}", "{sparsity_coeff: [1, 2]}", "{data.context: [8, 16]}", "[l0, mse]"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([*SEARCH_FIELDS]), fields=st.dictionaries(st.sampled_from([*fields_of(Search)]), ODD))
def test_any_section_is_a_planner_or_a_message(tmp_path: Path, kind: str, fields: dict[str, str]):
    written = ", ".join(f"{name}: {value}" for name, value in ({"kind": kind} | fields).items())
    try:
        sweep = small_sweep(tmp_path, text=f"{SMALL}search: {{{written}}}\n")
        found = Searching.of(sweep, FACTS, 12)
    except BadInput as refusal:
        message = str(refusal)
    else:
        message = "nothing but the grid" if found is None else found.most_text
    assert message.strip()


def test_what_trials_have_to_keep_to_is_read(tmp_path: Path):
    found = planner(tmp_path, "search={kind: nsga2, at_most: {ce_loss_increase: 0.5}, at_least: {l0: 5}}")
    assert isinstance(found, Sampled)
    assert found.bounds == (Bound("ce_loss_increase", 0.5, "at_most"), Bound("l0", 5.0, "at_least"))
