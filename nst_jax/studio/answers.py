"""What is asked of the desk, and what its answers are in HTTP."""

import contextlib
import functools
import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from nst_jax.errors import NstError, printable
from nst_jax.studio import routes
from nst_jax.studio.routes import RefusedError
from nst_jax.typing import Json

LONG_POLL = 20.0
"""Seconds after which there is an answer even if there is no newer picture."""

HEARTBEAT = 15.0
"""Seconds after which a silent stream says that it lives."""

SLICE = 0.5
"""Seconds after which one who waits for the desk looks whether the client still does."""

_IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_BUG = "the studio made a mistake, which is written on its terminal; it goes on"


class Desk(Protocol):
    """Who knows of runs.

    All may raise LookupError (404), or `NstError`, whose text is for the page (422); anything else is a bug.
    """

    def about(self) -> dict[str, Json]:
        """Return what the page needs to know before anything else."""

    def events(self, seen: dict[str, Json], timeout: float) -> list[tuple[str, dict[str, Json]]]:
        """Wait for what ``seen`` does not know, at most ``timeout`` seconds, and make it known to it."""

    def picture(self, run: int, after: int, timeout: float) -> tuple[bytes, int] | None:
        """Wait for a JPEG with a version above ``after``, at most ``timeout`` seconds."""

    def shown(self, run: int, what: str, number: int) -> bytes:
        """Return a JPEG of a run: its "content", "small", one of its "moments" or "cells"."""

    def thumbnail(self, name: str) -> bytes:
        """Return a small JPEG of ``sample:NAME`` or ``upload:ID``."""

    def config(self, run: int) -> tuple[str, bytes]:
        """Return a file's name and its YAML."""

    def saved(self, name: str) -> Path:
        """Return where a picture is that was saved under a name."""

    def upload(self, name: str, data: bytes) -> dict[str, Json]:
        """Keep a picture's file."""

    def start(self, values: dict[str, Json]) -> dict[str, Json]:
        """Put a run into the queue."""

    def grid(self, values: dict[str, Json]) -> dict[str, Json]:
        """Put a grid of runs into the queue."""

    def act(self, run: int, verb: str, body: dict[str, Json]) -> dict[str, Json]:
        """Do something with a run."""


