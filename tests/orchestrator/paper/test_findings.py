"""Findings of the paper: the paper's own numbers reproduce them, numbers the other way round do not."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards import canvas
from dashboards.paper import findings as drawn
from orchestrator.fronts.fronts_of_run import fronts_of_run
from orchestrator.paper.analysis import Group, Line, Tables
from orchestrator.paper.directions import setting_of
from orchestrator.paper.findings.finding import Finding, Mean, Measured, Reading, Verdict, outcome
from orchestrator.paper.findings.report import FINDINGS, VERDICTS, outcomes, tables_of
from orchestrator.paper.saes import SAEs
from orchestrator.paper.selection import choose
from orchestrator.paper.writing import print_of
from tests.orchestrator.paper.made import paper, use
from tests.orchestrator.paper.test_selection import a_run
from tests.orchestrator.rows import a_config, a_row

LOSSES = ("local", "e2e", "e2e_downstream")
GRAD_NORM = {"local": 0.12, "e2e": 0.59, "e2e_downstream": 3.27}
FINITE = st.floats(-1e3, 1e3)


def paper_like(*, mirrored: bool = False, layer: int = 6) -> tuple[Tables, tuple[Group, ...]]:
    """Tables of one layer with the paper's numbers of GPT2-small, or with each effect turned round."""

    def turned(value: float, by: float = 1.0) -> float:
        """`by` is what there would be without the effect."""
        return by * by / value if mirrored else value

    def less(value: float) -> float:
        return -value if mirrored else value

    rows = {loss: a_row(a_config(loss=loss, layer=layer)) for loss in LOSSES}
    group = Group(f"L{layer}-ce0.14", "", "ce_loss_increase", 0.14, tuple(rows.values()))

    def about(loss: str) -> Line:
        return {"trial_id": rows[loss].trial_id, "run_name": rows[loss].run_name, "layer": layer, "loss": loss}

    def share(loss: str, reads: str, at: str, ratio: float) -> Line:
        low, high = sorted((turned(ratio * 0.9), turned(ratio * 1.1)))
        return {**about(loss), "d_sae": 46080, "reads": reads, "at": at, "ratio": turned(ratio), "low": low,
                "high": high}  # fmt: skip

    def cosine(loss: str, mean: float) -> Line:
        return {
            **about(loss),
            "mean_cosine": mean + 0.15,
            "chance_cosine": 0.15,
            "std_cosine": 0.1,
            "n_elements": 20_000,
        }

    shares = (("ce_loss_increase", "l0", 0.43, 0.44), ("l0", "ce_loss_increase", 0.40, 0.53),
              ("n_alive_elements", "ce_loss_increase", 0.85, 0.58))  # fmt: skip
    seconds = {"local": 41.7, "e2e": 100.0, "e2e_downstream": 101.0}
    alike = {"e2e": -0.166, "e2e_downstream": -0.04}
    across = {"local": 0.5, "e2e": 0.5 + less(-0.1), "e2e_downstream": 0.52 if not mirrored else 0.48}
    mse = {"local": 1.0, "e2e": turned(14.5), "e2e_downstream": 1.5 if not mirrored else 0.9}
    ratios = {"0": {"local": 1.0, "e2e": turned(0.11), "e2e_downstream": 0.99},
              "after 0": {"local": 0.92, "e2e": turned(0.31, 0.92), "e2e_downstream": turned(0.56, 0.92)}}  # fmt: skip
    agreement = {"local": (100.6, 96.0, 98.0, 102.8), "e2e": (99.8, 94.5, 101.7, 98.4),
                 "e2e_downstream": (98.2, 99.2, 95.5, 98.7)}  # fmt: skip
    if mirrored:
        agreement["e2e"] = agreement["e2e_downstream"] = (60.0, 55.0, 38.0, 62.0)
    kl = [turned(0.01, 0.09), 0.21, 0.20, 0.22, 0.09, 0.02, 0.05]
    tables: Tables = {
        "saes_against_local": [
            line for reads, at, e2e, downstream in shares
            for line in (share("e2e", reads, at, e2e), share("e2e_downstream", reads, at, downstream))
        ],
        "training_grad_norm": [
            {**about(loss), "seed": 0, "setting": setting_of(rows[loss]), "grad_norm": turned(value)}
            for loss, value in GRAD_NORM.items()
        ],
        "training_time": [
            {**about(loss), **{f"s_per_million_tokens{end}": turned(value, 41.7) for end in ("", "_low", "_high")},
             "d_sae": 46080}
            for loss, value in seconds.items()
        ],
        "geometry_differences": [
            {**about(loss), "group": group.key, "against": "local", "difference": less(value),
             "above_chance": less(value), "low": less(value) - 0.003, "high": less(value) + 0.003,
             "seeds_difference": None, "seeds_low": None, "seeds_high": None}
            for loss, value in alike.items()
        ],
        "cross_seed": [cosine(loss, value) for loss, value in across.items()],
        "cross_type": [
            {**cosine(loss, value + less(0.05) * (loss == "e2e_downstream")), "group": group.key,
             "other_loss": "local", "same_seed": same}
            for loss in LOSSES[1:] for same, value in ((False, 0.4), (True, 0.9 if loss == "e2e" else 0.1))
        ],
        "umap": [
            {**about(loss), "pair": "p", "group": group.key, "n_elements": 15_000,
             "n_regions": 0 if mirrored else 3, "same_seed": False}
            for loss in ("local", "e2e_downstream")
        ],
        "downstream": [
            {**about(loss), "at_layer": at, "mse": value * 1.1 ** at, "mse_stderr": 0.01 * value}
            for loss, value in mse.items() for at in range(layer, layer + 4)
        ],
        "norms": [
            {**about(loss), "positions": positions, "l2_ratio": value, "l2_ratio_stderr": 0.005}
            for positions, by_loss in ratios.items() for loss, value in by_loss.items()
        ],
        "pca_directions": [
            {"layer": layer, "direction": at, "cosine_to_position_0": 0.99 if at == 0 and not mirrored else 0.1}
            for at in range(3)
        ],
        "pca_correlation": [
            {**about("e2e_downstream"), "direction": 0, "r_position_0": 0.996, "r_rest": 0.262},
            {**about("local"), "direction": 0, "r_position_0": 0.1, "r_rest": 0.9},
        ],
        "ablation": [{"layer": layer, "direction": at, "kl": value, "kl_stderr": 0.001} for at, value in enumerate(kl)],
        "sva": [
            {**about(loss), "template": f"t{at}", "faithfulness": value}
            for loss, values in agreement.items() for at, value in enumerate(values)
        ],
        "autointerp_differences": [
            {"group": group.key, "layer": layer, "loss": "e2e_downstream", "than": "local", "difference": less(0.10),
             "low": less(0.10) - 0.05, "high": less(0.10) + 0.05}
        ],
    }  # fmt: skip
    return tables, (group,)


