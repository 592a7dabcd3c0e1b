"""What settings name, read: pictures, semantic maps, the network."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nst_jax import images, samples
from nst_jax.architecture import ARCHITECTURES
from nst_jax.errors import ConfigError
from nst_jax.images import FloatArray, Picture, maps
from nst_jax.samples import works
from nst_jax.settings import GUIDED_KINDS, INIT_SOURCES, LONGEST, Content, Settings, Style
from nst_jax.transfer.pictures import (
    PLACES,
    Pictures,
    Places,
    Size,
    bounded_size,
    coloured,
    content_at,
    cropped,
    own_size,
    place_at,
    style_at,
    without,
)

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network

Download = Callable[[int, int], None]
Say = Callable[[str], None]


OF_ONE_PICTURE = ("content.map", "content.keep", "style.map", "style.strength_map", "style.regions")
"""Settings that name what belongs to one photograph, and is of no use where there are many."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """The pictures of a run, and what is known of them."""

    pictures: Pictures
    alpha: FloatArray | None
    """Transparency of the content, at the size of the result."""
    digests: dict[str, str]
    """SHA-256 of the pixels of each, by what it is used for."""
    notes: tuple[str, ...] = ()
    """What the user should know."""

    @property
    def size(self) -> Size:
        """Height and width of the result."""
        height, width = np.asarray(self.pictures.content).shape[:2]
        return height, width


class Reader:
    """Reads the pictures of runs that have many in common: equal ones become one array.

    Files may be many and large, so that only what is compared of them is kept, at its size.
    """

    def __init__(self) -> None:
        self._read = lru_cache(maxsize=2)(read_picture)
        self._known: dict[object, Any] = {}
        self._digests: dict[str, str] = {}
        self._notes: dict[str, tuple[str, ...]] = {}

    def read(self, settings: Settings) -> Inputs:
        """Read the pictures that the settings of one run name.

        Raises:
            NstError: a picture that is not given, or cannot be read.
        """
        names, posed = names_of(settings), as_posed(settings)
        drawn, map_digests, notes = self._maps(settings, names)
        content_name, styles = names.get("content"), styles_of(settings)
        # The names, to tell what there is.
        there = Pictures(content_name, styles or None, drawn.get("content_map"), drawn.get("style_map"))
        style = partial(self._style, posed=posed)
        like = (content_name, names.get("content_map"))
        texture = is_texture(settings)
        shape = (posed.size, posed.enlarge, posed.network.padding)
        key = ("content", *((styles, posed.style.crop) if texture else like), *shape)
        content = self._once(key, lambda: self._content(there, style(styles[0]) if texture else None, posed))
        own = self._once(("own", *key), lambda: self._own_size(content_name, content, posed))
        fitted = (posed.style.crop, posed.style.scale, posed.style.scale_with, posed.style.fit)
        looks = ("style", *fitted, content.shape, texture, names.get("style_map"))

        def painting(name: str) -> FloatArray:
            return style_at(there, style(name), content, posed)

        paintings = tuple(self._once((*looks, name), partial(painting, name)) for name in styles)
        init = names.get("init")
        first = self._once(("init", init), lambda: with_alpha(self._picture(init, posed))) if init else None
        size = (content.shape[0], content.shape[1])
        alpha = self._once(("alpha", content_name, size), lambda: self._alpha(content_name, posed, size))
        places, more = self._places(names, content, posed)
        notes = (*notes, *more, *_smaller(content_name, content, settings))
        digests = {use: self._digests[name] for use, name in names.items() if name in self._digests}
        pictures = replace(there, content=content, style=paintings or (content,), init=first, own_size=own)
        if posed.colour != "style":
            every = (posed.colour, key, looks, styles, init)
            found = self._once(every, lambda: coloured(pictures, posed))
            pictures = replace(found, **drawn)
        pictures = replace(pictures, places=places)
        of_files = (note for name in names.values() for note in self._notes.get(name, ()))
        said = dict.fromkeys((*stand_ins(names), *of_files, *notes))
        return Inputs(pictures, alpha, digests | map_digests, tuple(said))

    def forget(self) -> None:
        """Let go of all but the files read last: what comes next is at other sizes, or in other colours."""
        self._known.clear()

    def _once(self, key: object, make: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _picture(self, name: str, settings: Settings) -> Picture:
        picture, self._digests[name] = self._read(name, settings.max_pixels)
        self._notes[name] = picture.notes
        return picture

    def _style(self, name: str, posed: Settings) -> FloatArray:
        return cropped(with_alpha(self._picture(name, posed)), posed)

    def _content(self, there: Pictures, style: FloatArray | None, settings: Settings) -> FloatArray:
        content = with_alpha(self._picture(str(there.content), settings)) if there.content else None
        return content_at(replace(there, content=content), style, settings)

    def _own_size(self, name: str | None, content: FloatArray, settings: Settings) -> Size | None:
        return own_size(self._picture(name, settings).rgb.shape, content) if name else None

    def _alpha(self, name: str | None, settings: Settings, size: Size) -> FloatArray | None:
        alpha = self._picture(name, settings).alpha if name else None
        return None if alpha is None else images.resize(alpha, size)

    def _places(
        self, names: dict[str, str], content: FloatArray, posed: Settings
    ) -> tuple[Places, tuple[str, ...]]:
        """Return what says where something is painted, at the content's size, and what should be said."""
        size, notes = (content.shape[0], content.shape[1]), []
        found: dict[str, FloatArray] = {}

        def grey(use: str) -> FloatArray:
            mask = np.mean(self._picture(names[use], posed).rgb, 2, keepdims=True)
            return place_at(mask, size, PLACES[use])

        for use in ("keep", "strength"):
            if use in names:
                found[use] = self._once((use, names[use], size), partial(grey, use))
        if "regions" in names:
            where = ("regions", names["regions"], size)
            found["regions"], colours = self._once(where, partial(_regions, names["regions"], posed, size))
            styles = styles_of(posed)
            if len(colours) != len(styles):
                what = f"main colours: {len(colours)} ({', '.join(colours)}), styles: {len(styles)}"
                raise ConfigError(f"style.regions: {what}; give one for each colour, for the darkest first")
            notes += [
                f"regions: {colour} gets {style}" for colour, style in zip(colours, styles, strict=True)
            ]
        return Places(found.get("keep"), found.get("strength"), found.get("regions")), tuple(notes)

    def _maps(
        self, settings: Settings, names: dict[str, str]
    ) -> tuple[dict[str, FloatArray], dict[str, str], tuple[str, ...]]:
        files = (names.get("content_map"), names.get("style_map"))
        key = ("maps", *files, settings.style.kind, settings.semantic.map)
        found: tuple[dict[str, FloatArray], dict[str, str], tuple[str, ...]] = self._once(
            key, lambda: read_maps(settings, names)
        )
        return found


