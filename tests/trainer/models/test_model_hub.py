"""Laws of models from the hub, against a small server that speaks its protocol, and against none at all."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from trainer.config import ModelConfig
from trainer.errors import BadInput, EnvironmentProblem
from trainer.models import describe_model, hub, load_model, load_tokenizer

COMMIT = "0" * 39 + "1"
WAYS_ON = ["--set model.name=FOLDER", "--set data.dataset=FOLDER", "sweeps/quickstart.yaml"]


class FakeHub:
    """Serves repositories (name -> folder) as the hub does; remembers what it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.converted: list[dict[str, object]] = []
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of a GET."""
        self.asked.append(path)
        parts = path.partition("?")[0].strip("/").split("/")
        is_question = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if is_question else parts[:2])
        if name == "someone/gated":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if name not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if is_question and parts[4] == "discussions":
            return (
                200,
                {},
                json.dumps({"discussions": self.converted, "count": len(self.converted), "start": 0}).encode(),
            )
        if parts[5 if is_question else 3] != "main":
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        folder = self.repositories[name]
        if is_question:
            siblings = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
            return 200, {}, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode()
        if not (folder / parts[4]).is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        body = (folder / parts[4]).read_bytes()
        return 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}, body

    def _handler(fake) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = fake.answer(self.path)
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def point_at(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def fake_hub(tmp_path, monkeypatch) -> Iterator[FakeHub]:
    fake = FakeHub()
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.01,))
    thread.start()
    point_at(fake.address, tmp_path / "cache", monkeypatch)
    yield fake
    huggingface_hub.close_session()
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


@pytest.fixture
def no_hub(tmp_path, monkeypatch) -> str:
    """Address at which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    point_at(address, tmp_path / "cache", monkeypatch)
    return address


def test_a_model_is_fetched_once_and_then_read_without_the_hub(fake_hub, saved, capfd):
    fake_hub.repositories["someone/tiny"] = saved("gpt2").folder
    config = ModelConfig(name="someone/tiny")
    facts = describe_model(config)
    assert not any(path.endswith("model.safetensors") for path in fake_hub.asked)
    model = load_model(config)
    assert model.facts == facts == describe_model(ModelConfig(name=str(saved("gpt2").folder)))
    assert model.content_hash == load_model(ModelConfig(name=str(saved("gpt2").folder))).content_hash
    fake_hub.asked.clear()
    assert load_model(config).content_hash == model.content_hash
    assert fake_hub.asked == []
    assert capfd.readouterr() == ("", "")


def test_a_sharded_model_is_fetched_whole(fake_hub, saved, tmp_path):
    saved("llama").reference.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    fake_hub.repositories["someone/shards"] = tmp_path / "shards"
    model = load_model(ModelConfig(name="someone/shards"))
    assert len(model.weight_files) > 1
    fake_hub.repositories.clear()
    assert load_model(ModelConfig(name="someone/shards")).content_hash == model.content_hash


def test_a_tokenizer_is_fetched_once(fake_hub, saved, tmp_path):
    folder = tmp_path / "with-tokenizer"
    load_tokenizer(ModelConfig(name="builtin")).save_pretrained(folder)
    (folder / "config.json").write_bytes((saved("gpt2").folder / "config.json").read_bytes())
    fake_hub.repositories["someone/words"] = folder
    config = ModelConfig(name="someone/words")
    assert load_tokenizer(config).eos_token == "<|endoftext|>"
    fake_hub.repositories.clear()
    assert load_tokenizer(config)("a b")["input_ids"] == load_tokenizer(ModelConfig(name="builtin"))("a b")["input_ids"]


def test_what_the_hub_does_not_have_is_bad_input(fake_hub, saved):
    fake_hub.repositories["someone/tiny"] = saved("gpt2").folder
    for attempt in (describe_model, load_model, load_tokenizer):
        with pytest.raises(BadInput, match="neither a folder on this machine nor a public model"):
            attempt(ModelConfig(name="someone/none"))
        with pytest.raises(BadInput, match="has no revision 'v9'"):
            attempt(ModelConfig(name="someone/tiny", revision="v9"))
        with pytest.raises(EnvironmentProblem, match="accept them"):
            attempt(ModelConfig(name="someone/gated"))


def test_a_repository_without_safetensors_is_told_with_the_hubs_own_conversion(fake_hub, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt_neo"}')
    (folder / "pytorch_model.bin").touch()
    fake_hub.repositories["someone/old"] = folder
    with pytest.raises(BadInput, match=r"has no safetensors.*Convert it once"):
        load_model(ModelConfig(name="someone/old"))
    offer = {"title": "Adding `safetensors` variant", "num": 7, "status": "open", "isPullRequest": True}
    origin = {"author": {"name": "SFconvertbot"}, "repo": {"name": "someone/old", "type": "model"}}
    fake_hub.converted = [{**offer, **origin, "createdAt": "2023-05-01T10:00:00.000Z"}]
    with pytest.raises(BadInput, match=r"--set model\.revision=refs/pr/7 .*Or convert it once"):
        load_model(ModelConfig(name="someone/old"))


@pytest.mark.parametrize("attempt", [load_model, load_tokenizer])
def test_an_unreachable_hub_is_told_at_once_with_three_ways_on(no_hub, attempt, capfd):
    start = time.monotonic()
    with pytest.raises(EnvironmentProblem) as caught:
        attempt(ModelConfig(name="gpt2"))
    assert time.monotonic() - start < hub.ANSWER_TIMEOUT_S + 5  # retries would take far longer
    assert all(part in str(caught.value) for part in ["'gpt2'", no_hub, *WAYS_ON])
    assert capfd.readouterr() == ("", "")


def test_an_unknown_model_cannot_be_described_without_a_hub(no_hub):
    with pytest.raises(EnvironmentProblem, match="could not be reached"):
        describe_model(ModelConfig(name="someone/none"))


def test_offline_mode_is_told_as_the_reason(no_hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EnvironmentProblem, match="HF_HUB_OFFLINE is set"):
        load_model(ModelConfig(name="gpt2"))


def test_a_hub_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "ANSWER_TIMEOUT_S", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        point_at(f"http://127.0.0.1:{deaf.getsockname()[1]}", tmp_path, monkeypatch)
        with pytest.raises(EnvironmentProblem, match=r"no answer within 0\.2 s"):
            load_model(ModelConfig(name="gpt2"))