def verdicts(tables: Tables, groups: tuple[Group, ...]) -> dict[str, Verdict]:
    return {one.finding.id: one.verdict for one in outcomes(tables, groups)}


def test_the_papers_numbers_reproduce_the_papers_findings() -> None:
    assert set(verdicts(*paper_like()).values()) == {Verdict.REPRODUCED}


def test_numbers_the_other_way_round_reproduce_none() -> None:
    found = verdicts(*paper_like(mirrored=True))
    needs_outlier = {"outlier_kept_at_position_0", "outlier_without_effect"}
    assert {name for name, verdict in found.items() if verdict is not Verdict.NOT_REPRODUCED} == needs_outlier
    assert {found[name] for name in needs_outlier} == {Verdict.CANNOT_BE_SEEN}
    tables, groups = paper_like(mirrored=True)
    with_outlier = {**tables, "pca_directions": paper_like()[0]["pca_directions"]}
    assert verdicts(with_outlier, groups)["outlier_without_effect"] is Verdict.NOT_REPRODUCED


def test_layers_that_disagree_are_mixed_and_each_reading_is_told() -> None:
    (here, groups), (there, more) = paper_like(), paper_like(mirrored=True, layer=2)
    tables = {name: [*lines, *there[name]] for name, lines in here.items()}
    found = {one.finding.id: one for one in outcomes(tables, (*groups, *more))}
    assert found["ce_at_equal_l0"].verdict is Verdict.MIXED
    assert found["ce_at_equal_l0"].numbers == (
        "e2e over local: L6 0.43 (0.39 to 0.47), L2 2.33 (2.11 to 2.58); "
        "e2e_downstream over local: L6 0.44 (0.40 to 0.48), L2 2.27 (2.07 to 2.53)"
    )
    lines = tables_of(list(found.values()))
    [line] = [one for one in lines["findings"] if one["finding"] == "ce_at_equal_l0"]
    assert (line["verdict"], line["n_holds"], line["n_not"], line["n_open"]) == ("mixed", 2, 2, 0)
    holds = {
        one["layer"]: one["holds"] for one in lines["findings_readings"]
        if one["finding"] == "e2e_elements_less_alike"
    }  # fmt: skip
    assert holds == {6: True, 2: False}


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda one: one.id)
def test_without_its_tables_a_finding_is_not_run(finding: Finding) -> None:
    tables, groups = paper_like()
    left = {name: lines for name, lines in tables.items() if name not in finding.tables}
    assert outcome(finding, left, groups).verdict is Verdict.NOT_RUN
    empty = {**tables, **{name: [] for name in finding.tables}}
    assert outcome(finding, empty, groups).verdict is Verdict.NOT_RUN


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda one: one.id)
def test_numbers_that_are_not_there_leave_a_finding_open(finding: Finding) -> None:
    """Null in place of every number that was measured: no verdict, and no error."""
    tables, groups = paper_like()
    kept = {"layer", "direction", "n_elements", "at_layer", "n_tokens", "d_sae"}
    nothing = {
        name: [{key: None if isinstance(value, float) and key not in kept else value for key, value in line.items()}
               for line in lines]
        for name, lines in tables.items() if name != "umap"
    }  # fmt: skip
    found = outcome(finding, nothing, groups)
    assert found.verdict in (Verdict.CANNOT_BE_SEEN, Verdict.NOT_RUN)


