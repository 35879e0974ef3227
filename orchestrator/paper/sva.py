"""Subject-verb agreement with an SAE in the model, a task per SAE: the paper's Table 7 and Figure 24."""

from typing import TYPE_CHECKING, Any

from orchestrator.paper.analysis import (
    COUNT,
    FLAG,
    IDENTITY,
    NUMBER,
    TEXT,
    Analysis,
    Chosen,
    Column,
    Context,
    Cost,
    Line,
    Option,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from orchestrator.paper.streamed import CHUNK, cost_of, positive, task_per_sae
from trainer.errors import BadInput

if TYPE_CHECKING:
    from trainer.analysis import Agreement, Faithfulness, Prompts

TEMPLATES = ("simple", "across_pp", "across_rc", "within_rc")
EFFECTS = ("gradients", "exact")
MOST_TOKENS, USUAL_TOKENS = 7, 5
"""Of a prompt."""
N_ELEMENTS = 20
"""Whose effects are told, per SAE and template."""
FEWEST = 0.8

_TEMPLATE = Column("template", TEXT, "simple, across_pp, across_rc or within_rc.", nullable=False)
_PAPER = Column(
    "faithfulness", NUMBER, "(m(SAE) - m(ablated)) / (m(model) - m(ablated)): the paper's formula. Null where the "
    "model itself does not agree.", "%",
)  # fmt: skip
_CODE = Column("faithfulness_code", NUMBER, "m(SAE) / m(model): the formula of the paper's code.", "%")

SVA = TableSpec(
    "sva",
    "Subject-verb agreement: mean logit difference m of the right and the wrong verb form, and faithfulness",
    (
        *IDENTITY,
        _TEMPLATE,
        Column("n_prompts", COUNT, "Prompts that the means are over.", "prompts", nullable=False),
        Column("example", TEXT, "One of them, with the right form / the wrong one."),
        Column("model_difference", NUMBER, "m of the model alone.", "logits"),
        Column("sae_difference", NUMBER, "m with the SAE.", "logits"),
        Column("ablated_difference", NUMBER, "m with the residual stream at its mean over prompts.", "logits"),
        Column("elements_ablated_difference", NUMBER, "m with every element at its mean over prompts.", "logits"),
        Column("model_accuracy", NUMBER, "Share of prompts on which the model alone prefers the right form.", "share"),
        Column("sae_accuracy", NUMBER, "The same with the SAE.", "share"),
        _PAPER,
        Column("faithfulness_low", NUMBER, "Lower end of its 95 % bootstrap interval over prompts.", "%"),
        Column("faithfulness_high", NUMBER, "Upper end.", "%"),
        _CODE,
        Column("n_active", COUNT, "Elements that fire in any prompt.", "elements", nullable=False),
        Column("n_for_80", COUNT, "Most important elements that give 80 % of m(SAE), as far as drawn.", "elements"),
        Column("paired", FLAG, "Whether each prompt has a twin of the other number.", nullable=False),
        Column("effects", TEXT, "How importance was found: gradients or exact.", nullable=False),
    ),
    printed=("run_name", "template", "model_difference", "faithfulness", "faithfulness_low", "faithfulness_high",
             "faithfulness_code", "n_for_80"),
)  # fmt: skip
BY_TEMPLATE = TableSpec(
    "sva_table",
    "Faithfulness (%) by template, as the paper prints it",
    (*IDENTITY, *(Column(name, NUMBER, f"Faithfulness in the template {name}.", "%") for name in TEMPLATES)),
    printed=("run_name", *TEMPLATES),
)
CURVE = TableSpec(
    "sva_curve",
    "Faithfulness with the most important elements alone, the others at their mean",
    (
        *IDENTITY,
        _TEMPLATE,
        Column("n_elements", COUNT, "Elements that are kept.", "elements", nullable=False),
        Column("difference", NUMBER, "m.", "logits"),
        _PAPER,
        _CODE,
    ),
    printed=(),
)
ELEMENTS = TableSpec(
    "sva_elements",
    "The elements with the largest indirect effects",
    (
        *IDENTITY,
        _TEMPLATE,
        Column("rank", COUNT, "From 1.", nullable=False),
        Column("element", COUNT, "Number of the dictionary element.", nullable=False),
        Column("effect", NUMBER, "Change of m when it is ablated to its mean; below 0 where it helps.", "logits"),
        Column("effect_share", NUMBER, "The same as a change of faithfulness.", "%"),
    ),
    printed=(),
)


class SubjectVerbAgreement(Analysis):
    """Whether the verb still agrees with its subject, and which elements that takes."""

    id = "sva"
    title = "Subject-verb agreement"
    paper = ("Table 7", "Figure 24", "Appendix I")
    tables = (BY_TEMPLATE, SVA, CURVE, ELEMENTS)
    options = (
        Option("n_prompts", 1000, "Prompts of each template; fewer where the words give fewer."),
        Option("seed", 0, "Of which prompts are drawn."),
        Option("paired", True, "Each prompt with its twin of the other number; false draws both independently."),
        Option("effects", "gradients", "How elements are ranked: gradients (integrated), or exact (a pass each)."),
        Option("most_kept", 500, "Elements up to which the curve is drawn, before its end at all of them."),
        Option("n_resamples", 1000, "Of the bootstrap."),
    )

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_prompts", "n_resamples", "most_kept")
        if options["effects"] not in EFFECTS:
            raise BadInput(f"--set sva.effects={options['effects']}: expected {' or '.join(EFFECTS)}")
        if chosen.facts.n_context < MOST_TOKENS:
            raise BadInput(f"the model reads {chosen.facts.n_context} tokens, and prompts have up to {MOST_TOKENS}")
        return task_per_sae(self, chosen, options)

    def cost(self, task: Task, shape: Shape) -> Cost:
        options = task.options
        n_tokens = len(TEMPLATES) * options["n_prompts"] * USUAL_TOKENS
        n_ablated = shape.d_sae_of(task) // 10 if options["effects"] == "exact" else 10
        rows = {**options, "n_rows": -(-n_tokens // shape.context)}
        same = Task(task.analysis, task.key, task.subjects, rows)
        kept = 4.0 * options["n_prompts"] * MOST_TOKENS * shape.facts.d_model * 6
        kept += 8.0 * MOST_TOKENS * shape.d_sae_of(task) + 4.0 * CHUNK * 4
        return cost_of(same, shape, clean=1, through=5, above=16 + n_ablated, kept_bytes=kept)

    def run(self, task: Task, context: Context) -> Tables:
        from trainer.analysis import agreement_of, draw_prompts, words_for

        (trial_id,) = task.subjects
        options, tokenizer = task.options, context.tokenizer()
        words, sae, model = words_for(tokenizer), context.sae(trial_id), context.model()
        found: Tables = {SVA.name: [], CURVE.name: [], ELEMENTS.name: []}
        for number, template in enumerate(TEMPLATES):
            drawn = draw_prompts(
                template, words, tokenizer, n_prompts=options["n_prompts"], seed=options["seed"],
                paired=options["paired"],
            )  # fmt: skip

            def heard(done: int, total: int, number: int = number) -> None:
                context.heard(number * total + done, len(TEMPLATES) * total)

            one = agreement_of(
                sae, model, drawn, effects=options["effects"], most_kept=options["most_kept"], heard=heard
            )
            who = {**identity(context.row(trial_id)), "template": template}
            found[SVA.name].append(who | _measured(one, drawn, options))
            found[CURVE.name] += [
                {**who, "n_elements": kept.n_elements, "difference": kept.difference, **_percent(kept.faithfulness)}
                for kept in one.curve
            ]
            found[ELEMENTS.name] += [{**who, **line} for line in _strongest(one)]
        return found

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        """Faithfulness with a column per template."""
        by_sae: dict[str, Line] = {}
        for line in tables[SVA.name]:
            who = {column.name: line[column.name] for column in IDENTITY}
            by_sae.setdefault(line["trial_id"], who)[line["template"]] = line["faithfulness"]
        return {BY_TEMPLATE.name: [dict.fromkeys(TEMPLATES) | line for line in by_sae.values()]}


def _measured(one: "Agreement", drawn: "Prompts", options: Any) -> Line:
    from trainer.analysis import elements_needed, faithfulness_interval

    means = {f"{name}_difference": float(each.mean()) for name, each in one.differences._asdict().items()}
    low, high = faithfulness_interval(one.differences, n_resamples=options["n_resamples"], seed=options["seed"])
    text, correct, wrong = drawn.texts[0]
    return {
        "n_prompts": len(drawn.texts),
        "example": f"{text} {correct} / {wrong}",
        **means,
        "model_accuracy": float((one.differences.model > 0).double().mean()),
        "sae_accuracy": float((one.differences.sae > 0).double().mean()),
        **_percent(one.faithfulness),
        "faithfulness_low": None if low is None else 100 * low,
        "faithfulness_high": None if high is None else 100 * high,
        "n_active": int(one.is_active.sum()),
        "n_for_80": elements_needed(one.curve, FEWEST),
        "paired": options["paired"],
        "effects": options["effects"],
    }


def _percent(found: "Faithfulness") -> Line:
    return {
        "faithfulness": None if found.paper is None else 100 * found.paper,
        "faithfulness_code": None if found.code is None else 100 * found.code,
    }


def _strongest(one: "Agreement") -> list[Line]:
    below = float(one.differences.model.mean() - one.differences.ablated.mean())
    effects = {element: float(one.effects[element]) for element in one.order[:N_ELEMENTS].tolist()}
    return [
        {
            "rank": rank,
            "element": element,
            "effect": effect,
            "effect_share": 100 * effect / below if below > 0 else None,
        }
        for rank, (element, effect) in enumerate(effects.items(), start=1)
    ]
