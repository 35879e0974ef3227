"""The hub: what is asked of it, and what is said when it does not answer. A local server or a fake stands for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest
import torch
from datasets import config
from huggingface_hub import constants

from trainer.errors import BadInput, EnvironmentProblem

ROWS = [[number] * 8 for number in range(50)]


class FakeHub:
    """In place of the hub: one data set, and what has been asked for."""

    def __init__(self, monkeypatch, column: str = "input_ids") -> None:
        self.opened: list[tuple] = []
        self.n_read = 0
        self.column = column
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda api, name, timeout: SimpleNamespace(sha="c0"))
        monkeypatch.setattr(datasets, "load_dataset", self.load_dataset)

    def load_dataset(self, name, subset, *, streaming, revision):
        assert streaming
        self.opened.append((name, subset, revision))
        stream = datasets.IterableDataset.from_generator(self.rows)
        return datasets.IterableDatasetDict({"train": stream, "validation": stream})

    def rows(self):
        for row in ROWS:
            self.n_read += 1
            yield {self.column: row, "n": 1}


def unreachable(*args, **settings):
    raise AssertionError("the hub was asked")


def test_a_data_set_is_streamed_at_one_commit_and_kept(monkeypatch, prepare):
    hub = FakeHub(monkeypatch)
    rows = prepare("someone/tokens:big", eval_rows=5)
    assert set(hub.opened) == {("someone/tokens", "big", "c0")}
    everything = torch.cat([rows.train_rows(0, 45), *rows.eval_batches(9)])
    assert sorted(everything.tolist()) == ROWS
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    assert torch.equal(prepare("someone/tokens:big", eval_rows=5).train_batch(0, 9), rows.train_batch(0, 9))


def test_no_more_is_streamed_than_max_rows_needs(monkeypatch, prepare):
    monkeypatch.setattr("trainer.data.source.READ_ROWS", 4)
    hub = FakeHub(monkeypatch)
    assert prepare("someone/tokens", max_rows=10).n_train_rows == 9
    assert hub.n_read < 25


def test_an_unknown_split_or_column_is_refused_with_those_there_are(monkeypatch, prepare):
    FakeHub(monkeypatch, column="odd")
    with pytest.raises(BadInput, match="which has: train, validation"):
        prepare("someone/tokens", split="test")
    with pytest.raises(BadInput, match=r"odd \(list<.*n \(int64\)"):
        prepare("someone/tokens", column="text")


@contextmanager
def server(monkeypatch, status: int, error_code: str = "", delay_s: float = 0) -> Iterator[None]:
    """A hub that answers everything with one status."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            done.wait(delay_s)
            self.send_response(status)
            self.send_header("X-Error-Code", error_code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *args) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{running.server_port}")
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield
        done.set()
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (404, "RepoNotFound", BadInput, "no such data set on the hub"),
        (403, "GatedRepo", BadInput, "is gated"),
        (503, "", EnvironmentProblem, "cannot reach the hub"),
    ],
)
def test_what_the_hub_refuses_is_one_message(monkeypatch, prepare, cache, capfd, status, code, kind, message):
    with server(monkeypatch, status, code), pytest.raises(kind, match=message):
        prepare("someone/secret")
    assert capfd.readouterr() == ("", "")
    assert not cache.exists()


def test_a_hub_that_cannot_be_reached_is_one_message_with_the_ways_on(monkeypatch, prepare, cache, capfd):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(EnvironmentProblem) as problem:
        prepare("roneneldan/TinyStories")
    said = str(problem.value)
    assert "data.dataset=roneneldan/TinyStories" in said
    assert all(way in said for way in ("--set model.name=FOLDER", "--set data.dataset=FOLDER", "quickstart.yaml"))
    assert capfd.readouterr() == ("", "")
    assert not cache.exists()


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch, prepare):
    monkeypatch.setattr("trainer.data.hub.TIMEOUT_S", 0.2)
    with server(monkeypatch, 200, delay_s=30), pytest.raises(EnvironmentProblem, match="cannot reach the hub"):
        prepare("someone/tokens")


def test_offline_mode_is_one_message(monkeypatch, prepare):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EnvironmentProblem, match="cannot reach the hub"):
        prepare("someone/tokens")


def test_a_stream_that_breaks_off_is_one_message_and_nothing_is_stored(monkeypatch, prepare, cache):
    hub = FakeHub(monkeypatch)

    def breaking():
        yield from list(FakeHub.rows(hub))[:20]
        raise ConnectionError("peer closed the connection")

    monkeypatch.setattr(hub, "rows", breaking)
    monkeypatch.setattr("trainer.data.source.READ_ROWS", 4)
    with pytest.raises(EnvironmentProblem, match="peer closed"):
        prepare("someone/tokens")
    assert not list(cache.glob("rows/*/*"))


def test_settings_of_the_libraries_are_as_before_afterwards(monkeypatch, prepare):
    names = [name for name in dir(config) if name.startswith("STREAMING_")]
    before = [getattr(config, name) for name in names], datasets.are_progress_bars_disabled()
    before_hub = huggingface_hub.utils.are_progress_bars_disabled(), constants.HF_HUB_DISABLE_TELEMETRY
    FakeHub(monkeypatch)
    prepare("someone/tokens")
    assert ([getattr(config, name) for name in names], datasets.are_progress_bars_disabled()) == before
    assert (huggingface_hub.utils.are_progress_bars_disabled(), constants.HF_HUB_DISABLE_TELEMETRY) == before_hub