def _regions(name: str, settings: Settings, size: tuple[int, int]) -> tuple[FloatArray, list[str]]:
    found, colours = maps.regions(_map_named(name, settings))
    return place_at(found, size, PLACES["regions"]), colours


def _smaller(name: str | None, content: FloatArray, settings: Settings) -> tuple[str, ...]:
    """Return what should be said of a photograph that is smaller than the size asked for."""
    height, width = content.shape[:2]
    if name is None or settings.size is None:
        return ()
    wanted = bounded_size(content.shape, replace(settings, enlarge=True))
    if wanted[0] <= height + 1 or wanted[1] <= width + 1:  # but for rounding
        return ()
    size = f"{name} is of {width} x {height} pixels, less than {settings.written_size()}"
    return (f"{size}: --enlarge makes it larger",)


def as_posed(settings: Settings) -> Settings:
    """Return settings as a problem takes them: pictures have a size, what is not there counts for nothing."""
    there = {"content": settings.content.image is not None, "style": settings.style.image is not None}
    if settings.size is None and there["content"]:
        settings = replace(settings, size=LONGEST)
    return without(settings, **there)


def read_picture(name: str, max_pixels: int) -> tuple[Picture, str]:
    """Return a picture, of a file, ``sample:NAME`` or ``work:NAME``, and the SHA-256 of its pixels."""
    sample = sample_of(name)
    picture = Picture(samples.load(sample)) if sample else images.read(name, max_pixels=max_pixels)
    return picture, _digest(with_alpha(picture))


