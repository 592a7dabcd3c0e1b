"""A painting with a map of its parts, and a doodle in the colours of that map, to be turned into a painting.

The painting is an impressionist landscape by a river. What lies where is a function of the place alone, so
that the painting and its map agree. A place is (x, y), as in `brush`; colours are chosen for places (..., 2)
with ``vary``, how far each is from the typical colour there.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from painters import brush
from painters.brush import Array, Canvas

LABELS = {"sky": "5fa8ff", "hills": "b070d0", "trees": "207030", "meadow": "d8d840", "river": "1030a0"}
"""The parts of the landscape, and the colour of each in a map, as rrggbb."""

DOODLE_SHAPE = (256, 384)

_SKY, _HILLS, _TREES, _MEADOW, _RIVER = range(5)

# What lies where

_HORIZON = 0.455
_FAR_BUSHES = (
    (0.56, 0.445, 0.060, 0.026), (0.65, 0.450, 0.055, 0.019), (0.745, 0.447, 0.045, 0.022),
    (0.815, 0.452, 0.035, 0.014), (0.955, 0.452, 0.042, 0.018), (1.235, 0.455, 0.050, 0.040),
)  # fmt: skip
_POPLARS = (
    (1.005, 0.375, 0.024, 0.112), (1.060, 0.352, 0.027, 0.145), (1.120, 0.372, 0.026, 0.128),
    (1.178, 0.335, 0.031, 0.172), (1.090, 0.478, 0.110, 0.026),
)  # fmt: skip
_WOOD = (
    (0.030, 0.175, 0.095, 0.100), (0.130, 0.125, 0.090, 0.075), (0.235, 0.120, 0.095, 0.085),
    (0.325, 0.175, 0.080, 0.070), (0.090, 0.215, 0.120, 0.085), (0.385, 0.245, 0.065, 0.060),
    (0.255, 0.215, 0.110, 0.080), (0.430, 0.325, 0.062, 0.055), (0.150, 0.300, 0.125, 0.085),
    (0.345, 0.300, 0.085, 0.068), (0.025, 0.320, 0.085, 0.085), (0.255, 0.355, 0.085, 0.062),
    (0.445, 0.390, 0.066, 0.044), (0.120, 0.395, 0.100, 0.060), (0.365, 0.400, 0.080, 0.052),
    (0.020, 0.430, 0.085, 0.062), (0.215, 0.440, 0.085, 0.044), (0.385, 0.457, 0.055, 0.030),
    (0.055, 0.560, 0.110, 0.052), (0.195, 0.572, 0.085, 0.036), (0.415, 0.562, 0.082, 0.036),
    (0.310, 0.582, 0.065, 0.026),
)  # fmt: skip
_CROWNS = (*_FAR_BUSHES, *_POPLARS, *_WOOD)
"""Middle and radii of each crown, from the back to the front."""

_TRUNKS = (
    (0.262, 0.600, 0.245, 0.300, 0.022), (0.125, 0.595, 0.140, 0.330, 0.026),
    (0.345, 0.585, 0.375, 0.330, 0.016), (0.458, 0.590, 0.432, 0.380, 0.012),
    (0.195, 0.585, 0.222, 0.400, 0.012),
)  # fmt: skip
"""Foot, head and width."""


def _drift(places: Array, scale: float, phase: float) -> Array:
    """Return a smooth irregular field in about [-1, 1], with bumps of about 1 / ``scale``."""
    x, y = scale * places[..., 0], scale * places[..., 1]
    first = np.sin(2.1 * x + 1.3 * y + phase) + np.sin(1.7 * y - 1.1 * x + 2.3 * phase + 1)
    return np.asarray((first + np.sin(3.7 * x - 2.9 * y + first + 1.7 * phase)) / 3, np.float32)


def _ridge(x: Array) -> Array:
    return np.asarray(0.225 + 0.040 * np.sin(4.3 * x + 1.6) + 0.012 * np.sin(11.7 * x + 0.6), np.float32)


def _near_ridge(x: Array) -> Array:
    return np.asarray(0.350 - 0.045 * np.sin(5.2 * x + 2.6) + 0.009 * np.sin(16 * x), np.float32)


def _banks(y: Array) -> tuple[Array, Array]:
    """Return the x of the left and of the right bank of the river."""
    near = np.clip((y - _HORIZON) / (1 - _HORIZON), 0, 1)
    left = 0.83 - 0.30 * np.sin(2.3 * near**0.75) + 0.025 * near * np.sin(13 * near)
    return left, 0.915 + 0.52 * near**0.8 + 0.015 * np.sin(21 * near)


def _trees_depth(places: Array) -> Array:
    """Return about how far inside the trees a place is; below zero is outside."""
    x, y = places[..., 0], places[..., 1]
    depth = np.full(x.shape, -1.0, np.float32)
    ragged = 0.09 * _drift(places, 19, 3) + 0.08 * _drift(places, 47, 1)
    for cx, cy, across, down in _CROWNS:
        near = np.hypot((x - cx) / across, (y - cy) / down)
        depth = np.maximum(depth, (1 - near + ragged) * min(across, down))
    return np.maximum(depth, _trunks_depth(places))


def _trunks_depth(places: Array) -> Array:
    """Return how far inside a trunk a place is; below zero is outside."""
    depth = np.full(places.shape[:-1], -1.0, np.float32)
    for x0, y0, x1, y1, width in _TRUNKS:
        share = np.clip((y0 - places[..., 1]) / (y0 - y1), 0, 1)
        beside = np.abs(places[..., 0] - x0 - share * (x1 - x0))
        above = np.maximum(places[..., 1] - y0, y1 - places[..., 1])
        depth = np.maximum(depth, np.minimum(width * (0.62 - 0.2 * share) - beside, -above))
    return depth


def _parts() -> NDArray[np.intp]:
    """Return which part of the landscape each pixel of the painting shows."""
    x, y = brush.grid()
    left, right = _banks(y)
    parts = np.where(y > _ridge(x), _HILLS, _SKY)
    parts = np.where(y > _HORIZON, np.where((x > left) & (x < right), _RIVER, _MEADOW), parts)
    return np.where(_trees_depth(np.stack([x, y], axis=-1)) > 0, _TREES, parts)


def riverside_map() -> Array:
    """Return the map of `riverside`: one of the colours of `LABELS` at each pixel."""
    return _labelled(_parts())


def river_doodle() -> Array:
    """Draw a landscape of another layout in the colours of `LABELS`, as a child would, in a few shapes."""
    height, width = DOODLE_SHAPE
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    near = np.clip((y - 0.46) / 0.54, 0, 1)
    middle = 0.80 + 0.24 * np.sin(5.6 * near**0.7 + 0.4) * (0.35 + 0.65 * near)
    parts = np.full(x.shape, _SKY)
    for cx, across, down in ((0.28, 0.42, 0.17), (0.86, 0.36, 0.13), (1.32, 0.40, 0.19)):
        parts[np.hypot((x - cx) / across, (y - 0.47) / down) < 1] = _HILLS
    parts[y > 0.46] = _MEADOW
    parts[(y > 0.46) & (np.abs(x - middle) < 0.030 + 0.29 * near**1.3)] = _RIVER
    for cx, cy, radius in ((0.13, 0.40, 0.13), (0.30, 0.34, 0.14), (0.41, 0.45, 0.10), (1.27, 0.45, 0.145)):
        parts[np.hypot(x - cx, y - cy) < radius] = _TREES
    for cx, foot in ((0.14, 0.64), (0.29, 0.66), (0.41, 0.63), (1.27, 0.73)):
        parts[(np.abs(x - cx) < 0.021) & (y > 0.4) & (y < foot)] = _TREES
    return _labelled(parts)


def _labelled(parts: NDArray[np.intp]) -> Array:
    return np.asarray(brush.palette(*LABELS.values())[parts])


# Colours

_CLOUD_SHAPES = (
    (0.55, 0.190, 0.16, 0.024), (1.14, 0.205, 0.22, 0.030), (0.80, 0.110, 0.16, 0.052),
    (0.68, 0.130, 0.12, 0.034), (0.93, 0.130, 0.14, 0.038), (0.82, 0.072, 0.09, 0.040),
    (1.20, 0.075, 0.13, 0.040), (0.44, 0.055, 0.11, 0.026), (0.56, 0.040, 0.08, 0.020),
    (0.02, 0.030, 0.10, 0.030),
)  # fmt: skip
_BLUES = brush.palette("4a8fd2", "639fdb", "84b6e4", "a8cdea", "c8dfea", "e6e4dc", "f3ddcf")
_CLOUDS = brush.palette("9aa3cc", "b3b2d4", "cdbdd6", "e6c9cc", "f4dbc6", "fcebd3", "fffaf0")
_DISTANCE = brush.palette("6473b4", "7685c0", "8f90cb", "a99bcd", "c3a9c9", "d8b5c0", "e6c6bc")
_SLOPES = brush.palette("4c4f8c", "5d5f9c", "7470a8", "8f82b0", "8d99a4", "a8a58f", "d2ae9c")
_LEAVES = brush.palette("1b2140", "1d3144", "1f4638", "2c5f35", "47803a", "76a043", "b0bd52", "e6d87c")
_POPLAR_LEAVES = brush.palette("2b3f5c", "30585c", "45754f", "6c934f", "a3b259", "dccb7a")
_GRASS = brush.palette("587f38", "7d9a3c", "a1b045", "c2c04e", "dcca5a", "ecd67a", "f6e7ae")
_SHADOWS = brush.palette("3a4c72", "3d6470", "4d7a55", "6f8d4b", "66659a")
_WATER = brush.palette("17476b", "1e6485", "2a8296", "46a1aa", "76bfbf", "b0dad4", "e2f0e2")


def _sky(places: Array, vary: Array | float) -> Array:
    x, y = places[..., 0], places[..., 1]
    blue = brush.gradient(_BLUES, 0.06 + 2.6 * y + 0.10 * _drift(places, 9, 4) + vary)
    thick, lit = _clouds(x, y + 0.012 * _drift(places, 24, 2))
    cloud = brush.gradient(_CLOUDS, lit + 0.16 * _drift(places, 20, 5) + 1.1 * vary)
    share = np.clip(2.6 * thick + 0.25 * _drift(places, 15, 3), 0, 1)[..., None]
    return np.asarray(blue * (1 - share) + cloud * share)


def _clouds(x: Array, y: Array) -> tuple[Array, Array]:
    """Return how thick the clouds are, and how much light falls on them: most on the upper left of each."""
    thick, lit = np.zeros_like(x), np.full_like(x, 0.7)
    for cx, cy, across, down in _CLOUD_SHAPES:
        across_it, down_it = (x - cx) / across, (y - cy) / down
        density = 1 - across_it**2 - np.where(down_it > 0, 2.2, 1.0) * down_it**2
        front = density > 0.05
        thick = np.maximum(thick, density)
        lit = np.where(front, 0.58 - 0.16 * across_it - 0.52 * down_it, lit)
    return thick, lit


def _hills(places: Array, vary: Array | float) -> Array:
    x, y = places[..., 0], places[..., 1]
    folds = np.sin(34 * x + 26 * y + 2.6 * _drift(places, 11, 6))
    far = brush.gradient(_DISTANCE, 0.30 + 1.9 * (y - _ridge(x)) + 0.20 * folds + vary)
    near = brush.gradient(_SLOPES, 0.16 + 4.5 * (y - _near_ridge(x)) + 0.20 * folds + vary)
    return np.asarray(np.where((y > _near_ridge(x))[..., None], near, far))


def _foliage(places: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the light on the foremost crown at each place, the angle round it, and whether it is near."""
    x, y = places[..., 0], places[..., 1]
    light, angle = np.full(x.shape, 0.15, np.float32), np.zeros(x.shape, np.float32)
    is_near = np.zeros(x.shape, bool)
    for number, (cx, cy, across, down) in enumerate(_CROWNS):
        beside, below = (x - cx) / across, (y - cy) / down
        front = np.hypot(beside, below) < 1.04
        light = np.where(front, 0.41 - 0.23 * beside - 0.38 * below, light)
        angle = np.where(front, np.arctan2(y - cy - 0.5 * down, x - cx) + np.pi / 2, angle)
        is_near = np.where(front, number >= len(_CROWNS) - len(_WOOD), is_near)
    return light, angle, is_near


