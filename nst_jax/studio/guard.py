"""Who is answered, and what a browser may do with the answer.

A server on this machine can be reached by any page of the web that its user has open. Such a page cannot read
answers, but it could make requests, or take the server's place under a name of its own (DNS rebinding). So a
request must name this server as its host, must come from its page or from none, and must have a type that no
form of another page can send. Where other machines reach the server, a token is needed too.
"""

import hmac
import ipaddress
import re
import socket
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

COOKIE = "nst_jax_token"
"""Where a browser keeps the token."""

TOKEN = re.compile(r"[A-Za-z0-9_-]+")
"""What a token is made of: it stands in an address and in a header."""

Headers = Mapping[str, Sequence[str]]
"""Of a request: names in lower case to all that was given under them."""

_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_HTTP = 80
"""The port that no browser writes out."""


@dataclass(frozen=True)
class Door:
    """How a server is reached.

    Attributes:
        names: the hosts that may be named, as `canonical` writes them.
        port: the only one.
        token: to be shown, if any.
        is_wide: whether it is open on all addresses of the machine, so that each may be named.
    """

    names: frozenset[str]
    port: int
    token: str | None = None
    is_wide: bool = False


def door(host: str, port: int, token: str | None = None, *, machine: str | None = None) -> Door:
    """Return how a server that was asked to listen at ``host`` is reached; ``machine`` is this one's name."""
    if is_wildcard(host):
        own = canonical(socket.gethostname() if machine is None else machine)
        return Door(_LOCAL | {own}, port, token, is_wide=True)
    return Door(_LOCAL | {canonical(in_address(host))}, port, token)


def needs_token(host: str) -> bool:
    """Tell whether others than this machine's users reach a server at ``host``: all but loopback."""
    address = _address(host)
    return host.lower() != "localhost" if address is None else not address.is_loopback


def is_wildcard(host: str) -> bool:
    """Tell whether ``host`` stands for all addresses of the machine."""
    address = _address(host)
    return address is not None and address.is_unspecified


def in_address(host: str) -> str:
    """Return a host as it stands in an address: an IPv6 one in brackets."""
    return f"[{host}]" if isinstance(_address(host), ipaddress.IPv6Address) else host


def canonical(name: str) -> str:
    """Return a host as in an address, in the one way of writing it: lower case, and IPv6 compressed."""
    address = _address(name[1:-1]) if name.startswith("[") else None
    return f"[{address.compressed}]" if address is not None else name.lower()


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def refusal(door: Door, headers: Headers) -> str | None:
    """Return why a request is not answered, by whom it is for and where it comes from; None if it may be."""
    hosts = headers.get("host", ())
    if len(hosts) != 1 or not is_ours(door, hosts[0]):
        return f"the studio is at http://localhost:{door.port}/; a tunnel to it must have the same port"
    if any(origin.lower() != f"http://{hosts[0]}".lower() for origin in headers.get("origin", ())):
        return "the request comes from the page of another site"
    if any(site.lower() not in ("same-origin", "none") for site in headers.get("sec-fetch-site", ())):
        return "the request comes from the page of another site: type or paste the address of the studio"
    return None


def is_ours(door: Door, host: str) -> bool:
    """Tell whether the value of a ``Host`` header names this server."""
    found = _HOST.fullmatch(host)
    if not found or int(found[2] or _HTTP) != door.port:
        return False
    name = canonical(found[1])
    return name in door.names or (door.is_wide and _address(name.strip("[]")) is not None)


def has_token(door: Door, headers: Headers) -> bool:
    """Tell whether a request has a cookie with the token, or none is needed.

    Cookies are parsed by hand: those of other servers on this machine come along, and may be of any form.
    """
    pairs = (pair.partition("=") for line in headers.get("cookie", ()) for pair in line.split(";"))
    given = [value.strip() for name, _, value in pairs if name.strip() == cookie_name(door)]
    return door.token is None or any(fits(door, value) for value in given)


def fits(door: Door, token: str) -> bool:
    """Tell whether a token is the right one, in a time that does not depend on how much of it is."""
    mine = (door.token or "").encode()
    return bool(mine) and hmac.compare_digest(mine, token.encode("utf-8", "replace"))


def cookie_name(door: Door) -> str:
    """Return what the cookie is called: cookies are shared by all ports of a machine, and tokens are not."""
    return f"{COOKIE}_{door.port}"


def cookie(door: Door) -> str:
    """Return the value of a ``Set-Cookie`` header by which a browser keeps the token."""
    return f"{cookie_name(door)}={door.token}; HttpOnly; SameSite=Strict; Path=/"


def has_type(headers: Headers, wanted: str) -> bool:
    """Tell whether a body has a type; those of the studio are none that a form can send across sites."""
    given = headers.get("content-type", ())
    return len(given) == 1 and given[0].partition(";")[0].strip().lower() == wanted


def protections(page: str) -> dict[str, str]:
    """Return the headers of all answers: other sites may not use them, and the page nothing but its own."""
    return {
        "Content-Security-Policy": policy(page),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def policy(page: str) -> str:
    """Return a Content-Security-Policy that admits a page's own styles and scripts, and no others."""

    def own(element: str) -> str:
        inside = re.findall(rf"<{element}\b[^>]*>(.*?)</{element}>", page, re.DOTALL)
        return " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in inside)

    return (
        "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; "
        f"style-src {own('style')}; script-src {own('script')}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
