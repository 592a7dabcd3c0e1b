"""Words in pictures, in DejaVu Sans Condensed (Latin, Greek and Cyrillic letters): wrapped and shortened."""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from PIL import ImageFont

_PARTS = r"[^/\\_,:=+-]*[/\\_,:=+-]|.+$"  # of a word too wide for a line: it is broken behind these signs

_FILE = Path(__file__).parent / "data" / "DejaVuSansCondensed.ttf"


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the typeface at four times the size, set in the same way on every machine."""
    return ImageFont.truetype(_FILE, 4 * size, layout_engine=ImageFont.Layout.BASIC)


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
        return f"{text[: kept - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"

    kept, too_many = 0, len(text)
    while too_many - kept > 1:
        half = (kept + too_many) // 2
        kept, too_many = (half, too_many) if fits(cut(half)) else (kept, half)
    return cut(kept)


def plain(text: str) -> str:
    """Put a text on one line, with its accents on their letters and without what cannot be printed."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(filter(str.isprintable, composed))
