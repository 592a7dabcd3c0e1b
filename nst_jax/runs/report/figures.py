"""The papers' figures as one HTML page: each with its caption, its sheet, its pictures and its losses.

The sheets and the pages of the single figures are linked, and lie in folders beside the page.
"""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from nst_jax.typing import Json

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
section { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1rem }
h2 { font-size: 1.2rem } p { margin: .4rem 0 } a img { max-width: 100%; height: auto; background: #fff }
figure { display: inline-block; vertical-align: top; margin: .5rem 1rem .5rem 0; width: 9rem }
figcaption { font-size: .8rem }
figure img { display: block; max-width: 8rem; max-height: 8rem }
table { border-collapse: collapse; font-size: .85rem }
td, th { padding: .1rem .8rem .1rem 0; text-align: right }
td:first-child, th:first-child { text-align: left } code { background: var(--soft); padding: .1rem .3rem }
.stand-in { color: #b45309 } @media (prefers-color-scheme: dark) { .stand-in { color: #fbbf24 } }
summary { cursor: pointer }
""".strip()


def figures_page(figures: Sequence[Mapping[str, Json]]) -> str:
    """Return an HTML document that shows figures one under another.

    Args:
        figures: one record each, with

            - ``name``; ``says``: texts by ``Figure``, ``Known``, ``Assumed`` and ``Expected``;
            - ``sheet``, ``page``: paths relative to the document, or None where there is none yet;
            - ``facts``: what is common to its panels, in words; ``command``: what paints it;
            - ``inputs``: records with ``use``, ``picture`` (bytes of a JPEG, or None), ``name``,
              ``stands_for`` (the credit of the picture that this one stands in for, or None) and ``link``;
            - ``panels``: records with ``settings``, ``status``, ``loss``, ``initial_loss``, ``content`` and
              ``style`` (numbers, or None).
    """
    listed = "".join(
        f'<li><a href="#{escape(f["name"])}">{_text(f["says"]["Figure"])}</a></li>' for f in figures
    )
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>The papers' figures</title><style>{_STYLE}</style>\n"
        f"<h1>The papers' figures</h1>\n<ol>{listed}</ol>\n"
        + "\n".join(map(_figure, figures))
        + "\n</html>\n"
    )


def _figure(figure: Mapping[str, Json]) -> str:
    says = figure["says"]
    captions = "".join(
        f"<p><b>{word}:</b> {_text(says[word])}</p>"
        for word in ("Known", "Assumed", "Expected")
        if word in says
    )
    sheet = "<p>not painted yet</p>"
    if figure["sheet"]:
        picture = f'<img loading=lazy src="{quote(figure["sheet"])}" alt="{_text(says["Figure"])}">'
        sheet = f'<a href="{quote(figure["page"])}">{picture}</a>'
    standing = any(shown["stands_for"] for shown in figure["inputs"])
    warning = (
        "<p class=stand-in>Painted with stand-ins for some of the paper's pictures.</p>" if standing else ""
    )
    rows = "".join(map(_row, figure["panels"]))
    return (
        f'<section id="{escape(figure["name"])}"><h2>{_text(says["Figure"])}</h2>{warning}{sheet}{captions}'
        f"<p>{_text(figure['facts'])}: <code>{_text(figure['command'])}</code></p>"
        f"<div>{''.join(map(_input, figure['inputs']))}</div>"
        "<details><summary>Settings and losses</summary><table><tr><th>panel<th>loss<th>of the first"
        f"<th>content<th>style<th></tr>{rows}</table></details></section>"
    )


def _input(shown: Mapping[str, Json]) -> str:
    picture = ""
    if shown["picture"]:
        data = b64encode(shown["picture"]).decode()
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="{_text(shown["name"])}">'
    words = f"{_text(shown['use'])}: {_text(shown['name'])}"
    if shown["stands_for"]:
        link = f'<a href="{escape(shown["link"])}">{_text(shown["stands_for"])}</a>'
        words += f" <span class=stand-in>stands in for {link}</span>"
    return f"<figure>{picture}<figcaption>{words}</figcaption></figure>"


def _row(panel: Mapping[str, Json]) -> str:
    loss, first = panel["loss"], panel["initial_loss"]
    share = f"{100 * loss / first:.2g} %" if _known(loss) and _known(first) and first else ""
    numbers = [_number(loss), share, _number(panel["content"]), _number(panel["style"])]
    status = "" if panel["status"] == "finished" else panel["status"]
    return f"<tr><td>{_text(panel['settings'])}<td>{'<td>'.join(numbers)}<td>{_text(status)}</tr>"


def _number(value: float | None) -> str:
    return f"{value:.3g}" if value is not None and _known(value) else ""


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _text(text: str) -> str:
    """Return text for HTML, without the lone surrogates that no encoding takes."""
    return escape(text).encode("utf-8", "xmlcharrefreplace").decode()
