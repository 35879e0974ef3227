"""The analyses that run the model over evaluation rows, on a run whose SAEs nobody trained; and their figures."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards import canvas
from dashboards.paper import ablation, downstream, generation, norms, pca
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.paper.ablation import Ablation
from orchestrator.paper.analysis import Analysis, Chosen, Line, Shape, Tables, Task
from orchestrator.paper.context import TaskContext
from orchestrator.paper.downstream import Downstream
from orchestrator.paper.generation import Generation
from orchestrator.paper.norms import InputOutputNorms
from orchestrator.paper.pca import PCA
from orchestrator.paper.selection import choose
from orchestrator.paper.tables import checked
from tests.orchestrator.sae_run import make_run
from tests.tiny import Bench
from trainer.errors import BadInput

ANALYSES: list[Analysis] = [Downstream(), InputOutputNorms(), PCA(), Ablation(), Generation()]
DRAWINGS = {"downstream": downstream, "norms": norms, "pca": pca, "ablation": ablation, "generation": generation}
N_ROWS, CONTEXT, D_MODEL, N_LAYERS = 4, 8, 16, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Iterator[RunFolder]:
    folder = tmp_path_factory.mktemp("streamed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(folder / "cache"))
        forget()
        yield make_run(Bench(folder, tiny_model, tiny_text))
        forget()


@pytest.fixture(scope="module")
def chosen(run: RunFolder) -> Chosen:
    return choose(run, ["L0-local-c0.1-s0", "L1-local-c0.1-s0", "L1-local-c0.2-s0"])


@pytest.fixture(scope="module")
def tables(run: RunFolder, chosen: Chosen) -> Tables:
    found: Tables = {}
    for analysis in ANALYSES:
        mine: Tables = {spec.name: [] for spec in analysis.tables}
        for task in analysis.tasks(chosen):
            for name, lines in checked(analysis.run(task, TaskContext(run, task)), analysis.tables).items():
                mine[name] += lines
        found |= mine | checked(analysis.summary(mine, chosen), analysis.tables)
    return found


def of(lines: list[Line], run_name: str) -> list[Line]:
    return [line for line in lines if line["run_name"] == run_name]


def test_downstream_has_a_line_per_place_from_the_sae_to_the_end(tables: Tables) -> None:
    assert [line["at_layer"] for line in of(tables["downstream"], "L0-local-c0.1-s0")] == [0, 1, 2]
    own, end = of(tables["downstream"], "L1-local-c0.2-s0")
    assert (own["at_layer"], end["at_layer"], own["n_tokens"]) == (1, 2, N_ROWS * CONTEXT)
    assert own["swapped_per_token"] is not None
    assert end["swapped_per_token"] is None
    assert own["explained_variance"] != own["layer_normed_explained_variance"]


def test_norms_are_of_position_0_and_of_the_others_and_fill_their_bins(tables: Tables) -> None:
    first, rest = of(tables["norms"], "L1-local-c0.1-s0")
    assert (first["positions"], first["n_tokens"]) == ("0", N_ROWS)
    assert (rest["positions"], rest["n_tokens"]) == ("after 0", N_ROWS * (CONTEXT - 1))
    cosines = of(tables["norms_cosines"], "L1-local-c0.1-s0")
    assert [sum(line["counts"]) for line in cosines] == [first["n_tokens"], rest["n_tokens"]]
    [points] = of(tables["norms_points"], "L1-local-c0.1-s0")
    assert len(points["norm_in"]) == len(points["norm_out"]) == len(points["position"]) == N_ROWS * CONTEXT
    mean = sum(points["norm_in"]) / len(points["norm_in"])
    assert mean == pytest.approx((first["norm_in"] + (CONTEXT - 1) * rest["norm_in"]) / CONTEXT)


def test_principal_directions_are_told_per_layer_and_correlations_per_sae(tables: Tables) -> None:
    assert [(line["layer"], line["direction"]) for line in tables["pca_directions"]] == [
        (layer, direction) for layer in range(N_LAYERS) for direction in range(D_MODEL)
    ]
    shares = [line["variance_share"] for line in tables["pca_directions"][:D_MODEL]]
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert len(of(tables["pca_correlation"], "L1-local-c0.2-s0")) == D_MODEL
    tokens = [sum(line["clean"]) for line in of(tables["pca_histogram"], "L1-local-c0.2-s0")]
    assert tokens == [sum(line["sae"]) for line in of(tables["pca_histogram"], "L1-local-c0.2-s0")]
    assert sum(tokens) == N_ROWS * CONTEXT
    assert [len(line["clean"]) for line in of(tables["pca_positions"], "L1-local-c0.2-s0")] == [CONTEXT] * 3


def test_ablation_is_told_both_ways_round(tables: Tables) -> None:
    assert len(tables["ablation"]) == N_LAYERS * D_MODEL
    first, *_ = tables["ablation"]
    assert first["kl"] > 0 < first["kl_reversed"] != first["kl"]
    assert [line["variance_share"] for line in tables["ablation"]] == pytest.approx(
        [line["variance_share"] for line in tables["pca_directions"]]
    )


def test_texts_are_told_with_what_the_model_writes_alone(tables: Tables) -> None:
    texts = of(tables["generation"], "L1-local-c0.1-s0")
    assert [line["prompt"] for line in texts] == list(range(N_ROWS))
    assert all(line["n_same"] <= line["n_tokens"] for line in texts)
    assert {line["clean_text"] for line in texts} == {
        line["clean_text"] for line in of(tables["generation"], "L0-local-c0.1-s0")
    }
    [means] = of(tables["generation_means"], "L1-local-c0.1-s0")
    assert means["sae_nats"] == pytest.approx(sum(line["sae_nats"] for line in texts) / N_ROWS)


def test_what_is_of_a_layer_alone_is_the_same_task_whatever_is_chosen(run: RunFolder, chosen: Chosen) -> None:
    other = choose(run, ["L1-local-c0.3-s0"])
    for analysis in (PCA(), Ablation()):
        assert tasks(analysis, other)["L1"] == tasks(analysis, chosen)["L1"]


def tasks(analysis: Analysis, chosen: Chosen) -> dict[str, Task]:
    return {task.key: task for task in analysis.tasks(chosen)}


def test_no_more_rows_are_asked_for_than_there_are_and_none_is_refused(run: RunFolder, chosen: Chosen) -> None:
    assert {task.options["n_rows"] for task in Downstream().tasks(chosen)} == {N_ROWS}
    for setting, value in (("n_rows", 0), ("n_directions", -1)):
        wrong = choose(run, ["L1-local-c0.3-s0"], settings={"pca": {setting: value}})
        with pytest.raises(BadInput, match=rf"pca.{setting}={value}: expected a whole number of at least 1"):
            PCA().tasks(wrong)
    with pytest.raises(BadInput, match="expected 0 or more"):
        Generation().tasks(choose(run, ["L1-local-c0.3-s0"], settings={"generation": {"temperature": -1.0}}))


def test_more_tokens_take_more_time_and_larger_saes_more_memory(chosen: Chosen) -> None:
    def shape(context: int, d_sae: int) -> Shape:
        return Shape(chosen.facts, context, 100, dict.fromkeys([row.trial_id for row in chosen.done], d_sae), 1e9)

    for analysis in ANALYSES:
        task = analysis.tasks(chosen)[-1]
        small, long, wide = (analysis.cost(task, shape(*sizes)) for sizes in ((100, 50), (10_000, 50), (100, 10**6)))
        assert long.seconds > small.seconds or analysis.id == "generation"
        assert wide.memory_bytes > small.memory_bytes


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice_and_none_is_drawn_of_nothing(tables: Tables, tmp_path: Path) -> None:
    for number in (1, 2):
        for drawing in DRAWINGS.values():
            for name, figure in drawing.figures(tables).items():
                for format in canvas.FORMATS:
                    canvas.save(figure, tmp_path / str(number) / f"{name}.{format}")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / n).iterdir()} for n in ("1", "2"))
    assert first == second
    names = {name.partition(".")[0] for name in first}
    assert names == {name for drawing in DRAWINGS.values() for name in drawing.TEXT.captions}
    for drawing in DRAWINGS.values():
        assert drawing.figures({name: [] for name in tables}) == {}
