"""Example pictures that work by name and without a network.

Photographs are for content, paintings for style. A map tells the parts of a picture by their colours, and
another in the same colours guides which goes where: a doodle, a picture yet to be painted, takes after a
painting, and one portrait after another.

A picture is a float32 RGB array of shape (height, width, 3) in [0, 1].
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nst_jax import files, images
from nst_jax.errors import ImageError, OutputError, did_you_mean
from nst_jax.samples import paintings, portraits, riverside

FloatArray = NDArray[np.float32]

_EDITION = 1  # a painting that changes gets a new number, so that no old copy of it is used


@dataclass(frozen=True)
class Sample:
    """What is known about an example picture.

    Attributes:
        kind: "content" for photographs, "style" for paintings, "map" for maps and doodles.
        description: one line.
        licence: how it may be used, and whose it is.
    """

    kind: str
    description: str
    licence: str


_OURS = "by this project, under its licence"

CREDITS = {
    "astronaut": Sample("content", "portrait of Eileen Collins", "public domain, NASA"),
    "chelsea": Sample("content", "a tabby cat", "CC0, Stefan van der Walt"),
    "coffee": Sample("content", "a cup of coffee on a wooden table", "CC0, Rachel Michetti"),
    "rocket": Sample("content", "a Falcon 9 rocket at lift-off", "public domain, SpaceX"),
    "starry_swirls": Sample("style", "a swirling night sky, in the manner of van Gogh", _OURS),
    "burning_sky": Sample("style", "a flowing sunset over a fjord, in the manner of Munch", _OURS),
    "stained_glass": Sample("style", "a rose window of glowing panes in lead", _OURS),
    "riverside": Sample("style", "trees and a meadow by a river, in the manner of Monet", _OURS),
    "riverside_sem": Sample("map", "where riverside has sky, hills, trees, meadow and river", _OURS),
    "river_doodle_sem": Sample("map", "a doodle of another landscape in the same colours", _OURS),
    "astronaut_sem": Sample("map", "where astronaut has face, hair and suit", _OURS),
    "chelsea_sem": Sample("map", "where chelsea has the same: face, crown and body", _OURS),
}
"""Every example picture by name."""

_MAPS = {
    "riverside_sem": riverside.riverside_map,
    "river_doodle_sem": riverside.river_doodle,
    "astronaut_sem": portraits.astronaut_map,
    "chelsea_sem": portraits.chelsea_map,
}


def names() -> tuple[str, ...]:
    """Return the names of the example pictures: photographs, then paintings, then maps."""
    return tuple(CREDITS)


def describe() -> str:
    """Return a table, one line for each picture: name, kind, description and licence."""
    width = max(map(len, CREDITS))
    return "\n".join(
        f"{name:<{width}} {sample.kind:<8} {sample.description} ({sample.licence})"
        for name, sample in CREDITS.items()
    )


def load(name: str) -> FloatArray:
    """Return an example picture.

    A painting takes some seconds the first time, and is then kept in the cache folder. A map has flat
    colours, exact in 8 bits.

    Raises:
        ImageError: there is no example picture of that name.
    """
    if name not in CREDITS:
        hint = did_you_mean(name, CREDITS)
        raise ImageError(f"'{name}' is not an example picture{hint}; allowed: {', '.join(CREDITS)}")
    if name in _MAPS:
        return _MAPS[name]()
    return _painting(name) if CREDITS[name].kind == "style" else _photograph(name)


def _photograph(name: str) -> FloatArray:
    import skimage.data  # slow to import, and most runs use none of its pictures

    return np.asarray(getattr(skimage.data, name)(), np.float32) / np.float32(255)


def _painting(name: str) -> FloatArray:
    path = files.cache_folder() / "samples" / f"{name}-{_EDITION}.png"
    with suppress(ImageError):  # none there yet, or damaged
        kept = images.read(path).rgb
        if kept.shape == (paintings.HEIGHT, paintings.WIDTH, 3):
            return kept
    painters = {**paintings.PAINTINGS, "riverside": riverside.riverside}
    levels = np.floor(painters[name]() * 255 + 0.5)
    painted: FloatArray = levels.astype(np.float32) / np.float32(255)  # as the kept copy will be read
    with suppress(OSError, OutputError):  # a cache that cannot be written costs time only
        path.parent.mkdir(parents=True, exist_ok=True)
        images.write(path, painted)
    return painted
