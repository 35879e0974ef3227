"""`paper`: what is computed, what is kept, what is said, whatever goes wrong."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.folder.records import RowStatus
from orchestrator.folder.run_folder import RunFolder
from orchestrator.packs.held import forget
from orchestrator.paper.tables import METADATA_KEY
from tests.orchestrator.paper.made import Broken, Model, Norms, OneSeed, Refuses, paper, use
from tests.orchestrator.sae_run import make_run
from tests.tiny import Bench
from trainer.faults import Killed, injected


@pytest.fixture
def run(bench: Bench) -> RunFolder:
    forget()
    return make_run(bench)


@pytest.fixture
def norms(monkeypatch: pytest.MonkeyPatch) -> Norms:
    use(monkeypatch, found := Norms())
    return found


def computed(run: RunFolder, *more: str) -> list[str]:
    """The analyses of the tasks that a call does."""
    places: list[str] = []
    with injected(lambda place, _: places.append(place) if place.startswith("paper:") else None):
        result = paper(run, *more)
    assert result.exit_code == 0, result.output
    return [place.removeprefix("paper:") for place in places]


def lines(run: RunFolder, table: str = "norms_of_encoders") -> list[dict[str, object]]:
    return pq.read_table(run.path / "paper" / f"{table}.parquet").to_pylist()


def files(run: RunFolder) -> dict[str, bytes]:
    """All that is not the cache's."""
    folder = run.path / "paper"
    every = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in every.items() if not name.startswith("cache/")}


@pytest.mark.usefixtures("norms")
def test_a_second_call_does_nothing_anew_and_writes_the_same_bytes(run: RunFolder) -> None:
    assert computed(run) == ["norms_of_encoders"] * 2
    first = files(run)
    assert computed(run) == []
    assert files(run) == first
    assert {"norms_of_encoders.parquet", "latex/norms_of_encoders.tex", "paper.html", "paper.json"} <= first.keys()


@pytest.mark.usefixtures("norms")
def test_only_what_another_choice_or_option_changes_is_done(run: RunFolder) -> None:
    computed(run)
    assert computed(run, "--select", "L1-local-c0.3-s0,matched-ce") == ["norms_of_encoders"]
    assert len(lines(run)) == 3
    once = lines(run)
    assert computed(run, "--set", "norms_of_encoders.times=2", "--select", "L1-local-c0.3-s0") == ["norms_of_encoders"]
    [twice] = lines(run)
    [before] = [line for line in once if line["run_name"] == "L1-local-c0.3-s0"]
    assert twice["norm"] == pytest.approx(2 * float(str(before["norm"])))


def test_a_new_version_is_computed_anew(run: RunFolder, norms: Norms, monkeypatch: pytest.MonkeyPatch) -> None:
    computed(run)
    monkeypatch.setattr(Norms, "version", norms.version + 1)
    assert len(computed(run)) == 2


@pytest.mark.usefixtures("norms")
def test_an_sae_with_other_weights_is_computed_anew(run: RunFolder) -> None:
    computed(run)
    row = run.rows()[0]
    for row in run.rows():
        if row.run_name == "L1-local-c0.2-s0":
            found = run.read_sae(row.trial_id)
            assert found is not None
            run.write_sae(row.trial_id, {name: 2 * tensor for name, tensor in found[0].items()}, found[1])
    assert computed(run, "--select", "L1-local-c0.2-s0") == ["norms_of_encoders"]


@pytest.mark.usefixtures("norms")
def test_a_kill_loses_the_task_in_flight_alone(run: RunFolder) -> None:
    n_begun = 0

    def kill(place: str, _: int | None) -> None:
        nonlocal n_begun
        n_begun += place.startswith("paper:")
        if n_begun == 2:
            raise Killed(place)

    with injected(kill), pytest.raises(Killed):
        paper(run)
    assert len(list((run.path / "paper" / "cache" / "norms_of_encoders").glob("*.json"))) == 1
    assert computed(run) == ["norms_of_encoders"]
    assert len(lines(run)) == 2


@pytest.mark.usefixtures("norms")
def test_what_is_damaged_in_the_cache_is_computed_anew(run: RunFolder) -> None:
    computed(run)
    whole = lines(run)
    path = next((run.path / "paper" / "cache" / "norms_of_encoders").glob("*.json"))
    path.write_text(path.read_text().replace('"norm":', '"norm":1'))
    assert computed(run) == ["norms_of_encoders"]
    assert lines(run) == whole


def test_an_analysis_that_fails_ends_no_other_and_the_exit_code_says_so(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Refuses(), Broken(), Norms())
    result = paper(run)
    assert result.exit_code == 3
    assert result.output.count("this SAE is not to be looked at") == 1
    assert "this is a bug" in result.output
    assert "no such column: y" in result.output
    assert "Traceback" not in result.output
    assert len(lines(run)) == 2
    page = (run.path / "paper" / "paper.html").read_text()
    assert "this SAE is not to be looked at" in page


