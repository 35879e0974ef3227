"""Searches of real sweeps: what is asked for is trained, and a launch that is cut off comes to the same end."""

import json
import signal
from pathlib import Path

import pytest

from orchestrator.folder.records import RowStatus, SavedPlan, SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from tests.orchestrator.forked import launched
from tests.tiny import SWEEP, Bench, science

pytestmark = pytest.mark.slow

FILL = "search: {kind: fill, l0: [2, 13], max_gap: 0.15, budget: 10, at_once: 4}\n"
GRID = "grid.layer=1"
"""Two losses with two coefficients each."""


@pytest.fixture(autouse=True)
def fresh() -> None:
    forget()


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_text: Path) -> Bench:
    """A search undisturbed."""
    bench = with_search(Bench(tmp_path_factory.mktemp("twin"), tiny_model, tiny_text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAE_FRONTIER_CACHE", str(bench.folder / "cache"))
        code, said = launched(bench, "--set", GRID)
    assert code == 0, said
    return bench


def with_search(bench: Bench, search: str = FILL) -> Bench:
    bench.sweep.write_text(SWEEP + search)
    return bench


def plan_of(bench: Bench) -> SavedPlan:
    found = RunFolder(bench.run_folder).plan()
    assert found is not None
    return found


def proposed(bench: Bench) -> dict[str, tuple[int, str, str]]:
    plan = plan_of(bench)
    return {id_: (why.round, why.why, plan.run_names[id_]) for id_, why in plan.proposed.items()}


def check_same(bench: Bench, twin: Bench) -> None:
    assert proposed(bench) == proposed(twin)
    assert science(bench.run_folder) == science(twin.run_folder)
    assert plan_of(bench).packs == plan_of(twin).packs


def test_a_search_goes_on_from_the_grid_round_by_round(twin: Bench):
    folder, plan = RunFolder(twin.run_folder), plan_of(twin)
    assert {row.status for row in folder.rows()} == {RowStatus.DONE}
    assert len(folder.rows()) == 4 + len(plan.proposed)
    rounds = [why.round for why in plan.proposed.values()]
    assert 4 <= len(rounds) <= 10
    assert set(rounds) == set(range(1, max(rounds) + 1))
    assert max(rounds) >= 2
    told = [event.fields["round"] for event in folder.events() if event.event == "search_round"]
    assert told == sorted(set(rounds))
    status = folder.status()
    assert status is not None
    assert (status.state, status.n_done) == (SweepState.COMPLETE, len(folder.rows()))


@pytest.mark.parametrize(
    "faults",
    [
        "rename:plan.json:2=kill",  # the first round is asked for, and not written
        "renamed:plan.json:2=kill",  # it is written, and nothing of it has begun
        "renamed:plan.json:3=kill",
        "renamed:sae.safetensors:6=kill",  # in the middle of a round
    ],
)
def test_a_search_that_is_killed_anywhere_asks_for_the_same_trials(bench: Bench, twin: Bench, faults: str):
    with_search(bench)
    code, said = launched(bench, "--set", GRID, faults=faults)
    assert code == -signal.SIGKILL, said
    code, said = launched(bench, "--set", GRID)
    assert code == 0, said
    check_same(bench, twin)


def test_a_search_that_was_stopped_between_rounds_is_not_complete_and_goes_on(bench: Bench, twin: Bench):
    with_search(bench)
    code, said = launched(bench, "--set", GRID, faults="renamed:sae.safetensors:4=int")
    assert code == 130, said
    status = RunFolder(bench.run_folder).status()
    assert status is not None
    assert status.state is SweepState.STOPPED
    code, said = launched(bench, "--set", GRID)
    assert code == 0, said
    check_same(bench, twin)


def test_a_search_that_is_over_asks_for_nothing_more(twin: Bench):
    before = plan_of(twin)
    code, said = launched(twin, "--set", GRID)
    assert code == 0, said
    assert plan_of(twin) == before
    assert "Search: fill" in said


def test_a_search_may_be_added_to_a_sweep_that_is_done_and_changed_later(bench: Bench, twin: Bench):
    assert launched(bench, "--set", GRID)[0] == 0
    with_search(bench)
    code, said = launched(bench, "--set", GRID)
    assert code == 0, said
    assert science(bench.run_folder).keys() == science(twin.run_folder).keys()
    match = "search: {kind: match, metric: l0, target: 9, max_trials: 2}\n"
    with_search(bench, match)
    code, said = launched(bench, "--set", GRID, "--json")
    assert code == 0, said
    result = json.loads(said[said.index("{\n") :])
    assert result["search"]["for"] == "match l0 9"
    assert {found["series"] for found in result["search"]["found"]} == {"L1 local", "L1 e2e"}
    assert proposed(twin).items() <= proposed(bench).items()


def test_a_dry_run_says_what_a_search_may_add(bench: Bench):
    with_search(bench)
    code, said = launched(bench, "--dry-run", "--set", GRID)
    assert code == 0, said
    assert "search       fill, after the grid: at most 10 trials more" in said


def test_a_sampled_search_leaves_a_study_for_optuna_dashboard(bench: Bench):
    with_search(bench, "search: {kind: tpe, budget: 4, space: {train.lr: {low: 1e-3, high: 1e-1, log: true}}}\n")
    code, said = launched(bench, "--set", GRID)
    assert code == 0, said
    assert len(plan_of(bench).proposed) == 4
    assert all("-lr0.0" in name for _, _, name in proposed(bench).values())
    lines = (bench.run_folder / "search" / "optuna.journal").read_text().splitlines()
    assert sum('"study_name"' in line for line in lines) == 2
