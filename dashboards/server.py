"""The dashboard's server: the page, what it asks for, and downloads, all from run folders, read only.

One request that reads is at work at a time, in a thread of its own. What was made is kept for as long as its files stay
as they are: `ETag` is their times and sizes, and a page that has the newest gets 304. `docs/dashboard.md` has the
addresses and what each gives.
"""

import asyncio
import gzip
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dashboards import detail, report, trial
from dashboards.downloads import DOWNLOADS, content_of
from dashboards.guard import Guard
from dashboards.reading import Fields, Unreadable, bytes_of, stamp, told
from dashboards.runs import TRIAL_ID, Kept, Runs, digest
from dashboards.standing import held

STATIC = Path(__file__).with_name("static")
MEDIA_TYPES = {
    ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".json": "application/json",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain",
    ".md": "text/plain",
}  # fmt: skip
LEAST_ZIPPED = 1000
_STATIC_NAME = r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/){0,2}[A-Za-z0-9_-][A-Za-z0-9._-]*"


class Made(NamedTuple):
    """The body of an answer."""

    content: bytes
    media_type: str
    filename: str = ""
    """As which it is saved; empty for what is shown."""


class Pages:
    """What is asked for, made from run folders, and kept."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self._bodies: Kept[tuple[Made, bytes]] = Kept(24)
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, request: Request, find: Callable[[], tuple[str, Callable[[], Made]]]) -> Response:
        """`find` gives the version and how to make the body, in a thread; trouble becomes a sentence."""
        try:
            async with self._one_at_a_time:
                return await run_in_threadpool(self._answer, request, find)
        except LookupError as problem:
            return problem_of(404, str(problem.args[0]) if problem.args else "there is no such thing here")
        except Unreadable as problem:
            return problem_of(409, str(problem))
        except Exception as trouble:
            print(f"dashboard: {request.url.path}: {type(trouble).__name__}: {trouble}"[:500], file=sys.stderr)
            return problem_of(500, "the dashboard failed here, which is a mistake in it and not in the run folder")

    def _answer(self, request: Request, find: Callable[[], tuple[str, Callable[[], Made]]]) -> Response:
        version, make = find()
        etag = f'W/"{version}"'
        headers = {"ETag": etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if is_known(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        if (path := request.url.path).startswith("/sweeps/"):  # seldom asked for, and large
            made, zipped = make(), b""
        else:
            made, zipped = self._bodies.get(path, version, lambda: with_zipped(make()))
        if made.filename:
            headers["Content-Disposition"] = f'attachment; filename="{made.filename}"'
        content = made.content
        if zipped and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"], content = "gzip", zipped
        return Response(content, media_type=made.media_type, headers=headers)

    # Each of these gives what `answer` wants.
    def sweeps(self) -> tuple[str, Callable[[], Made]]:
        return self.runs.version, lambda: as_json(
            {"sweeps": self.runs.lines(), "read_at": datetime.now(UTC).isoformat()}
        )

    def sweep(self, sweep_id: str) -> tuple[str, Callable[[], Made]]:
        folder = self.runs.folder(sweep_id)
        return detail.version(folder), lambda: as_json(detail.detail(folder))

    def trial(self, sweep_id: str, trial_id: str) -> tuple[str, Callable[[], Made]]:
        folder = self.runs.folder(sweep_id)
        if not re.fullmatch(TRIAL_ID, trial_id):
            raise LookupError("this sweep has no such trial")
        return trial.version(folder, trial_id), lambda: as_json(trial.trial(folder, trial_id))

    def download(self, sweep_id: str, name: str) -> tuple[str, Callable[[], Made]]:
        folder = self.runs.folder(sweep_id)
        if name not in DOWNLOADS:
            raise LookupError("there is no such download; the sweep's page has those that there are")
        about, filename = DOWNLOADS[name], f"{sweep_id}-{name.replace('/', '-')}"
        if name == "report.html":
            version = digest((detail.version(folder), static_version()))
            return version, lambda: Made(report_bytes(folder), about.media_type, filename)

        def make() -> Made:
            content = content_of(folder, name)
            if content is None:
                raise LookupError("this sweep has no such file yet; it is written when its first trials are done")
            return Made(content, about.media_type, filename)

        return digest((sweep_id, name, stamp(folder / about.source))), make

    def static(self, name: str) -> tuple[str, Callable[[], Made]]:
        path = Path(__file__).with_name(name) if name == "style.json" else STATIC / name
        suffix = path.suffix.lower()
        if not re.fullmatch(_STATIC_NAME, name) or suffix not in MEDIA_TYPES or not path.is_file():
            raise LookupError("there is no such file")
        return digest((name, stamp(path))), lambda: Made(path.read_bytes(), MEDIA_TYPES[suffix])


def app(runs: Runs, *, is_host: Callable[[str], bool]) -> Starlette:
    """The server of these runs. `is_host`: whether that is a name that it is called by."""
    pages = Pages(runs)

    def route(path: str, find: Callable[..., tuple[str, Callable[[], Made]]]) -> Route:
        async def endpoint(request: Request) -> Response:
            return await pages.answer(request, lambda: find(**request.path_params))

        return Route(path, endpoint)

    served = Starlette(
        routes=[
            Route("/healthz", healthy),
            route("/", lambda: pages.static("page.html")),
            route("/static/{name:path}", pages.static),
            route("/api/sweeps", pages.sweeps),
            route("/api/sweeps/{sweep_id}", pages.sweep),
            route("/api/sweeps/{sweep_id}/trials/{trial_id}", pages.trial),
            route("/sweeps/{sweep_id}/{name:path}", pages.download),
        ],
        middleware=[Middleware(Guard, is_host=is_host)],
        exception_handlers={HTTPException: refused},
    )
    served.router.redirect_slashes = False
    return served


async def healthy(_: Request) -> Response:
    """For whoever watches over the server."""
    return PlainTextResponse("ok")


async def refused(_: Request, problem: Exception) -> Response:
    """What no route takes."""
    code = problem.status_code if isinstance(problem, HTTPException) else 500
    return problem_of(code, "this server is only read from" if code == 405 else "there is no such page")


def problem_of(code: int, sentence: str) -> Response:
    """An error as every address gives it."""
    return Response(as_json({"problem": sentence}).content, code, {"Cache-Control": "no-store"}, "application/json")


def as_json(value: Fields) -> Made:
    return Made(json.dumps(value, allow_nan=False, separators=(",", ":")).encode(), "application/json")


def with_zipped(made: Made) -> tuple[Made, bytes]:
    """The same and its gzip; empty where that would not be worth it."""
    is_worth_it = len(made.content) >= LEAST_ZIPPED and not made.media_type.startswith(("image/png", "font/"))
    return made, gzip.compress(made.content, 4, mtime=0) if is_worth_it else b""


def is_known(header: str, etag: str) -> bool:
    """Whether one of the versions in `If-None-Match` is this."""
    return any(each.strip() in (etag, etag.removeprefix("W/"), "*") for each in header.split(","))


def report_bytes(folder: Path) -> bytes:
    """That which the sweep's driver wrote at its end, if it still says the same; else a new one."""
    written, table = stamp(folder / "report.html"), stamp(folder / "frontier.parquet")
    if written is not None and not held(folder) and (table is None or table[0] <= written[0]):
        kept = told([], lambda: bytes_of(folder, "report.html"), None)
        if kept is not None:
            return kept
    return report.report_of(folder).encode()


def static_version() -> Any:
    """Of the page's files, which the report has inside it."""
    return [stamp(path) for path in sorted(STATIC.rglob("*"))]