def judged(name: str, lines: Mapping[str, list[Line]]) -> tuple[Verdict, str]:
    """The verdict on one finding where these tables are in place of the paper's, and its numbers."""
    tables, groups = paper_like()
    [finding] = [one for one in FINDINGS if one.id == name]
    found = outcome(finding, {**tables, **lines}, groups)
    return found.verdict, found.numbers


def test_what_is_too_wide_to_tell_decides_nothing() -> None:
    tables, _ = paper_like()
    apart = {"e2e": (90.0, 80.0, 40.0, 10.0), "e2e_downstream": (100.0, 100.0, 100.0, 100.0)}
    scattered = [
        {**line, "faithfulness": apart.get(line["loss"], (100.0,) * 4)[int(line["template"][1])]}
        for line in tables["sva"]
        if line["loss"] != "e2e_downstream"
    ]
    assert judged("agreement_tells_no_losses_apart", {"sva": scattered})[0] is Verdict.CANNOT_BE_SEEN
    below = [{**line, "faithfulness": 50.0 + (line["loss"] == "local") * 50 + int(line["template"][1])}
             for line in scattered]  # fmt: skip
    assert judged("agreement_tells_no_losses_apart", {"sva": below})[0] is Verdict.NOT_REPRODUCED
    [score] = tables["autointerp_differences"]
    for interval, verdict in (
        ((-0.20, -0.45, 0.05), Verdict.CANNOT_BE_SEEN),
        ((-0.01, -0.04, 0.02), Verdict.REPRODUCED),
        ((-0.20, -0.35, -0.05), Verdict.NOT_REPRODUCED),
    ):
        line = {**score, **dict(zip(("difference", "low", "high"), interval, strict=True))}
        assert judged("as_interpretable", {"autointerp_differences": [line]})[0] is verdict


def test_what_chance_gives_to_a_smaller_dictionary_is_no_finding() -> None:
    """800 of 3,200 directions of 64 numbers lie further apart than all of them, and are no other kind for that."""
    tables, _ = paper_like()
    lines = [{**line, "above_chance": 0.0} for line in tables["geometry_differences"]]
    assert judged("e2e_elements_less_alike", {"geometry_differences": lines})[0] is Verdict.CANNOT_BE_SEEN
    by_chance = [{**line, "chance_cosine": line["mean_cosine"] - 0.1} for line in tables["cross_seed"]]
    assert judged("e2e_least_stable_over_seeds", {"cross_seed": by_chance})[0] is Verdict.CANNOT_BE_SEEN


def test_regions_are_judged_of_the_papers_losses_and_of_two_seeds() -> None:
    lines = [{**line, "n_regions": 0} for line in paper_like()[0]["umap"]]
    assert judged("one_sided_regions", {"umap": lines})[0] is Verdict.NOT_REPRODUCED
    same_seed = [{**line, "same_seed": True} for line in lines]
    assert judged("one_sided_regions", {"umap": same_seed})[0] is Verdict.CANNOT_BE_SEEN
    others = [{**line, "pair": "q", "loss": line["loss"].replace("e2e_downstream", "local_then_e2e")} for line in lines]
    found = [{**line, "n_regions": 2} for line in lines]
    assert judged("one_sided_regions", {"umap": [*found, *others]})[0] is Verdict.REPRODUCED


