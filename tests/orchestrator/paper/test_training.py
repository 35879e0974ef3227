"""Training time and gradient norms from rows, and their figures."""

from pathlib import Path

import pytest

from dashboards import canvas
from dashboards.paper import saes as drawn_saes
from dashboards.paper import training as drawn
from orchestrator.folder.records import Row
from orchestrator.folder.run_folder import RunFolder
from orchestrator.paper.analysis import Chosen
from orchestrator.paper.context import TaskContext
from orchestrator.paper.saes import SAEs
from orchestrator.paper.selection import in_order
from orchestrator.paper.tables import checked
from orchestrator.paper.training import Training, spearman, times
from tests.orchestrator.rows import a_config, a_row
from trainer.errors import BadInput
from trainer.models import ModelFacts

FACTS = ModelFacts(n_layers=4, d_model=64, d_vocab=100, n_context=64, family="gpt2", d_mlp=256, n_parameters=200_000)


def timed(loss: str, seconds: float, *, layer: int = 1, coeff: float = 1.0, norm: float = 0.5) -> Row:
    row = a_row(a_config(loss=loss, layer=layer, coeff=coeff), l0=20 * coeff, ce=0.1 / coeff, grad_norm=norm)
    return row.model_copy(update={"cost": {"train_s": seconds}})


ROWS = [
    timed(loss, seconds * coeff, layer=layer, coeff=coeff, norm=0.1 * coeff * layer)
    for layer in (1, 2)
    for loss, seconds in (("e2e", 30.0), ("local", 10.0))
    for coeff in (1.0, 2.0, 3.0, 4.0)
]


def chosen(rows: list[Row]) -> Chosen:
    ordered = tuple(in_order(rows))
    return Chosen(rows=ordered[:3], groups=(), done=ordered, facts=FACTS, context=64, n_eval_rows=10)


def tables(folder: RunFolder, rows: list[Row]) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        folder.write_row(row)
    for analysis in (SAEs(), Training()):
        [task] = analysis.tasks(chosen(rows))
        found |= checked(analysis.run(task, TaskContext(folder, task)), analysis.tables)
    return found


def test_time_is_per_million_tokens_and_as_a_ratio_to_local_of_the_same_layer() -> None:
    local, e2e = times([timed("e2e", 30.0), timed("local", 10.0), timed("local", 20.0, coeff=2.0)])
    assert (local["loss"], local["n_saes"], local["ratio_to_local"]) == ("local", 2, 1.0)
    assert local["s_per_million_tokens"] == pytest.approx(15.0 / 0.09984)
    assert (local["s_per_million_tokens_low"], local["s_per_million_tokens_high"]) == pytest.approx(
        (10 / 0.09984, 20 / 0.09984)
    )
    assert e2e["ratio_to_local"] == pytest.approx(2.0)


def test_dictionaries_of_several_sizes_have_a_line_each() -> None:
    def of(loss: str, ratio: float, seconds: float) -> Row:
        return a_row(a_config(loss=loss, ratio=ratio)).model_copy(update={"cost": {"train_s": seconds}})

    lines = times([of("local", 4, 10.0), of("local", 8, 30.0), of("e2e", 4, 20.0), of("e2e", 8, 90.0)])
    assert [(line["d_sae"], line["loss"], line["ratio_to_local"]) for line in lines] == [
        (256, "local", 1.0), (256, "e2e", 2.0), (512, "local", 1.0), (512, "e2e", 3.0),
    ]  # fmt: skip


def test_without_local_there_is_no_ratio_and_without_times_no_number() -> None:
    [e2e] = times([timed("e2e", 30.0)])
    assert e2e["ratio_to_local"] is None
    [silent] = times([a_row()])
    assert (silent["n_saes"], silent["train_s"]) == (0, None)


def test_rank_correlation_is_one_for_what_rises_together_and_none_where_nothing_varies() -> None:
    lines = [{"x": float(x), "y": float(x) ** 3, "z": 1.0} for x in range(5)]
    assert spearman(lines, "x", "y") == pytest.approx(1.0)
    assert spearman([*lines, {"x": 9.0, "y": None, "z": 1.0}], "x", "y") == pytest.approx(1.0)
    assert spearman([line | {"y": -line["y"]} for line in lines], "x", "y") == pytest.approx(-1.0)
    assert spearman(lines, "x", "z") is None
    assert spearman(lines[:3], "x", "y") is None


def test_rows_give_lines_of_every_table(tmp_path: Path) -> None:
    found = tables(RunFolder(tmp_path), ROWS)
    assert [(line["layer"], line["loss"]) for line in found["training_time"]] == [
        (1, "local"), (1, "e2e"), (2, "local"), (2, "e2e"),
    ]  # fmt: skip
    assert {line["ratio_to_local"] for line in found["training_time"] if line["loss"] == "e2e"} == {3.0}
    assert len(found["training_grad_norm"]) == len(found["saes_all"]) == 16
    assert [line["with_ce_loss_increase"] for line in found["training_relation"]] == pytest.approx([-1.0] * 4)
    assert {line["with_alive"] for line in found["training_relation"]} == {None}


def test_rows_of_an_earlier_version_are_left_out_with_a_message() -> None:
    with pytest.raises(BadInput, match="no row of this run tells how long its training took"):
        Training().tasks(chosen([a_row()]))


def test_figures_are_the_same_bytes_twice(tmp_path: Path) -> None:
    found = tables(RunFolder(tmp_path / "run"), ROWS)
    found["saes_chosen"][0] |= {"matched": "l0", "target": 20.0}
    for number in (1, 2):
        for name, figure in {**drawn.figures(found), **drawn_saes.figures(found)}.items():
            for format in canvas.FORMATS:
                canvas.save(figure, tmp_path / str(number) / f"{name}.{format}")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("1", "2"))
    assert first == second
    assert {name.partition(".")[0] for name in first} == {"training_time", "training_grad_norm", "saes_chosen"}


def test_nothing_is_drawn_of_nothing() -> None:
    assert drawn.figures({"training_time": [], "training_grad_norm": []}) == {}
    assert drawn_saes.figures({"saes_all": [], "saes_chosen": []}) == {}
