"""The paintings and photographs of the papers' figures: whose they are, and what stands in for them.

The program comes with none of them. A config names one as ``work:NAME``; it is read from a folder that the
user gives, under any of the file names listed here. If the folder lacks it, a sample stands in for it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from nst_jax.errors import ConfigError, did_you_mean

PREFIX = "work:"

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
_DOODLE = "https://github.com/alexjc/neural-doodle/tree/master/samples"
_INPUTS = "https://github.com/jcjohnson/neural-style/tree/master/examples/inputs"
_WIKI = "https://en.wikipedia.org/wiki"

_Tree = TypeVar("_Tree")


@dataclass(frozen=True)
class Work:
    """A painting, a photograph, or a semantic map of one.

    Attributes:
        credit: what it is, whose, and its terms.
        link: where to see it or get it.
        stand_in: the sample that is used in its place.
        files: names that its file may have, without suffix, in any case; its own name is always one.
        needs: other works without which it is useless, such as the painting for its map.
    """

    credit: str
    link: str
    stand_in: str
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


def _mapped(first: str, *others: str) -> dict[str, tuple[str, ...]]:
    every = (first, *others)
    return {name: tuple(other for other in every if other != name) for name in every}


_TOGETHER = (
    _mapped("renoir", "renoir_sem", "landscape_sem")
    | _mapped("monet", "monet_sem", "coastline_sem")
    | _mapped("gogh", "gogh_sem", "seth", "seth_sem")
    | _mapped("mia", "mia_sem", "freddie", "freddie_sem")
)

_PLAIN = {
    "neckarfront": Work(
        "the Neckarfront in Tübingen, photograph by Andreas Praefcke, CC BY 3.0",
        _INPUTS,
        "coffee",
        ("tuebingen_neckarfront", "tubingen"),
    ),
    "shipwreck": Work(
        "J. M. W. Turner, The Shipwreck of the Minotaur, about 1810 (1805 in the paper), public domain",
        f"{_WIKI}/The_Wreck_of_a_Transport_Ship",
        "riverside",
    ),
    "starry_night": Work(
        "Vincent van Gogh, The Starry Night, 1889, public domain",
        f"{_WIKI}/The_Starry_Night",
        "starry_swirls",
        ("starry_night_google",),
    ),
    "the_scream": Work("Edvard Munch, Der Schrei, 1893, public domain", f"{_WIKI}/The_Scream", "burning_sky"),
    "femme_nue_assise": Work(
        "Pablo Picasso, Femme nue assise, 1910, in copyright",
        "https://www.tate.org.uk/art/artworks/picasso-seated-nude-n05904",
        "chelsea",
        ("seated-nude", "seated_nude"),
    ),
    "composition_vii": Work(
        "Wassily Kandinsky, Composition VII, 1913, public domain",
        f"{_WIKI}/Composition_VII",
        "stained_glass",
        ("composition_7", "kandinsky"),
    ),
    "jesuiten_iii": Work(
        "Lyonel Feininger, Jesuiten III, 1915, in copyright in the EU until 2027",
        f"{_WIKI}/Lyonel_Feininger",
        "stained_glass",
        ("feininger",),
    ),
    "london_day": Work("a photograph of London by day", f"{_WIKI}/London", "chelsea", ("london",)),
    "new_york_night": Work(
        "a photograph of New York by night", f"{_WIKI}/New_York_City", "rocket", ("new_york",)
    ),
    "renoir": Work("a landscape by Auguste Renoir, public domain", _DOODLE, "riverside"),
    "renoir_sem": Work("a map of the Renoir", _DOODLE, "riverside_sem"),
    "landscape_sem": Work("a doodle of another landscape", _DOODLE, "river_doodle_sem"),
    "monet": Work("a coast by Claude Monet, public domain", _DOODLE, "riverside"),
    "monet_sem": Work("a map of the Monet", _DOODLE, "riverside_sem"),
    "coastline_sem": Work("a doodle of another coastline", _DOODLE, "river_doodle_sem"),
    "gogh": Work("Vincent van Gogh, Self-portrait, public domain", _DOODLE, "chelsea"),
    "gogh_sem": Work("a map of the self-portrait", _DOODLE, "chelsea_sem"),
    "seth": Work("a portrait, photograph by Seth Johnson, in copyright", _DOODLE, "astronaut"),
    "seth_sem": Work("a map of the photograph", _DOODLE, "astronaut_sem"),
    "mia": Work("a portrait painted by Mia Bergeron, in copyright", _DOODLE, "chelsea"),
    "mia_sem": Work("a map of the painting", _DOODLE, "chelsea_sem"),
    "freddie": Work("a portrait, photograph", _DOODLE, "astronaut"),
    "freddie_sem": Work("a map of the photograph", _DOODLE, "astronaut_sem"),
}

WORKS: Mapping[str, Work] = {
    name: Work(work.credit, work.link, work.stand_in, (name, *work.files), _TOGETHER.get(name, ()))
    for name, work in _PLAIN.items()
}
"""Every work by name."""


def named(value: str) -> Work:
    """Return the work that ``work:NAME`` names.

    Raises:
        ConfigError: there is none of that name.
    """
    name = value.removeprefix(PREFIX)
    if name not in WORKS:
        near = did_you_mean(name, WORKS)
        raise ConfigError(f"{value}: is not a work of the papers{near}; allowed: {', '.join(WORKS)}")
    return WORKS[name]


def located(settings: _Tree, folder: str | Path | None) -> _Tree:
    """Return settings, however nested, with files of the folder in place of the ``work:NAME`` that they are.

    A work that needs others is only replaced if the folder has those too.

    Raises:
        ConfigError: an unknown name, or no such folder.
    """
    found = _files(folder) if folder else {}

    def replaced(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: replaced(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [replaced(inner) for inner in value]
        if not isinstance(value, str) or not value.startswith(PREFIX):
            return value
        work = named(value)
        whole = all(name in found for name in work.needs)
        return found.get(value.removeprefix(PREFIX), value) if whole else value

    return cast(_Tree, replaced(settings))


def note(value: str) -> str:
    """Say that a sample stands in for a work."""
    work = named(value)
    return f"sample:{work.stand_in} stands in for {value} ({work.credit}; {work.link}): give --images DIR"


def _files(folder: str | Path) -> dict[str, str]:
    place = Path(folder)
    if not os.path.isdir(place):
        raise ConfigError(f"images: {folder}: is not a folder")
    by_name = {
        file.stem.casefold(): str(file)
        for file in sorted(place.iterdir())
        if file.suffix.lower() in _SUFFIXES and file.is_file()
    }
    return {
        name: by_name[file]
        for name, work in WORKS.items()
        for file in reversed(work.files)
        if file in by_name
    }
