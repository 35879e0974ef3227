"""The dashboard's page in a real browser: what it draws, what its address says, live, from disk, for everybody."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from dashboards.report import report_of, write_report
from orchestrator.folder.records import SweepState
from orchestrator.folder.run_folder import RunFolder
from orchestrator.fronts.schema import Objective
from tests.dashboards.browser import Visit, browser, served
from tests.dashboards.fixture import HOSTILE, REFERENCE, export, made_sweep, write_status
from tests.orchestrator.fake_sweep import fake_rows
from tests.orchestrator.made_run import held

pytestmark = pytest.mark.slow

POINT = """([panel, nth]) => {
  const chart = document.querySelectorAll(".chart")[panel];
  const one = chart.tuples.points[nth], at = chart.querySelector("svg").getBoundingClientRect();
  const [left, top] = chart.view.origin();
  return {
    trial: one.row.trial_id, name: one.row.run_name,
    x: at.left + left + 4 + chart.view.scale("x")(one.x), y: at.top + top + 4 + chart.view.scale("y")(one.y),
  };
}"""
"""Where a trial on a frontier is on the screen."""


@pytest.fixture(scope="module")
def chromium() -> Generator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    seeds = fake_rows(layers=2, coeffs=4, seeds=4)
    made_sweep(runs, "seeds", seeds, title=f"seeds {HOSTILE}", n_failed=1, with_elements=2)
    made_sweep(runs, "twelve", fake_rows(layers=12, coeffs=4, seeds=1), with_elements=1)
    made_sweep(runs, "dense", fake_rows(layers=1, coeffs=6, seeds=1, offset=-0.06), reference={})
    broken = made_sweep(runs, "broken", fake_rows(layers=1, coeffs=3, seeds=1))
    broken.frontier.write_bytes(broken.frontier.read_bytes()[:900])
    made_sweep(runs, "empty", fake_rows(layers=1, coeffs=3, seeds=1), state=SweepState.STOPPED, n_waiting=9)
    return runs


@pytest.fixture(scope="module")
def server(runs: Path) -> Generator[str]:
    with served(runs) as address:
        yield address


@pytest.fixture
def visit(chromium: Any) -> Generator[Visit]:
    """A page that asks nobody outside, and has nothing to complain about."""
    visit = Visit(chromium)
    yield visit
    visit.close()
    assert visit.elsewhere == []
    assert visit.complaints == []


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text("utf-8")


def test_each_layer_has_a_panel_and_all_share_their_axes(visit: Visit, server: str) -> None:
    page = visit.open(f"{server}#/frontier/twelve")
    assert page.locator(".panel").count() == 12
    assert page.locator(".panel h3 a").all_inner_texts() == [f"Layer {layer}" for layer in range(12)]
    domains = page.evaluate(
        """() => [...document.querySelectorAll(".chart")].map((one) =>
          ["x", "y"].map((axis) => one.view.scale(axis).domain()))"""
    )
    assert len({json.dumps(each) for each in domains}) == 1
    assert "144 rows, schema" in page.locator("#status").inner_text()


def test_fronts_and_matched_values_are_those_of_the_files(visit: Visit, server: str) -> None:
    page = visit.open(f"{server}#/frontier/seeds")
    found = page.evaluate(
        """() => {
          const detail = Source.get(Source.sweep("seeds")).data, wrong = [];
          let n = 0;
          for (const pair of Fronts.pairs(detail)) {
            for (const rows of Fronts.grouped(detail.rows, Fronts.groupOf).values()) {
              const front = new Set(Fronts.front(rows, pair));
              for (const row of rows) if ((n += 1) && front.has(row) !== row[pair.flag]) wrong.push(row.run_name);
            }
          }
          const sweeps = [{ id: "seeds", detail, rows: detail.rows }];
          const near = (a, b) => (a === null || b === null ? a === b : Math.abs(a - b) <= 1e-9 * Math.abs(b));
          for (const one of Matched.matchable(Fronts.pairs(detail))) {
            const told = detail.matched.filter((line) => line.matched === one.metric.name);
            const targets = new Set(told.map((line) => line.target));
            const lines = [...targets].flatMap((target) => Matched.lines(sweeps, one, target));
            for (const { loss, target, nearest, reads } of lines) for (const { read, value, ratio, said } of reads) {
              n += 1;
              const isFirst = read === reads[0].read;
              const isSame = said && near(value, said.value) && near(ratio, said.ratio_to_local);
              const isThere = said && near(nearest.offset, said.nearest_offset);
              const isNear = isThere && nearest.row.trial_id === said.nearest_trial_id;
              if (!isSame || (isFirst && !isNear)) wrong.push([loss, read.name, target, value, said]);
            }
          }
          return { n, wrong };
        }"""
    )
    assert found["wrong"] == []
    assert found["n"] > 200


def test_the_address_says_what_is_shown_and_choices_are_in_the_address(visit: Visit, server: str) -> None:
    page = visit.open(
        f"{server}#/frontier/twelve?layer=3,4&loss=e2e&front=1&inverted=1&pair=alive&log_ce_loss_increase=1"
    )
    assert page.locator(".panel").count() == 2
    shown = page.evaluate(
        """() => [...document.querySelectorAll(".chart")].map((one) => ({
          losses: [...new Set([...one.tuples.points, ...one.tuples.dominated].map((each) => each.row.loss))],
          n_dominated: one.tuples.dominated.length,
          isTurned: one.view.scale("y").range()[0] < one.view.scale("y").range()[1],
          scale: one.view.scale("y").type,
        }))"""
    )
    assert shown == [{"losses": ["e2e"], "n_dominated": 0, "isTurned": True, "scale": "log"}] * 2
    page.get_by_label("local", exact=True).check(force=True)
    assert "loss=local,e2e" in page.url
    page.go_back()
    visit.settle()
    assert "loss=e2e&" in page.url
    assert not page.get_by_label("local", exact=True).is_checked()


def test_a_table_sorts_by_its_headings_and_a_link_keeps_the_order(visit: Visit, server: str) -> None:
    page = visit.open(f"{server}#/frontier/seeds?layer=0")
    heading = page.locator("#trials-table").get_by_role("button", name="L0", exact=True)
    heading.click()
    heading.click()
    firsts = page.locator("#trials-table tbody th").all_inner_texts()
    assert page.locator("#trials-table th[aria-sort=descending]").inner_text().startswith("L0")
    page.reload()
    visit.settle()
    assert page.locator("#trials-table tbody th").all_inner_texts() == firsts
    rows = page.evaluate("() => Source.get(Source.sweep('seeds')).data.rows.filter((row) => row.layer === 0)")
    assert firsts == [row["run_name"] for row in sorted(rows, key=lambda row: -row["l0"])]


def test_a_click_on_a_point_opens_its_trial_and_going_back_keeps_the_filters(visit: Visit, server: str) -> None:
    page = visit.open(f"{server}#/frontier/seeds?layer=1&bands=0")
    point = page.evaluate(POINT, [0, 1])
    page.mouse.move(point["x"], point["y"])
    assert point["name"] in page.locator(".tip").inner_text()
    page.mouse.click(point["x"], point["y"])
    visit.settle()
    assert page.locator("h1").inner_text() == point["name"]
    assert page.url.endswith(f"#/trial/seeds/{point['trial']}")
    page.locator(".crumbs a").click()
    visit.settle()
    assert page.url.endswith("#/frontier/seeds?layer=1&bands=0")


def test_a_trial_has_curves_densities_downstream_errors_and_elements(visit: Visit, server: str, runs: Path) -> None:
    trial_id = next(
        path.stem
        for path in sorted((runs / "seeds" / "elements").iterdir())
        if (runs / "seeds" / "journal" / f"{path.stem}.jsonl").exists()
        and RunFolder(runs / "seeds").row(path.stem).metrics  # type: ignore[union-attr]
    )
    page = visit.open(f"{server}#/trial/seeds/{trial_id}")
    titles = page.locator("figcaption strong").all_inner_texts()
    assert {"Loss", "L0", "Gradient norm", "How often elements fire", "Error at the later blocks"} <= set(titles)
    assert page.locator(".element").count() == 6
    assert page.locator(".hot").first.inner_text().strip()
    page.locator("figure", has_text="Gradient norm").locator("summary").click()
    page.locator("figure", has_text="Gradient norm").locator("tbody tr").nth(64).wait_for()
    assert "--set" in page.locator(".command code").inner_text()


def test_the_page_works_by_keyboard_alone(visit: Visit, server: str) -> None:
    page = visit.open(f"{server}#/frontier/seeds")
    slider = page.locator("input[type=range]").first
    before = page.locator(".matched-table").first.inner_text()
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.locator(".matched-table").first.inner_text() != before
    assert "at_ce_loss_increase=" in page.url
    assert page.evaluate("document.querySelector('.chart').tuples.rules_y.length") == 1
    page.locator("#trials-table a").first.focus()
    page.keyboard.press("Enter")
    visit.settle()
    assert "#/trial/seeds/" in page.url


def test_what_a_logarithm_cannot_show_is_counted(visit: Visit, server: str, runs: Path) -> None:
    n_below = sum(float(row.metrics["ce_loss_increase"]) <= 0 for row in RunFolder(runs / "dense").rows())  # type: ignore[arg-type]
    page = visit.open(f"{server}#/frontier/dense?log_ce_loss_increase=1")
    assert n_below > 0
    assert f"{n_below} trials with CE loss increase of 0 or below" in page.locator(".plot-notes").inner_text()
    page.get_by_role("button", name="Use a linear axis").click()
    assert "cannot be on" not in page.locator(".plot-notes").inner_text()


def test_objectives_of_three_metrics_are_drawn_without_steps(visit: Visit, tmp_path: Path) -> None:
    folder = made_sweep(tmp_path, "three", fake_rows(layers=1, coeffs=5, seeds=1))
    objective = Objective("l0", "n_alive_elements", "ce_loss_increase")
    export(folder, state=SweepState.COMPLETE, reference=REFERENCE, objectives=[objective])
    with served(tmp_path) as address:
        page = visit.open(f"{address}#/frontier/three")
        shown = page.evaluate(
            """() => [...document.querySelectorAll(".chart")].map(({ tuples }) => [
              tuples.fronts.length,
              tuples.points.length + tuples.dominated.length,
              tuples.points.every((one) => one.row.on_front_l0_alive_ce),
            ])"""
        )
    assert shown == [[0, 15, True], [0, 15, True]]


def test_sweeps_are_compared_only_where_they_can_be(visit: Visit, server: str) -> None:
    page = visit.open(f"{server}#/compare?a=seeds&b=twelve&layer=0,1")
    assert page.locator("#hypervolume-table tbody tr").count() == 12
    hollow = page.evaluate(
        """() => [...document.querySelector(".chart").tuples.points]
          .every((one) => (one.fill !== one.stroke) === (one.sweep === "twelve"))"""
    )
    assert hollow
    assert "grid.layer" in page.locator("#settings-table").inner_text()
    page = visit.open(f"{server}#/compare?a=seeds&b=dense")
    assert "Not comparable: dense has no reference point" in page.locator("[data-part=hypervolume]").inner_text()


def test_names_from_files_are_shown_as_text(visit: Visit, server: str, runs: Path) -> None:
    visit.open(f"{server}#/sweeps")
    assert HOSTILE in visit.page.locator("main").inner_text()
    trial_id = next(iter(sorted((runs / "seeds" / "elements").iterdir()))).stem
    for view in ("frontier/seeds", f"trial/seeds/{trial_id}", "compare?a=seeds&b=twelve"):
        page = visit.open(f"{server}#/{view}")
        assert HOSTILE in page.locator("main").inner_text()
        assert page.locator("img").count() == 0


def test_folders_that_are_empty_or_broken_say_so(visit: Visit, server: str) -> None:
    page = visit.open(f"{server}#/frontier/empty")
    assert "No trial is done yet" in page.locator("main").inner_text()
    page = visit.open(f"{server}#/frontier/broken")
    text = page.locator("main").inner_text()
    assert "frontier.parquet" in text
    assert "Nothing can be drawn" in text


def test_a_page_of_a_sweep_that_is_not_there_is_a_sentence(chromium: Any, server: str) -> None:
    visit = Visit(chromium)
    page = visit.open(f"{server}#/frontier/nowhere")
    assert page.locator(".problem").count() == 1
    assert visit.elsewhere == []
    visit.close()


def test_the_page_follows_a_running_sweep_and_keeps_its_data_while_the_server_is_away(
    visit: Visit, tmp_path: Path
) -> None:
    rows = fake_rows(layers=1, coeffs=4, seeds=1)
    folder = made_sweep(tmp_path, "live", rows, state=SweepState.RUNNING, n_waiting=4)
    with held(folder):
        with served(tmp_path) as address:
            page = visit.open(f"{address}#/frontier/live")
            assert "8 rows" in page.locator("#status").inner_text()
            assert page.locator(".pill.running").first.is_visible()
            folder.write_row(rows[8])
            write_status(folder, SweepState.RUNNING, n_trials=12, n_done=9)
            export(folder, state=SweepState.RUNNING, reference=REFERENCE)
            page.get_by_text("9 rows").wait_for(timeout=15_000)
            assert "9 of 12 trials done" in page.locator(".standing").inner_text()
            drawn = """() => {
              const { points, dominated } = document.querySelector(".chart").tuples;
              return points.length + dominated.length;
            }"""
            assert page.evaluate(drawn) == 9
        page.get_by_text("server not reachable; showing the last data").wait_for(timeout=15_000)
        assert page.evaluate(drawn) == 9
        with served(tmp_path, port=int(address.rsplit(":", 1)[1].strip("/"))):
            page.get_by_text("not reachable").wait_for(state="hidden", timeout=25_000)


def test_the_report_is_the_same_page_from_disk_and_asks_nobody(visit: Visit, runs: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_bytes(write_report(runs / "seeds").read_bytes())
    (runs / "seeds" / "report.html").unlink()
    page = visit.open(report.as_uri())
    assert page.locator(".panel").count() == 2
    assert "report" in page.locator("#status").inner_text()
    page.locator("#trials-table a").first.click()
    visit.settle()
    assert page.locator(".tiles > div").count() >= 3
    page = visit.open(f"{report.as_uri()}#/frontier/seeds?layer=1")
    assert page.locator(".panel").count() == 1
    assert all(url.startswith(("file:", "data:")) for url in visit.requests)


def test_the_report_works_in_a_frame_that_may_only_run_scripts(visit: Visit, runs: Path) -> None:
    visit.page.goto("about:blank")
    visit.page.evaluate(
        """(text) => {
          const frame = document.createElement("iframe");
          Object.assign(frame, { width: 700, height: 800, srcdoc: text });
          frame.setAttribute("sandbox", "allow-scripts");
          document.body.append(frame);
        }""",
        report_of(runs / "twelve"),
    )
    frame = visit.page.frame_locator("iframe")
    frame.locator(".panel h3 a").nth(3).click()
    frame.locator(".panel").nth(1).wait_for(state="detached")
    assert frame.locator(".panel h3").inner_text().startswith("Layer 3")
    frame.locator("#trials-table a").first.click()
    frame.locator(".tiles").wait_for()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_barrier_in_any_view(chromium: Any, server: str, runs: Path, axe: str, dark: bool) -> None:
    visit = Visit(chromium, dark=dark)
    trial_id = next(iter(sorted((runs / "twelve" / "elements").iterdir()))).stem
    found: list[str] = []
    rules = '{ runOnly: ["color-contrast"] }' if dark else ""  # the others do not see colours
    for view in (
        "sweeps",
        "frontier/seeds?layer=0&front=1",
        "compare?a=seeds&b=dense&layer=0&loss=e2e,local",
        f"trial/twelve/{trial_id}",
        "frontier/broken",
    ):
        page = visit.open(f"{server}#/{view}")
        page.evaluate("() => document.querySelectorAll('details').forEach((one) => (one.open = true))")
        page.evaluate(axe)
        for one in page.evaluate(f"() => axe.run({rules}).then((found) => found.violations)"):
            found += [f"{view}: {one['id']}: {node['html'][:200]}" for node in one["nodes"]]
    visit.close()
    assert found == []


def test_a_phone_gets_one_column_and_nothing_sticks_out(chromium: Any, server: str) -> None:
    visit = Visit(chromium, width=390, height=844)
    for view in ("sweeps", "frontier/seeds?pair=all", "compare?a=seeds&b=dense"):
        page = visit.open(f"{server}#/{view}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        lefts = page.evaluate(
            """() => [...document.querySelectorAll(".chart, .sweep")].map((one) =>
              Math.round(one.getBoundingClientRect().left))"""
        )
        assert len(set(lefts)) == 1
    visit.close()
    assert visit.complaints == []