@dataclass(frozen=True)
class Request:
    """What a client asks, after all checks of who it is.

    Attributes:
        places: what stands in the places of the path.
        query: what follows the path, the last of each name.
        body: of a POST, whole.
        is_wanted: tells whether the client is still there, and the server too.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_wanted: Callable[[], bool] = lambda: True

    @property
    def run(self) -> int:
        """The number of the run that the path names."""
        return int(self.places["run"])


@dataclass(frozen=True)
class Answer:
    """What a client gets.

    Attributes:
        body: bytes; or pieces of a stream, which ends with the connection.
        kind: the type of the body.
        status: of HTTP.
        headers: besides those that all answers have.
    """

    body: bytes | Iterator[bytes] = b""
    kind: str = routes.JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def answer(name: str, desk: Desk, request: Request) -> Answer:
    """Return the answer of a route; of a bug it says that there was one, and the terminal gets the rest."""
    try:
        return ANSWERS[name](desk, request)
    except RefusedError as refusal:
        return refused(refusal)
    except LookupError as error:
        # A KeyError's text is a key, and no sentence.
        sentence = str(error) if type(error) is LookupError else ""
        return refused(RefusedError(404, sentence or "there is no such thing here (any more)"))
    except NstError as error:
        return refused(RefusedError(422, str(error)))
    except Exception:
        report_bug()
        return refused(RefusedError(500, _BUG))


def refused(refusal: RefusedError) -> Answer:
    """Return the answer to a request that is not answered."""
    return Answer(_json({"error": refusal.sentence}), status=refusal.status, headers=refusal.headers)


def report_bug() -> None:
    """Write the traceback of the error at hand to the terminal, if there is one."""
    with contextlib.suppress(OSError, ValueError):  # it is closed
        if sys.stderr is not None:
            traceback.print_exc()


@functools.cache
def page() -> str:
    """Return the page, which lies beside this module."""
    return files(__package__).joinpath("page.html").read_text(encoding="utf-8")


def _page(desk: Desk, request: Request) -> Answer:
    return Answer(page().encode(), "text/html; charset=utf-8")


def _about(desk: Desk, request: Request) -> Answer:
    return Answer(_json(desk.about()))


def _events(desk: Desk, request: Request) -> Answer:
    return Answer(_stream(desk, request.is_wanted), "text/event-stream")


def _stream(desk: Desk, is_wanted: Callable[[], bool]) -> Iterator[bytes]:
    """Give server-sent events, until nobody wants them: then once more without waiting, for the last word."""
    yield b"retry: 1000\n\n"
    seen: dict[str, Json] = {}
    spoken = time.monotonic()
    goes_on = True
    while goes_on:
        goes_on = is_wanted()
        try:
            events = desk.events(seen, SLICE if goes_on else 0.0)
            text = b"".join(
                b"event: %s\ndata: %s\n\n" % (name.encode(), _json(data)) for name, data in events
            )
        except Exception:  # there is nobody to tell it to: the answer has begun
            report_bug()
            return
        if not text and time.monotonic() - spoken >= HEARTBEAT:
            text = b": still here\n\n"
        if text:
            yield text
            spoken = time.monotonic()
        if any(name == "studio" and data.get("is_over") for name, data in events):
            return


def _picture(desk: Desk, request: Request) -> Answer:
    after = request.query.get("after", "-1")
    if not re.fullmatch("-?[0-9]{1,9}", after):
        raise RefusedError(400, "after: a whole number is needed")
    end = time.monotonic() + LONG_POLL
    while request.is_wanted() and (left := end - time.monotonic()) > 0:
        if found := desk.picture(request.run, int(after), min(SLICE, left)):
            jpeg, version = found
            return Answer(jpeg, "image/jpeg", headers={"X-Version": str(version)})
    return Answer(status=204)


def _shown(desk: Desk, request: Request) -> Answer:
    number = int(request.places.get("number", 0))
    return Answer(desk.shown(request.run, request.places["what"], number), "image/jpeg")


def _thumbnail(desk: Desk, request: Request) -> Answer:
    return Answer(desk.thumbnail(f"{request.places['whose']}:{request.places['name']}"), "image/jpeg")


def _config(desk: Desk, request: Request) -> Answer:
    name, text = desk.config(request.run)
    return Answer(text, "application/yaml", headers=_as_file(name))


def _saved(desk: Desk, request: Request) -> Answer:
    path = desk.saved(request.places["name"])
    try:
        data = path.read_bytes()
    except OSError:
        raise RefusedError(404, "the file is no longer where it was saved") from None
    kind = _IMAGE_TYPES.get(path.suffix.lower(), routes.BYTES)
    return Answer(data, kind, headers=_as_file(path.name))


def _upload(desk: Desk, request: Request) -> Answer:
    return Answer(_json(desk.upload(request.query.get("name", "picture"), request.body)))


def _start(desk: Desk, request: Request) -> Answer:
    return Answer(_json(desk.start(_values(request.body))))


def _grid(desk: Desk, request: Request) -> Answer:
    return Answer(_json(desk.grid(_values(request.body))))


def _act(desk: Desk, request: Request) -> Answer:
    return Answer(_json(desk.act(request.run, request.places["verb"], _object(request.body))))


ANSWERS: Mapping[str, Callable[[Desk, Request], Answer]] = {
    "page": _page,
    "about": _about,
    "events": _events,
    "picture": _picture,
    "shown": _shown,
    "config": _config,
    "saved": _saved,
    "thumbnail": _thumbnail,
    "upload": _upload,
    "start": _start,
    "grid": _grid,
    "act": _act,
}
"""By the names in `routes.ROUTES`."""


def _values(body: bytes) -> dict[str, Json]:
    values = _object(body).get("values")
    if not isinstance(values, dict):
        raise RefusedError(400, "values: an object of settings is needed")
    return values


def _object(body: bytes) -> dict[str, Json]:
    """Return the object that a body is, of texts and numbers that can be written again."""
    try:
        value = json.loads(body.decode("utf-8"))
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):  # also of halves of surrogate pairs, infinity and endless nesting
        raise RefusedError(400, "the request is no JSON that can be read") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the request must be a JSON object")
    return value


def _json(value: Json) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _as_file(name: str) -> dict[str, str]:
    """Return the header by which a browser saves what it gets, under a name (RFC 6266 and 5987)."""
    plain = re.sub(r"[/\\]", "_", printable(name))
    simple = re.sub(r"[^A-Za-z0-9._ -]", "_", plain)
    return {
        "Content-Disposition": f"attachment; filename=\"{simple}\"; filename*=UTF-8''{quote(plain, safe='')}"
    }
