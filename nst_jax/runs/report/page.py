"""A sweep as one HTML page: its pictures in a grid, to choose settings by eye.

All of the looks and the behaviour are in ``page.html``, which lies beside this module; here it is given its
data. The page needs no server and no network.
"""

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from importlib.resources import files
from numbers import Integral, Real
from urllib.parse import quote

from nst_jax.typing import Json

_IN_SCRIPT = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}
"""What could end the element that holds the data, or begin a comment in it. The rest of JSON is ASCII."""


def page(
    title: str,
    axes: Sequence[Mapping[str, Json]],
    cells: Sequence[Mapping[str, Json]],
    *,
    facts: Mapping[str, str] = {},
) -> str:
    """Return a self-contained HTML document that shows the pictures of a sweep.

    Args:
        title: the heading, and the title of the window.
        axes: what was varied, each with a ``title`` and its ``labels``. The last makes the columns, the one
            before it the rows, and any further ones blocks with a heading each.
        cells: one record a picture, with

            - ``index``: its number, an int; ``position``: its place along each axis, ints;
            - ``file``: the path of the full picture relative to the page, with slashes;
            - ``picture``: the bytes of a JPEG to show in the page, or None where there is none (yet);
            - ``status``: "finished", "stalled", "not finite", "missing", or another word; all but the first
              are shown as a mark on the picture; ``sentence``: the same at length;
            - ``loss``, ``initial_loss``: floats or None;
            - ``settings``: names to values, strings, of what differs in this cell;
            - ``curve``: records with ``evaluations``, ``loss`` and ``terms`` (names to floats);
            - ``command``: what to type to paint it larger.

            Numbers that are not finite are shown as unknown.
        facts: names to values, of what is common to all cells.

    Raises:
        ValueError: a cell that lies outside of the axes.
    """
    shape = [len(axis["labels"]) for axis in axes]
    for cell in cells:
        position = list(cell["position"])
        inside = len(position) == len(shape) and all(0 <= i < n for i, n in zip(position, shape, strict=True))
        if not inside:
            raise ValueError(f"cell {cell['index']} lies at {position} in a grid of {shape}")
    data = {"title": title, "axes": axes, "cells": [_cell(cell) for cell in cells], "facts": facts}
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    values = {"policy": _policy(template), "title": _text(title), "data": _json(data)}
    # In one pass, for a title may well look like a place for another value.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _cell(cell: Mapping[str, Json]) -> dict[str, Json]:
    picture = None if cell["picture"] is None else b64encode(cell["picture"]).decode()
    # Undecodable bytes of a file's name, which Python keeps as surrogates, become bytes again.
    file = quote(cell["file"], errors="surrogateescape") if cell["file"] else None
    return {**cell, "picture": picture, "file": file}


def _policy(template: str) -> str:
    """Return a Content-Security-Policy that admits the template's own style and script, and nothing else."""

    def own(element: str) -> str:
        (inside,) = re.findall(rf"<{element}>(.*?)</{element}>", template, re.DOTALL)
        return f"'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {own('style')}; script-src {own('script')}; "
        "base-uri 'none'; form-action 'none'"
    )


def _text(text: str) -> str:
    """Return text for HTML, without the lone surrogates that no encoding takes."""
    return escape(text).encode("utf-8", "xmlcharrefreplace").decode()


def _json(value: Json) -> str:
    text = json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: _IN_SCRIPT[found[0]], text)


def _plain(value: Json) -> Json:
    """Return a value of mappings, sequences, texts and numbers as JSON has them: no NaN, no infinity."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return [_plain(item) for item in value]
