"""What elements mean, told by a language model and tested by it, a task per SAE: the paper's section 3.4, Figure 9.

Explain from the strongest passages, then score the explanation on passages that the explainer did not see. In the
default set only where the environment names an endpoint.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.paper.analysis import (
    COUNT,
    IDENTITY,
    NUMBER,
    TEXT,
    Analysis,
    Chosen,
    Column,
    Context,
    Cost,
    Group,
    Line,
    Option,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from orchestrator.paper.endpoint import Client, Message, endpoint, lacking, model_name
from orchestrator.paper.streamed import cost_of, n_rows_option, positive, task_per_sae
from trainer.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.paper.answers import Asker
    from orchestrator.paper.questions import Passage
    from trainer.analysis import Passages

T = TypeVar("T")
SCORINGS = ("detect", "simulate")
ASK_AGAIN = 2
"""Times that a question is asked whose answer cannot be read, in all."""
SPARE = 2
"""Elements looked at for each one wanted, since some fire in too few rows."""
PASSAGE_TOKENS = 24
END = "[END]"
"""Stands for the token between documents."""
N_RESAMPLES, N_PERMUTATIONS = 10_000, 10_000
SEED = 0
SECONDS_PER_REQUEST = 3.0

_SCORE = "Of detect: balanced accuracy, chance is 0.5. Of simulate: correlation with true activations, chance is 0."
_SCORING = Column("scoring", TEXT, "How explanations were scored: detect or simulate.", nullable=False)
_LLM = Column("llm", TEXT, "The language model that explained and scored.", nullable=False)

MEANS = TableSpec(
    "autointerp_means",
    "How well explanations of elements tell where these fire",
    (
        *IDENTITY,
        _LLM,
        _SCORING,
        Column("n_elements", COUNT, "Elements that were looked at.", "elements", nullable=False),
        Column("n_scored", COUNT, "Of them, elements whose answers could be read.", "elements", nullable=False),
        Column("score", NUMBER, f"Mean over elements. {_SCORE}"),
        Column("score_low", NUMBER, "Lower end of its 95 % bootstrap interval over elements."),
        Column("score_high", NUMBER, "Upper end."),
        Column("tokens_in", COUNT, "Of all questions, as the endpoint counts them.", "tokens", nullable=False),
        Column("tokens_out", COUNT, "Of all answers.", "tokens", nullable=False),
    ),
    printed=("run_name", "scoring", "n_scored", "score", "score_low", "score_high"),
)
DIFFERENCES = TableSpec(
    "autointerp_differences",
    "Differences between losses in the score",
    (
        Column("group", TEXT, "Which SAEs are compared, such as L2-ce0.12.", nullable=False),
        Column("layer", COUNT, "Block whose input the SAEs replace.", nullable=False),
        Column("loss", TEXT, "Whose mean score.", nullable=False),
        Column("than", TEXT, "Less that of this loss.", nullable=False),
        Column("n", COUNT, "Scored elements of `loss`.", "elements", nullable=False),
        Column("n_than", COUNT, "Of `than`.", "elements", nullable=False),
        Column("difference", NUMBER, "Difference of the means."),
        Column("low", NUMBER, "Lower end of its 95 % bootstrap interval over elements."),
        Column("high", NUMBER, "Upper end."),
        Column("p_value", NUMBER, "Two-sided, of a permutation test with a fixed seed."),
    ),
)
ELEMENTS = TableSpec(
    "autointerp",
    "Elements, what they were said to mean, and how well that holds",
    (
        *IDENTITY,
        _LLM,
        _SCORING,
        Column("element", COUNT, "Number of the dictionary element.", nullable=False),
        Column("density", NUMBER, "Share of the tokens looked at on which it fires.", "share"),
        Column("explanation", TEXT, "In the words of the language model."),
        Column("score", NUMBER, _SCORE),
        Column("n_firing", COUNT, "Passages scored in which it fires.", "passages"),
        Column("n_quiet", COUNT, "Passages scored in which it does not.", "passages"),
        Column("problem", TEXT, "Why there is no score; null where there is one."),
        Column("tokens_in", COUNT, "Of the questions about it.", "tokens"),
        Column("tokens_out", COUNT, "Of the answers.", "tokens"),
    ),
    printed=("run_name", "element", "explanation", "score"),
)


class AutomatedInterpretability(Analysis):
    """Whether one can say what elements mean."""

    id = "autointerp"
    title = "Automated interpretability"
    paper = ("Figure 9", "Table 4", "Section 3.4")
    tables = (MEANS, DIFFERENCES, ELEMENTS)
    options = (
        Option("n_elements", 50, "Elements of each SAE, drawn from the alive ones; the paper has about 200."),
        Option("n_shown", 5, "Strongest passages that are explained."),
        Option(
            "n_scored", 10, "Further passages on which an explanation is scored; of detect as many without it, too."
        ),
        n_rows_option(500),
        Option(
            "scoring", "detect", "detect (is it active in a passage? short answers) or simulate (how much per token)."
        ),
        Option("seed", 0, "Of which elements, and which passages without them."),
        Option("max_answer_tokens", 1000, "Most tokens of an answer, thoughts of a reasoning model included."),
        Option("n_at_once", 4, "Requests at a time, of all tasks together."),
    )

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(
            self, chosen, "n_elements", "n_shown", "n_scored", "n_rows", "max_answer_tokens", "n_at_once"
        )
        if options["scoring"] not in SCORINGS:
            raise BadInput(f"--set autointerp.scoring={options['scoring']}: expected {' or '.join(SCORINGS)}")
        return task_per_sae(self, chosen, {**options, "llm": model_name()})

    def cost(self, task: Task, shape: Shape) -> Cost:
        options = task.options
        whole = cost_of(task, shape, clean=2)
        asking = 2 * options["n_elements"] * SECONDS_PER_REQUEST / options["n_at_once"]
        return Cost(whole.seconds + asking, whole.memory_bytes)

    def missing(self) -> str | None:
        return lacking()

    def notes(self, tasks: Sequence[Task]) -> list[str]:
        """What it will cost, in tokens: prices are the endpoint's."""
        where = endpoint()
        n_elements = sum(task.options["n_elements"] for task in tasks)
        n_in, n_out = (round(sum(each)) for each in zip(*(_tokens(task) for task in tasks), strict=True))
        notes = [
            f"autointerp asks {where.model} at {where.host} about {n_elements} elements of {len(tasks)} SAEs: "
            f"{2 * n_elements} requests, about {n_in:,} tokens in and {n_out:,} out, more where it thinks aloud, less "
            "what was answered before. Passages of the evaluation text are sent there"
        ]
        if where.key and where.url.startswith("http:"):
            notes.append("autointerp sends the key over plain http: anybody on the way can read it")
        return notes

    def run(self, task: Task, context: Context) -> Tables:
        from orchestrator.paper.answers import Asker, for_each
        from orchestrator.paper.questions import Passage
        from trainer.models.pieces import Pieces

        (trial_id,) = task.subjects
        options, where, pieces = task.options, endpoint(), Pieces(context.tokenizer())
        found = _passages(task, context)
        who = {**identity(context.row(trial_id)), "llm": options["llm"], "scoring": options["scoring"]}

        def piece(token: int) -> str:
            # servers may take the text of a special token in a question for the token itself
            return END if token == pieces.end_id else pieces[token]

        def shown(snippets: Any) -> tuple[Passage, ...]:
            return tuple(Passage(tuple(map(piece, one.tokens)), one.activations) for one in snippets)

        elements = [_Element(one, shown(one.strongest), shown(one.quiet)) for one in found]
        asker = Asker(Client(where, max_tokens=options["max_answer_tokens"]), where.model, context.answers())
        n = options["n_rows"]
        lines = for_each(
            elements,
            lambda one: who | _asked_about(one, asker, options),
            asker,
            n_at_once=options["n_at_once"],
            heard=lambda done, total: context.heard(n + done * n // max(1, total), 2 * n),
        )
        return {ELEMENTS.name: lines}

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        """Means of SAEs, and differences between losses."""
        lines = tables[ELEMENTS.name]
        by_sae: dict[str, list[Line]] = {}
        for line in lines:
            by_sae.setdefault(line["trial_id"], []).append(line)
        differences = [line for group in chosen.groups for line in _differences(group, lines)]
        return {MEANS.name: [_mean(mine) for mine in by_sae.values()], DIFFERENCES.name: differences}


@dataclass(frozen=True)
class _Element:
    found: "Passages"
    strongest: "tuple[Passage, ...]"
    quiet: "tuple[Passage, ...]"


def _passages(task: Task, context: Context) -> "list[Passages]":
    """Of as many alive elements as were asked for that fire in enough rows, in a random order."""
    import torch

    from trainer.analysis import passages_of

    (trial_id,) = task.subjects
    options = task.options
    alive = (context.firing(trial_id) > 0).nonzero().flatten()
    dice = torch.Generator().manual_seed(options["seed"])
    drawn = alive[torch.randperm(len(alive), generator=dice)[: SPARE * options["n_elements"]]].tolist()
    n_strongest = options["n_shown"] + options["n_scored"]
    found = passages_of(
        context.sae(trial_id), context.model(), context.rows().evaluation, drawn, n_strongest=n_strongest,
        n_quiet=options["n_scored"], seed=options["seed"], n_rows=options["n_rows"],
        heard=lambda done, total: context.heard(done, 2 * total),
    )  # fmt: skip
    enough = [one for one in found if len(one.strongest) == n_strongest and len(one.quiet) == options["n_scored"]]
    if not enough:
        raise BadInput(
            f"none of {len(drawn)} alive elements of {context.row(trial_id).run_name} fires in {n_strongest} of "
            f"{options['n_rows']} evaluation rows and is quiet elsewhere: take more rows, or fewer passages with --set "
            "autointerp.n_scored"
        )
    return enough[: options["n_elements"]]


def _asked_about(element: _Element, asker: "Asker", options: Any) -> Line:
    """Explained and scored."""
    from orchestrator.paper.questions import explain, read_explanation

    n_shown, found = options["n_shown"], element.found
    told = _Told(asker)
    explanation = told.read(explain(element.strongest[:n_shown], largest=found.max_activation), read_explanation)
    held_out = element.strongest[n_shown:]
    line: Line = {
        "element": found.element, "density": found.density, "explanation": explanation, "score": None,
        "n_firing": len(held_out), "n_quiet": 0, "problem": None,
    }  # fmt: skip
    if explanation is None:
        line["problem"] = "the explanation is empty"
    elif options["scoring"] == "simulate":
        line |= _simulated(told, explanation, held_out)
    else:
        line |= _detected(told, explanation, held_out, element.quiet, seed=found.element)
    return line | {"tokens_in": told.n_in, "tokens_out": told.n_out}


def _detected(
    told: "_Told", explanation: str, firing: "Sequence[Passage]", quiet: "Sequence[Passage]", *, seed: int
) -> Line:
    import random

    from orchestrator.paper.questions import detect, read_detection
    from trainer.analysis import detection_score

    every = [*firing, *quiet]
    order = random.Random(seed).sample(range(len(every)), len(every))
    said = told.read(detect(explanation, [every[at] for at in order]), lambda text: read_detection(text, len(every)))
    if said is None:
        return {"problem": "the answer is no list of passages", "n_quiet": len(quiet)}
    score = detection_score(
        said={order[at] for at in said}, firing=range(len(firing)), n_passages=len(every)
    )  # fmt: skip
    return {"score": score, "n_quiet": len(quiet)}


def _simulated(told: "_Told", explanation: str, firing: "Sequence[Passage]") -> Line:
    from orchestrator.paper.questions import read_simulation, simulate
    from trainer.analysis import simulation_score

    lengths = [len(passage.tokens) for passage in firing]
    said = told.read(simulate(explanation, firing), lambda text: read_simulation(text, lengths))
    if said is None:
        return {"problem": "the answer is no list of numbers, one per token"}
    true = [activation for passage in firing for activation in passage.activations]
    score = simulation_score(said=said, activations=true)
    # who says the same of every token knows nothing of where it fires
    return {"score": 0.0 if score is None else score}


class _Told:
    """Answers about one element, and what they cost."""

    def __init__(self, asker: "Asker") -> None:
        self._asker, self.n_in, self.n_out = asker, 0, 0

    def read(self, messages: Sequence[Message], read: Callable[[str], T | None]) -> T | None:
        """The answer as `read` gives it, asked again where that is None."""
        for number in range(ASK_AGAIN):
            answer = self._asker.ask(messages, number=number)
            self.n_in, self.n_out = self.n_in + answer.n_in, self.n_out + answer.n_out
            if (found := read(answer.text)) is not None:
                return found
        return None


def _tokens(task: Task) -> tuple[float, float]:
    """Of questions and answers, about."""
    from orchestrator.paper import questions

    options = task.options
    passage = PASSAGE_TOKENS * questions.TOKENS_PER_TOKEN
    n_in = questions.EXPLAIN_OVERHEAD + options["n_shown"] * 1.5 * passage
    if options["scoring"] == "simulate":
        n_in += questions.SIMULATE_OVERHEAD + options["n_scored"] * 2 * passage
        n_out = 40 + options["n_scored"] * PASSAGE_TOKENS * 2
    else:
        n_in += questions.DETECT_OVERHEAD + 2 * options["n_scored"] * passage
        n_out = 40 + 3 * options["n_scored"]
    return options["n_elements"] * n_in, options["n_elements"] * n_out


def _mean(lines: Sequence[Line]) -> Line:
    import torch

    from trainer.analysis import mean_interval

    scores = torch.tensor([line["score"] for line in lines if line["score"] is not None], dtype=torch.float64)
    low, high = mean_interval(scores, n_resamples=N_RESAMPLES, seed=SEED) if len(scores) else (None, None)
    return {column.name: lines[0][column.name] for column in (*IDENTITY, _LLM, _SCORING)} | {
        "n_elements": len(lines),
        "n_scored": len(scores),
        "score": float(scores.mean()) if len(scores) else None,
        "score_low": low,
        "score_high": high,
        "tokens_in": sum(line["tokens_in"] for line in lines),
        "tokens_out": sum(line["tokens_out"] for line in lines),
    }


def _differences(group: Group, lines: Sequence[Line]) -> list[Line]:
    """Between each two losses of a group; elements of several SAEs of one loss together."""
    import torch

    from trainer.analysis import difference_of_means, permutation_p

    ids = {row.trial_id for row in group.rows}
    scores: dict[str, list[float]] = {loss: [] for loss in group.by_loss}
    for line in lines:
        if line["score"] is not None and line["trial_id"] in ids:
            scores[line["loss"]].append(line["score"])
    found: list[Line] = []
    for than, loss in combinations([loss for loss, some in scores.items() if some], 2):
        ours, theirs = (torch.tensor(scores[name], dtype=torch.float64) for name in (loss, than))
        mean = difference_of_means(ours, theirs, n_resamples=N_RESAMPLES, seed=SEED)
        p = permutation_p(ours, theirs, n_permutations=N_PERMUTATIONS, seed=SEED)
        found.append({
            "group": group.key, "layer": group.layer, "loss": loss, "than": than, "n": len(ours), "n_than": len(theirs),
            "difference": mean.mean, "low": mean.low, "high": mean.high, "p_value": p,
        })  # fmt: skip
    return found
