"""A server on this machine that behaves like an OpenAI-compatible endpoint, as well or badly as a test wants."""

import hashlib
import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from orchestrator.paper.endpoint import KEY, MODEL, URL

SECRET = "sk-a-secret-of-the-tests"


class Reply(NamedTuple):
    """What is sent back; `body` as it is where it is text, else as JSON."""

    status: int
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


def refusal(status: int, message: str = "", *, code: str = "", headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, {"error": {"message": message, "code": code}}, headers or {})


def completion(text: str | None) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
    return Reply(200, {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


def helpful(asked: dict[str, Any]) -> Reply:
    """Explains, and names every third passage; or a number for each token."""
    task, text = (message["content"] for message in asked["messages"])
    if "in one short sentence" in task:
        return completion(f"Explanation: words that end in {hashlib.sha256(text.encode()).hexdigest()[:6]}")
    passages = [line.partition(". ")[2] for line in text.splitlines() if line.partition(". ")[0].isdigit()]
    if "JSON list of tokens" in task or "as a JSON list" in task:
        return completion(json.dumps([[len(token) % 3 for token in json.loads(one)] for one in passages]))
    return completion(f"I think: {list(range(1, len(passages) + 1, 3))}")


class LLM:
    """What was asked, and what will be answered."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        """Sent first, one per request; `usual` afterwards."""
        self.usual: Callable[[dict[str, Any]], Reply] = helpful
        self.asked: list[dict[str, Any]] = []
        self.answered: list[str] = []
        """The user's part of each question that got an answer."""
        self.keys: set[str | None] = set()
        self.hold: threading.Event | None = None
        """No reply before it is set."""
        self.url = ""
        self.n_now = self.n_most = 0
        self.lock = threading.Lock()

    def reply(self, asked: dict[str, Any], key: str | None) -> Reply:
        with self.lock:
            self.asked.append(asked)
            self.keys.add(key)
            self.n_now += 1
            self.n_most = max(self.n_most, self.n_now)
            reply = self.replies.pop(0) if self.replies else None
        if self.hold is not None:
            self.hold.wait(30)
        reply = reply or self.usual(asked)
        with self.lock:
            self.n_now -= 1
            if reply.status == 200:
                self.answered.append(json.dumps(asked["messages"]))
        return reply


def _handler(llm: LLM) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            reply = llm.reply(asked, self.headers["Authorization"])
            body = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler


@contextmanager
def serving() -> Generator[LLM]:
    llm = LLM()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(llm))
    server.handle_error = lambda *_: None  # who is killed does not read to the end
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    llm.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield llm
    finally:
        if llm.hold is not None:
            llm.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, url: str, *, key: str = SECRET) -> None:
    for name, value in {URL: url, MODEL: "teller-1", KEY: key, "no_proxy": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
