"""Style pictures painted by this program, stroke by stroke, so that there is always a style to start from.

Positions and pictures are those of `brush`.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from painters import brush
from painters.brush import HEIGHT, WIDTH, Array, Canvas

__all__ = ["HEIGHT", "PAINTINGS", "WIDTH", "burning_sky", "stained_glass", "starry_swirls"]

# Starry swirls

_SKY = brush.palette("0a1440", "12276a", "1b419a", "2a68b8", "4a94c6", "86bfd0", "c6dccb", "f0ecc4")
_STAR = brush.palette("fffbe0", "ffec80", "fbc93a", "e8a52c", "d9cf8a", "a8c9b0", "7fb0bd")
_VORTICES = ((0.60, 0.40, 0.135, 0.42), (0.885, 0.49, 0.085, 0.24), (0.34, 0.22, 0.06, 0.10))
_MOON = (1.12, 0.125, 0.046)
_STARS = (
    (0.06, 0.10, 0.021), (0.10, 0.46, 0.026), (0.335, 0.475, 0.030), (0.40, 0.09, 0.024), (0.46, 0.24, 0.014),
    (0.62, 0.10, 0.022), (0.76, 0.20, 0.026), (0.90, 0.08, 0.017), (0.95, 0.30, 0.018), (1.14, 0.40, 0.022),
    (0.08, 0.27, 0.016), (0.44, 0.56, 0.016),
)  # fmt: skip


def starry_swirls() -> Array:
    """Paint a swirling night sky over a village, in the manner of van Gogh's Starry Night (1889)."""
    random = np.random.default_rng(1889)
    x, y = brush.grid()
    directions, tone = _night_sky(x, y)
    canvas = brush.blank(brush.gradient(_SKY, tone * 0.7))
    for count, length, width in ((1200, 0.15, 0.020), (2200, 0.11, 0.0135), (3600, 0.085, 0.0085)):
        seeds = brush.scatter(random, count, inside=y < 0.86)
        place = brush.at(tone, seeds) + random.normal(0, 0.11, len(seeds))
        colours = _accented(
            random, brush.gradient(_SKY, place), brush.palette("1f8a8c", "d9b55a", "5aa58f", "e9e3b8"), 0.05
        )
        lighter = brush.gradient(_SKY, place + random.normal(0.06, 0.12, len(seeds)))
        brush.paint(
            canvas, random, brush.streamlines(directions, seeds, length), colours, width=width, second=lighter
        )
    for star in (*_STARS, _MOON):
        _paint_star(canvas, random, star)
    _paint_moon(canvas, random)
    _paint_hills(canvas, random, x, y)
    _paint_village(canvas, random)
    _paint_cypress(canvas, random, x, y)
    return brush.finish(canvas)


def _accented(random: Generator, colours: Array, accents: Array, share: float) -> Array:
    chosen = random.random(len(colours)) < share
    return np.where(chosen[:, None], accents[random.integers(0, len(accents), len(colours))], colours)


def _night_sky(x: Array, y: Array) -> tuple[Array, Array]:
    """Return directions and tones of the sky: a wavy wind, vortices in it, and rings about the stars."""
    stream = y + 0.030 * np.sin(7.5 * x + 1.0 + 3 * y) + 0.012 * np.sin(17 * x - 9 * y)
    phase = 46 * stream + 1.5 * np.sin(5 * x + 2)
    for cx, cy, radius, strength in _VORTICES:
        near = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * radius**2))
        stream = stream + strength * near
        around = 2 * np.arctan2(y - cy, x - cx) + 62 * np.hypot(x - cx, y - cy)
        phase = phase * (1 - near) + around * near
    directions = brush.along_contours(stream)
    tone = (
        0.36 + 0.20 * np.sin(phase) + 0.10 * np.sin(2.3 * phase + 1) + 0.30 * np.clip(3.2 * (y - 0.50), 0, 1)
    )
    for cx, cy, radius in (*_STARS, _MOON):
        distance = np.hypot(x - cx, y - cy)
        near = np.exp(-((distance / (2.9 * radius)) ** 4))[..., None]
        directions = directions * (1 - near) + near * brush.unit_vectors(-(y - cy), x - cx)
        tone = tone + 0.30 * np.exp(-((distance / (3.2 * radius)) ** 2))
    return brush.unit_vectors(directions[..., 0], directions[..., 1]), tone.astype(np.float32)


