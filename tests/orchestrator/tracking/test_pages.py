"""What people open in MLflow: links in the run folder, a saved view of the frontier, a report that draws itself."""

from pathlib import Path

import pytest

from orchestrator.folder.records import SweepState
from orchestrator.tracking import read_links, view
from orchestrator.tracking.address import frontier_link
from orchestrator.tracking.pages import NOTE
from orchestrator.tracking.publication import new_publication
from orchestrator.tracking.store import open_client
from tests.dashboards.browser import browser
from tests.orchestrator.rows import a_row
from tests.orchestrator.tracking import servers
from tests.orchestrator.tracking.a_sweep import T0, ASweep, assert_equal


def test_a_sweep_in_mlflow_has_links_a_view_and_words_about_its_metrics(sweep: ASweep, sqlite: str):
    sweep.save()
    sweep.copier(sqlite).copy()
    links = read_links(sweep.folder)
    assert links is not None
    client = open_client(sqlite)
    experiment = client.get_experiment_by_name(sweep.name)
    start = f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs"
    runs = sweep.folder.mlflow_runs()
    assert runs is not None
    assert links.experiment_url == f"{start}?workflowType=machine_learning"
    assert links.run_url == f"{start}/{runs.parent_run_id}?workflowType=machine_learning"
    key = f"frontier-{sweep.sweep_id}"
    assert links.frontier_url == f"{links.experiment_url}&compareRunsMode=CHART&viewStateShareKey={key}"
    assert "mlflow ui" in links.start
    assert f"mlflow.sharedViewState.{key}" in experiment.tags
    note = client.get_run(runs.parent_run_id).data.tags[NOTE]
    assert links.frontier_url in note
    assert "| ce_loss_increase | nats per token | lower |" in note


def test_a_view_that_somebody_changed_stays_as_it_is(sweep: ASweep, sqlite: str):
    sweep.copier(sqlite).copy()
    client = open_client(sqlite)
    number = client.get_experiment_by_name(sweep.name).experiment_id
    tag = view.TAG + view.key_of(sweep.sweep_id)
    client.set_experiment_tag(number, tag, "mine")
    sweep.copier(sqlite).copy()
    assert client.get_experiment(number).tags[tag] == "mine"


def test_people_keep_room_for_views_of_their_own(sweep: ASweep, sqlite: str):
    client = open_client(sqlite)
    number = client.create_experiment(sweep.name)
    for n in range(view.MOST_VIEWS):
        client.set_experiment_tag(number, f"{view.TAG}{n}", "theirs")
    sweep.copier(sqlite).copy()
    links = read_links(sweep.folder)
    assert links is not None
    assert links.frontier_url is None
    assert view.TAG + view.key_of(sweep.sweep_id) not in client.get_experiment(number).tags


def test_a_server_that_takes_no_view_is_told_of_and_gets_all_the_rest(
    sweep: ASweep, sqlite: str, monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    def refuses(*_: object) -> None:
        raise ValueError("tags like this are not known any more")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuses)
    sweep.save()
    sweep.train()
    sweep.end_all()
    copier = sweep.copier(sqlite)
    copier.run.publication = new_publication(sweep.folder, SweepState.COMPLETE, time_ms=T0, metrics={}, files=[])
    copier.copy(ended=True)
    assert [level for level, _ in sweep.said] == ["warning"]
    assert "tags like this are not known any more" in sweep.said[0][1]
    links = read_links(sweep.folder)
    assert links is not None
    assert links.frontier_url is None
    assert_equal(open_client(sqlite), sweep)


@pytest.mark.parametrize("name", ["s", "a" * 80])
def test_a_view_fits_into_the_tag_of_every_back_end(name: str):
    assert len(view.tag_value(f"{name}-1a2b3c4d", time_ms=1_800_000_000_000)) < view.MAX_TAG


@pytest.mark.slow
def test_the_pinned_mlflow_opens_the_view_and_draws_the_report(runs: Path, sqlite: str, tmp_path: Path):
    sweep = ASweep(runs, "quickstart", n_trials=12)  # MLflow by itself shows ten
    sweep.save()
    sweep.train(2)
    for n, config in enumerate(sweep.configs):
        sweep.folder.write_row(a_row(config, l0=5.0 + n, ce_loss_increase=0.5 / (1 + n)))
    report = sweep.folder.path / "report.html"
    report.write_text("<!doctype html><p id=p></p><script>p.textContent = `drawn by ${1 + 1} scripts`</script>")
    copier = sweep.copier(sqlite)
    copier.run.publication = new_publication(sweep.folder, SweepState.COMPLETE, time_ms=T0, metrics={}, files=[report])
    copier.copy(ended=True)
    found = sweep.folder.mlflow_runs()
    assert found is not None
    with (
        servers.mlflow_server(tmp_path, store=sqlite, artifacts=(runs / "mlartifacts").as_uri()) as (url, _),
        browser() as chromium,
    ):
        page = chromium.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(90_000)
        page.goto(frontier_link(url, found.experiment_id, view.key_of(sweep.sweep_id)))
        page.get_by_text("12 matching runs").wait_for()
        for title in (f"Frontier of {sweep.sweep_id}", "Frontier", "Parallel Coordinates"):
            page.get_by_text(title, exact=True).first.wait_for()
        page.wait_for_function("document.querySelectorAll('.scatterlayer .point').length >= 24")

        page.goto(f"{url}/#/experiments/{found.experiment_id}/runs/{found.parent_run_id}/artifacts/report.html")
        page.frame_locator("iframe").get_by_text("drawn by 2 scripts").wait_for()
