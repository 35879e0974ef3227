"""A finished run with SAEs that nobody trained, `paper` called on it, and analyses made for tests."""

import pytest
from typer.testing import CliRunner, Result

from orchestrator import cli
from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.analysis import (
    IDENTITY,
    NUMBER,
    Analysis,
    Chosen,
    Column,
    Context,
    Cost,
    Option,
    Shape,
    Tables,
    TableSpec,
    Task,
    identity,
)
from trainer.errors import BadInput


class Norms(Analysis):
    """A task per chosen SAE: the norm of its encoder."""

    id = "norms_of_encoders"
    title = "Norms & <names>"
    paper = ("Figure 0",)
    tables = (
        TableSpec("norms_of_encoders", "Norms", (*IDENTITY, Column("norm", NUMBER, "Of the encoder.", "length"))),
        TableSpec("norms_of_encoders_total", "All of them", (Column("total", NUMBER, "Sum."),)),
    )
    options = (Option("times", 1.0, "What norms are multiplied by."),)

    def tasks(self, chosen: Chosen) -> list[Task]:
        options = chosen.options(self)
        return [Task(self.id, row.run_name, (row.trial_id,), options) for row in chosen.rows]

    def cost(self, task: Task, shape: Shape) -> Cost:
        return Cost(seconds=1.0, memory_bytes=shape.sae_bytes(task))

    def run(self, task: Task, context: Context) -> Tables:
        context.heard(1, 2)
        [trial_id] = task.subjects
        norm = context.sae(trial_id).w_enc.norm().item() * task.options["times"]
        return {"norms_of_encoders": [{**identity(context.row(trial_id)), "norm": norm}]}

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        return {"norms_of_encoders_total": [{"total": sum(line["norm"] for line in tables["norms_of_encoders"])}]}


class Model(Norms):
    """Asks for all that there is."""

    id = "model_facts"
    title = "Facts of the model"
    tables = (
        TableSpec(
            "model_facts", "Facts", (Column("d_model", NUMBER, "Width."), Column("n_letters", NUMBER, "Of a token."))
        ),
    )
    options = ()

    def tasks(self, chosen: Chosen) -> list[Task]:
        return [Task(self.id, "all", (chosen.rows[0].trial_id,), needs_model=True)]

    def run(self, task: Task, context: Context) -> Tables:
        token = int(context.rows().evaluation.take(slice(0, 1))[0, 0])
        letters = context.tokenizer().decode([token])
        return {"model_facts": [{"d_model": context.model().d_model, "n_letters": len(letters)}]}

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        return {}


class Refuses(Norms):
    """Its one task finds that it cannot be done."""

    id = "refuses"
    title = "Refuses"
    tables = (TableSpec("refuses", "Nothing", (Column("x", NUMBER, "Nothing."),)),)
    options = ()

    def run(self, task: Task, context: Context) -> Tables:
        raise BadInput("this SAE is not to be looked at: expected another")

    def summary(self, tables: Tables, chosen: Chosen) -> Tables:
        return {}


class Broken(Refuses):
    """A bug."""

    id = "broken"
    tables = (TableSpec("broken", "Nothing", (Column("x", NUMBER, "Nothing."),)),)

    def run(self, task: Task, context: Context) -> Tables:
        return {"broken": [{"y": 1.0}]}


class OneSeed(Refuses):
    """Needs what this sweep has not."""

    id = "one_seed"
    tables = (TableSpec("one_seed", "Nothing", (Column("x", NUMBER, "Nothing."),)),)

    def tasks(self, chosen: Chosen) -> list[Task]:
        raise BadInput("this sweep has one seed, and two are needed: add one to grid.seed")


def use(monkeypatch: pytest.MonkeyPatch, *analyses: Analysis) -> None:
    """These are all analyses there are."""
    for module in ("call", "running"):
        monkeypatch.setattr(f"orchestrator.paper.{module}.analyses", lambda: list(analyses))


def paper(run: RunFolder, *more: str) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(cli.app, ["paper", str(run.path), "--local", *more])
