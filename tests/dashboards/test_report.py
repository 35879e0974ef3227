"""The report is one file with everything in it: it asks nobody, holds any name as text, and stays of a bounded size."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dashboards import report
from dashboards.report import Limits, data_text, inlined, report_of, script_text, write_report
from orchestrator.folder.records import CurvePoint, SweepState
from orchestrator.folder.run_folder import RunFolder
from tests.dashboards.shown import fake_run, shown_run
from tests.dashboards.test_server import EVIL
from tests.orchestrator.made_run import TRIALS, held


class Page(HTMLParser):
    """What a browser would find in a page: elements with their attributes, and what is in scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open = tag
        if tag in ("script", "style"):
            self.inside.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open in ("script", "style"):
            tag, before = self.inside[-1]
            self.inside[-1] = tag, before + data

    @property
    def data(self) -> Any:
        [place] = [n for n, (_, a) in enumerate(self.of("script")) if a.get("id") == "data"]
        return json.loads([text for tag, text in self.inside if tag == "script"][place])

    @property
    def policy(self) -> str:
        [policy] = [a["content"] for _, a in self.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy is not None
        return policy

    def of(self, tag: str) -> list[tuple[str, dict[str, str | None]]]:
        return [element for element in self.elements if element[0] == tag]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return shown_run(tmp_path)


def test_a_report_has_the_whole_sweep_in_it(run: RunFolder) -> None:
    data = Page(report_of(run.path)).data
    assert data["mode"] == "report"
    assert [line["id"] for line in data["sweeps"]["sweeps"]] == [run.path.name]
    assert len(data["details"][run.path.name]["rows"]) == 8
    assert set(data["trials"][run.path.name]) == {trial.trial_id for trial in TRIALS}
    assert data["trials"][run.path.name][TRIALS[0].trial_id]["curves"]["train/loss"]["values"][0] == 1.0
    assert set(data["style"]["losses"]) >= {"local", "e2e"}
    assert data["notes"] == []


def test_a_report_loads_nothing_and_runs_its_own_scripts_only(run: RunFolder) -> None:
    page = Page(report_of(run.path))
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base"), attributes
        assert tag != "link" or (attributes.get("href") or "").startswith("data:"), attributes
        assert not {"src", "srcset"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert "default-src 'none'" in page.policy
    assert "unsafe" not in page.policy
    kinds = [attributes.get("type") for _, attributes in page.of("script")]
    scripts = [text for tag, text in page.inside if tag == "script"]
    styles = [text for tag, text in page.inside if tag == "style"]
    assert len(scripts) > 1
    assert len(styles) >= 1
    for kind, text in [*zip(kinds, scripts, strict=True), *((None, text) for text in styles)]:
        if kind != "application/json":
            found = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{found}'" in page.policy


def test_a_hostile_name_in_a_report_is_text(run: RunFolder) -> None:
    harmless = Page(report_of(run.path))
    run.write_sweep(f"name: {json.dumps(EVIL)}\nmodel: {{name: {json.dumps('<!--<script>' + EVIL)}}}\n")
    page = Page(report_of(run.path))
    assert page.data["sweeps"]["sweeps"][0]["name"] == EVIL
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]


@pytest.mark.parametrize("text", [EVIL, "<!--<script>", "</SCRIPT >", "\u2028\u2029", "&lt;", "\ud800", "]]>", '"}'])
def test_any_text_in_the_data_stays_in_its_element(text: str) -> None:
    written = data_text({"text": text})
    assert written.isascii()
    assert not re.search("[<>&]", written)
    assert json.loads(written) == {"text": text}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ('a = "</script>";', 'a = "\\x3c/script>";'), ("/<\\/script>/", "/<\\/script>/"), ("/<!--/", "/\\x3c!--/"),
        ('"</ScRiPt"', '"\\x3c/ScRiPt"'), ("a<script.length", "a<script.length"), ("a < b", "a < b"),
    ],
)  # fmt: skip
def test_a_script_inside_a_page_cannot_end_its_element(source: str, wanted: str) -> None:
    assert script_text(source) == wanted


def test_scripts_come_after_the_data_and_in_the_order_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.js").write_text("first()\r\n")
    (tmp_path / "b.js").write_text("second()")
    (tmp_path / "c.css").write_text("p { color: red }")
    monkeypatch.setattr(report, "STATIC", tmp_path)
    page = """<!doctype html><html><head><title>x</title><link rel="stylesheet" href="static/c.css">
        <script src="static/a.js" defer></script><script defer src="static/b.js"></script></head><body>hello</body>
        </html>"""
    made = inlined(page, '{"a":1}', title="<b>")
    assert re.findall(r"color|hello|\"a\":1|first|second|</body>", made) == [
        "color", "hello", '"a":1', "first", "second", "</body>",
    ]  # fmt: skip
    assert "\r" not in made
    assert "<title>&lt;b&gt;</title>" in made


def test_a_report_of_a_large_sweep_says_what_it_left_out_and_keeps_the_frontier(tmp_path: Path) -> None:
    run = fake_run(tmp_path)
    ids = [row.trial_id for row in run.rows()]
    for trial_id in ids:
        points = [CurvePoint(step=n, tokens=n, time_ms=1, metrics={"train/loss": n % 7.0}) for n in range(300)]
        run.add_curve_points(trial_id, points)
    whole = Page(report_of(run.path)).data
    assert [len(one["curves"]["train/loss"]["steps"]) <= 120 for one in whole["trials"][run.path.name].values()] == [
        True
    ] * len(ids)
    assert whole["notes"] == ["Curves are drawn from at most 120 of their points, peaks included."]

    n_bytes = len(json.dumps(whole["details"])) + 60_000
    small = Page(report_of(run.path, limits=Limits(n_bytes=n_bytes))).data
    shown = small["trials"][run.path.name]
    assert 0 < len([one for one in shown.values() if one["curves"]]) < len(ids)
    assert len(json.dumps(small["trials"], separators=(",", ":"))) < 62_000
    assert small["details"][run.path.name]["rows"] == whole["details"][run.path.name]["rows"]
    assert any("To keep this file small" in note for note in small["notes"])
    fronts = [one["row"]["on_front_l0"] or one["row"]["on_front_alive"] for one in shown.values()]
    assert fronts[0]
    assert fronts == sorted(fronts, reverse=True)


def test_a_driver_that_is_about_to_end_writes_how_it_ended(tmp_path: Path) -> None:
    run = shown_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    with held(run):
        assert Page(report_of(run.path)).data["sweeps"]["sweeps"][0]["state"] == "running"
        data = Page(write_report(run.path, ended_as="stopped").read_text("utf-8")).data
    assert data["sweeps"]["sweeps"][0]["state"] == data["details"][run.path.name]["status"]["state"] == "stopped"


def test_a_report_appears_whole_or_not_at_all(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(run.path).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(run.path)
    assert (run.path / "report.html").read_bytes() == before
    assert [path.name for path in run.path.iterdir() if path.name.endswith(".tmp")] == []
