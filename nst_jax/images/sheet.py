"""The pictures of a sweep as one labelled picture: rows, columns and blocks of cells, as papers show them."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nst_jax.errors import ImageError
from nst_jax.images.lettering import font, tall, wide, wrapped
from nst_jax.images.pictures import FloatArray, to_unit
from nst_jax.images.sizes import resize

MAX_SIDE = 16_000
"""The longest side of a sheet in pixels."""

MAX_SHEET_PIXELS = 50_000_000
"""The most pixels of a sheet."""

SMALLEST_CELL = 16
"""The smallest side that cells are shrunk to, in pixels."""

_Position = tuple[int, ...]
_Size = tuple[int, int]
_Place = tuple[int, int, int, int]
_Axes = Sequence[tuple[str, Sequence[str]]]

_LONGEST_ROW = 8
_PAPER, _EMPTY, _FAINT, _GREY, _DARK = 255, 240, 150, 90, 40


def contact_sheet(
    pictures: Mapping[tuple[int, ...], NDArray[np.float32]],
    axes: Sequence[tuple[str, Sequence[str]]],
    *,
    title: str = "",
    notes: Mapping[tuple[int, ...], str] | None = None,
    cell: int = 256,
) -> FloatArray:
    """Draw the pictures of a sweep on one white sheet, in a labelled grid as in Gatys et al. (2015), Fig. 3.

    The last axis makes the columns and the one before it the rows; each combination of any further ones makes
    a block with a heading, one under another. A single axis makes one row, or several if it has more than
    8 values. Each picture is scaled to ``cell`` pixels on its longer side, a smaller one up, and stands in
    the middle of its place; values that are not numbers become grey. Places without a picture are marked as
    missing. Labels are wrapped; what is still too long loses its middle. The same input gives the same sheet.

    Args:
        pictures: by position, which is one index per axis; each (height, width, 3) float32 in [0, 1].
        axes: the title and the labels of each axis; none for a single picture at position ``()``.
        title: stands above the sheet.
        notes: short texts by position, written below the picture.
        cell: pixels on the longer side of a picture, at least 16. It is made smaller where the sheet would
            exceed 16 000 pixels on a side or 50 megapixels.

    Returns:
        The sheet, (height, width, 3) float32 in [0, 1].

    Raises:
        ImageError: a picture or an axis is empty, a position is outside the axes, or the grid is too large to
            be drawn even with the smallest cells.
    """
    notes = notes or {}
    _check(pictures, axes, notes, cell)
    blocks = _blocks(axes)
    shapes: dict[_Position, _Size] = {at: (p.shape[0], p.shape[1]) for at, p in pictures.items()}
    while True:
        measures = _measures(shapes, cell)
        sheet = _sheet_part(blocks, title, notes, measures)
        excess = _excess(sheet)
        if excess <= 1:
            return _drawn(sheet, pictures, measures.small)
        if cell <= SMALLEST_CELL:
            grid = " x ".join(str(len(labels)) for _, labels in axes)
            raise ImageError(
                f"a contact sheet of {grid} pictures would have {sheet.width} x {sheet.height} pixels; "
                f"allowed: {MAX_SIDE} on a side, {MAX_SHEET_PIXELS} in all"
            )
        cell = max(SMALLEST_CELL, min(cell - 1, int(cell / excess)))


def _check(
    pictures: Mapping[_Position, FloatArray], axes: _Axes, notes: Mapping[_Position, str], cell: int
) -> None:
    if cell < SMALLEST_CELL:
        raise ImageError(f"a contact sheet with cells of {cell} pixels; allowed: {SMALLEST_CELL} or more")
    for name, labels in axes:
        if not labels:
            raise ImageError(f"a contact sheet whose axis '{name}' has no values")
    counts = [len(labels) for _, labels in axes]
    for at in (*pictures, *notes):
        if len(at) != len(counts) or not all(0 <= i < n for i, n in zip(at, counts, strict=True)):
            grid = " x ".join(map(str, counts)) or "no axes"
            raise ImageError(f"a contact sheet of {grid} has no position {at}")
    for at, picture in pictures.items():
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise ImageError(f"a picture has shape (height, width, 3); that at {at} has {picture.shape}")


# What stands where, without any sizes.


@dataclass(frozen=True)
class _Row:
    """A row of cells: its label on the left, and the labels above its cells if it has them."""

    label: str
    positions: Sequence[_Position]
    above: Sequence[str] = ()


@dataclass(frozen=True)
class _Block:
    """Rows of cells under a heading, with the titles of the axes that run across and down."""

    heading: str
    across: str
    down: str
    rows: Sequence[_Row]


def _blocks(axes: _Axes) -> list[_Block]:
    if not axes:
        return [_Block("", "", "", [_Row("", [()])])]
    across, labels = axes[-1]
    if len(axes) == 1:
        length = _row_length(len(labels))
        parts = [range(len(labels))[i : i + length] for i in range(0, len(labels), length)]
        return [_Block("", across, "", [_Row("", [(i,) for i in p], [labels[i] for i in p]) for p in parts])]
    down, row_labels = axes[-2]
    blocks = []
    for outer in itertools.product(*(range(len(values)) for _, values in axes[:-2])):
        named = [(name, values[i]) for i, (name, values) in zip(outer, axes[:-2], strict=True)]
        heading = ", ".join(f"{name}: {value}" if name else value for name, value in named)
        rows = [
            _Row(label, [(*outer, r, c) for c in range(len(labels))], () if r else labels)
            for r, label in enumerate(row_labels)
        ]
        blocks.append(_Block(heading, across, down, rows))
    return blocks


def _row_length(count: int) -> int:
    """Return how many of ``count`` cells make a row, so that the last row is not much shorter."""
    most = max(_LONGEST_ROW, math.isqrt(2 * count))  # very many make a square rather than a ribbon
    return math.ceil(count / math.ceil(count / most))


# The same in pixels.


@dataclass(frozen=True)
class _Text:
    """Lines of text of a font size: (x, y) is their top left, top middle or top right, by anchor l, m or r.

    Sideways, the text reads from below, and (x, y) is the middle of its left edge.
    """

    lines: Sequence[str]
    size: int
    x: float
    y: float
    anchor: str = "l"
    shade: int = _DARK
    sideways: bool = False


@dataclass(frozen=True)
class _Part:
    """A row, a block or the sheet: its size, the (top, left, height, width) of each place, and its texts.

    In a row or block, x = 0 is where the cells begin; labels on their left reach to ``-indent``.
    """

    height: int
    width: int
    places: Mapping[_Position, _Place]
    texts: Sequence[_Text]
    indent: int = 0
    top: int = 0  # of the first cells


class _Measures(NamedTuple):
    """Sizes of the pictures and of the largest of them, distances and font sizes, all in pixels."""

    sizes: Mapping[_Position, _Size]
    box: _Size
    narrowest: int  # column: narrow pictures leave room for their labels
    row_label: int  # the width at which it is wrapped
    margin: int
    gap: int
    label: int
    small: int
    large: int


def _measures(shapes: Mapping[_Position, _Size], cell: int) -> _Measures:
    sizes = {at: _scaled(shape, cell) for at, shape in shapes.items()}
    height, width = (max((size[k] for size in sizes.values()), default=cell) for k in (0, 1))
    label, small, large = max(9, round(cell / 14)), max(8, round(cell / 17)), max(11, round(cell / 10))
    narrowest, row_label = max(round(0.4 * cell), 4 * label), max(round(0.6 * cell), 6 * label)
    margin, gap = max(12, round(cell / 8)), max(4, round(cell / 20))
    return _Measures(sizes, (height, width), narrowest, row_label, margin, gap, label, small, large)


def _scaled(shape: _Size, cell: int) -> _Size:
    """Return the (height, width) with ``cell`` pixels on the longer side, at the aspect of ``shape``."""
    height, width = (max(1, round(side * cell / max(shape))) for side in shape)
    return height, width


def _largest(positions: Iterable[_Position], m: _Measures, side: int) -> int:
    """Return the largest height (side 0) or width (side 1) among some places."""
    return max((m.sizes[at][side] for at in positions if at in m.sizes), default=m.box[side])


def _columns(block: _Block, m: _Measures) -> list[tuple[int, int]]:
    """Return the left end and the width of each column of a block."""
    columns = itertools.zip_longest(*(row.positions for row in block.rows))
    widths = [max(_largest(column, m, 1), m.narrowest) for column in columns]
    return [(sum(widths[:i]) + i * m.gap, width) for i, width in enumerate(widths)]


def _row_part(
    row: _Row, columns: Sequence[tuple[int, int]], notes: Mapping[_Position, str], m: _Measures
) -> _Part:
    """Set the labels above level at their lower ends, pictures in the middle, notes close below them."""
    above = [wrapped(text, m.label, w, 4) for text, (_, w) in zip(row.above, columns, strict=False)]
    level = max((tall(lines, m.label) for lines in above), default=0)
    texts = [
        _Text(lines, m.label, x + w / 2, level - tall(lines, m.label), "m")
        for lines, (x, w) in zip(above, columns, strict=False)
    ]
    top = level + m.gap // 2 if level else 0
    box = _largest(row.positions, m, 0)
    label = wrapped(row.label, m.label, m.row_label, max(4, m.box[0] // tall(["one"], m.label)))
    middle = top + max(box, tall(label, m.label)) / 2
    texts.append(_Text(label, m.label, -m.gap, middle - tall(label, m.label) / 2, "r"))
    bottom = round(2 * middle) - top
    places = {}
    for at, (x, w) in zip(row.positions, columns, strict=False):
        height, width = m.sizes.get(at, (box, min(w, m.box[1])))
        places[at] = (int(middle - height / 2), x + (w - width) // 2, height, width)
        if lines := wrapped(notes.get(at, ""), m.small, w, 2):
            y = int(middle - height / 2) + height + m.gap // 4
            texts.append(_Text(lines, m.small, x + w / 2, y, "m", _GREY))
            bottom = max(bottom, y + tall(lines, m.small))
    return _Part(bottom, sum(columns[-1]), places, texts, wide(label, m.label) + m.gap if label else 0, top)


def _block_part(block: _Block, notes: Mapping[_Position, str], m: _Measures) -> _Part:
    columns = _columns(block, m)
    rows = [_row_part(row, columns, notes, m) for row in block.rows]
    width, indent = sum(columns[-1]), max(row.indent for row in rows)
    places: dict[_Position, _Place] = {}
    title = wrapped(block.across, m.label, width, 2)
    texts = [_Text(title, m.label, width / 2, 0, "m")]
    top = y = tall(title, m.label) + m.gap // 2 if title else 0
    for i, row in enumerate(rows):
        y += (2 * m.gap if row.top else m.gap) if i else 0
        _put(row, 0, y, places, texts)
        y += row.height
    top += rows[0].top
    if side := wrapped(block.down, m.label, y - top, 2):
        indent += tall(side, m.label) + (m.gap if indent else m.gap // 2)
        texts.append(_Text(side, m.label, -indent, (top + y) / 2, "m", sideways=True))
    return _Part(y, width, places, texts, indent, top)


def _sheet_part(blocks: Sequence[_Block], title: str, notes: Mapping[_Position, str], m: _Measures) -> _Part:
    parts = [_block_part(block, notes, m) for block in blocks]
    left = m.margin + max(part.indent for part in parts)
    full = left + max(part.width for part in parts) - m.margin
    places: dict[_Position, _Place] = {}
    texts: list[_Text] = []
    y = m.margin
    if lines := wrapped(title, m.large, full, 4):
        texts.append(_Text(lines, m.large, m.margin, y))
        y += tall(lines, m.large) + m.gap
    for i, (block, part) in enumerate(zip(blocks, parts, strict=True)):
        y += 3 * m.gap if i else 0
        if lines := wrapped(block.heading, m.label, full, 4):
            texts.append(_Text(lines, m.label, m.margin, y))
            y += tall(lines, m.label) + m.gap
        _put(part, left, y, places, texts)
        y += part.height
    return _Part(y + m.margin, full + 2 * m.margin, places, texts)


def _put(part: _Part, x: int, y: int, places: dict[_Position, _Place], texts: list[_Text]) -> None:
    """Add what a part holds, moved by (x, y)."""
    places.update({at: (top + y, left + x, h, w) for at, (top, left, h, w) in part.places.items()})
    texts.extend(replace(text, x=text.x + x, y=text.y + y) for text in part.texts)


def _excess(sheet: _Part) -> float:
    """Return by what factor a sheet is too large, if more than 1."""
    height, width = sheet.height, sheet.width
    return max(height / MAX_SIDE, width / MAX_SIDE, math.sqrt(height * width / MAX_SHEET_PIXELS))


# Drawing.


def _drawn(sheet: _Part, pictures: Mapping[_Position, FloatArray], small: int) -> FloatArray:
    """Draw the texts, then put in the pictures as they are, without rounding them to 8 bits."""
    canvas = Image.new("L", (sheet.width, sheet.height), _PAPER)
    for top, left, height, width in (place for at, place in sheet.places.items() if at not in pictures):
        canvas.paste(_EMPTY, (left, top, left + width, top + height))
        word = ["missing"]
        if wide(word, small) <= width and tall(word, small) <= height:
            y = top + (height - tall(word, small)) / 2
            _write(canvas, _Text(word, small, left + width / 2, y, "m", _FAINT))
    for text in sheet.texts:
        if text.lines:
            _write(canvas, text)
    drawn = np.repeat(to_unit(np.asarray(canvas))[:, :, None], 3, axis=2)
    for at, picture in pictures.items():
        top, left, height, width = sheet.places[at]
        finite = np.where(np.isfinite(picture), picture, np.float32(0.5))
        drawn[top : top + height, left : left + width] = resize(to_unit(finite), (height, width))
    return drawn


def _write(canvas: Image.Image, text: _Text) -> None:
    """Write at four times the size and shrink: letters then stand where they should to a quarter pixel."""
    width, line = wide(text.lines, text.size), tall(text.lines[:1], text.size)
    mask = Image.new("L", (4 * (width + 4), 4 * line * len(text.lines)))
    draw = ImageDraw.Draw(mask)
    part = {"l": 0.0, "m": 0.5, "r": 1.0}[text.anchor]
    for i, words in enumerate(text.lines):
        start = 4 * (2 + part * width)
        draw.text((start, 4 * i * line), words, 255, font(text.size), anchor=f"{text.anchor}a")
    mask = mask.reduce(4)
    corner = round(text.x - part * width) - 2, round(text.y)
    if text.sideways:
        mask = mask.transpose(Image.Transpose.ROTATE_90)
        corner = round(text.x), round(text.y - mask.height / 2)
    canvas.paste(text.shade, corner, mask)
