"""Local web servers: their address, and which names, origins, passwords and sizes they accept."""

import base64
import binascii
import ipaddress
import json
import os
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from urllib.parse import urlsplit

from lipsync_jax.types import Untyped

LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_MAX_PORT = 65_535
_ALL_ADDRESSES = ("0.0.0.0", "::")  # of this machine; no names under which it answers
HOSTS_VARIABLE = "LIPSYNC_HOSTS"  # more names of this server, separated by commas
FRAMES_VARIABLE = "LIPSYNC_FRAMED_BY"  # origins whose pages may show this one in a frame
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:\d{1,5})?")
# Browsers load nothing from other hosts; gradio needs inline scripts, and blobs for previews.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; "
    "base-uri 'self'; object-src 'none'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
Scope = MutableMapping[str, Untyped]
Receive = Callable[[], Awaitable[MutableMapping[str, Untyped]]]
Send = Callable[[MutableMapping[str, Untyped]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_local(host: str) -> bool:
    """Returns whether an address to listen on is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_names(host: str) -> frozenset[str]:
    """Returns the names under which the server answers when it listens on `host`."""
    more = os.environ.get(HOSTS_VARIABLE, "").split(",")
    names = {*LOCAL_NAMES, host, *(name.strip() for name in more)}
    return frozenset({name.lower() for name in names} - {"", *_ALL_ADDRESSES})


def framing_origins() -> tuple[str, ...]:
    """Returns the origins whose pages may show this server's pages in a frame.

    Raises:
        ValueError: FRAMES_VARIABLE has something else.
    """
    text = os.environ.get(FRAMES_VARIABLE, "")
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{FRAMES_VARIABLE}={text}: {origin!r} is no origin; give such as "
                "https://huggingface.co, separated by commas"
            )
    return origins


def listen(host: str, port: int) -> socket.socket:
    """Listens on an address, so that a port in use is told before slow work.

    Args:
        host: an address or name of this machine; `::` is all addresses, those of IPv4 too.
        port: 0 for any.

    Raises:
        ValueError: the address can't be used.
    """
    if not 0 <= port <= _MAX_PORT:
        raise ValueError(f"--port {port} can't be used; give 0 to {_MAX_PORT}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise ValueError(
            f"--host {host} --port {port} can't be used ({error.strerror}); give another --port"
        ) from error


def url(host: str, listener: socket.socket) -> str:
    """Returns the address of a page for a browser on this machine.

    Args:
        host: that the server listens on.
        listener: see `listen`.
    """
    host = "127.0.0.1" if host in _ALL_ADDRESSES else host
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"


class Guard:
    """Refuses requests that a page of another origin made, and those that are too large.

    A foreign page can send requests to a server on this machine, and with a name that resolves to
    127.0.0.1 also read the answers. So the Host header must name this server, and an Origin header
    must be this server's.
    """

    def __init__(
        self,
        app: App,
        hosts: Iterable[str],
        max_bytes: int,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        """Wraps an ASGI application.

        Args:
            app: the application.
            hosts: names of this server.
            max_bytes: of a request's body.
            credentials: user and password that every request needs; None for no password.

        Raises:
            ValueError: see `framing_origins`.
        """
        policy = " ".join((_POLICY, *framing_origins()))
        self._headers = ((b"content-security-policy", policy.encode()), *_HEADERS)
        self._app, self._hosts, self._max_bytes = app, frozenset(hosts), max_bytes
        self._credentials = credentials

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(headers, scope)
        if refusal is not None:
            await self._refuse(scope, send, *refusal)
            return

        async def send_with_headers(message: MutableMapping[str, Untyped]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, headers: dict[bytes, str], scope: Scope) -> tuple[int, str] | None:
        """Returns status and message of a refusal; None to accept."""
        host = headers.get(b"host", "")
        if _name(f"//{host}") not in self._hosts:
            return 403, (
                f"this server does not answer as {host!r}; open it by its address, or name it in "
                f"{HOSTS_VARIABLE}"
            )
        origin = headers.get(b"origin")
        if origin is not None and not _is_of(origin, host):
            return 403, f"requests from pages of {origin} are refused"
        if self._credentials is not None and not self._is_authorized(headers):
            return 401, "name and password are needed"
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH"):
            length = headers.get(b"content-length", "0")
            # Chunks count, not the length, where a request has both.
            if b"transfer-encoding" in headers or not length.isdecimal():
                return 411, "the request has no Content-Length; send the file in one piece"
            if int(length) > self._max_bytes:
                return 413, (
                    f"the file is larger than {self._max_bytes / 1e6:.0f} MB; give a shorter or "
                    "smaller one, or start the server with a larger limit"
                )
        return None

    def _is_authorized(self, headers: dict[bytes, str]) -> bool:
        kind, _, text = headers.get(b"authorization", "").partition(" ")
        try:
            given = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return False
        assert self._credentials is not None
        expected = ":".join(self._credentials).encode()
        return kind.lower() == "basic" and secrets.compare_digest(given, expected)

    async def _refuse(self, scope: Scope, send: Send, status: int, message: str) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": message[:100]})
            return
        headers = [(b"content-type", b"application/json"), *self._headers]
        if status == 401:
            headers.append((b"www-authenticate", b'Basic realm="lipsync"'))
        if status in (411, 413):
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        body = json.dumps({"error": message}).encode()
        await send({"type": "http.response.body", "body": body})


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_of(origin: str, host: str) -> bool:
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False
