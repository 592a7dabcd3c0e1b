"""Brush strokes on a canvas, with which `paintings` paints.

A stroke is a curve that follows a field of directions. It is laid down as a bundle of bristles, each with its
own tint and its own thickness of paint; in the end light falls from the upper left on the relief of the
paint. Positions are (x, y) in units of the picture's height, so that y runs from 0 at the top to 1 and x from
0 to 1.25; pictures are float32 RGB arrays (height, width, 3) in [0, 1].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

HEIGHT, WIDTH = 512, 640

PATH_POINTS = 9
"""Points on the path of a stroke, where it is this module that makes the path."""

_FINER = 2  # paint at twice the size, then average: smooth edges
_BATCH = 500  # strokes at a time, which bounds memory

Array = NDArray[Any]


@dataclass(frozen=True)
class Canvas:
    """Colour (height, width, 3) and thickness (height, width) of the paint so far; both are painted on."""

    colour: Array
    relief: Array


def palette(*names: str) -> Array:
    """Turn colours as rrggbb into an array (colours, 3)."""
    return np.array([[int(name[i : i + 2], 16) for i in (0, 2, 4)] for name in names], np.float32) / 255


def gradient(colours: Array, place: Array) -> Array:
    """Return colours at ``place``, where 0 is the first of ``colours`` and 1 the last."""
    scaled = np.clip(place, 0, 1) * (len(colours) - 1)
    first = np.minimum(scaled.astype(int), len(colours) - 2)
    share = (scaled - first)[..., None]
    return np.asarray((colours[first] * (1 - share) + colours[first + 1] * share), np.float32)


def grid() -> tuple[Array, Array]:
    """Return the x and the y of every pixel, each of shape (height, width)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) / HEIGHT
    return x, y


def at(values: Array, places: Array) -> Array:
    """Look up a (height, width, ...) array at (..., 2) positions, held at the border."""
    column = np.clip((places[..., 0] * HEIGHT).astype(int), 0, WIDTH - 1)
    row = np.clip((places[..., 1] * HEIGHT).astype(int), 0, HEIGHT - 1)
    return np.asarray(values[row, column])


def unit_vectors(x: Array, y: Array) -> Array:
    """Return directions (..., 2) with these components; where both are zero, zero."""
    return (np.stack([x, y], axis=-1) / (np.hypot(x, y)[..., None] + 1e-6)).astype(np.float32)


def along_contours(stream: Array) -> Array:
    """Return directions along the contour lines of a stream function."""
    down, right = np.gradient(stream)
    return unit_vectors(down, -right)


def scatter(random: Generator, count: int, *, inside: NDArray[np.bool_] | None = None) -> Array:
    """Return evenly scattered (count, 2) positions in random order; of them, those inside a mask."""
    columns = int(np.ceil(np.sqrt(count * WIDTH / HEIGHT)))
    rows = int(np.ceil(count / columns))
    y, x = np.mgrid[:rows, :columns].reshape(2, -1) + random.random((2, rows * columns))
    places = np.stack([x * WIDTH / HEIGHT / columns, y / rows], axis=-1).astype(np.float32)
    places = random.permutation(places)
    return places if inside is None else places[at(inside, places)]


# The brush


def streamlines(directions: Array, seeds: Array, length: float) -> Array:
    """Follow a field both ways from each seed; return paths (strokes, points, 2)."""
    half, step = PATH_POINTS // 2, length / (PATH_POINTS - 1)
    ways = []
    for sign in (-1, 1):
        place, way = seeds, []
        for _ in range(half):
            place = place + sign * step * at(directions, place)
            way.append(place)
        ways.append(way)
    return np.stack([*reversed(ways[0]), seeds, *ways[1]], axis=1)


def segments(starts: Array, ends: Array) -> Array:
    """Return straight paths (strokes, points, 2) between positions (strokes, 2)."""
    share = np.linspace(0, 1, PATH_POINTS, dtype=np.float32)[:, None]
    return starts[:, None] * (1 - share) + ends[:, None] * share


def paint(
    canvas: Canvas,
    random: Generator,
    paths: Array,
    colours: Array,
    *,
    width: float,
    second: Array | None = None,
    streaks: float = 0.12,
    body: float = 1.0,
) -> None:
    """Paint strokes in order, each over those before it.

    Args:
        canvas: what is painted on.
        random: for the bristles.
        paths: (strokes, points, 2).
        colours: (strokes, 3), or one colour (3,).
        width: of the brush at its widest.
        second: (strokes, 3), a second colour on some of the brush's bristles.
        streaks: how far bristles differ in lightness.
        body: thickness of the paint.
    """
    colours = np.broadcast_to(colours, (len(paths), 3))
    second = colours if second is None else second
    for start in range(0, len(paths), _BATCH):
        part = slice(start, start + _BATCH)
        _paint_batch(canvas, random, paths[part], colours[part], second[part], width, streaks, body)