def test_a_direction_without_any_effect_is_no_error() -> None:
    lines = [{**line, "kl": 0.0 if line["direction"] == 0 else line["kl"]} for line in paper_like()[0]["ablation"]]
    verdict, numbers = judged("outlier_without_effect", {"ablation": lines})
    assert verdict is Verdict.REPRODUCED
    assert "L6 0 (-0.0" in numbers


def test_gradient_norms_have_an_interval_over_three_seeds() -> None:
    lines = paper_like()[0]["training_grad_norm"]
    seeds = [{**line, "seed": seed, "grad_norm": line["grad_norm"] * (1 + 0.01 * seed * (line["loss"] == "e2e"))}
             for line in lines for seed in range(3)]  # fmt: skip
    verdict, numbers = judged("grad_norm", {"training_grad_norm": seeds})
    assert verdict is Verdict.REPRODUCED
    assert numbers.startswith("e2e over local: L6 4.97 (4.")


def test_dictionaries_of_several_sizes_are_compared_size_by_size() -> None:
    """Slow at 100 times the width and quick at 5: e2e takes twice as long at each."""
    lines = [
        {**line, "d_sae": size, **{f"s_per_million_tokens{end}": seconds * (2 if line["loss"] != "local" else 1)
                                   for end in ("", "_low", "_high")}}
        for line in paper_like()[0]["training_time"] for size, seconds in ((320, 12.0), (6400, 70.0))
    ]  # fmt: skip
    verdict, numbers = judged("training_time", {"training_time": lines})
    assert verdict is Verdict.REPRODUCED
    assert "e2e over local with 320 elements: L6 2;" in numbers


def test_several_targets_are_told_apart() -> None:
    lines = [{**line, "at_low": at} for line in paper_like()[0]["saes_against_local"] for at in (0.1, 0.2)]
    assert "e2e over local at 0.1: L6 0.40" in judged("l0_at_equal_ce", {"saes_against_local": lines})[1]


@given(FINITE, st.floats(0, 10), st.floats(0, 10), FINITE)
def test_a_number_is_below_above_or_neither(value: float, down: float, up: float, limit: float) -> None:
    measured = Measured(value, value - down, value + up)
    assert (measured.below(limit), measured.above(limit)) in ((True, False), (False, True), (None, None))
    if measured.below(limit) is None:
        assert measured.low is not None
        assert measured.high is not None
        assert measured.low <= limit <= measured.high
    else:
        assert measured.below(limit) == (value < limit)
        assert Measured(value).below(limit) == measured.below(limit)


@given(st.floats(0.1, 10), st.floats(0.001, 0.1), st.floats(0.1, 10), st.floats(0.001, 0.1))
def test_errors_of_differences_and_ratios_are_those_of_textbooks(a: float, da: float, b: float, db: float) -> None:
    less, over = Mean(a, da).less(Mean(b, db)), Mean(a, da).over(Mean(b, db))
    assert less.low is not None
    assert less.high is not None
    assert over.high is not None
    assert less.high - less.low == pytest.approx(2 * 1.959964 * math.sqrt(da * da + db * db))
    relative = (over.high - over.value) / over.value / 1.959964
    assert relative == pytest.approx(math.sqrt((da / a) ** 2 + (db / b) ** 2))
    assert Mean(a).over(Mean(b, db)) == Measured(a / b)


def test_many_layers_are_told_as_a_range() -> None:
    def readings(_: object) -> list[Reading]:
        return [Reading(layer, "e2e over local", Measured(0.1 * layer), layer < 9) for layer in range(1, 12)]

    finding = Finding("x", "X.", "Section 0", "", "", ("t",), readings, "")
    assert (
        outcome(finding, {"t": [{}]}, ()).numbers
        == "e2e over local: 0.10 to 1.10 at 11 places: holds at 8, does not at 3, open at 0"
    )


