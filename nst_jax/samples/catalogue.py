"""Example pictures that work by name and without a network; `tools/paint_samples.py` made their files.

Photographs are for content, paintings for style. A map tells the parts of a picture by their colours, and
another map in the same colours guides which part goes where: a doodle of a picture yet to be painted takes
after a painting, or one portrait after another.
"""

from dataclasses import dataclass
from pathlib import Path

from nst_jax import images
from nst_jax.errors import ImageError, did_you_mean

_DATA = Path(__file__).parent / "data"


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
    "chelsea": Sample("content", "a tabby cat", "CC0, Stéfan van der Walt"),
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
"""Every example picture by name: photographs, then paintings, then maps."""


def names() -> tuple[str, ...]:
    """Return the names of the example pictures."""
    return tuple(CREDITS)


def describe() -> str:
    """Return a table, one line for each picture: name, kind, description and licence."""
    width = max(map(len, CREDITS))
    return "\n".join(
        f"{name:<{width}} {sample.kind:<8} {sample.description} ({sample.licence})"
        for name, sample in CREDITS.items()
    )


def load(name: str) -> images.FloatArray:
    """Return an example picture: (height, width, 3) float32 RGB in [0, 1], exact in 8 bits.

    Raises:
        ImageError: there is no example picture of that name.
    """
    if name not in CREDITS:
        hint = did_you_mean(name, CREDITS)
        raise ImageError(f"'{name}' is not an example picture{hint}; allowed: {', '.join(CREDITS)}")
    return images.read(_DATA / f"{name}.webp").rgb
