"""The analyses of dictionary directions, on a run whose SAEs of one seed have the same weights; and their figures."""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dashboards import canvas
from dashboards.paper import cross_seed, cross_type, geometry, umap
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.paper.analysis import Analysis, Chosen, Line, Shape, Tables, Task
from orchestrator.paper.context import TaskContext
from orchestrator.paper.cross import CrossSeed, CrossType
from orchestrator.paper.geometry import Geometry
from orchestrator.paper.selection import choose
from orchestrator.paper.store import key_of
from orchestrator.paper.tables import checked
from orchestrator.paper.umap import UMAPs
from tests.orchestrator.paper.seeded_run import seeded_run
from tests.tiny import Bench
from trainer.errors import BadInput, EnvironmentProblem
from trainer.export import firing_frequencies

ANALYSES: list[Analysis] = [Geometry(), CrossSeed(), CrossType(), UMAPs()]
DRAWINGS = {"geometry": geometry, "cross_seed": cross_seed, "cross_type": cross_type, "umap": umap}
SETTINGS = {"umap": {"region_neighbors": 6, "n_permutations": 49}, "geometry": {"n_resamples": 50}}
GROUP = "L1-ce0.141"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("directions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(folder / "cache"))
        forget()
        yield Bench(folder, tiny_model, tiny_text)
        forget()


@pytest.fixture(scope="module")
def run(bench: Bench) -> RunFolder:
    return seeded_run(bench)


@pytest.fixture(scope="module")
def chosen(run: RunFolder) -> Chosen:
    return choose(run, settings=SETTINGS)


def beside(bench: Bench, name: str) -> Bench:
    (folder := bench.folder / name).mkdir()
    return Bench(folder, bench.model, bench.data)


def flat(dictionaries: list[Tensor], **_: object) -> list[Tensor]:
    """In place of UMAP, which takes half a minute to load: the first two numbers of each direction."""
    return [dictionary[:, :2].float() for dictionary in dictionaries]


@pytest.fixture(scope="module")
def tables(run: RunFolder, chosen: Chosen) -> Tables:
    found: Tables = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.analysis.umap_of", flat)
        for analysis in ANALYSES:
            mine: Tables = {spec.name: [] for spec in analysis.tables}
            for task in analysis.tasks(chosen):
                for name, lines in checked(analysis.run(task, TaskContext(run, task)), analysis.tables).items():
                    mine[name] += lines
            found |= mine | checked(analysis.summary(mine, chosen), analysis.tables)
    return found


def keys(analysis: Analysis, chosen: Chosen) -> list[str]:
    return [task.key for task in analysis.tasks(chosen)]


def test_every_sae_that_is_done_is_looked_at_and_groups_are_compared(chosen: Chosen) -> None:
    assert keys(Geometry(), chosen) == [
        f"L1-{loss}-s{seed}" for loss in ("local", "e2e", "e2e_downstream") for seed in (0, 1)
    ] + [GROUP]
    assert all(len(task.subjects) == 2 for task in Geometry().tasks(chosen)[:-1])


def test_two_groups_of_the_same_saes_are_kept_apart(run: RunFolder, chosen: Chosen) -> None:
    """As where those nearest to a CE loss increase are those nearest to an L0: lines name their group."""
    [group] = chosen.groups
    both = replace(chosen, groups=(group, replace(group, key="L1-l0-15")))
    rows = {row.trial_id: row for row in both.done}
    tasks = [task for task in Geometry().tasks(both) if task.options["of"] == "group"]
    assert len({key_of(task, Geometry(), rows, run) for task in tasks}) == 2
    lines = [Geometry().run(task, TaskContext(run, task))["geometry_differences"] for task in tasks]
    assert [{line["group"] for line in some} for some in lines] == [{GROUP}, {"L1-l0-15"}]


def test_cosines_within_are_of_alive_elements_alone(run: RunFolder, chosen: Chosen, tables: Tables) -> None:
    assert len(tables["geometry"]) == 12
    line = tables["geometry"][0]
    task = Geometry().tasks(chosen)[0]
    context = TaskContext(run, task)
    alive = context.firing(line["trial_id"]) > 0
    directions = context.sae(line["trial_id"]).dictionary[alive].double()
    cosines = directions @ directions.T
    cosines.fill_diagonal_(-1)
    assert (line["n_elements"], sum(line["counts"])) == (int(alive.sum()), int(alive.sum()))
    assert line["mean_cosine"] == pytest.approx(float(cosines.max(1).values.mean()), abs=1e-6)
    assert 0 < line["chance_cosine"] < 1


def test_saes_of_one_seed_do_not_differ_and_seeds_are_told_apart(tables: Tables) -> None:
    lines = tables["geometry_differences"]
    assert {(line["loss"], line["against"]) for line in lines} == {
        ("e2e", "local"), ("e2e_downstream", "local"), ("e2e_downstream", "e2e"),
    }  # fmt: skip
    for line in lines:
        assert line["group"] == GROUP
        assert line["n_resamples"] == 50
        assert line["low"] <= line["difference"] <= line["high"]
        assert (line["n_seeds"], line["seeds_low"]) == (2, None)
        assert line["seeds_difference"] == pytest.approx(0, abs=1e-9)


def test_each_element_is_told_with_its_nearest(tables: Tables) -> None:
    assert {line["group"] for line in tables["geometry_elements"]} == {GROUP}
    for name in ("geometry_elements", "cross_seed_elements", "cross_type_elements"):
        for line in tables[name]:
            assert len(line["elements"]) == len(line["cosine"]) == len(line["nearest"]) > 0


def test_another_seed_is_another_dictionary_and_a_same_seed_the_same_one(tables: Tables) -> None:
    assert {line["run_name"][:-1] for line in tables["cross_seed"]} == {
        line["other_run_name"][:-1] for line in tables["cross_seed"]
    }
    assert all(line["mean_cosine"] < 0.95 for line in tables["cross_seed"])
    same = [line for line in tables["cross_type"] if line["same_seed"]]
    other = [line for line in tables["cross_type"] if not line["same_seed"]]
    assert [line["mean_cosine"] for line in same] == pytest.approx([1.0] * 4, abs=1e-6)
    assert len(other) == 4
    assert all(line["mean_cosine"] < 0.95 for line in other)
    assert all("local" in (line["loss"], line["other_loss"]) for line in [*same, *other])


def test_seeds_of_a_setting_are_told_with_their_spread(tables: Tables) -> None:
    lines = tables["cross_seed_spread"]
    assert len(lines) == 6
    first = next(line for line in lines if line["sparsity_coeff"] == 0.1)
    assert (first["l0"], first["l0_low"], first["l0_high"], first["n_seeds"]) == (20.5, 20, 21, 2)
    assert first["l0_std"] == pytest.approx(0.5**0.5)
    assert first["ce_loss_increase_std"] == 0


def test_every_alive_element_is_in_the_plane_and_sides_began_apart(tables: Tables) -> None:
    assert {line["pair"] for line in tables["umap"]} == {f"{GROUP}-e2e", f"{GROUP}-e2e_downstream"}
    for line, points in zip(tables["umap"], tables["umap_points"], strict=True):
        assert not line["same_seed"]
        names = ("elements", "x", "y", "direction_cosine", "frequency", "is_inside")
        assert {len(points[name]) for name in names} == {line["n_elements"]}
        assert line["n_inside"] == sum(points["is_inside"])
        assert all(0 < share <= 1 for share in points["frequency"])
        assert all(abs(cosine) <= 1 for cosine in points["direction_cosine"])


def test_a_region_of_one_dictionary_is_told_with_its_elements(
    run: RunFolder, chosen: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apart(dictionaries: list[Tensor], **_: object) -> list[Tensor]:
        return [flat([dictionary])[0] + 20.0 * side for side, dictionary in enumerate(dictionaries)]

    monkeypatch.setattr("trainer.analysis.umap_of", apart)
    task = UMAPs().tasks(chosen)[0]
    found = checked(UMAPs().run(task, TaskContext(run, task)), UMAPs().tables)
    assert all(0.8 * line["n_elements"] <= line["n_inside"] < line["n_elements"] for line in found["umap"])
    assert {line["loss"]: line["cosine_inside"] is not None for line in found["umap"]} == {"e2e": True, "local": True}
    assert sorted(line["region"] for line in found["umap_regions"]) == ["A", "B"]
    for line in found["umap_regions"]:
        assert (line["n_other"], line["other_elements"]) == (0, [])
        side = next(one for one in found["umap_points"] if one["loss"] == line["loss"])
        inside = [number for number, is_in in zip(side["elements"], side["is_inside"], strict=True) if is_in]
        assert line["elements"] == inside
        assert line["p_value"] <= 0.05
        assert (line["x"] > 10) == (line["loss"] == "local")


def test_one_seed_is_refused_across_seeds_and_compared_across_losses_with_a_word(bench: Bench) -> None:
    chosen = choose(seeded_run(beside(bench, "alone"), seeds=(0,)))
    with pytest.raises(BadInput, match=r"none of the 3 chosen SAEs has one that is done \(seeds of this run: 0\)"):
        CrossSeed().tasks(chosen)
    assert keys(CrossType(), chosen) == [f"{GROUP}-e2e-same-seed", f"{GROUP}-e2e_downstream-same-seed"]
    assert keys(UMAPs(), chosen) == [f"{GROUP}-e2e", f"{GROUP}-e2e_downstream"]


@pytest.mark.parametrize("analysis", [CrossType(), UMAPs()], ids=lambda analysis: analysis.id)
def test_one_loss_is_refused_across_losses(bench: Bench, analysis: Analysis) -> None:
    chosen = choose(seeded_run(beside(bench, f"local-for-{analysis.id}"), only_local=True))
    with pytest.raises(BadInput, match=r"no chosen group has both \(losses: local\)"):
        analysis.tasks(chosen)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("n_neighbors", 1, "expected at least 2"),
        ("density_ratio", 1.0, "expected density_ratio above 1"),
        ("region_neighbors", 0, "expected a whole number of at least 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(run: RunFolder, option: str, value: float, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        UMAPs().tasks(choose(run, settings={"umap": {option: value}}))


def test_umap_says_what_to_install_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.analysis.embedding import INSTALL, umap_of

    monkeypatch.setattr("orchestrator.paper.umap.find_spec", lambda name: importlib.util.find_spec(f"{name}_not_there"))
    assert UMAPs().missing() == INSTALL
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install -e '\.\[paper\]'"):
        umap_of([torch.randn(40, 4)])


def test_firing_is_counted_once_and_kept_and_what_is_damaged_is_counted_again(
    run: RunFolder, chosen: Chosen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_counted = 0

    def counting(saes: list[object], **more: object) -> list[Tensor]:
        nonlocal n_counted
        n_counted += len(saes)
        return firing_frequencies(saes, **more)  # pyright: ignore

    monkeypatch.setattr("orchestrator.paper.firing.firing_frequencies", counting)
    task = Task("geometry", "all", CrossSeed().tasks(chosen)[0].subjects, needs_model=True)

    def firing() -> list[list[float]]:
        context = TaskContext(run, task, kept=tmp_path / "firing")
        return [context.firing(id_).tolist() for id_ in task.subjects]

    first = firing()
    assert n_counted == 2
    assert all(0 <= share <= 1 for one in first for share in one)
    assert firing() == first
    assert n_counted == 2
    path = sorted((tmp_path / "firing").iterdir())[0]
    path.write_text(path.read_text()[:-30])
    assert firing() == first
    assert n_counted == 3


def test_larger_saes_take_more_time_and_memory_but_not_by_their_square(chosen: Chosen) -> None:
    def shape(d_sae: int) -> Shape:
        return Shape(chosen.facts, 8, 100, dict.fromkeys([row.trial_id for row in chosen.done], d_sae), 1e9)

    for analysis in ANALYSES:
        task = analysis.tasks(chosen)[0]
        small, large = (analysis.cost(task, shape(d_sae)) for d_sae in (10_000, 100_000))
        assert large.seconds > 5 * small.seconds
        assert small.memory_bytes < large.memory_bytes < 10 * small.memory_bytes


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice_and_none_is_drawn_of_nothing(tables: Tables, tmp_path: Path) -> None:
    region: Line = {"pair": f"{GROUP}-e2e", "region": "A", "loss": "local", "x": 0.0, "y": 0.0}
    tables = {**tables, "umap_regions": [region]}
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