def _paint_batch(
    canvas: Canvas,
    random: Generator,
    paths: Array,
    colours: Array,
    second: Array,
    width: float,
    streaks: float,
    body: float,
) -> None:
    pixel = 1 / (HEIGHT * _FINER)
    longest = np.max(np.linalg.norm(np.diff(paths, axis=1), axis=-1).sum(1))
    along = np.linspace(0, 1, max(4, int(1.1 * longest / pixel)), dtype=np.float32)
    across = np.linspace(-1, 1, max(3, int(1.35 * width / pixel)), dtype=np.float32)

    centres, normals = _follow(paths, along)
    taper = np.minimum(1, 3.2 * along + 0.25) * np.minimum(1, 2.2 * (1 - along) + 0.12)
    reach = (0.5 * width * taper[:, None] * across).astype(np.float32)
    x = centres[..., 0, None] + normals[..., 0, None] * reach
    y = centres[..., 1, None] + normals[..., 1, None] * reach
    column, row = (x / pixel).astype(np.int32), (y / pixel).astype(np.int32)

    bristles = _bristles(random, len(paths), len(across))
    begins = 0.10 * random.random(bristles.shape, np.float32)[:, None]
    ends = 1 - 0.22 * random.random(bristles.shape, np.float32)[:, None]
    touched = (along[:, None] >= begins) & (along[:, None] <= ends)
    touched &= (row >= 0) & (row < HEIGHT * _FINER) & (column >= 0) & (column < WIDTH * _FINER)

    share = (1 / (1 + np.exp(-4 * bristles - 4 * random.normal(-0.5, 0.6, (len(paths), 1)))))[..., None]
    tints = colours[:, None] * (1 - share) + second[:, None] * share
    tints = tints + streaks * bristles[..., None] * (0.35 + tints)  # darks vary too
    ridges = body * (0.55 + 0.45 * across**2 + 0.4 * bristles)

    stroke, _, bristle = np.nonzero(touched)
    row, column = row[touched], column[touched]
    canvas.colour[row, column] = tints[stroke, bristle]
    canvas.relief[row, column] = ridges[stroke, bristle]


def _follow(paths: Array, along: Array) -> tuple[Array, Array]:
    """Return points (strokes, along, 2) on the paths, and normals there."""
    place = along * (paths.shape[1] - 1)
    first = np.minimum(place.astype(int), paths.shape[1] - 2)
    share = (place - first)[:, None].astype(np.float32)
    tangents = np.gradient(paths, axis=1)
    points = paths[:, first] * (1 - share) + paths[:, first + 1] * share
    tangent = tangents[:, first] * (1 - share) + tangents[:, first + 1] * share
    return points, unit_vectors(-tangent[..., 1], tangent[..., 0])


def _bristles(random: Generator, strokes: int, count: int) -> Array:
    """Return how much paint each bristle carries: noise, smoothed a little across the brush."""
    noise = random.normal(0, 1, (strokes, count + 2)).astype(np.float32)
    return (noise[:, :-2] + noise[:, 1:-1] + noise[:, 2:]) / 2


def blank(colour: Array) -> Canvas:
    """Return a canvas in one colour, or in colours of shape (height, width, 3)."""
    shape = (HEIGHT * _FINER, WIDTH * _FINER)
    ground = np.broadcast_to(colour, (HEIGHT, WIDTH, 3)).repeat(_FINER, axis=0).repeat(_FINER, axis=1)
    return Canvas(np.array(ground, np.float32), np.zeros(shape, np.float32))


def fill(canvas: Canvas, inside: NDArray[np.bool_], colour: Array) -> None:
    """Lay one colour flat over a mask (height, width), under the strokes to come."""
    canvas.colour[inside.repeat(_FINER, 0).repeat(_FINER, 1)] = colour


def finish(canvas: Canvas, *, shine: float = 0.16) -> Array:
    """Let light fall on the paint from the upper left, and reduce to the final size."""
    relief = canvas.relief
    relief = (relief + np.roll(relief, 1, 0) + np.roll(relief, 1, 1) + np.roll(relief, (1, 1), (0, 1))) / 4
    down, right = np.gradient(relief)
    light = np.clip(shine * (down + right), -0.22, 0.22)[..., None]
    lit = canvas.colour * (1 + light) + np.maximum(light, 0) * 0.25
    blocks = np.clip(lit, 0, 1).reshape(HEIGHT, _FINER, WIDTH, _FINER, 3)
    return np.asarray(np.clip(blocks.mean(axis=(1, 3)), 0, 1), np.float32)