def test_fronts_against_local_are_those_of_the_frontier(tmp_path: Path) -> None:
    """Every SAE of e2e has a third of the CE loss increase of the local one with its L0."""
    run = a_run(tmp_path, seeds=(0, 1, 2))
    lines = choose(run).against_local
    along = [line for line in lines if (line["reads"], line["at"]) == ("ce_loss_increase", "l0")]
    assert [(line["layer"], line["loss"]) for line in along] == [(1, "e2e"), (2, "e2e")]
    assert [line["ratio"] for line in along] == pytest.approx([1 / 3, 1 / 3])
    assert [(line["at_low"], line["at_high"], line["n_seeds"]) for line in along] == [(10.0, 40.0, 3)] * 2
    summary: dict[int, float] = {
        line["layer"]: line["share_of_local"]
        for line in fronts_of_run(run).summary_table().to_pylist()
        if line["loss"] == "e2e" and line["front"] == "l0"
    }
    assert {line["layer"]: line["ratio"] for line in along} == pytest.approx(summary)
    matched = fronts_of_run(run).matched_table().to_pylist()
    for line in [one for one in lines if one["reads"] == "l0"]:
        [same] = [one for one in matched if one["matched"] == "ce_loss_increase" and one["reads"] == "l0"
                  and (one["layer"], one["loss"]) == (line["layer"], "e2e")]  # fmt: skip
        assert (line["ratio"], line["at_low"]) == (same["ratio_to_local"], same["target"])
        assert math.log(line["low"]) == pytest.approx(same["cost_low"])
        assert 0.2 < line["low"] <= line["ratio"] <= line["high"] < 0.5


def test_a_report_begins_with_the_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, SAEs())
    run = a_run(tmp_path)
    result = paper(run)
    assert result.exit_code == 0, result.output
    assert "ce_at_equal_l0" in result.stdout
    folder = run.path / "paper"
    lines = {line["finding"]: line for line in pq.read_table(folder / "findings.parquet").to_pylist()}
    assert lines["ce_at_equal_l0"]["verdict"] == "reproduced"
    assert lines["one_sided_regions"]["verdict"] == "not run"
    assert json.loads((folder / "paper.json").read_text())["findings"]["ce_at_equal_l0"] == "reproduced"
    page = (folder / "paper.html").read_text()
    assert page.index('id="findings"') < page.index('id="saes"')
    assert lines["ce_at_equal_l0"]["numbers"] in page
    assert "Not looked for" in page
    assert {"findings.png", "findings.svg", "findings.pdf"} <= {path.name for path in (folder / "figures").iterdir()}


def test_a_rule_with_a_bug_is_told_and_takes_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, SAEs())

    def broken(_: object) -> list[Reading]:
        raise KeyError("d_sae")

    monkeypatch.setattr("orchestrator.paper.findings.report.FINDINGS",
                        (Finding("x", "X.", "Section 0", "", "", ("saes_chosen",), broken, ""),))  # fmt: skip
    run = a_run(tmp_path)
    result = paper(run)
    assert result.exit_code == 3
    assert "the rule of x is a bug" in result.stdout
    assert (run.path / "paper" / "saes_chosen.parquet").exists()


def test_the_figure_is_the_same_twice(tmp_path: Path) -> None:
    (here, groups), (there, more) = paper_like(), paper_like(mirrored=True, layer=2)
    tables = {name: [*lines, *there[name]] for name, lines in here.items()}
    found: Mapping[str, list[dict[str, Any]]] = tables_of(outcomes(tables, (*groups, *more)))
    for time in ("once", "again"):
        [(name, figure)] = drawn.figures(found).items()
        for format in canvas.FORMATS:
            canvas.save(figure, tmp_path / f"{name}-{time}.{format}")
    for format in canvas.FORMATS:
        assert (tmp_path / f"findings-once.{format}").read_bytes() == (
            tmp_path / f"findings-again.{format}"
        ).read_bytes()
    assert drawn.figures({"findings": [], "findings_readings": []}) == {}


def test_what_is_printed_of_findings_is_their_verdicts() -> None:
    lines = tables_of(outcomes(*paper_like()))["findings"]
    printed = print_of(lines, VERDICTS)
    assert printed.rows[0][:2] == ("ce_at_equal_l0", "reproduced")


def test_verdicts_of_the_kept_results_are_those_of_their_table() -> None:
    folder = Path(__file__).parents[3] / "docs" / "results" / "paper-on-builtin"
    table = pq.read_table(folder / "tables" / "findings.parquet").to_pylist()
    said = re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    assert said == [(line["finding"], line["verdict"]) for line in table]
    assert [name for name, _ in said] == [one.id for one in FINDINGS]
    tables = {path.stem: pq.read_table(path).to_pylist() for path in sorted((folder / "tables").glob("*.parquet"))}
    again = {one.finding.id: one.verdict for one in outcomes(tables, ())}
    needs_groups = {"grad_norm", "e2e_least_stable_over_seeds", "downstream_closer_to_local", "e2e_leaves_the_path",
                    "outputs_shorter", "outputs_at_position_0", "agreement_tells_no_losses_apart"}  # fmt: skip
    assert {name: str(verdict) for name, verdict in again.items() if name not in needs_groups} == {
        name: verdict for name, verdict in said if name not in needs_groups
    }
