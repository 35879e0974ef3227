"""What stands before every answer: the host asked for is one of ours, and browsers are told what a page may do.

A page of somebody else's can make a browser call this machine by a name of its own (DNS rebinding). Such a name is
refused, so that nobody reads a sweep that way.
"""

import ipaddress
import json
import socket
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")


class Guard:
    """Around an app: refuses foreign hosts and adds `HEADERS`."""

    def __init__(self, app: ASGIApp, *, is_host: Callable[[str], bool]) -> None:
        self._app, self._is_host = app, is_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) == 1 and self._is_host(name_of(hosts[0])):
            await self._app(scope, receive, with_headers)
        else:
            await _refuse(with_headers)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in LOOPBACK_NAMES


def hosts_of(bound: str, more: Iterable[str] = ()) -> Callable[[str], bool]:
    """Whether a server that listens at `bound` is called by that name. `more`: further names that it has.

    A name is one of this machine's, or an address: nobody can make an address mean another machine.
    """
    names = {*LOOPBACK_NAMES, bound.lower(), *(name.lower() for name in more)}
    if is_loopback(bound):
        return lambda name: name in names or is_loopback(name)
    names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return lambda name: name in names or _is_address(name)


def name_of(host: str) -> str:
    """Of a `Host` header, without its port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Send) -> None:
    sentence = "this address is not one of the dashboard's own; if it is, start it with --allow-host and the name"
    body = json.dumps({"problem": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": body})