def _trees(places: Array, vary: Array | float) -> Array:
    light, _, is_near = _foliage(places)
    clumps = light + 0.17 * _drift(places, 52, 2) + 0.12 * _drift(places, 23, 5) + vary
    clumps = clumps + 0.10 * _drift(places, 7, 1)
    near = brush.gradient(_LEAVES, clumps)
    return np.asarray(np.where(is_near[..., None], near, brush.gradient(_POPLAR_LEAVES, clumps + 0.1)))


def _meadow(places: Array, vary: Array | float) -> Array:
    y = places[..., 1]
    sun = 0.50 + 0.34 * _drift(places * (0.5, 1.7), 13, 3) - 0.35 * np.clip((y - 0.8) / 0.2, 0, 1) + vary
    shadow = 60 * _trees_depth(places - (0.045, 0.055)) + 0.6 * _drift(places, 30, 1)
    shadow = np.clip(shadow, 0, 0.9)[..., None]
    cool = brush.gradient(_SHADOWS, 0.45 + 0.35 * _drift(places, 26, 4) + vary)
    return np.asarray(brush.gradient(_GRASS, sun) * (1 - shadow) + cool * shadow)


def _river(places: Array, vary: Array | float) -> Array:
    """Return the colours of the water, which are its own and those of what it mirrors."""
    y = places[..., 1]
    below = y - _HORIZON
    ripples = np.sin(30 * np.log(below.clip(0) + 0.06) + 3 * _drift(places, 7, 2))
    own = brush.gradient(_WATER, 0.50 + 0.16 * ripples + 0.14 * _drift(places * (0.5, 1.8), 14, 6) + vary)
    mirrored = np.stack([places[..., 0] + 0.010 * ripples, _HORIZON - 0.72 * below], axis=-1)
    seen = _sky(mirrored, vary) * (0.66, 0.91, 0.95)
    hills = _hills(mirrored, vary) * (0.48, 0.82, 0.88)
    seen = np.where((mirrored[..., 1] > _ridge(mirrored[..., 0]))[..., None], hills, seen)
    green = _trees(mirrored, vary) * (0.75, 0.85, 1.0) + (0.0, 0.03, 0.07)
    wooded = _trees_depth(mirrored) > 0
    seen = np.where(wooded[..., None], green, seen)
    share = np.clip(0.66 - 0.45 * below + 0.14 * ripples + 0.22 * wooded, 0, 0.9)[..., None]
    return np.asarray(own * (1 - share) + seen * share)


