"""Automated interpretability against a server on this machine: scores, costs, refusals, kills, and no key anywhere."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dashboards import canvas
from dashboards.paper import autointerp as drawing
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.paper.analysis import Chosen, Group, Line, Tables, identity
from orchestrator.paper.autointerp import AutomatedInterpretability, _detected, _simulated
from orchestrator.paper.endpoint import KEY, MODEL, URL
from orchestrator.paper.questions import Passage
from orchestrator.paper.tables import checked
from tests.orchestrator import sae_run
from tests.orchestrator.paper.llm_server import LLM, SECRET, completion, helpful, refusal, serving, use_endpoint
from tests.orchestrator.paper.made import Norms, paper, use
from tests.orchestrator.rows import a_config, a_row
from tests.tiny import ROOT, Bench
from trainer.models import ModelFacts

ANALYSIS = AutomatedInterpretability()
SMALL = [f"--set=autointerp.{option}" for option in ("n_elements=3", "n_shown=1", "n_scored=2", "n_at_once=2")]
ASK = ["--only", "autointerp", "--select", "L0-local-c0.1-s0,L1-local-c0.1-s0", *SMALL]
N_QUESTIONS = 2 * 3 * 2
"""SAEs, elements, and explaining and scoring."""


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[LLM]:
    with serving() as found:
        use_endpoint(monkeypatch, found.url)
        yield found


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """With more evaluation rows, and elements that fire seldom."""
    forget()
    a_trial = sae_run.a_trial

    def with_rows(*arguments: Any, **named: Any) -> Any:
        trial = a_trial(*arguments, **named)
        return trial.model_copy(update={"data": trial.data.model_copy(update={"eval_rows": 16})})

    monkeypatch.setattr(sae_run, "a_trial", with_rows)
    made = sae_run.make_run(bench)
    for row in made.rows():
        if (found := made.read_sae(row.trial_id)) is not None:
            tensors, config = found
            made.write_sae(row.trial_id, {**tensors, "b_enc": tensors["b_enc"] - 0.6}, config)
    return made


def lines(run: RunFolder, table: str = "autointerp") -> list[Line]:
    return pq.read_table(run.path / "paper" / f"{table}.parquet").to_pylist()


def everything(run: RunFolder) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in run.path.rglob("*") if path.is_file())


def test_elements_are_explained_and_scored_and_the_key_is_nowhere(run: RunFolder, llm: LLM) -> None:
    result = paper(run, *ASK)
    assert result.exit_code == 0, result.output
    assert f"asks teller-1 at {llm.url.split('/')[2]} about 6 elements of 2 SAEs: 12 requests" in result.output
    found = lines(run)
    assert len(found) == 6
    for line in found:
        assert line["explanation"].startswith("words that end in ")
        assert 0 <= line["score"] <= 1
        assert (line["n_firing"], line["n_quiet"], line["problem"]) == (2, 2, None)
        assert (line["tokens_in"], line["tokens_out"]) == (200, 14)
        assert (line["llm"], line["scoring"]) == ("teller-1", "detect")
    means = lines(run, "autointerp_means")
    assert [mean["n_scored"] for mean in means] == [3, 3]
    assert len(llm.asked) == N_QUESTIONS
    assert "<end>" not in json.dumps(llm.asked)
    assert "[END]" in json.dumps(llm.asked)
    assert llm.n_most <= 2
    assert llm.keys == {f"Bearer {SECRET}"}
    assert SECRET not in everything(run) + result.output
    assert llm.url not in everything(run)


def test_a_second_call_asks_nothing_and_shows_the_same_without_an_endpoint(
    run: RunFolder, llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert paper(run, *ASK).exit_code == 0
    page = (run.path / "paper" / "paper.html").read_bytes()
    monkeypatch.delenv(URL)
    monkeypatch.delenv(KEY)
    assert paper(run, *ASK).exit_code == 0
    assert len(llm.asked) == N_QUESTIONS
    assert (run.path / "paper" / "paper.html").read_bytes() == page


@pytest.mark.slow
def test_an_option_that_changes_no_question_costs_nothing(run: RunFolder, llm: LLM) -> None:
    assert paper(run, *ASK).exit_code == 0
    assert paper(run, *ASK, "--set", "autointerp.n_at_once=3").exit_code == 0
    assert len(llm.asked) == N_QUESTIONS
    assert paper(run, *ASK, "--set", "autointerp.scoring=simulate").exit_code == 0
    assert len(llm.asked) == N_QUESTIONS + N_QUESTIONS // 2  # what elements mean is known
    assert {line["scoring"] for line in lines(run)} == {"simulate"}
    assert all(-1 <= line["score"] <= 1 for line in lines(run))


def test_nothing_is_asked_before_the_cost_was_said(run: RunFolder, llm: LLM) -> None:
    result = paper(run, *ASK, "--dry-run")
    assert "12 requests, about" in result.output
    assert "tokens in and" in result.output
    assert llm.asked == []


def test_without_an_endpoint_it_is_left_out_and_asked_for_by_name_refused(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (URL, MODEL, KEY):
        monkeypatch.delenv(name, raising=False)
    use(monkeypatch, ANALYSIS, Norms())
    result = paper(run)
    assert result.exit_code == 0
    assert f"{URL} and {MODEL} not set" in result.output
    assert not (run.path / "paper" / "autointerp.parquet").exists()
    result = paper(run, "--only", "autointerp")
    assert result.exit_code == 2
    assert f"{URL} and {MODEL} not set" in result.output


def test_an_endpoint_that_refuses_is_told_once_and_ends_no_other_analysis(
    run: RunFolder, llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, ANALYSIS, Norms())
    llm.usual = lambda _: refusal(401, f"Incorrect API key provided: {SECRET}")
    result = paper(run, "--select", "L0-local-c0.1-s0,L1-local-c0.1-s0", *SMALL)
    assert result.exit_code == 3
    assert result.output.count("answers 401") == 1
    assert "it refuses the key" in result.output
    assert "Traceback" not in result.output
    assert len(lines(run, "norms_of_encoders")) == 2
    assert SECRET not in everything(run) + result.output
    assert "answers 401" in (run.path / "paper" / "paper.html").read_text()
    assert len(llm.asked) <= 4  # two tasks, two at once


def test_after_a_refusal_in_between_the_same_command_asks_what_is_missing(run: RunFolder, llm: LLM) -> None:
    llm.usual = lambda asked: helpful(asked) if len(llm.answered) < 5 else refusal(403, "spent")
    assert paper(run, *ASK).exit_code == 3
    assert len(llm.answered) < N_QUESTIONS
    llm.usual = helpful
    result = paper(run, *ASK)
    assert result.exit_code == 0, result.output
    assert len(llm.answered) == len(set(llm.answered)) == N_QUESTIONS


@pytest.mark.slow
def test_an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_said(run: RunFolder, llm: LLM) -> None:
    llm.usual = lambda asked: helpful(asked) if "one short sentence" in asked["messages"][0]["content"] and (
        "You study" in asked["messages"][0]["content"]) else completion("I would rather not say.")  # fmt: skip
    assert paper(run, *ASK).exit_code == 0
    found = lines(run)
    assert {line["problem"] for line in found} == {"the answer is no list of passages"}
    assert {line["score"] for line in found} == {None}
    assert all(line["tokens_in"] == 300 for line in found)
    assert len(llm.asked) == N_QUESTIONS + N_QUESTIONS // 2
    assert [mean["score"] for mean in lines(run, "autointerp_means")] == [None, None]
    n_asked = len(llm.asked)
    assert paper(run, *ASK, "--set", "autointerp.n_at_once=1").exit_code == 0
    assert len(llm.asked) == n_asked  # paid for, too


def test_elements_that_fire_in_too_few_rows_are_a_clear_message(run: RunFolder, llm: LLM) -> None:
    result = paper(run, *ASK, "--set", "autointerp.n_scored=100")
    assert result.exit_code == 3
    assert "fires in 101 of 16 evaluation rows" in result.output
    assert llm.asked == []


def test_bad_options_are_refused(run: RunFolder, llm: LLM) -> None:
    result = paper(run, *ASK, "--set", "autointerp.scoring=guess")
    assert result.exit_code == 2
    assert "expected detect or simulate" in result.output


class Oracle:
    """Knows which passages fire: those whose text says so."""

    def read(self, messages: Any, read: Any) -> Any:
        text = messages[1]["content"].splitlines()[2:]
        said = [line.partition(". ") for line in text]
        if said[0][2].startswith("["):
            return read(json.dumps([[10 * ("fires" in token) for token in json.loads(one)] for _, _, one in said]))
        return read(json.dumps([int(number) for number, _, one in said if "fires" in one]))


def test_who_knows_has_a_score_of_1() -> None:
    firing = [Passage((" it", " fires"), (0.0, 3.0)), Passage((" fires", " here"), (2.0, 0.0))]
    quiet = [Passage((" quiet", " there"), (0.0, 0.0)), Passage((" all", " quiet"), (0.0, 0.0))]
    for seed in range(5):
        assert _detected(Oracle(), "x", firing, quiet, seed=seed)["score"] == 1  # type: ignore[arg-type]
        assert _detected(Oracle(), "x", quiet, firing, seed=seed)["score"] == 0  # type: ignore[arg-type]
    assert _simulated(Oracle(), "x", firing)["score"] == pytest.approx(0.962, abs=0.001)  # type: ignore[arg-type]
    assert _simulated(Oracle(), "x", quiet)["score"] == 0  # type: ignore[arg-type]


MIDDLES = {"local": 0.6, "e2e": 0.8, "e2e_downstream": 0.6}
MADE = [a_row(a_config(loss=loss, layer=layer)) for layer in (1, 3) for loss in MIDDLES]


def made_tables(*more: Group) -> Tables:
    """Of two layers and three losses, e2e the best; a group per layer and `more`."""
    dice, found = random.Random(0), []
    for row in MADE:
        who = {
            **identity(row), "llm": "teller-1", "scoring": "detect", "density": 0.1, "explanation": "words",
            "n_firing": 10, "n_quiet": 10, "problem": None, "tokens_in": 9, "tokens_out": 1,
        }  # fmt: skip
        middle = MIDDLES[row.config.loss.kind]
        found += [
            {**who, "element": n, "score": min(1.0, max(0.0, round(dice.gauss(middle, 0.1) * 20) / 20))}
            for n in range(40)
        ]
    found[0]["score"], found[0]["problem"] = None, "the explanation is empty"
    by_layer = [(layer, tuple(row for row in MADE if row.config.layer == layer)) for layer in (1, 3)]
    groups = [Group(f"L{layer}-ce0.12", "", "ce_loss_increase", 0.12, rows) for layer, rows in by_layer]
    tables = {"autointerp": found}
    return checked(tables | ANALYSIS.summary(tables, made_choice([*groups, *more])), ANALYSIS.tables)


def made_choice(groups: list[Group]) -> Chosen:
    facts = ModelFacts(n_layers=4, d_model=64, d_vocab=9, n_context=64, family="gpt2", d_mlp=9, n_parameters=9)
    return Chosen(rows=tuple(MADE), groups=tuple(groups), done=tuple(MADE), facts=facts, context=64, n_eval_rows=9)


def test_losses_are_compared_within_a_layer() -> None:
    tables = made_tables()
    found = {(one["layer"], one["loss"], one["than"]): one for one in tables["autointerp_differences"]}
    assert len(found) == 6
    better, same = found[1, "e2e", "local"], found[3, "e2e_downstream", "local"]
    assert (better["n"], better["n_than"]) == (40, 39)
    assert better["low"] < better["difference"] < better["high"]
    assert better["difference"] == pytest.approx(0.2, abs=0.06)
    assert better["p_value"] < 0.001 < 0.05 < same["p_value"]
    assert same["low"] < 0 < same["high"]


def test_groups_of_one_layer_are_not_mixed() -> None:
    """Other SAEs of the same losses, as those at an equal L0, are another comparison."""
    local, e2e, _ = MADE[:3]
    other = Group("L1-l0-40", "", "l0", 40.0, (local, e2e))
    lines = made_tables(other)["autointerp_differences"]
    by_group = {name: [line for line in lines if line["group"] == name] for name in ("L1-ce0.12", "L1-l0-40")}
    assert [(line["loss"], line["than"]) for line in by_group["L1-l0-40"]] == [("e2e", "local")]
    assert len(by_group["L1-ce0.12"]) == 3
    assert by_group["L1-l0-40"][0]["difference"] == by_group["L1-ce0.12"][0]["difference"]
    nobody = Group("L1-none", "", "l0", 1.0, (a_row(a_config(coeff=9.0)),))
    assert not [line for line in made_tables(nobody)["autointerp_differences"] if line["group"] == "L1-none"]


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice_and_none_is_drawn_of_nothing(tmp_path: Path) -> None:
    tables = made_tables()
    for number in (1, 2):
        for name, figure in drawing.figures(tables).items():
            for format in canvas.FORMATS:
                canvas.save(figure, tmp_path / str(number) / f"{name}.{format}")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("1", "2"))
    assert first == second
    assert {name.partition(".")[0] for name in first} == set(drawing.TEXT.captions)
    assert drawing.figures({name: [] for name in tables}) == {}
    one = {**tables, "autointerp": [{**tables["autointerp"][1], "score": 0.5}] * 3, "autointerp_differences": []}
    one["autointerp_means"] = [{**tables["autointerp_means"][0], "score": 0.5, "score_low": 0.5, "score_high": 0.5}]
    assert list(drawing.figures(one)) == ["autointerp_scores"]


@pytest.mark.slow
def test_a_kill_loses_no_answer_and_pays_for_none_twice(run: RunFolder, llm: LLM) -> None:
    llm.hold = threading.Event()
    command = [sys.executable, "-m", "orchestrator", "paper", str(run.path), "--local", *ASK]
    llm.usual = helpful
    # the first five are answered at once, then the server hangs, and the program is killed
    reply = llm.reply

    def hanging(asked: dict[str, Any], key: str | None) -> Any:
        if len(llm.answered) < 5:
            hold, llm.hold = llm.hold, None
            try:
                return reply(asked, key)
            finally:
                llm.hold = hold
        return reply(asked, key)

    llm.reply = hanging  # type: ignore[method-assign]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    answers = run.path / "paper" / "cache" / "answers"
    until_s = time.monotonic() + 300
    while len(list(answers.rglob("??/*.json"))) < 5:
        assert process.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_kept = len(list(answers.rglob("??/*.json")))
    llm.reply = reply  # type: ignore[method-assign]
    llm.hold.set()
    before = len(llm.asked)
    result = paper(run, *ASK)
    assert result.exit_code == 0, result.output
    assert len(llm.asked) - before == N_QUESTIONS - n_kept
    assert SECRET not in everything(run) + result.output