def _paint_star(canvas: Canvas, random: Generator, star: tuple[float, float, float]) -> None:
    """Paint rings of short strokes from the halo inwards, and a bright core."""
    cx, cy, radius = star
    warmth = random.normal(0, 0.09) - 0.16 * (star == _MOON)
    for ring in np.arange(2.9, 0.0, -0.27):
        count = int(5 + 11 * ring)
        angle = 2 * np.pi * (np.arange(count) + random.random(count)) / count
        sweep = random.uniform(0.5, 1.0, count) * min(2.4, 0.75 / ring + 0.2)
        turns = angle[:, None] + sweep[:, None] * np.linspace(-0.5, 0.5, brush.PATH_POINTS)
        reach = radius * (ring + random.normal(0, 0.09, count))[:, None]
        paths = np.stack([cx + reach * np.cos(turns), cy + reach * np.sin(turns)], axis=-1).astype(np.float32)
        if ring > 1.6:  # the halo leaves sky between its strokes
            paths = paths[random.random(count) < 1.40 - 0.38 * ring]
        place = (ring / 2.9 + warmth + random.normal(0, 0.11, len(paths))).astype(np.float32)
        second = brush.gradient(_STAR, place - 0.2)
        width = 0.006 + 0.11 * radius
        brush.paint(canvas, random, paths, brush.gradient(_STAR, place), width=width, second=second, body=1.5)


def _paint_moon(canvas: Canvas, random: Generator) -> None:
    """Paint a crescent, open to the left: arcs between an outer and an inner circle."""
    cx, cy, radius = _MOON
    angle = np.linspace(-2.1, 2.1, 60)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    for depth in np.linspace(1, 0, 8):
        arc = (cx - 0.42 * radius * depth, cy) + circle * radius * (1.05 - 0.30 * depth)
        starts = random.permutation(np.arange(0, 51, 3))
        paths = np.stack([arc[start : start + brush.PATH_POINTS] for start in starts]).astype(np.float32)
        colour = brush.gradient(
            brush.palette("f6a623", "ee8a1c", "d8641a"), np.full(len(paths), depth, np.float32)
        )
        brush.paint(
            canvas, random, paths, colour, width=0.010, second=brush.palette("fbc03c") + 0 * colour, body=1.6
        )


def _ridge(x: Array) -> Array:
    return np.asarray(
        (0.80 - 0.115 * x**1.4 + 0.022 * np.sin(8.5 * x) + 0.010 * np.sin(21 * x + 1)), np.float32
    )