_COLOURS = {_SKY: _sky, _HILLS: _hills, _TREES: _trees, _MEADOW: _meadow, _RIVER: _river}
_ACCENTS = {
    _SKY: brush.palette("f7c9bd", "fff3d6", "8fb8ec", "c3b2dc", "b9dbe6"),
    _HILLS: brush.palette("d9a9a8", "8fa9cf", "a8b98a", "6a5fa6", "e0c39a"),
    _TREES: brush.palette("b8862f", "5f5590", "2f5f86", "8a5a2e", "d9b24a", "7f78ae"),
    _MEADOW: brush.palette("c79a3a", "3f7f5a", "e9c75a", "9a86b8", "f2efb4"),
    _RIVER: brush.palette("0f3a6b", "7fc4c9", "2f8f86", "8f9fd0", "f0d8c4"),
}
_EARTH = brush.palette("4a4a5e", "6b5a4a", "3f5a48", "7a6a86", "8a7040")
_BARK = brush.palette("f0d2a4", "c79a6a", "8a6450", "5d4a62", "33304e")
_GLINTS = brush.palette("fffbe6", "ffeec8", "e8f4ee", "f9d5c2", "c8e6ea")
_POPPIES = brush.palette("d8261f", "ee4a34", "f2705a", "b81a2e")
_DAISIES = brush.palette("fffaf0", "fff0dc", "f6dfe6")
_BELLS = brush.palette("7a6fc0", "a08ad0", "e58fb0")


