"""The dashboard in a real browser: Debian's Chromium, driven by Playwright, and a server in a thread.

Whatever a page asks for that is not on this machine, and whatever it complains about, is a failure of the test.
"""

import shutil
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from dashboards.guard import hosts_of
from dashboards.runs import Runs
from dashboards.server import app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
HERE = ("127.0.0.1", "localhost", "")


@contextmanager
def browser() -> Generator[Any]:
    """One Chromium; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


class Visit:
    """A page of its own, and what it did that it should not."""

    def __init__(self, running: Any, *, width: int = 1300, height: int = 900, dark: bool = False) -> None:
        size: dict[str, Any] = {"width": width, "height": height}
        self._context = running.new_context(
            viewport=size, color_scheme="dark" if dark else "light", reduced_motion="reduce"
        )
        self.page = self._context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self._said(message))
        self.page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open(self, address: str) -> Any:
        """The page when it has drawn what it has."""
        self.page.goto(address)
        self.settle()
        return self.page

    def settle(self) -> None:
        self.page.wait_for_selector("body[data-ready=yes]")
        self.page.wait_for_selector(".loading", state="detached")
        self.page.wait_for_selector("body[data-ready=yes]")

    def close(self) -> None:
        self._context.close()

    @property
    def elsewhere(self) -> list[str]:
        """Requests that left the machine."""
        local = ("data", "blob", "file", "about")
        return [
            url for url in self.requests if urlsplit(url).scheme not in local and urlsplit(url).hostname not in HERE
        ]

    def _said(self, message: Any) -> None:
        # A server that is away is a test of its own.
        if message.type in ("error", "warning") and "ERR_CONNECTION_REFUSED" not in message.text:
            self.complaints.append(message.text)


@contextmanager
def served(runs: Path, port: int = 0) -> Generator[str]:
    """The address of a server over these run folders."""
    listener = socket.create_server(("127.0.0.1", port))
    made = app(Runs.at(runs), is_host=hosts_of("127.0.0.1"))
    server = uvicorn.Server(uvicorn.Config(made, log_level="error", lifespan="off", ws="none", http="h11"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()
