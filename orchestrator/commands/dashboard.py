"""`orchestrator dashboard [RUNS]`: sweeps in a browser, served from run folders alone to this machine."""

import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.options import Debug
from orchestrator.display.streams import Streams, guarded

if TYPE_CHECKING:
    from dashboards.runs import Runs

HOST, PORT = "127.0.0.1", 8050


def dashboard(
    runs: Annotated[Path, typer.Argument(metavar="RUNS", help="Folder that holds run folders, or one of them.")] = Path(
        "runs"
    ),
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen at.")] = HOST,
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen at; 0 takes a free one.")] = PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name that browsers call it by; repeatable."),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in this machine's browser.")] = False,
    debug: Debug = False,
) -> None:
    """Show sweeps in a browser, live while they run. Reads only."""

    def command(streams: Streams) -> int:
        found = _runs(runs)
        listener = _listen(host, port)
        address = _address(found, host, listener.getsockname()[1])
        _say(runs, host, address, streams)
        if open_browser:
            import webbrowser

            webbrowser.open(address)
        return _serve(found, host, allow_host or [], listener)

    raise typer.Exit(guarded(command, debug=debug))


def _runs(path: Path) -> "Runs":
    from dashboards.runs import Runs
    from trainer.errors import BadInput, EnvironmentProblem

    if not path.is_dir():
        raise BadInput(
            f"no folder {path}: expected a folder of run folders, or a run folder. A first sweep makes one: "
            "python -m orchestrator launch sweeps/quickstart.yaml"
        )
    if not os.access(path, os.R_OK | os.X_OK):
        raise EnvironmentProblem(f"cannot read {path}: give this user the right to, or choose another folder")
    return Runs.at(path)


def _listen(host: str, port: int) -> socket.socket:
    """A socket of our own, so that what is wrong with it is said before anything is started."""
    from trainer.errors import BadInput, EnvironmentProblem

    if not 0 <= port <= 65535:
        raise BadInput(f"--port {port}: expected a number from 0 to 65535, such as --port {PORT}")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as problem:
        raise BadInput(
            f"--host {host}: there is no such address; expected one of this machine's, such as {HOST}; 0.0.0.0 is all"
        ) from problem
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as problem:
        listener.close()
        raise EnvironmentProblem(_why_not(host, port, problem)) from problem
    return listener


def _why_not(host: str, port: int, problem: OSError) -> str:
    match problem.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} of {host} is in use, perhaps by another dashboard: look at http://localhost:{port}/, "
                f"stop that program, or take another port: --port {port + 1 if port < 65535 else port - 1}"
            )
        case errno.EACCES:
            return f"port {port} of {host} is not this user's to take: choose one from 1024 on, such as --port {PORT}"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine: choose one that is, such as --host {HOST}"
        case _:
            return f"cannot listen at {host} port {port}: {problem.strerror or problem}. Choose others: --host, --port"


def _address(runs: "Runs", host: str, port: int) -> str:
    """As a browser on this machine opens it: at the list, or at the only run."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/" + (f"#/frontier/{runs.only}" if runs.only is not None else "")


def _say(runs: Path, host: str, address: str, streams: Streams) -> None:
    from dashboards.guard import is_loopback
    from orchestrator.display.plain import plain

    if not is_loopback(host):
        said = (
            f"warning: listening at {host}. Whoever reaches this machine can read all of {runs}: there is no login and "
            f"no encryption. Without --host only this machine can; elsewhere: ssh -L {PORT}:localhost:{PORT} MACHINE"
        )
        print(plain(said), file=streams.err)
    print(plain(f"{runs} is shown at {address}"), file=streams.err)
    print("Ctrl-C ends it", file=streams.err, flush=True)


def _serve(runs: "Runs", host: str, names: list[str], listener: socket.socket) -> int:
    import pyarrow as pa
    import uvicorn

    from dashboards.guard import hosts_of
    from dashboards.server import app

    # Arrow's other pools keep what they had, which is most of this process's memory.
    pa.set_memory_pool(pa.system_memory_pool())
    config = uvicorn.Config(
        app(runs, is_host=hosts_of(host, names)),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        limit_concurrency=100,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        return 0  # how one ends it
    finally:
        listener.close()
    return 0
