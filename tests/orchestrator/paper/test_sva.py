"""Subject-verb agreement as an analysis: on a run whose model has the words, and on one whose tokenizer has letters."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards import canvas
from dashboards.paper import sva as drawing
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.paper.analysis import Chosen, Shape, Tables
from orchestrator.paper.context import TaskContext, _held_tokenizer
from orchestrator.paper.selection import choose
from orchestrator.paper.sva import TEMPLATES, SubjectVerbAgreement
from orchestrator.paper.tables import checked
from tests.orchestrator.sae_run import make_run
from tests.tiny import Bench, save_text
from tests.trainer.analysis.spoken import WORDS, save_speaker
from trainer.errors import BadInput

SVA = SubjectVerbAgreement()
NAMES = ["L0-local-c0.1-s0", "L1-local-c0.1-s0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    folder = tmp_path_factory.mktemp("sva")
    dice = random.Random(0)
    texts = ["".join(dice.choice(WORDS) for _ in range(30)) for _ in range(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(folder / "cache"))
        forget()
        _held_tokenizer.cache_clear()
        yield make_run(Bench(folder, save_speaker(folder / "model", seed=1), save_text(folder / "text", texts)))
        forget()


@pytest.fixture(scope="module")
def chosen(run: RunFolder) -> Chosen:
    return choose(run, NAMES, settings={"sva": {"n_prompts": 24, "n_resamples": 20}})


@pytest.fixture(scope="module")
def tables(run: RunFolder, chosen: Chosen) -> Tables:
    found: Tables = {spec.name: [] for spec in SVA.tables}
    for task in SVA.tasks(chosen):
        for name, lines in checked(SVA.run(task, TaskContext(run, task)), SVA.tables).items():
            found[name] += lines
    return found | checked(SVA.summary(found, chosen), SVA.tables)


def test_every_template_has_a_line_with_both_formulas(tables: Tables) -> None:
    assert [(line["run_name"], line["template"]) for line in tables["sva"]] == [
        (name, template) for name in NAMES for template in TEMPLATES
    ]
    agreeing = [line for line in tables["sva"] if line["faithfulness"] is not None]
    assert agreeing
    for line in agreeing:
        assert line["faithfulness"] == pytest.approx(100 * line["sae_difference"] / line["model_difference"], rel=1e-3)
        assert line["faithfulness_code"] == pytest.approx(line["faithfulness"], rel=1e-3)
        assert line["example"].startswith("The ")
    assert {line["n_prompts"] for line in tables["sva"]} == {24}


def test_the_summary_has_a_column_per_template(tables: Tables) -> None:
    for line in tables["sva_table"]:
        mine = [one for one in tables["sva"] if one["run_name"] == line["run_name"]]
        assert {one["template"]: one["faithfulness"] for one in mine} == {name: line[name] for name in TEMPLATES}


def test_curves_end_where_the_sae_is_and_elements_are_ranked(tables: Tables) -> None:
    for line in tables["sva"]:
        here = [one for one in tables["sva_curve"] if (one["run_name"], one["template"]) == (
            line["run_name"], line["template"])]  # fmt: skip
        assert here[-1]["difference"] == pytest.approx(line["sae_difference"])
        assert here[-1]["n_elements"] == line["n_active"]
        assert here[0]["difference"] == pytest.approx(line["elements_ablated_difference"])
    ranks = [one for one in tables["sva_elements"] if one["run_name"] == NAMES[0] and one["template"] == "simple"]
    assert [one["rank"] for one in ranks] == list(range(1, len(ranks) + 1))
    assert [abs(one["effect"]) for one in ranks] == sorted((abs(one["effect"]) for one in ranks), reverse=True)


def test_a_tokenizer_of_letters_is_refused_with_the_verb_forms(bench: Bench) -> None:
    forget()
    _held_tokenizer.cache_clear()
    run = make_run(bench)
    [task] = SVA.tasks(choose(run, NAMES[:1]))
    with pytest.raises(BadInput, match=r"such as .* is/are, was/were .*Found: 0 nouns \(at least 4\), [01] verbs"):
        SVA.run(task, TaskContext(run, task))
    _held_tokenizer.cache_clear()


def test_bad_options_are_refused(run: RunFolder) -> None:
    for setting, value, words in (("effects", "all", "gradients or exact"), ("n_prompts", 0, "at least 1")):
        with pytest.raises(BadInput, match=words):
            SVA.tasks(choose(run, NAMES[:1], settings={"sva": {setting: value}}))


def test_exact_effects_and_more_prompts_take_longer(run: RunFolder, chosen: Chosen) -> None:
    shape = Shape(chosen.facts, 8, 100, dict.fromkeys([row.trial_id for row in chosen.done], 3200), 1e6)

    def seconds(**settings: int | str) -> float:
        return SVA.cost(SVA.tasks(choose(run, NAMES[:1], settings={"sva": settings}))[0], shape).seconds

    assert seconds(n_prompts=10) < seconds(n_prompts=1000) < seconds(n_prompts=1000, effects="exact")


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice_and_none_is_drawn_of_nothing(tables: Tables, tmp_path: Path) -> None:
    for number in (1, 2):
        for name, figure in drawing.figures(tables).items():
            for format in canvas.FORMATS:
                canvas.save(figure, tmp_path / str(number) / f"{name}.{format}")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("1", "2"))
    assert first == second
    assert {name.partition(".")[0] for name in first} == set(drawing.TEXT.captions)
    assert drawing.figures({name: [] for name in tables}) == {}
