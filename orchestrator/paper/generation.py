"""Text that the model writes with an SAE in it, beside what it writes alone, a task per SAE: the paper's demo (F21)."""

from typing import Any

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
    Line,
    Option,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from orchestrator.paper.streamed import cost_of, positive, task_per_sae
from trainer.errors import BadInput

MEANS = TableSpec(
    "generation_means",
    "Text written with the SAE against text that the model writes alone",
    (
        *IDENTITY,
        Column("n_prompts", COUNT, "Prompts that the means are over.", "prompts", nullable=False),
        Column("same_share", NUMBER, "Share of the text before the first token that differs, mean.", "share"),
        Column("clean_nats", NUMBER, "-log p per token of the model's own text, by the model itself, mean.", "nats"),
        Column("sae_nats", NUMBER, "-log p per token of the text with the SAE, by the model without it, mean.", "nats"),
    ),
    printed=("run_name", "n_prompts", "same_share", "clean_nats", "sae_nats"),
)
TEXTS = TableSpec(
    "generation",
    "Text written with each SAE",
    (
        *IDENTITY,
        Column("prompt", COUNT, "Number of the prompt, from 0.", nullable=False),
        Column("prompt_text", TEXT, "The beginning of an evaluation row."),
        Column("clean_text", TEXT, "What the model writes after it alone."),
        Column("sae_text", TEXT, "What it writes with the SAE."),
        Column("n_tokens", COUNT, "Tokens written with the SAE.", "tokens"),
        Column("n_same", COUNT, "Of them, tokens before the first one that differs.", "tokens"),
        Column("clean_nats", NUMBER, "-log p per token of the model's own text, by the model itself.", "nats"),
        Column("sae_nats", NUMBER, "-log p per token of the text with the SAE, by the model without it.", "nats"),
    ),
    printed=("run_name", "prompt_text", "clean_text", "sae_text", "n_same"),
)


class Generation(Analysis):
    """What the model writes with an SAE in it."""

    id = "generation"
    title = "Text generated through an SAE"
    paper = ("Section 2",)
    tables = (MEANS, TEXTS)
    options = (
        Option("n_prompts", 8, "Prompts: beginnings of evaluation rows, evenly through them."),
        Option("prompt_tokens", 24, "Tokens of a prompt; at most half a row."),
        Option("new_tokens", 40, "Tokens that are written, at most; as many as the model can read."),
        Option("temperature", 0.0, "0 takes the most likely token each time; above 0 tokens are drawn."),
        Option("seed", 0, "Of what is drawn."),
    )

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = positive(self, chosen, "n_prompts", "prompt_tokens", "new_tokens")
        if options["temperature"] < 0:
            raise BadInput(f"--set generation.temperature={options['temperature']}: expected 0 or more")
        options["n_prompts"] = min(options["n_prompts"], chosen.n_eval_rows)
        options["prompt_tokens"] = max(1, min(options["prompt_tokens"], chosen.context // 2))
        options["new_tokens"] = min(options["new_tokens"], chosen.facts.n_context - options["prompt_tokens"])
        return task_per_sae(self, chosen, options)

    def cost(self, task: Task, shape: Shape) -> Cost:
        options = task.options
        n_tokens = options["n_prompts"] * (options["prompt_tokens"] + options["new_tokens"])
        # a token at a time: the weights are read each time, which takes far longer than their products
        read_s = 2 * n_tokens * (shape.model_bytes + shape.sae_bytes(task)) / 1e10
        rows = {**options, "n_rows": -(-n_tokens // shape.context)}
        same = Task(task.analysis, task.key, task.subjects, rows)
        whole = cost_of(same, shape, clean=4, through=1, kept_bytes=shape.model_bytes)
        return Cost(whole.seconds + read_s, whole.memory_bytes)

    def run(self, task: Task, context: Context) -> Tables:
        from trainer.analysis import continuations, prompts_of

        (trial_id,) = task.subjects
        options, row, tokenizer = task.options, context.row(trial_id), context.tokenizer()
        prompts = prompts_of(
            context.rows().evaluation, n_prompts=options["n_prompts"], n_tokens=options["prompt_tokens"]
        )
        writer = context.writer()
        context.heard(1, 3)
        drawn = {"n_new_tokens": options["new_tokens"], "temperature": options["temperature"], "seed": options["seed"]}
        alone = continuations(writer, prompts, sae=None, **drawn)
        context.heard(2, 3)
        through = continuations(writer, prompts, sae=context.sae(trial_id), **drawn)

        def text(tokens: Any) -> str:
            return str(tokenizer.decode(tokens.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False))

        return {
            TEXTS.name: [
                {
                    **identity(row),
                    "prompt": number,
                    "prompt_text": text(clean.prompt),
                    "clean_text": text(clean.written),
                    "sae_text": text(sae.written),
                    "n_tokens": len(sae.written),
                    "n_same": sae.n_same(clean),
                    "clean_nats": clean.clean_nats_per_token,
                    "sae_nats": sae.clean_nats_per_token,
                }
                for number, (clean, sae) in enumerate(zip(alone, through, strict=True))
            ]
        }

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        """Means over prompts."""
        by_sae: dict[str, list[Line]] = {}
        for line in tables[TEXTS.name]:
            by_sae.setdefault(line["trial_id"], []).append(line)
        return {MEANS.name: [_means(lines) for lines in by_sae.values()]}


def _means(lines: list[Line]) -> Line:
    n = len(lines)
    return {column.name: lines[0][column.name] for column in IDENTITY} | {
        "n_prompts": n,
        "same_share": sum(line["n_same"] / max(1, line["n_tokens"]) for line in lines) / n,
        "clean_nats": _mean([line["clean_nats"] for line in lines]),
        "sae_nats": _mean([line["sae_nats"] for line in lines]),
    }


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None