def _paint_hills(canvas: Canvas, random: Generator, x: Array, y: Array) -> None:
    depth = y - _ridge(x)
    stream = depth + 0.018 * np.sin(19 * x + 14 * y)
    blues = brush.palette("24417c", "1b3569", "2f5d92", "1c3f66", "2c5a62", "20463f", "16302f")
    brush.fill(canvas, depth > 0, blues[1])
    for count, length, width in ((5200, 0.085, 0.014), (5200, 0.06, 0.008)):
        seeds = brush.scatter(random, count, inside=depth > 0.006)
        seeds = seeds[np.argsort(seeds[:, 1] // 0.05, kind="stable")]
        place = brush.at(depth, seeds) / 0.26 + random.normal(0, 0.13, len(seeds))
        colours = _accented(
            random, brush.gradient(blues, place), brush.palette("6d9fc0", "0d1838", "7c9a5a", "4f86b4"), 0.13
        )
        brush.paint(
            canvas,
            random,
            brush.streamlines(brush.along_contours(stream), seeds, length),
            colours,
            width=width,
        )
    edge = np.linspace(-0.02, 1.25, 60, dtype=np.float32)
    starts = np.stack([edge, _ridge(edge.clip(0))], axis=-1)
    brush.paint(
        canvas, random, brush.segments(starts[:-2], starts[2:]), brush.palette("0c1636")[0], width=0.009
    )


def _paint_village(canvas: Canvas, random: Generator) -> None:
    """Paint houses from the back row to the front, and a church with a tall spire."""
    walls = brush.palette("38557d", "5a7a96", "46637f", "8a9a94", "2e4a6c", "b7a26a")
    roofs = brush.palette("1c2a4e", "5b3a3c", "24395e", "7a4a36", "16223f")
    for row, size in ((0.865, 0.030), (0.905, 0.037), (0.95, 0.046)):
        for left in np.arange(0.46, 1.2, size * 1.75) + random.uniform(-0.012, 0.012):
            left = left + random.uniform(-0.3, 0.3) * size
            wide, tall = size * random.uniform(0.8, 1.25), size * random.uniform(0.5, 0.75)
            floor = row + random.uniform(-0.008, 0.008)
            _paint_house(
                canvas,
                random,
                (left, floor, wide, tall),
                walls[random.integers(6)],
                roofs[random.integers(5)],
            )
    _paint_house(canvas, random, (0.745, 0.905, 0.040, 0.045), walls[1], roofs[0])
    lean = np.linspace(-0.010, 0.010, 5)
    starts = np.stack([0.765 + lean, np.full(5, 0.866)], axis=-1).astype(np.float32)
    tip = np.broadcast_to(np.array([0.765, 0.735], np.float32), starts.shape)
    brush.paint(canvas, random, brush.segments(starts, tip), brush.palette("15234a")[0], width=0.008)
    brush.paint(canvas, random, brush.segments(starts[1:2], tip[:1]), brush.palette("5f86ad")[0], width=0.004)


def _paint_house(
    canvas: Canvas, random: Generator, box: tuple[float, float, float, float], wall: Array, roof: Array
) -> None:
    left, floor, wide, tall = box

    def lines(*ends: tuple[float, float, float, float]) -> Array:
        corners = np.array(ends, np.float32) * (wide, tall, wide, tall) + (left, floor, left, floor)
        return brush.segments(corners[:, :2].astype(np.float32), corners[:, 2:].astype(np.float32))

    levels = [(-0.05, -v, 1.05, -v) for v in np.linspace(0.0, 1.0, 5)]
    brush.paint(canvas, random, lines(*levels), wall, width=tall * 0.42)
    slopes = [(-0.15 + 0.1 * v, -1.0 - 0.22 * v, 1.15 - 0.1 * v, -1.0 - 0.22 * v) for v in range(5)]
    brush.paint(canvas, random, lines(*slopes), roof, width=tall * 0.36)
    outline = lines((-0.16, -0.98, 0.40, -2.0), (1.16, -0.98, 0.60, -2.0), (0, 0, 0, -1), (1, 0, 1, -1))
    brush.paint(canvas, random, outline, brush.palette("0b1330")[0], width=0.0042)
    if random.random() < 0.7:
        spot = random.uniform(0.25, 0.7)
        window = lines((spot, -0.25, spot + 0.03, -0.72))
        brush.paint(
            canvas, random, window, brush.palette("ffdf6b")[0], width=max(0.0055, wide * 0.17), body=1.6
        )


def _paint_cypress(canvas: Canvas, random: Generator, x: Array, y: Array) -> None:
    """Paint a dark flame of a tree from the lower edge to near the top, and a smaller one beside it."""
    greens = brush.palette("070d12", "0e1a18", "16291f", "22361f", "2c2a18", "3d4a22")
    for middle, top, spread in ((0.262, 0.50, 0.050), (0.180, 0.035, 0.092)):
        axis = middle + 0.014 * np.sin(11 * y + 1) * (1.2 - y)
        grow = np.clip((y - top) / (1 - top), 0, None)
        reach = (
            spread * grow**0.85 * (1 + 0.13 * np.sin(29 * y + 2 * np.sign(x - axis))) * (1.25 - 0.35 * grow)
        )
        inside = (np.abs(x - axis) < reach) & (y > top)
        side = (x - axis) / (reach + 1e-3)
        directions = brush.unit_vectors(
            0.42 * np.sin(23 * y + 26 * x) + 0.25 * side * np.cos(9 * y), -np.ones_like(x)
        )
        brush.fill(canvas, inside, greens[0])
        for count, length, width in ((4500, 0.12, 0.014), (7000, 0.085, 0.0075)):
            seeds = brush.scatter(random, count, inside=inside)
            seeds = seeds[np.argsort(-seeds[:, 1] // 0.08, kind="stable")][::-1]
            place = (
                0.35
                + 0.25 * np.sin(30 * brush.at(side, seeds) + 12 * seeds[:, 1])
                + random.normal(0, 0.18, len(seeds))
            )
            colours = _accented(
                random,
                brush.gradient(greens, place),
                brush.palette("6b6a2c", "1d3a4a", "7a5a2a", "324f5a"),
                0.07,
            )
            brush.paint(canvas, random, brush.streamlines(directions, seeds, length), colours, width=width)


# Stained glass

_GLASS = brush.palette(
    "fff3b0", "ffd23f", "f9a01b", "ee5a24", "c81d25", "8e1b4f", "4b2a86", "24439f",
    "1668b0", "138f9b", "1f9d6b", "14506e",
)  # fmt: skip


def stained_glass() -> Array:
    """Paint a rose window: panes of coloured glass in rings about a sun, held by dark lead."""
    random = np.random.default_rng(1200)
    centre = np.array([0.70, 0.43], np.float32)
    sites = _rings(random, centre)
    nearest, lead = _voronoi(sites)
    reach = np.hypot(*(sites - centre).T)
    place = 0.03 + 1.02 * reach + random.normal(0, 0.075, len(sites))
    place = np.where(random.random(len(sites)) < 0.14, 1.0 - place, place)
    panes = brush.gradient(_GLASS, place.astype(np.float32)) * random.uniform(0.72, 1.12, (len(sites), 1))
    x, y = brush.grid()
    tilt = random.uniform(0, 2 * np.pi, len(sites))[nearest]
    offset_x, offset_y = x - sites[nearest][..., 0], y - sites[nearest][..., 1]
    slope = 2.6 * (np.cos(tilt) * offset_x + np.sin(tilt) * offset_y)
    streaks = _noise(random, 150) * np.cos(tilt) ** 2 + _noise(random, 60) * np.sin(tilt) ** 2
    glow = 0.40 * np.exp(-(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 0.10))
    bright = 1.04 + slope + 0.28 * (streaks - 0.5) + glow * 0.5 + 0.30 * (_noise(random, 14) - 0.5)
    glass = panes[nearest] * bright[..., None] + 0.10 * glow[..., None]
    edge = np.clip((lead - 0.0045) / 0.011, 0, 1)[..., None]  # grime gathers where the glass meets the lead
    glass = glass * (0.55 + 0.45 * edge)
    came = 0.07 + 0.20 * np.clip(1 - np.abs(lead - 0.0012) / 0.0022, 0, 1)[..., None] * brush.palette(
        "c9c4bb"
    )
    inside = np.clip((lead - 0.0042) * HEIGHT + 0.5, 0, 1)[..., None]
    return np.asarray(np.clip(came * (1 - inside) + glass * inside, 0, 1), np.float32)


def _rings(random: Generator, centre: Array) -> Array:
    """Return positions (places, 2) in rings, closer together near the middle."""
    rings = [centre[None]]
    reach = 0.048
    while reach < 1.0:
        step = 0.036 + 0.052 * reach
        count = int(2 * np.pi * reach / (1.25 * step))
        angle = 2 * np.pi * (np.arange(count) + random.random() + random.normal(0, 0.13, count)) / count
        distance = reach + random.normal(0, 0.13 * step, count)
        rings.append(centre + np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=-1))
        reach += step
    sites = np.concatenate(rings).astype(np.float32)
    x, y = sites.T
    return np.asarray(sites[(x > -0.1) & (x < 1.35) & (y > -0.1) & (y < 1.1)])


def _voronoi(sites: Array) -> tuple[NDArray[np.intp], Array]:
    """Return, for each pixel, the nearest site, and the distance from the border of its cell."""
    x, y = brush.grid()
    nearest, border = np.empty(x.shape, np.intp), np.empty(x.shape, np.float32)
    every = np.arange(WIDTH)
    for row in range(HEIGHT):
        square = (x[row][:, None] - sites[:, 0]) ** 2 + (y[row, 0] - sites[:, 1]) ** 2
        first = square.argmin(axis=1)
        smallest = square[every, first]
        square[every, first] = np.inf
        second = square.argmin(axis=1)
        apart = np.linalg.norm(sites[first] - sites[second], axis=1)
        nearest[row] = first
        border[row] = (square[every, second] - smallest) / (2 * apart)
    return nearest, border


def _noise(random: Generator, cells: int) -> Array:
    """Return smooth noise in [0, 1] with ``cells`` bumps from top to bottom."""
    values = random.random((cells + 2, int(cells * WIDTH / HEIGHT) + 2), np.float32)
    x, y = brush.grid()
    column, row = (x * cells).astype(int), (y * cells).astype(int)
    right, down = (x * cells) % 1, (y * cells) % 1
    right, down = right * right * (3 - 2 * right), down * down * (3 - 2 * down)
    top = values[row, column] * (1 - right) + values[row, column + 1] * right
    bottom = values[row + 1, column] * (1 - right) + values[row + 1, column + 1] * right
    return np.asarray(top * (1 - down) + bottom * down, np.float32)


# Burning sky

_FIRE = brush.palette("8c1c1c", "c8321e", "e4571f", "f2872b", "f7b23e", "fadb7a", "efc560", "d9482a")
_FJORD = brush.palette("0b1a2e", "12304f", "1d4a68", "2e6a78", "57898a", "15385c", "0a1524")
_PLANKS = brush.palette("2a1711", "4e2a1a", "7a4524", "a1662f", "5e3320", "33414a")


def burning_sky() -> Array:
    """Paint a sunset in flowing bands over a fjord and a bridge, in the manner of Munch's Scream (1893)."""
    random = np.random.default_rng(1893)
    x, y = brush.grid()
    shore = 0.42 + 0.035 * np.sin(4.2 * x + 0.6) + 0.015 * np.sin(11 * x)
    sky = y + 0.050 * np.sin(5.2 * x + 0.4 + 4 * y) + 0.018 * np.sin(12 * x - 6 * y)
    swirl = np.exp(-(((x - 0.88) / 0.24) ** 2 + ((y - 0.60) / 0.20) ** 2))
    water = y - 0.34 * x * (y - 0.40) + 0.035 * np.sin(8 * x + 3 * y) + 0.24 * swirl
    phase = np.where(y < shore, 46 * sky + 3 * np.sin(3 * x), 52 * water)
    tone = 0.48 + 0.34 * np.sin(phase) + 0.16 * np.sin(2.7 * phase + 2)
    directions = np.where((y < shore)[..., None], brush.along_contours(sky), brush.along_contours(water))
    canvas = brush.blank(
        np.where((y < shore)[..., None], brush.gradient(_FIRE, tone), brush.gradient(_FJORD, tone))
    )
    for count, length, width in ((600, 0.26, 0.024), (1200, 0.20, 0.015), (2000, 0.15, 0.009)):
        for palette, accents, inside in (
            (_FIRE, brush.palette("4f7f86", "fff0b8", "7c1420", "87a08a"), y < shore),
            (_FJORD, brush.palette("c96a2a", "7fa8a0", "e0a23c", "050b16"), y >= shore),
        ):
            seeds = brush.scatter(random, count, inside=inside)
            place = (brush.at(tone, seeds) + random.normal(0, 0.10, len(seeds))).astype(np.float32)
            colours = _accented(
                random, brush.gradient(palette, place), accents, 0.05 + 0.05 * (palette is _FJORD)
            )
            second = brush.gradient(palette, place + 0.15)
            brush.paint(
                canvas,
                random,
                brush.streamlines(directions, seeds, length),
                colours,
                width=width,
                second=second,
            )
    _paint_bridge(canvas, random, x, y)
    return brush.finish(canvas)


def _paint_bridge(canvas: Canvas, random: Generator, x: Array, y: Array) -> None:
    """Paint planks that run from the lower right towards a vanishing point at the left, and a railing."""
    vanish = np.array([-0.12, 0.40], np.float32)
    slope = (y - vanish[1]) / (x - vanish[0] + 1e-3)
    inside = slope > 0.66
    directions = brush.unit_vectors(x - vanish[0], y - vanish[1])
    brush.fill(canvas, inside, _PLANKS[0])
    for count, length, width in ((1000, 0.30, 0.020), (2600, 0.22, 0.010)):
        seeds = brush.scatter(random, count, inside=inside)
        tone = 0.45 + 0.30 * np.sin(38 * brush.at(slope, seeds) ** 0.8) + random.normal(0, 0.15, len(seeds))
        colours = _accented(
            random,
            brush.gradient(_PLANKS, tone.astype(np.float32)),
            brush.palette("c98a3c", "1d3f5a", "d9a860"),
            0.08,
        )
        brush.paint(canvas, random, brush.streamlines(directions, seeds, length), colours, width=width)
    for steepness, thick in ((0.66, 0.022), (0.47, 0.016), (0.30, 0.022)):
        ends = np.array([[1.3, vanish[1] + steepness * (1.3 - vanish[0])]], np.float32)
        for shift in np.linspace(-0.4, 0.4, 5):
            ends[:, 1] += 0.3 * thick * shift
            colour = brush.gradient(_PLANKS, np.array([0.5 + shift], np.float32))
            brush.paint(canvas, random, brush.segments(vanish[None], ends), colour, width=thick)
    for along in 0.16 + 0.30 * np.linspace(0, 1, 5) ** 1.6 * 3.6:
        foot, head = (vanish + np.array((along, s * along), np.float32) for s in (0.67, 0.29))
        post = brush.segments(foot[None], head[None])
        brush.paint(canvas, random, post, _PLANKS[1], width=0.010 + 0.018 * along, second=_PLANKS[2:3])


PAINTINGS: dict[str, Callable[[], Array]] = {
    "starry_swirls": starry_swirls,
    "burning_sky": burning_sky,
    "stained_glass": stained_glass,
}
"""Every painting by name."""