def with_alpha(picture: Picture) -> FloatArray:
    """Return a picture's colours, and its alpha if it has any, as channels of one array."""
    return picture.rgb if picture.alpha is None else np.dstack([picture.rgb, picture.alpha])


def sample_of(name: str) -> str | None:
    """Return the sample that a picture's name stands for, if any: its own, or that of an absent work."""
    if name.startswith(works.PREFIX):
        return works.named(name).stand_in
    return name.removeprefix("sample:") if name.startswith("sample:") else None


def stand_ins(names: dict[str, str]) -> tuple[str, ...]:
    """Return what should be said of samples that stand in for works."""
    return tuple(works.note(name) for name in names.values() if name.startswith(works.PREFIX))


def names_of(settings: Settings) -> dict[str, str]:
    """Return the pictures that settings name: content, style, their maps, and the first image if a file.

    Raises:
        ConfigError: no content or style is given though it has a weight, or a map without the other.
    """
    doodle = is_guided(settings) and is_doodle(settings)
    sections: dict[str, Content | Style] = {"content": settings.content, "style": settings.style}
    for name, section in sections.items():
        if section.image is None and not (section.weight == 0 or (name == "content" and doodle)):
            instead = {"content": "a texture", "style": "a reconstruction of the content"}[name]
            more = f", or --{name}-weight 0 for {instead}"
            if (settings.style.kind, name) == ("patch", "content"):
                more += ", or --content-map FILE for a doodle"
            raise ConfigError(f"{name}.image: no {name} image given: use --{name} FILE, or sample:NAME{more}")
    if doodle and settings.content.weight:
        raise ConfigError(
            "content.weight: there is no content image to compare with; leave it out, or give one"
        )
    names = {} if settings.content.image is None else {"content": settings.content.image}
    names |= {f"style {i}" if i else "style": name for i, name in enumerate(styles_of(settings))}
    if not names:
        raise ConfigError("content.image, style.image: there is neither: use --content FILE or --style FILE")
    names |= _maps_of(settings) | _masks_of(settings)
    if isinstance(settings.init, str) and settings.init not in INIT_SOURCES:
        names["init"] = settings.init
    return names


def styles_of(settings: Settings) -> tuple[str, ...]:
    """Return the names of the styles: none, one or several."""
    image = settings.style.image
    return (image,) if isinstance(image, str) else image or ()


def files_of(settings: Settings) -> list[Path]:
    """Return every file that settings name: of pictures, maps, the first image and the network."""
    found = [Path(name) for name in names_of(settings).values() if sample_of(name) is None]
    is_file = settings.weights not in ("auto", "compact", *ARCHITECTURES)
    weights = settings.weights if is_file else os.environ.get("NST_JAX_WEIGHTS")
    return [*found, Path(weights)] if weights else found


def is_guided(settings: Settings) -> bool:
    """Tell whether semantic maps guide a kind of style that is used."""
    kinds = [each["kind"] for each in settings.style.terms] or [settings.style.kind]
    return not set(kinds).isdisjoint(GUIDED_KINDS)


def is_doodle(settings: Settings) -> bool:
    """Tell whether there is a map of the content, but no content."""
    return settings.content.image is None and settings.content.map not in (None, "none")


def is_texture(settings: Settings) -> bool:
    """Tell whether there is neither a content nor a map of it."""
    return settings.content.image is None and not is_doodle(settings)