# The painting


def riverside() -> Array:
    """Paint trees and a meadow by a river under a summer sky, in the manner of Monet and Renoir."""
    random = np.random.default_rng(1874)
    parts = _parts()
    places = np.stack(brush.grid(), axis=-1)
    ground = np.zeros((*parts.shape, 3), np.float32)
    for part, colours in _COLOURS.items():
        ground[parts == part] = colours(places[parts == part], 0.0)
    canvas = brush.blank(ground)
    _paint_sky(canvas, random, parts)
    _paint_hills(canvas, random, parts)
    _paint_river(canvas, random, parts)
    _paint_meadow(canvas, random, parts)
    _paint_trees(canvas, random, parts)
    _paint_flowers(canvas, random, parts)
    return brush.finish(canvas, shine=0.12)


def _dab(
    canvas: Canvas,
    random: Generator,
    seeds: Array,
    colours: Array,
    angle: Array | float,
    size: tuple[float, float],
    near: Array | None = None,
    *,
    sway: float,
    bend: float = 0.0,
    **paint: float,
) -> None:
    """Paint a curved stroke at each seed, of about the given angle and of size (length, width).

    ``near`` scales the strokes, and then the small ones are painted first; ``sway`` and ``bend`` are the
    spreads of the angle and of the turn along a stroke; ``paint`` is for `brush.paint`.
    """
    count = len(seeds)
    scale = np.ones(count) if near is None else near
    length = size[0] * scale * random.uniform(0.7, 1.25, count)
    turns = random.normal(0, bend, count)[:, None] * np.linspace(-0.5, 0.5, brush.PATH_POINTS)
    heading = (angle + random.normal(0, sway, count))[:, None] + turns
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=-1) * length[:, None, None]
    paths = np.cumsum(steps / (brush.PATH_POINTS - 1), axis=1)
    paths = (paths - paths[:, brush.PATH_POINTS // 2, None] + seeds[:, None]).astype(np.float32)
    colours = (colours + random.normal(0, 0.022, colours.shape)).clip(0, 1).astype(np.float32)
    second = colours * random.uniform(0.86, 1.16, (count, 1)) + random.normal(0, 0.04, (count, 3))
    second = second.clip(0, 1).astype(np.float32)
    groups = [np.arange(count)] if near is None else np.array_split(np.argsort(near, kind="stable"), 7)
    for group in groups:
        if len(group):
            paint |= {"width": size[1] * float(scale[group].mean())}
            brush.paint(canvas, random, paths[group], colours[group], second=second[group], **paint)


def _any_of(random: Generator, colours: Array, count: int) -> Array:
    return np.asarray(colours[random.integers(0, len(colours), count)])


def _varied(random: Generator, part: int, seeds: Array, spread: float) -> Array:
    """Return colours for strokes of a part of the landscape, a tenth of them accents."""
    colours = _COLOURS[part](seeds, random.normal(0, spread, len(seeds)))
    accents = 0.75 * _any_of(random, _ACCENTS[part], len(seeds)) + 0.25 * colours
    return np.where(random.random((len(seeds), 1)) < 0.1, accents, colours)


def _nearness(places: Array) -> Array:
    """Return how large things look on the ground: 1 at the lower edge of the picture, and less above."""
    return np.asarray(0.22 + 1.45 * (places[..., 1] - _HORIZON))


def _paint_sky(canvas: Canvas, random: Generator, parts: NDArray[np.intp]) -> None:
    for count, length, width in ((1500, 0.100, 0.022), (3200, 0.070, 0.014), (4200, 0.045, 0.0095)):
        seeds = brush.scatter(random, count, inside=parts == _SKY)
        colours = _varied(random, _SKY, seeds, 0.06)
        angle, size = 0.22 * _drift(seeds, 12, 2), (length, width)
        _dab(canvas, random, seeds, colours, angle, size, sway=0.11, bend=0.4, body=0.5, streaks=0.06)


def _paint_hills(canvas: Canvas, random: Generator, parts: NDArray[np.intp]) -> None:
    """Paint the hills in slanted hatches, each patch with a slant of its own."""
    for count, length, width in ((3500, 0.036, 0.014), (7000, 0.027, 0.0095), (9000, 0.020, 0.0065)):
        seeds = brush.scatter(random, count, inside=parts == _HILLS)
        seeds = seeds[seeds[:, 1] > _ridge(seeds[:, 0]) + 0.22 * length]
        colours = _varied(random, _HILLS, seeds, 0.08)
        above, below = (seeds[:, 1] - ridge(seeds[:, 0]) for ridge in (_ridge, _near_ridge))
        crest = np.exp(-above / 0.022) + np.exp(-((below / 0.016) ** 2))  # where strokes follow it
        angle = (-0.75 + 0.45 * _drift(seeds, 10, 1)) * (1 - crest.clip(0, 1))
        _dab(canvas, random, seeds, colours, angle, (length, width), sway=0.12, bend=0.2, body=0.6)


def _paint_river(canvas: Canvas, random: Generator, parts: NDArray[np.intp]) -> None:
    river = parts == _RIVER
    for count, length, width in ((2000, 0.130, 0.020), (4800, 0.105, 0.013), (6500, 0.080, 0.0085)):
        seeds = brush.scatter(random, count, inside=river)
        colours, near = _varied(random, _RIVER, seeds, 0.085), _nearness(seeds)
        _dab(canvas, random, seeds, colours, 0.0, (length, width), near, sway=0.05, bend=0.3, body=0.7)
    seeds = brush.scatter(random, 5200, inside=river)
    glitter = _drift(seeds * (0.45, 2.6), 17, 3) + 0.5 * _drift(seeds, 60, 1)
    seeds = seeds[glitter + random.normal(0, 0.2, len(seeds)) > 0.68]
    colours = _any_of(random, _GLINTS, len(seeds))
    _dab(canvas, random, seeds, colours, 0.0, (0.050, 0.0060), _nearness(seeds), sway=0.06, body=1.4)


def _paint_meadow(canvas: Canvas, random: Generator, parts: NDArray[np.intp]) -> None:
    """Paint the grass upright, leaning this way and that, and dark earth along the bank before it."""
    y = np.linspace(_HORIZON, 1.02, 240, dtype=np.float32)
    for side, bank in enumerate(_banks(y)):
        beside = bank + random.normal(0, 0.004, len(y)) + (0.006 if side else -0.006)
        seeds, colours = np.stack([beside, y], axis=-1), _any_of(random, _EARTH, len(y))
        slope = np.arctan2(np.gradient(y), np.gradient(bank))
        _dab(canvas, random, seeds, colours, slope, (0.050, 0.016), _nearness(seeds), sway=0.2)
    for count, length, width in ((3400, 0.085, 0.019), (9000, 0.070, 0.0125), (15000, 0.060, 0.0080)):
        feet = brush.scatter(random, count, inside=parts == _MEADOW)
        colours, near = _varied(random, _MEADOW, feet, 0.13), _nearness(feet)
        angle = -1.45 + 0.42 * _drift(feet, 11, 5)
        middles = feet - np.stack([0 * near, 0.32 * length * near], axis=-1)
        _dab(canvas, random, middles, colours, angle, (length, width), near, sway=0.22, bend=0.4)


def _paint_trees(canvas: Canvas, random: Generator, parts: NDArray[np.intp]) -> None:
    """Paint foliage in curved dabs about each crown, with the trunks before most of it."""
    trees = parts == _TREES
    for count, length, width in ((5000, 0.034, 0.019), (11000, 0.024, 0.0125), (20000, 0.0165, 0.0088)):
        seeds = brush.scatter(random, count, inside=trees)
        _, angle, is_near = _foliage(seeds)
        bare = (_trunks_depth(seeds) > -0.004) & (random.random(len(seeds)) < _bareness(seeds))
        keep = ~bare & (_trees_depth(seeds) > 0.12 * length)
        seeds, angle, is_near = seeds[keep], angle[keep], is_near[keep]
        colours, near = _varied(random, _TREES, seeds, 0.12), np.where(is_near, 1.0, 0.62)
        _dab(canvas, random, seeds, colours, angle, (length, width), near, sway=0.6, bend=1.3)
        if count == 11000:
            _paint_trunks(canvas, random)


def _bareness(places: Array) -> Array:
    """Return the share of a trunk that leaves do not hide."""
    return np.clip(9 * (places[..., 1] - 0.42), 0, 0.96)


def _paint_trunks(canvas: Canvas, random: Generator) -> None:
    for x0, y0, x1, y1, width in _TRUNKS:
        for across in (0.30, -0.38, 0.05, 0.38, -0.18, -0.40):
            share = np.sort(random.random(26))
            seeds = np.stack([x0 + share * (x1 - x0) + across * width, y0 + share * (y1 - y0)], axis=-1)
            colours = brush.gradient(_BARK, 0.5 + 1.1 * across + random.normal(0, 0.16, len(seeds)))
            angle, size = np.arctan2(y1 - y0, x1 - x0), (0.030, 0.4 * width)
            _dab(canvas, random, seeds, colours, angle, size, sway=0.12, bend=0.3)


def _paint_flowers(canvas: Canvas, random: Generator, parts: NDArray[np.intp]) -> None:
    """Paint poppies, daisies and a few blue flowers in drifts over the meadow."""
    for kinds, phase, count in ((_POPPIES, 2, 9000), (_DAISIES, 7, 9000), (_BELLS, 11, 5000)):
        seeds = brush.scatter(random, count, inside=parts == _MEADOW)
        dense = _drift(seeds * (0.7, 1.9), 12, phase) + 0.4 * _drift(seeds, 55, phase)
        seeds = seeds[dense + random.normal(0, 0.16, len(seeds)) > 0.52]
        near = _nearness(seeds) * random.uniform(0.6, 1.35, len(seeds))
        colours = _any_of(random, kinds, len(seeds))
        _dab(canvas, random, seeds, colours, 0.2, (0.0135, 0.0105), near, sway=0.9, body=1.4)
