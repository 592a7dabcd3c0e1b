"""Words in pictures: the typeface that comes with Pillow, wrapped, shortened, spelled with what it has."""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache

from PIL import ImageFont

_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻"
_PARTS = r"[^/\\_,:=+-]*[/\\_,:=+-]|.+$"  # of a word too wide for a line: it is broken behind these signs

_SPELLINGS = {
    **dict.fromkeys("‐‑‒–—−", "-"),
    **{"×": "x", "′": "'", "•": "*", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~"},
    **{"±": "+/-", "∞": "inf", "√": "sqrt", "∑": "sum", "°": " deg", "ß": "ss", "æ": "ae", "Æ": "AE"},
    **{"œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "ı": "i"},
}
"""How characters are written that the typeface lacks; most others follow from the Unicode tables."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the typeface that comes with Pillow, the same on every machine, at four times the size."""
    font = ImageFont.load_default(4 * size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # the other one has a size of its own
    return font


def tall(lines: Sequence[str], size: int) -> int:
    """Return the height of the lines in pixels."""
    return len(lines) * math.ceil(sum(font(size).getmetrics()) / 4)


def wide(lines: Sequence[str], size: int) -> int:
    """Return the width of the widest line in pixels."""
    return max((math.ceil(font(size).getlength(line) / 4) for line in lines), default=0)


def wrapped(text: str, size: int, limit: int, most: int) -> Sequence[str]:
    """Break a text into at most ``most`` lines of at most ``limit`` pixels, without its middle if need be."""
    known = plain(text)
    lines = _broken(known, size, limit)
    if len(lines) <= most:
        return lines
    return _broken(_shortened(known, lambda short: len(_broken(short, size, limit)) <= most), size, limit)


def _broken(text: str, size: int, limit: int) -> Sequence[str]:
    """Break a text into lines: between words, and within one only where it is wider than a line."""
    lines: list[str] = []

    def fits(line: str) -> bool:
        return wide([line], size) <= limit

    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
            continue
        for i, part in enumerate([word] if fits(word) else re.findall(_PARTS, word)):
            if i and fits(lines[-1] + part):
                lines[-1] += part
            else:
                lines.append(part if fits(part) else _shortened(part, fits))
    return lines


def _shortened(text: str, fits: Callable[[str], bool]) -> str:
    """Replace as little of a text's middle by an ellipsis as it takes to fit."""

    def cut(kept: int) -> str:
        tail = kept // 2
        return f"{text[: kept - tail].rstrip()}{plain('…')}{text[len(text) - tail :].lstrip()}"

    kept, too_many = 0, len(text)
    while too_many - kept > 1:
        half = (kept + too_many) // 2
        kept, too_many = (half, too_many) if fits(cut(half)) else (kept, half)
    return cut(kept)


def plain(text: str) -> str:
    """Spell a text with what the typeface has, on one line: ``α/β × 10⁻³`` as ``alpha/beta x 10^-3``."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    raised = re.sub(f"[{_RAISED}]+", lambda run: "^" + unicodedata.normalize("NFKC", run[0]), composed)
    return "".join(map(_spelled, raised))


@cache
def _spelled(character: str) -> str:
    if _drawable(character):
        return character
    if character in _SPELLINGS:
        return _SPELLINGS[character]
    parts = unicodedata.normalize("NFKD", character)
    if parts != character:
        return "".join(map(_spelled, parts))
    name = unicodedata.name(character, "")
    if name.startswith("GREEK") and " LETTER " in name:
        word = name.split(" LETTER ")[1].split(" WITH ")[0].split()[-1].lower()
        return word.capitalize() if "CAPITAL" in name else word
    return "" if unicodedata.category(character)[0] in "CM" else "?"


def _drawable(character: str) -> bool:
    """Tell whether the typeface has a character, and not only the box that stands for what it lacks."""
    if not character.isprintable():
        return False
    mask, absent = (font(8).getmask(c) for c in (character, "\uffff"))
    return (mask.size, bytes(mask)) != (absent.size, bytes(absent))
