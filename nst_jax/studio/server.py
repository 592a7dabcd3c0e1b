"""The studio's HTTP server: sockets, threads and limits; what is answered is in `routes` and `answers`."""

import contextlib
import http.server
import os
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from nst_jax.errors import ConfigError
from nst_jax.studio import guard, routes
from nst_jax.studio.answers import Answer, Desk, Request, answer, page, refused, report_bug
from nst_jax.studio.routes import RefusedError

__all__ = ["Desk", "Served", "serve"]

LIMITS = {routes.BYTES: 64_000_000, routes.JSON: 1_000_000}
"""Bytes of a body, by its type."""

PATIENCE = 30.0
"""Seconds that a client may take to send or to take a piece, or to ask again."""

LINGER, DRAINED = 2.0, 4 * LIMITS[routes.BYTES]
"""Seconds of silence, and bytes of a request, that are put up with after an answer before its end."""

MOST_STREAMS, MOST_CONNECTIONS = 64, 512

_PIECE = 1 << 16


@dataclass(frozen=True)
class Served:
    """Where a server is.

    Attributes:
        url: to be opened on this machine, with the token if there is one.
        elsewhere: the same for other machines; None if they do not reach it, or by the same.
        port: the one that it has.
    """

    url: str
    elsewhere: str | None
    port: int


@contextlib.contextmanager
def serve(
    desk: Desk, *, host: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> Iterator[Served]:
    """Serve a desk until the context is left; then its streams end, and the port is free.

    Args:
        desk: who is asked. It is called from many threads at once.
        host: a name or an address of this machine. If others reach it, a token is needed.
        port: 0 is any that is free.
        token: what a client must show; made where one is needed and none is given.

    Raises:
        ConfigError: the host is not this machine's, the port is taken, or the token has other characters than
            letters, digits, - and _.
    """
    if token is not None and not guard.TOKEN.fullmatch(token):
        raise ConfigError("the token may have letters, digits, - and _ only")
    if token is None and guard.needs_token(host):
        token = secrets.token_urlsafe(24)
    server = _listening(desk, host, port, token)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="studio", daemon=True)
    thread.start()
    try:
        yield _served(server.door, host)
    finally:
        server.stop()
        thread.join()


def _served(door: guard.Door, host: str) -> Served:
    """Return the addresses of a server; of one that is open on all there is no address by that name."""
    end = f":{door.port}/" + (f"?token={door.token}" if door.token else "")
    if not guard.is_wildcard(host):
        return Served(f"http://{guard.in_address(host)}{end}", None, door.port)
    local = "[::1]" if ":" in host else "127.0.0.1"
    return Served(f"http://{local}{end}", f"http://{socket.gethostname()}{end}", door.port)


def _listening(desk: Desk, host: str, port: int, token: str | None) -> "_Server":
    """Return a server at the first of a host's addresses that can be had."""
    if not 0 <= port <= 65535:  # others would be taken for what is left of them modulo 65536
        raise ConfigError(f"port {port}: allowed: 1 to 65535, and 0 for any that is free")
    try:
        if not host:
            raise OSError("it is empty")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"host {host!r}: cannot be used ({why}); 127.0.0.1 is this machine") from None
    trouble: OSError | None = None
    for family, _, _, _, address in sorted(found, key=lambda each: each[0] != socket.AF_INET):
        try:
            return _Server(desk, family, address, host, token)
        except OSError as error:
            trouble = error
    why = getattr(trouble, "strerror", None) or trouble
    raise ConfigError(f"{host}, port {port}: cannot be used ({why}); port 0 is any that is free") from None


