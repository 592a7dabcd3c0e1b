"""Which path leads to what. No path is ever that of a file: names in it are looked up by the desk."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

JSON, BYTES = "application/json", "application/octet-stream"
"""The types of bodies."""

_PARTS = {
    "run": "(?P<run>[0-9]{1,9})",
    "number": "(?P<number>[0-9]{1,9})",
    "name": "(?P<name>[A-Za-z0-9._-]{1,255})",
    "once": "(?P<what>content|small)",
    "many": "(?P<what>moments|cells)",
    "whose": "(?P<whose>sample|upload)",
    "verb": "(?P<verb>change|pause|go-on|stop|keep|more|restore|branch|save|remove)",
}
"""Places in paths for what varies."""


class RefusedError(Exception):
    """A request that is not answered, or not here: a status of HTTP, and a sentence for the page to show."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] = {}) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers


@dataclass(frozen=True)
class Route:
    """What a request with a method and a path is for.

    Attributes:
        method: GET or POST.
        pattern: of the whole path, decoded.
        name: of the answer, see `answers.ANSWERS`.
        body: the type of the body; empty if there is none.
    """

    method: str
    pattern: re.Pattern[str]
    name: str
    body: str = ""


def _route(method: str, path: str, name: str, body: str = "") -> Route:
    return Route(method, re.compile(path.replace(".", r"\.").format(**_PARTS)), name, body)


ROUTES = (
    _route("GET", "/", "page"),
    _route("GET", "/about", "about"),
    _route("GET", "/events", "events"),
    _route("GET", "/runs/{run}/picture", "picture"),
    _route("GET", "/runs/{run}/{once}", "shown"),
    _route("GET", "/runs/{run}/{many}/{number}", "shown"),
    _route("GET", "/runs/{run}/config.yaml", "config"),
    _route("GET", "/files/{name}", "saved"),
    _route("GET", "/{whose}s/{name}", "thumbnail"),
    _route("POST", "/uploads", "upload", BYTES),
    _route("POST", "/runs", "start", JSON),
    _route("POST", "/grids", "grid", JSON),
    _route("POST", "/runs/{run}/{verb}", "act", JSON),
)


def find(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Return the route of a request, and what stands in the places of its path.

    Args:
        method: of HTTP.
        path: as it was sent, still encoded, without the query.

    Raises:
        RefusedError: it leads nowhere (404), tries to leave its folder (403), or has another method (405).
    """
    if is_attempt(path):
        raise RefusedError(403, "such a path leads nowhere here")
    found = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(_decoded(path)))]
    if not found:
        raise RefusedError(404, "there is nothing at this path")
    for route, match in found:
        if route.method == method:
            return route, match.groupdict()
    allowed = ", ".join(route.method for route, _ in found)
    raise RefusedError(405, f"the method {method} is not for this path", {"Allow": allowed})


def is_attempt(path: str) -> bool:
    """Tell whether a path has what only one has that tries to leave its folder, encoded up to two times."""
    once = unquote(path, "latin-1")
    forms = "\n".join((path, once, unquote(once, "latin-1"))).lower()
    return any(sign in forms for sign in ("..", "%2e", "\\", "\0", "//"))


def _decoded(path: str) -> str:
    """Return a path without its encoding; empty, which leads nowhere, if it is no text."""
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        return ""
