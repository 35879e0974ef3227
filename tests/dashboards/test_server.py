"""The dashboard's server: what each address gives, that nothing else is given, and to whom."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from dashboards.downloads import DOWNLOADS
from orchestrator.folder.records import SweepState
from orchestrator.folder.run_folder import RunFolder
from tests.dashboards.shown import REFERENCE, client_of, export, fake_run, got, shown_run
from tests.orchestrator.made_run import TRIALS, held
from tests.orchestrator.rows import a_config, a_row

ID, TRIAL = "demo-12345678", TRIALS[0].trial_id


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return shown_run(tmp_path / "runs")


@pytest.fixture
def client(run: RunFolder) -> TestClient:
    return client_of(run.path.parent)


# ------------------------------------------------------------------------------------------------ what is given


def test_who_watches_over_the_server_is_told_that_it_is_well(client: TestClient) -> None:
    assert client.get("/healthz").text == "ok"


def test_the_page_and_its_files_are_sent_as_what_they_are(client: TestClient) -> None:
    kinds = {"/": "text/html", "/static/page.css": "text/css", "/static/main.js": "text/javascript"}
    for path, kind in {**kinds, "/static/style.json": "application/json"}.items():
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)


def test_the_list_has_every_run_with_its_counts_the_newest_first(run: RunFolder, client: TestClient) -> None:
    runs = run.path.parent
    shown_run(runs, "later-11111111", state=SweepState.STOPPED, n_done=3, n_failed=1)
    (runs / "mlartifacts").mkdir()
    (runs / "mlflow.db").write_bytes(b"")
    listed = got(client, "/api/sweeps")["sweeps"]
    assert [line["id"] for line in listed] == ["later-11111111", ID]
    assert {name: listed[1][name] for name in ("state", "n_trials", "n_done", "n_rows", "problem")} == {
        "state": "done", "n_trials": 8, "n_done": 8, "n_rows": 8, "problem": None,
    }  # fmt: skip
    assert (listed[0]["state"], listed[0]["n_failed"], listed[0]["n_waiting"]) == ("stopped", 1, 4)
    assert (listed[1]["name"], listed[1]["model"], listed[1]["layers"]) == ("demo", "gpt2", [1, 2])
    assert 0 < listed[1]["hypervolume"] < 1


def test_a_sweep_has_the_rows_of_its_table_and_what_the_table_says(run: RunFolder, client: TestClient) -> None:
    shown = got(client, f"/api/sweeps/{ID}")
    with run.frontier.open("rb") as file:
        table = pq.ParquetFile(file).read()
    assert shown["n_rows"] == len(shown["rows"]) == table.num_rows
    for column in ("trial_id", "l0", "ce_loss_increase", "on_front_l0", "layer", "eval_hash"):
        assert [row[column] for row in shown["rows"]] == table[column].to_pylist()
    assert [one["label"] for one in shown["objectives"]] == ["l0", "alive"]
    assert shown["reference"] == REFERENCE
    said = {name: shown["metrics"]["l0"][name] for name in ("label", "unit", "scale", "direction")}
    assert said == {"label": "L0", "unit": "elements per token", "scale": "log", "direction": "lower"}
    assert shown["settings"]["grid"]["loss"] == ["local", "e2e"]
    assert shown["yaml"].startswith("name: demo")
    assert shown["problems"] == []
    assert {line["loss"] for line in shown["summary"]} == {"local", "e2e"}
    assert shown["surfaces"]


def test_times_are_iso_8601_and_what_is_missing_is_null(client: TestClient) -> None:
    row = got(client, f"/api/sweeps/{ID}")["rows"][0]
    assert row["started_at"] == "2026-11-22T12:00:00+00:00"
    assert row["mse"] is None


def test_a_running_sweep_tells_its_packs_its_trials_and_when_it_may_end(tmp_path: Path) -> None:
    run = shown_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    status = run.status()
    assert status is not None
    run.write_status(status.model_copy(update={"eta_s": 90.0, "eta_high_s": 120.0, "fraction": 0.75}))
    with held(run):
        shown = got(client_of(tmp_path), f"/api/sweeps/{ID}")
    assert shown["status"]["state"] == "running"
    assert (shown["status"]["eta_s"], shown["status"]["eta_high_s"], shown["status"]["fraction"]) == (90, 120, 0.75)
    [pack] = shown["status"]["packs"]
    assert (pack["state"], pack["layers"], pack["losses"]) == ("running", [2], ["e2e", "local"])
    assert [one["state"] for one in shown["trials"]] == ["done"] * 4 + ["running"] * 4
    assert shown["trials"][-1]["step"] == pack["step"] > 0


def test_a_sweep_whose_launcher_is_gone_is_incomplete_and_has_no_time_left(tmp_path: Path) -> None:
    run = shown_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    status = run.status()
    assert status is not None
    run.write_status(status.model_copy(update={"eta_s": 90.0, "n_running": 4}))
    shown = got(client_of(tmp_path), f"/api/sweeps/{ID}")
    assert (shown["status"]["state"], shown["status"]["eta_s"], shown["status"]["n_running"]) == ("incomplete", None, 0)
    assert [pack["state"] for pack in shown["status"]["packs"]] == ["stopped"]
    assert [one["state"] for one in shown["trials"]] == ["done"] * 4 + ["waiting"] * 4


def test_failed_trials_are_told_with_their_reason(tmp_path: Path) -> None:
    shown_run(tmp_path, n_done=6, n_failed=2, error="diverged at step 3")
    shown = got(client_of(tmp_path), f"/api/sweeps/{ID}")
    assert [one["error"] for one in shown["trials"] if one["state"] == "failed"] == ["diverged at step 3"] * 2


def test_a_trial_has_its_settings_curves_densities_and_how_to_train_it_again(tmp_path: Path) -> None:
    run = shown_run(tmp_path, n_done=0)
    row = a_row(TRIALS[0], downstream_mse=[0.5, 0.25], density_histogram=[3.0, *[1.0] * 14])
    run.write_row(row)
    export(run)
    shown = got(client_of(tmp_path), f"/api/sweeps/{ID}/trials/{TRIAL}")
    assert shown["config"] == row.config.model_dump(mode="json")
    assert shown["row"]["trial_id"] == TRIAL
    assert shown["curves"]["train/loss"]["steps"] == list(range(50))
    assert shown["curves"]["train/loss"]["values"][1] == 0.5
    assert shown["density"]["n_dead"] == 3
    assert len(shown["density"]["edges_log10"]) == len(shown["density"]["counts"]) + 1
    assert [one["hook"] for one in shown["downstream"]] == ["blocks.2.hook_resid_pre", "blocks.3.hook_resid_pre"]
    assert shown["elements"] is None
    assert shown["mlflow_url"] == (
        f"http://127.0.0.1:5000/#/experiments/7/runs/{'r' * 32}?workflowType=machine_learning"
    )
    assert "orchestrator launch" in shown["command"]


def test_a_trial_that_runs_has_its_curves_before_it_has_a_row(tmp_path: Path) -> None:
    shown_run(tmp_path, n_done=0)
    shown = got(client_of(tmp_path), f"/api/sweeps/{ID}/trials/{TRIAL}")
    assert (shown["row"], shown["status"], len(shown["curves"]["train/loss"]["steps"])) == (None, "waiting", 50)
    run = shown_run(tmp_path, "live-12345678", state=SweepState.RUNNING, n_done=4)
    with held(run):
        assert got(client_of(tmp_path), f"/api/sweeps/live-12345678/trials/{TRIALS[5].trial_id}")["status"] == "running"


def test_every_download_is_the_file_that_it_says(run: RunFolder, client: TestClient) -> None:
    (run.path / "frontier.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (run.path / "frontier.png").write_bytes(b"\x89PNG")
    offered = [one["name"] for one in got(client, f"/api/sweeps/{ID}")["downloads"]]
    assert offered == list(DOWNLOADS)
    for name, about in DOWNLOADS.items():
        answer = client.get(f"/sweeps/{ID}/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == about.media_type
        assert answer.headers["content-disposition"] == f'attachment; filename="{ID}-{name.replace("/", "-")}"'
        if name not in ("frontier.csv", "report.html"):
            assert answer.content == (run.path / about.source).read_bytes()


def test_the_csv_has_every_row_and_column_of_the_table(client: TestClient) -> None:
    lines = list(csv.DictReader(io.StringIO(client.get(f"/sweeps/{ID}/frontier.csv").text)))
    rows = got(client, f"/api/sweeps/{ID}")["rows"]
    assert [line["trial_id"] for line in lines] == [row["trial_id"] for row in rows]
    assert set(rows[0]) | {"config_json", "density_histogram", "downstream_mse"} == set(lines[0])
    assert [float(line["l0"]) for line in lines] == [row["l0"] for row in rows]


def test_a_single_run_folder_is_shown_alone(run: RunFolder) -> None:
    shown_run(run.path.parent, "other-22222222")
    client = client_of(run.path)
    assert [line["id"] for line in got(client, "/api/sweeps")["sweeps"]] == [ID]
    assert client.get("/api/sweeps/other-22222222").status_code == 404


# ---------------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize("path", ["/", "/api/sweeps", f"/api/sweeps/{ID}", f"/api/sweeps/{ID}/trials/{TRIAL}"])
def test_who_has_the_newest_is_sent_nothing(client: TestClient, path: str) -> None:
    etag = client.get(path).headers["etag"]
    again = client.get(path, headers={"If-None-Match": f'"other", {etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_new_row_makes_a_new_version_of_list_sweep_and_trial(tmp_path: Path) -> None:
    run = shown_run(tmp_path, n_done=3)
    client = client_of(tmp_path)
    paths = ("/api/sweeps", f"/api/sweeps/{ID}", f"/api/sweeps/{ID}/trials/{TRIALS[3].trial_id}")
    before = {path: client.get(path).headers["etag"] for path in paths}
    run.write_row(a_row(TRIALS[3], l0=40.0, ce=0.1))
    export(run)
    for path in paths:
        answer = client.get(path, headers={"If-None-Match": before[path]})
        assert (answer.status_code, answer.headers["etag"] == before[path]) == (200, False)
    assert len(got(client, paths[1])["rows"]) == 4


def test_a_launcher_that_dies_makes_a_new_version_though_no_file_changes(tmp_path: Path) -> None:
    run = shown_run(tmp_path, state=SweepState.RUNNING, n_done=4)
    client = client_of(tmp_path)
    with held(run):
        etag = client.get("/api/sweeps").headers["etag"]
    answer = client.get("/api/sweeps", headers={"If-None-Match": etag})
    assert answer.json()["sweeps"][0]["state"] == "incomplete"


def test_answers_are_zipped_for_who_takes_that(client: TestClient) -> None:
    path = f"/api/sweeps/{ID}"
    zipped, plain = (client.get(path, headers={"Accept-Encoding": how}) for how in ("gzip", "identity"))
    assert (zipped.headers.get("content-encoding"), plain.headers.get("content-encoding")) == ("gzip", None)
    assert zipped.json() == plain.json()
    assert int(zipped.headers["content-length"]) < int(plain.headers["content-length"]) / 3


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "path",
    [
        "/api/sweeps/nothing", "/api/sweeps/..", "/api/sweeps/%2e%2e", "/api/sweeps/.hidden",
        "/api/sweeps/..%2f..%2fetc%2fpasswd", f"/api/sweeps/{ID}/trials/%2e%2e", f"/api/sweeps/{ID}/trials/{'0' * 16}",
        f"/api/sweeps/{ID}/trials/..%2f..%2fplan", f"/sweeps/{ID}/plan.json", f"/sweeps/{ID}/../../secret.txt",
        f"/sweeps/{ID}/%2e%2e/%2e%2e/secret.txt", f"/sweeps/{ID}/tables/..%2f..%2fplan.json", "/sweeps/x/frontier.csv",
        "/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2f..%2fpyproject.toml", "/static/",
        "/static/page.html%00.js", "/static//etc/passwd", "/static/vendor/../../style.py", "/elsewhere", "/docs",
        f"/api/sweeps/{ID}%0a", f"/api/sweeps/{ID}%00", "/api/sweeps/" + "x" * 3000,
    ],
)  # fmt: skip
def test_nothing_else_is_given_and_no_path_is_told(run: RunFolder, client: TestClient, path: str) -> None:
    (run.path.parents[1] / "secret.txt").write_text("secret")
    answer = client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["problem"]
    assert str(run.path.parents[1]) not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(client: TestClient, method: str) -> None:
    for path in ("/api/sweeps", f"/sweeps/{ID}/frontier.parquet"):
        assert client.request(method, path).status_code == 405


def test_a_mistake_of_our_own_is_a_sentence(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("dashboards.detail.detail", broken)
    answer = client.get(f"/api/sweeps/{ID}")
    assert (answer.status_code, list(answer.json())) == (500, ["problem"])
    assert "secret detail" not in answer.text


def test_every_answer_tells_browsers_to_run_and_load_our_own_only(client: TestClient) -> None:
    for path in ("/", "/api/sweeps", "/nothing", f"/sweeps/{ID}/frontier.csv", "/static/main.js"):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("bound", "host", "is_ours"),
    [
        ("127.0.0.1", "127.0.0.1:8050", True), ("127.0.0.1", "localhost:9000", True), ("127.0.0.1", "[::1]:8050", True),
        ("127.0.0.1", "LOCALHOST", True), ("127.0.0.1", "evil.example:8050", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False), ("127.0.0.1", "192.168.1.5:8050", False),
        ("127.0.0.1", "", False),
        ("localhost", "localhost:8050", True), ("localhost", "evil.example", False),
        ("0.0.0.0", "192.168.1.5:8050", True), ("0.0.0.0", "[fe80::1]:8050", True), ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "evil.example", False),
    ],
)  # fmt: skip
def test_a_foreign_name_for_this_machine_is_refused(run: RunFolder, bound: str, host: str, is_ours: bool) -> None:
    answer = client_of(run.path.parent, host=bound).get("/api/sweeps", headers={"Host": host})
    assert answer.status_code == (200 if is_ours else 421)
    assert is_ours or list(answer.json()) == ["problem"]


# ------------------------------------------------------------------------------------------------ hostile names

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def test_a_hostile_name_is_text_wherever_it_comes_from(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    run.write_sweep(f"name: {json.dumps(EVIL)}\nmodel: {{name: {json.dumps(EVIL)}}}\n")
    client = client_of(tmp_path)
    assert got(client, "/api/sweeps")["sweeps"][0]["name"] == EVIL
    answer = client.get(f"/api/sweeps/{ID}")
    assert answer.json()["settings"]["model"]["name"] == EVIL
    assert answer.headers["content-type"] == "application/json"


def test_a_folder_with_a_hostile_name_is_listed_and_leads_nowhere(tmp_path: Path) -> None:
    shown_run(tmp_path).path.rename(tmp_path / "<img src=x onerror=alert(1)>")
    client = client_of(tmp_path)
    [line] = got(client, "/api/sweeps")["sweeps"]
    assert (line["state"], line["id"].startswith("unnamed-")) == ("unreadable", True)
    assert "rename it" in line["problem"]
    assert client.get(f"/api/sweeps/{line['id']}").status_code == 404


def test_large_sweeps_of_the_paper_are_answered_whole(tmp_path: Path) -> None:
    fake_run(tmp_path, layers=3, coeffs=5, seeds=2)
    shown = got(client_of(tmp_path), "/api/sweeps/paper-87654321")
    assert len(shown["rows"]) == len(shown["trials"]) == 3 * 3 * 5 * 2
    assert {line["level"] for line in shown["surfaces"]} == {0.25, 0.5, 0.75}


def test_trials_that_somebody_else_trained_are_rows_and_no_trials_of_the_plan(tmp_path: Path) -> None:
    run = shown_run(tmp_path)
    extra = a_row(a_config(coeff=9.0))
    run.write_row(extra)
    export(run)
    shown = got(client_of(tmp_path), f"/api/sweeps/{ID}")
    assert extra.trial_id in {row["trial_id"] for row in shown["rows"]}
    assert extra.trial_id not in {one["trial_id"] for one in shown["trials"]}