def test_what_the_sweep_cannot_give_is_left_out_with_a_message_unless_it_was_asked_for(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, OneSeed(), Norms())
    result = paper(run)
    assert result.exit_code == 0
    assert "this sweep has one seed" in result.output
    assert paper(run, "--only", "one_seed,norms_of_encoders").exit_code == 3
    alone = paper(run, "--only", "one_seed")
    assert alone.exit_code == 2
    assert "this sweep has one seed" in alone.output


def test_an_analysis_gets_model_rows_and_tokenizer_of_its_saes(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Model())
    assert computed(run) == ["model_facts"]
    assert lines(run, "model_facts") == [{"d_model": 16.0, "n_letters": 1.0}]


def test_what_was_asked_for_alone_does_not_take_the_rest_off_the_page(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Norms(), Model())
    computed(run)
    assert computed(run, "--only", "model_facts") == []
    assert {"norms_of_encoders.parquet", "model_facts.parquet"} <= files(run).keys()
    assert computed(run, "--only", "model_facts", "--select", "L1-local-c0.3-s0") == ["model_facts"]
    assert "norms_of_encoders.parquet" not in files(run)


@pytest.mark.usefixtures("norms")
def test_a_dry_run_says_time_and_memory_and_writes_nothing(run: RunFolder) -> None:
    result = paper(run, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "norms_of_encoders      2     0        2 s" in result.output
    assert "nothing was started" in result.output.replace("\n", " ")
    assert "L0-local-c0.1-s0" in result.output
    assert not (run.path / "paper").exists()


@pytest.mark.usefixtures("norms")
def test_the_list_needs_no_run() -> None:
    from typer.testing import CliRunner

    from orchestrator import cli

    result = CliRunner().invoke(cli.app, ["paper", "--list"])
    assert result.exit_code == 0
    assert "training" in result.output


@pytest.mark.usefixtures("norms")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--only", "nothing"], "no such analysis; expected some of norms_of_encoders"),
        (["--select", "L7-none"], "--select L7-none: no trial that ended is 'L7-none'"),
        (["--select", "L1-local-c9-s0"], "expected trials that are done"),
        (["--set", "norms_of_encoders.other=1"], "norms_of_encoders.times"),
        (["--set", "norms_of_encoders.times=much"], "expected a number"),
    ],
)
def test_what_cannot_be_asked_for_is_one_message_and_exit_code_2(
    run: RunFolder, options: list[str], words: str
) -> None:
    result = paper(run, *options)
    assert result.exit_code == 2
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (run.path / "paper").exists()


@pytest.mark.usefixtures("norms")
def test_a_run_without_a_finished_trial_is_refused(run: RunFolder) -> None:
    for row in run.rows():
        if row.status is RowStatus.DONE:
            run.set_row_aside(row.trial_id)
    result = paper(run)
    assert result.exit_code == 2
    assert "is done: expected at least one finished trial" in result.output


@pytest.mark.usefixtures("norms")
def test_an_sae_whose_weights_are_gone_is_refused_by_name(run: RunFolder) -> None:
    row = next(row for row in run.rows() if row.run_name == "L0-local-c0.1-s0")
    for path in run.sae(row.trial_id).iterdir():
        path.unlink()
    result = paper(run, "--select", row.run_name)
    assert result.exit_code == 2
    assert "its weights were moved or deleted" in result.output


def test_an_sae_in_another_trials_folder_is_refused_and_the_others_go_on(run: RunFolder, norms: Norms) -> None:
    one, other = (next(row for row in run.rows() if row.run_name == f"L{layer}-local-c0.1-s0") for layer in (0, 1))
    found = run.read_sae(other.trial_id)
    assert found is not None
    run.write_sae(one.trial_id, *found)
    result = paper(run, "--select", f"{one.run_name},{other.run_name}")
    assert result.exit_code == 3
    assert "the files of two trials were mixed up" in " ".join(result.output.split())
    assert [line["run_name"] for line in lines(run)] == [other.run_name]
    assert norms.id in result.output


@pytest.mark.usefixtures("norms")
def test_tables_say_what_their_columns_mean(run: RunFolder) -> None:
    computed(run)
    schema = pq.read_schema(run.path / "paper" / "norms_of_encoders.parquet")
    about = json.loads(schema.metadata[METADATA_KEY])
    assert about["analysis"] == "norms_of_encoders"
    assert about["select"] == ["matched-ce"]
    assert schema.field("norm").metadata == {b"unit": b"length", b"description": b"Of the encoder."}
    assert not schema.field("trial_id").nullable


@pytest.mark.usefixtures("norms")
def test_results_can_be_put_elsewhere(run: RunFolder, tmp_path: Path) -> None:
    assert computed(run, "-o", str(tmp_path / "there"), "--json") == ["norms_of_encoders"] * 2
    assert (tmp_path / "there" / "paper.html").exists()
    assert not (run.path / "paper").exists()
