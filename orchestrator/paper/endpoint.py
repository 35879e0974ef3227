"""A language model behind an OpenAI-compatible endpoint: where it is, asking it, and waiting when it is busy.

URL, model and key come from the environment alone. The key is in no text that leaves this file: not in errors, not in
answers. Nothing is written here.
"""

import http.client
import json
import os
import random
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from orchestrator.display.plain import plain
from trainer.errors import EnvironmentProblem

URL, MODEL, KEY = "SAE_FRONTIER_LLM_URL", "SAE_FRONTIER_LLM_MODEL", "SAE_FRONTIER_LLM_KEY"
HOW = (
    f"set {URL} (such as https://api.openai.com/v1, or http://localhost:8000/v1 of a server of your own), {MODEL} and, "
    f"where the endpoint wants one, {KEY}"
)
TIMEOUT_S = 120.0
FIRST_WAIT_S, MOST_WAIT_S = 1.0, 60.0
"""Waits double from the first to the most."""
LONGEST_WAIT_S = 600.0
"""What an endpoint may ask us to wait; longer than that is the user's to decide."""
TRIES = {"busy": 10, "unreachable": 4}
BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 529}
MOST_BYTES = 4 << 20
Message = Mapping[str, str]


class Answer(NamedTuple):
    """What it said."""

    text: str
    n_in: int
    """Tokens of the question, as the endpoint counts them; 0 where it does not say."""
    n_out: int


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and whom."""

    url: str
    model: str
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


def endpoint() -> Endpoint:
    """From the environment. Raises EnvironmentProblem where it is not set, or cannot be used."""
    if problem := lacking():
        raise EnvironmentProblem(problem)
    return Endpoint(os.environ[URL].strip().rstrip("/"), model_name(), os.environ.get(KEY, "").strip())


def model_name() -> str:
    """Empty where none is set."""
    return os.environ.get(MODEL, "").strip()


def lacking() -> str | None:
    """What is not set, or wrong; None where all is well. Tells no value."""
    url, key = os.environ.get(URL, "").strip(), os.environ.get(KEY, "").strip()
    unset = [name for name in (URL, MODEL) if not os.environ.get(name, "").strip()]
    if unset:
        return f"{' and '.join(unset)} not set: {HOW}"
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return f"{URL} is no address: {HOW}"
    if not is_fine or parts.query or parts.fragment or parts.username or parts.password or not url.isascii():
        return f"{URL} has to be http(s)://HOST/PATH without user name, password, ? or #: {HOW}"
    if not re.fullmatch(r"[!-~]*", key):
        return f"{KEY} has a space, a line break or another character that no key has: set it anew"
    return None


class Client:
    """Asks one endpoint, from several threads. A wait that one of them is told holds all of them."""

    def __init__(self, endpoint: Endpoint, *, max_tokens: int) -> None:
        """`max_tokens`: of an answer."""
        self._endpoint, self.max_tokens = endpoint, max_tokens
        self._limit_name, self._has_temperature = "max_tokens", True
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._not_before_s = 0.0
        self._opener = urllib.request.build_opener(_NoRedirect)  # a redirect would carry the key elsewhere

    def stop(self) -> None:
        """Ends all waiting."""
        self._stop.set()

    def ask(self, messages: Sequence[Message]) -> Answer:
        """Raises EnvironmentProblem with one message where the endpoint refuses, or is not there."""
        n_failed = {"busy": 0, "unreachable": 0}
        while True:
            self._wait_turn()
            try:
                return self._once(messages)
            except _AskOtherwise:
                continue
            except _TryAgain as problem:
                n_failed[problem.kind] += 1
                self._wait_for(problem, n_failed[problem.kind])

    def _wait_turn(self) -> None:
        while not self._stop.is_set() and (left := self._not_before_s - time.monotonic()) > 0:
            self._stop.wait(min(left, 1.0))
        if self._stop.is_set():
            raise EnvironmentProblem("asking was stopped")

    def _wait_for(self, problem: "_TryAgain", n_failed: int) -> None:
        if n_failed >= TRIES[problem.kind]:
            raise EnvironmentProblem(f"{problem}, {n_failed} times. {_GO_ON}")
        wait_s = min(MOST_WAIT_S, FIRST_WAIT_S * 2 ** (n_failed - 1)) * random.uniform(0.5, 1.0)
        if problem.wait_s is not None:
            wait_s = problem.wait_s
        if wait_s > LONGEST_WAIT_S:
            raise EnvironmentProblem(f"{problem}, and asks to wait {wait_s:.0f} s. {_GO_ON}")
        with self._lock:
            self._not_before_s = max(self._not_before_s, time.monotonic() + wait_s)

    def _once(self, messages: Sequence[Message]) -> Answer:
        limit_name, has_temperature = self._limit_name, self._has_temperature
        asked: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": list(messages),
            limit_name: self.max_tokens,
        }
        if has_temperature:
            asked["temperature"] = 0
        try:
            content = self._post(json.dumps(asked).encode())
        except urllib.error.HTTPError as error:
            raise self._refused(error, asked) from None
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgain("unreachable", f"{self._where} cannot be reached ({self._said(_reason(error))})") from None
        return self._read(content)

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "sae-frontier"}
        if self._endpoint.key:
            headers["Authorization"] = f"Bearer {self._endpoint.key}"
        request = urllib.request.Request(f"{self._endpoint.url}/chat/completions", body, headers, method="POST")
        with self._opener.open(request, timeout=TIMEOUT_S) as response:
            return response.read(MOST_BYTES)

    def _read(self, content: bytes) -> Answer:
        try:
            fields = json.loads(content)
            text = fields["choices"][0]["message"]["content"] or ""
            usage = fields.get("usage") or {}
            counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
            return Answer(self._without_key(str(text)), *counts)
        except (ValueError, LookupError, TypeError, AttributeError):
            start = self._said(content[:200].decode("utf-8", "replace"))
            raise _TryAgain("unreachable", f"{self._where} answers no chat completion ({start!r})") from None

    def _refused(self, error: urllib.error.HTTPError, asked: Mapping[str, Any]) -> Exception:
        """What to raise."""
        said, code = self._message_of(error)
        words = f"{self._where} answers {error.code}" + (f" ({said})" if said else "")
        match error.code:
            case 400 | 422 if "max_tokens" in said and "max_tokens" in asked:
                self._limit_name = "max_completion_tokens"  # which newer models want, and older servers do not know
                return _AskOtherwise()
            case 400 | 422 if "temperature" in said and "temperature" in asked:
                self._has_temperature = False
                return _AskOtherwise()
            case 429 if code == "insufficient_quota":
                return EnvironmentProblem(f"{words}: nothing is left to spend. {_GO_ON}")
            case status if status in BUSY:
                return _TryAgain("busy", words, wait_s=_retry_after(error.headers.get("Retry-After")))
            case 401 | 403:
                return EnvironmentProblem(f"{words}: it refuses the key. Set {KEY} to one that it takes")
            case 404:
                return EnvironmentProblem(f"{words}: no such path or model. {HOW}")
            case status if 300 <= status < 400:
                return EnvironmentProblem(f"{words}, a redirect, which is not followed. Set {URL} to where it leads")
            case _:
                return EnvironmentProblem(words)

    def _message_of(self, error: urllib.error.HTTPError) -> tuple[str, str]:
        """What the endpoint says, and its code for it."""
        with suppress(OSError, http.client.HTTPException):
            content = error.read(MOST_BYTES)
            with suppress(ValueError, AttributeError):
                found = json.loads(content)
                told = found.get("error", found)
                if isinstance(told, str):
                    return self._said(told), ""
                return self._said(str(told.get("message") or "")), str(told.get("code") or "")
            return self._said(content[:200].decode("utf-8", "replace")), ""
        return "", ""

    @property
    def _where(self) -> str:
        return f"the endpoint at {self._endpoint.host}"

    def _said(self, text: str) -> str:
        """One line of somebody else's words."""
        return plain(" ".join(self._without_key(text).split()))[:200]

    def _without_key(self, text: str) -> str:
        return text.replace(self._endpoint.key, "[key]") if self._endpoint.key else text


_GO_ON = "What was answered is kept: the same command goes on from there"


class _AskOtherwise(Exception):
    """The same question with other parameters."""


class _TryAgain(Exception):
    """It may go well later."""

    def __init__(self, kind: str, words: str, *, wait_s: float | None = None) -> None:
        super().__init__(words)
        self.kind, self.wait_s = kind, wait_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """A redirect is an error like others."""


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason) or type(error).__name__


def _retry_after(header: str | None) -> float | None:
    """Seconds; None where the header is not there or says nothing."""
    if not header:
        return None
    with suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if seconds == seconds else None
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    return None