def read_maps(
    settings: Settings, names: dict[str, str]
) -> tuple[dict[str, FloatArray], dict[str, str], tuple[str, ...]]:
    """Return both semantic maps as they are compared, the digest of each file, and what should be said."""
    read = {use: _map_named(name, settings) for use, name in names.items() if use.endswith("_map")}
    if not read:
        plain = (
            "no semantic maps: plain patch-based style transfer; --content-map and --style-map would guide it"
        )
        return {}, {}, (plain,) if settings.style.kind == "patch" else ()
    kind = settings.semantic.map
    if settings.style.kind == "guided_gram":
        kind = "colours"
    content, style, notes = maps.encoded(read["content_map"], read["style_map"], kind=kind)
    digests = {use: _digest(array) for use, array in read.items()}
    return {"content_map": content, "style_map": style}, digests, tuple(notes)


def _map_named(name: str, settings: Settings) -> FloatArray:
    sample = sample_of(name)
    return samples.load(sample) if sample else images.read_map(name, max_pixels=settings.max_pixels)


def _maps_of(settings: Settings) -> dict[str, str]:
    """Return the names of both maps, given or found beside the images; nothing if only one was found."""
    content, style = settings.content, settings.style
    styles, why_not = styles_of(settings), ""
    if not is_guided(settings):
        *others, last = GUIDED_KINDS
        why_not = (
            f"maps guide style.kind {', '.join(others)} and {last}, and style.kind is {style.kind}: use "
            "--config semantic, or doodle"
        )
    elif len(styles) > 1:
        why_not = "there are several styles, and maps go with one"
    if why_not:
        for name, given in (("content", content.map), ("style", style.map)):
            if given not in (None, "none"):
                raise ConfigError(f"{name}.map: {why_not}")
        return {}
    found = {
        "content": _beside(content.image, content.map),
        "style": _beside(styles[0] if styles else None, style.map),
    }
    for name, other, given in (("content", "style", content.map), ("style", "content", style.map)):
        if given not in (None, "none") and found[other] is None:
            raise ConfigError(f"{other}.map: there is a map of the {name} but none of the {other}: give both")
    if None in found.values():
        if style.kind == "guided_gram":
            raise ConfigError("style.kind: guided_gram needs maps: give --content-map and --style-map")
        return {}
    return {f"{name}_map": str(file) for name, file in found.items()}


def _masks_of(settings: Settings) -> dict[str, str]:
    """Return the names of what says where something is painted."""
    style = settings.style
    given = {"keep": settings.content.keep, "strength": style.strength_map, "regions": style.regions}
    named = {use: name for use, name in given.items() if name}
    if settings.content.image is None and named:
        key = PLACES[next(iter(named))]
        raise ConfigError(f"{key}: is of the photograph, and there is none: give one, or leave it out")
    if style.regions and style.shares:
        raise ConfigError(
            "style.shares: with style.regions each style has its own place: leave one of them out"
        )
    return named


def _beside(image: str | None, given: str | None) -> str | None:
    """Return the map of an image: the one given, or what is called like the image with ``_sem``."""
    if given is not None or image is None:
        return None if given == "none" else given
    for prefix, known in (("sample:", samples.CREDITS), (works.PREFIX, works.WORKS)):
        if image.startswith(prefix):
            return f"{image}_sem" if f"{image.removeprefix(prefix)}_sem" in known else None
    map_ = Path(image).with_name(f"{Path(image).stem}_sem.png")
    return str(map_) if os.path.isfile(map_) else None


def _digest(array: FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def network(
    settings: Settings,
    download: Download | None = None,
    *,
    say: Say = lambda line: None,
    notes: Iterable[str] = (),
) -> "Network":
    """Return the network that settings name, and say what the user should know.

    Args:
        settings: the settings.
        download: called while weights are fetched.
        say: told the network's note, and then others.
        notes: the others.
    """
    from nst_jax.pretrained.network import network_for  # late: it imports JAX

    found = network_for(
        settings.weights,
        convention=settings.loss.convention,
        normalised=settings.network.normalised,
        pool=settings.network.pool,
        padding=settings.network.padding,
        progress=download,
    )
    for note in filter(None, (found.note, *notes)):
        say(note)
    return found
