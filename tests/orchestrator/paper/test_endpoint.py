"""Asking an endpoint: what it refuses is one message without the key, and where it is busy it is waited for."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.paper import endpoint as module
from orchestrator.paper.answers import Asker, for_each
from orchestrator.paper.endpoint import KEY, MODEL, URL, Client, Endpoint, endpoint, lacking
from tests.orchestrator.paper.llm_server import LLM, SECRET, Reply, completion, refusal, serving, use_endpoint
from tests.test_security import PACKAGES
from tests.tiny import ROOT
from trainer.errors import EnvironmentProblem

QUESTION = [{"role": "user", "content": "What is it?"}]


@pytest.fixture
def llm(monkeypatch: pytest.MonkeyPatch) -> Iterator[LLM]:
    with serving() as found:
        use_endpoint(monkeypatch, found.url)
        found.usual = lambda _: completion("This.")
        yield found


class Clock:
    """Time that passes while somebody waits, and else stands still."""

    def __init__(self) -> None:
        self.now_s, self.waits = 1000.0, [0.0]

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        self.waits[-1] += seconds
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=found.monotonic))
    return found


def client(clock: Clock | None = None) -> Client:
    made = Client(endpoint(), max_tokens=50)
    if clock is not None:
        made._stop = SimpleNamespace(wait=clock.wait, is_set=lambda: False)  # type: ignore[assignment]
    return made


def refused(clock: Clock | None = None) -> str:
    with pytest.raises(EnvironmentProblem) as problem:
        client(clock).ask(QUESTION)
    text = str(problem.value)
    assert SECRET not in text
    assert "\n" not in text
    assert problem.value.__cause__ is None
    return text


def test_a_question_is_asked_as_the_api_wants_it(llm: LLM) -> None:
    assert client().ask(QUESTION) == ("This.", 100, 7)
    assert llm.asked == [{"model": "teller-1", "messages": QUESTION, "max_tokens": 50, "temperature": 0}]
    assert llm.keys == {f"Bearer {SECRET}"}


def test_without_a_key_none_is_sent(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    client().ask(QUESTION)
    assert llm.keys == {None}


def test_parameters_that_a_model_does_not_take_are_left_out_or_renamed(llm: LLM) -> None:
    llm.replies = [
        refusal(
            400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'"
        ),
        refusal(400, "Unsupported value: 'temperature' does not support 0 with this model"),
    ]
    asker = client()
    asker.ask(QUESTION)
    asker.ask(QUESTION)
    assert [sorted(asked) for asked in llm.asked[2:]] == [["max_completion_tokens", "messages", "model"]] * 2


def test_what_the_environment_lacks_is_said_without_its_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL, MODEL, KEY):
        monkeypatch.delenv(name, raising=False)
    assert str(lacking()).startswith(f"{URL} and {MODEL} not set")
    monkeypatch.setenv(URL, "http://h/v1")
    assert str(lacking()).startswith(f"{MODEL} not set")
    monkeypatch.setenv(MODEL, "m")
    assert lacking() is None
    for url in (
        "ftp://h/v1",
        "h/v1",
        f"https://me:{SECRET}@h/v1",
        f"https://h/v1?key={SECRET}",
        "http://[",
        "http://h:x/",
    ):
        monkeypatch.setenv(URL, url)
        assert str(lacking()).startswith(URL), url
        assert SECRET not in str(lacking())
    monkeypatch.setenv(URL, "https://h/v1/")
    assert endpoint().url == "https://h/v1"
    monkeypatch.setenv(KEY, f"{SECRET}\r\nX: y")
    assert str(lacking()).startswith(KEY)
    assert SECRET not in str(lacking())
    with pytest.raises(EnvironmentProblem):
        endpoint()


def test_nothing_shows_the_key_and_one_file_alone_reads_it() -> None:
    assert SECRET not in repr(Endpoint("http://h/v1", "m", SECRET))
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    readers = [path.name for path in files if "SAE_FRONTIER_LLM_" in path.read_text("utf-8")]
    assert readers == ["endpoint.py"]
    users = [path.name for path in files if re.search(r"\bwhere\.key\b|_endpoint\.key\b", path.read_text("utf-8"))]
    assert sorted(users) == ["autointerp.py", "endpoint.py"]  # to say that it goes over plain http


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (refusal(401, f"Incorrect API key provided: {SECRET}"), r"answers 401 \(Incorrect API key provided: \[key\]\)"),
        (refusal(403, "no"), f"refuses the key. Set {KEY}"),
        (refusal(404, "The model `teller-1` does not exist"), "no such path or model"),
        (refusal(429, "You exceeded your current quota", code="insufficient_quota"), "nothing is left to spend"),
        (refusal(400, "context too long\nsecond \x1b[31m line"), r"answers 400 \(context too long second .*line\)"),
        (Reply(302, "", {"Location": "http://elsewhere/"}), "a redirect, which is not followed"),
        (Reply(418, "<html>I am a teapot"), "I am a teapot"),
        (Reply(400, {"error": "as text"}), "as text"),
    ],
)
def test_a_refusal_is_one_message_and_is_not_tried_again(llm: LLM, reply: Reply, words: str) -> None:
    llm.replies = [reply]
    with pytest.raises(EnvironmentProblem, match=words) as problem:
        client().ask(QUESTION)
    assert SECRET not in str(problem.value)
    assert "\x1b" not in str(problem.value)
    assert "\n" not in str(problem.value)
    assert len(llm.asked) == 1


def test_nobody_at_the_address_is_one_message(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        use_endpoint(monkeypatch, f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        text = refused(clock)
    assert "cannot be reached (Connection refused), 4 times" in text


def test_an_answer_that_is_no_completion_is_tried_again_and_then_said(llm: LLM, clock: Clock) -> None:
    llm.replies = [Reply(200, "<html>welcome"), Reply(200, {"choices": []})]
    assert client(clock).ask(QUESTION).text == "This."
    llm.replies = [Reply(200, f"<html>welcome {SECRET}")] * 4
    assert "answers no chat completion ('<html>welcome [key]'), 4 times" in refused(clock)
    llm.replies = [completion(None)]
    assert client(clock).ask(QUESTION).text == ""


def test_it_waits_as_long_as_the_endpoint_asks_for(llm: LLM, clock: Clock) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    llm.replies = [refusal(429, "slow down", headers={"Retry-After": "37"})]
    client(clock).ask(QUESTION)
    assert clock.waits[-1] == pytest.approx(37)
    clock.waits.append(0.0)
    llm.replies = [refusal(503, headers={"Retry-After": date})]
    client(clock).ask(QUESTION)
    assert 80 < clock.waits[-1] <= 91
    llm.replies = [refusal(429, headers={"Retry-After": "86400"})]
    assert "asks to wait 86400 s" in refused(clock)


def test_without_such_a_word_waits_double_up_to_a_cap_and_end(
    llm: LLM, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    llm.usual = lambda _: refusal(500, "oh", headers={"Retry-After": "soon"})
    waits: list[float] = []
    made, before = client(clock), clock.now_s
    once = made._once

    def noted(messages: object) -> object:
        nonlocal before
        waits.append(clock.now_s - before)
        before = clock.now_s
        return once(messages)  # type: ignore[arg-type]

    monkeypatch.setattr(made, "_once", noted)
    with pytest.raises(EnvironmentProblem, match=r"answers 500 \(oh\), 10 times"):
        made.ask(QUESTION)
    assert waits == pytest.approx([0, 1, 2, 4, 8, 16, 32, 60, 60, 60])


def test_one_that_is_told_to_wait_holds_all(llm: LLM, clock: Clock) -> None:
    made = client(clock)
    llm.replies = [refusal(429, headers={"Retry-After": "50"})]
    made.ask(QUESTION)
    made._not_before_s = clock.now_s + 5
    clock.waits.append(0.0)
    made.ask(QUESTION)
    assert clock.waits[-1] == pytest.approx(5)


def asker(folder: Path | None) -> Asker:
    return Asker(Client(endpoint(), max_tokens=50), "teller-1", folder)


def question(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is {number}?"}]


def test_no_more_are_asked_at_once_than_allowed_and_answers_are_in_order(llm: LLM, tmp_path: Path) -> None:
    def slow(asked: dict) -> Reply:
        time.sleep(0.01)
        return completion(asked["messages"][0]["content"])

    llm.usual = slow
    mine = asker(tmp_path)
    heard: list[int] = []
    found = for_each(
        range(24), lambda n: mine.ask(question(n)).text, mine, n_at_once=3, heard=lambda done, _: heard.append(done)
    )
    assert found == [question(n)[0]["content"] for n in range(24)]
    assert llm.n_most <= 3
    assert heard[-1] == 24


def test_what_was_answered_is_not_asked_again_but_another_question_or_model_is(llm: LLM, tmp_path: Path) -> None:
    for n_asked, name, number in ((1, "a", 0), (1, "a", 0), (2, "a", 1), (3, "b", 0)):
        one = Asker(Client(endpoint(), max_tokens=50), name, tmp_path)
        assert one.ask(QUESTION, number=number).text == "This."
        assert len(llm.asked) == n_asked
    assert SECRET not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    assert llm.url not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    damaged = next(tmp_path.rglob("*.json"))
    damaged.write_text(damaged.read_text().replace("This.", "That."))
    Asker(Client(endpoint(), max_tokens=50), "a", tmp_path).ask(QUESTION)
    Asker(Client(endpoint(), max_tokens=50), "a", tmp_path).ask(QUESTION, number=1)
    Asker(Client(endpoint(), max_tokens=50), "b", tmp_path).ask(QUESTION)
    assert len(llm.asked) == 4


def test_a_key_that_is_said_back_is_not_kept(llm: LLM, tmp_path: Path) -> None:
    llm.usual = lambda _: completion(f"Your key is {SECRET}.")
    assert asker(tmp_path).ask(QUESTION).text == "Your key is [key]."
    assert SECRET not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_after_a_refusal_in_between_only_what_is_missing_is_asked(llm: LLM, tmp_path: Path) -> None:
    def until_the_tenth(asked: dict) -> Reply:
        return completion("yes") if len(llm.answered) < 10 else refusal(401, "spent")

    llm.usual = until_the_tenth
    mine = asker(tmp_path)
    with pytest.raises(EnvironmentProblem, match="answers 401"):
        for_each(range(20), lambda n: mine.ask(question(n)).text, mine, n_at_once=2, heard=lambda *_: None)
    n_first = len(llm.answered)
    assert 10 <= n_first <= 11
    assert len(llm.asked) <= n_first + 2  # those in flight, and no more
    llm.usual = lambda _: completion("yes")
    mine = asker(tmp_path)
    for_each(range(20), lambda n: mine.ask(question(n)).text, mine, n_at_once=2, heard=lambda *_: None)
    assert len(llm.answered) == len(set(llm.answered)) == 20
    assert mine.n_asked == 20 - n_first


def test_tasks_on_one_folder_ask_one_after_the_other(llm: LLM, tmp_path: Path) -> None:
    llm.hold = threading.Event()
    done: list[str] = []

    def task(name: str) -> None:
        mine = asker(tmp_path)
        work = range(4) if name == "a" else range(4, 8)
        for_each(work, lambda n: mine.ask(question(n)), mine, n_at_once=2, heard=lambda *_: None)
        done.append(name)

    threads = [threading.Thread(target=task, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    llm.hold.set()
    for thread in threads:
        thread.join(30)
    assert sorted(done) == ["a", "b"]
    assert llm.n_most <= 2