class _Server(http.server.ThreadingHTTPServer):
    """Has a thread for each connection, and knows them, so that they end with it."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = os.name == "posix"  # elsewhere it would take another program's port

    def __init__(
        self, desk: Desk, family: socket.AddressFamily, address: Any, host: str, token: str | None
    ) -> None:
        self.desk, self.address_family = desk, family
        self.protections = guard.protections(page())
        self.streams = threading.BoundedSemaphore(MOST_STREAMS)
        self.is_stopping = threading.Event()
        self.connections: set[socket.socket] = set()
        self.changed = threading.Condition()
        super().__init__(address, _Handler)
        self.door = guard.door(host, self.server_port, token)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            with contextlib.suppress(OSError):  # :: is of both kinds, where the system can
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer's own asks for the full name of the host, which may take long.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "", self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return len(self.connections) < MOST_CONNECTIONS

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.changed:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.changed:
            self.connections.discard(request)
            self.changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that is gone, or too slow, is none
            report_bug()

    def stop(self) -> None:
        """End the server; streams say their last word, and who is still busy then is cut off."""
        self.is_stopping.set()
        self.shutdown()
        self.server_close()
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            with self.changed:
                for connection in self.connections:
                    with contextlib.suppress(OSError):
                        connection.shutdown(how)
                self.changed.wait_for(lambda: not self.connections, timeout=2.0)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection, one after another."""

    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    disable_nagle_algorithm = True
    has_unread = False

    def respond(self) -> None:
        """Answer one request."""
        headers = _headers(self.headers.items())
        self.has_unread = _has_body(headers)
        try:
            path, _, query = self.requestline.split()[1].partition("?")  # self.path has lost leading slashes
            self._check_sender(headers, path, _queries(query))
            route, places = routes.find(self.command, path)
            body = self._body(headers, route.body) if route.body else b""
        except RefusedError as refusal:
            self._send(refused(refusal))
            return
        request = Request(places, _queries(query), body, self._is_wanted)
        if route.name != "events":
            self._send(answer(route.name, self.server.desk, request))
        elif self.server.streams.acquire(blocking=False):
            try:
                self._send(answer(route.name, self.server.desk, request))
            finally:
                self.server.streams.release()
        else:
            self._send(refused(RefusedError(503, "the studio is open in too many windows: close some")))

    def _check_sender(self, headers: guard.Headers, path: str, query: dict[str, str]) -> None:
        """Raise `RefusedError` unless the client may be answered; who shows the token is given the cookie."""
        door = self.server.door
        if why := guard.refusal(door, headers):
            raise RefusedError(403, why)
        if door.token and path == "/" and "token" in query and self.command == "GET":
            if not guard.fits(door, query["token"]):
                raise RefusedError(403, "the token is a wrong one: open the address that the terminal shows")
            found = {"Location": "/", "Set-Cookie": guard.cookie(door)}
            raise RefusedError(303, "the page is at /", found)
        if not guard.has_token(door, headers):
            raise RefusedError(403, "a token is needed: open the address that the terminal shows")

    def _body(self, headers: guard.Headers, kind: str) -> bytes:
        """Read the body of a request.

        Raises:
            RefusedError: it has no length, is too large, or is of another type.
            ConnectionError: the client went away.
        """
        if not guard.has_type(headers, kind):
            raise RefusedError(403, f"such a request has the type {kind}")
        lengths = headers.get("content-length", ())
        if not lengths or "transfer-encoding" in headers:
            raise RefusedError(411, "the request does not tell its length")
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit() and len(lengths[0]) < 16):
            raise RefusedError(400, "the length of the request is no number")
        left = int(lengths[0])
        if left > LIMITS[kind]:
            size, most = left / 1e6, LIMITS[kind] / 1e6
            raise RefusedError(413, f"that has {size:.1f} MB; at most {most:.0f} MB are taken")
        if self.headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        pieces = []
        while left:
            if not (piece := self.rfile.read1(min(left, _PIECE))):
                raise ConnectionError
            pieces.append(piece)
            left -= len(piece)
        self.has_unread = False
        return b"".join(pieces)

    def _send(self, what: Answer) -> None:
        """Send an answer. Where the request was not read to its end, nothing can follow on the connection."""
        body = what.body
        if self.has_unread or not isinstance(body, bytes) or self.server.is_stopping.is_set():
            self.close_connection = True
        self.send_response(what.status)
        for name, value in {**self.server.protections, **what.headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if what.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", what.kind)
            if isinstance(body, bytes):
                self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            for piece in [body] if isinstance(body, bytes) else body:
                self._write(piece)
        if self.has_unread:
            self._linger()

    def _write(self, data: bytes) -> None:
        """Write piece by piece, for the patience is with each."""
        for start in range(0, len(data), _PIECE):
            self.wfile.write(data[start : start + _PIECE])

    def _linger(self) -> None:
        """Take a bounded rest of a request that is not wanted, or the client would miss the answer to it."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER)
        left, end = DRAINED, time.monotonic() + PATIENCE
        while left > 0 and time.monotonic() < end and (piece := self.rfile.read1(_PIECE)):
            left -= len(piece)

    def _is_wanted(self) -> bool:
        """Tell whether the client waits for an answer, and the server goes on."""
        if self.server.is_stopping.is_set():
            return False
        try:
            self.connection.setblocking(False)
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:  # it is silent, as one is that waits
            return True
        except OSError:
            return False
        finally:
            with contextlib.suppress(OSError):
                self.connection.settimeout(self.timeout)

    def handle_expect_100(self) -> bool:
        """Leave for later what tells a client to go on: not before it is known that its body is wanted."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request, or has a method that is none of HTTP's common ones."""
        self.request_version, self.has_unread = "HTTP/1.1", True
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._send(refused(RefusedError(405, "the studio has no such method", {"Allow": "GET, POST"})))
        else:
            self._send(refused(RefusedError(int(code), "the request cannot be read")))

    def version_string(self) -> str:
        """Return what the server calls itself."""
        return "nst_jax"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is for what the program says of runs."""


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
    setattr(_Handler, f"do_{_method}", _Handler.respond)


def _headers(pairs: Any) -> guard.Headers:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name.lower(), []).append(value.strip())
    return found


def _has_body(headers: guard.Headers) -> bool:
    lengths = headers.get("content-length", ())
    return "transfer-encoding" in headers or any(length != "0" for length in lengths)


def _queries(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=10))
    except ValueError:
        raise RefusedError(400, "the query of the address is too long") from None
