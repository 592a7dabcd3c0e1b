"""The pictures of a run, and what follows from those that it lacks. There is no JAX here.

Pictures are RGB, shape ``(height, width, 3)``: float in [0, 1], or uint8 for 0 to 255. A fourth channel is
their alpha, not multiplied in: what is hidden takes the colours around it (`images.filled`), and parts of a
style count as much as they can be seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nst_jax import images
from nst_jax.architecture import VGG19, stride
from nst_jax.errors import ImageError, SettingError
from nst_jax.images import colour, maps
from nst_jax.settings import LONGEST, Settings

_DEEPEST = stride(VGG19.layers[-1])

Image = NDArray[np.float32]
Size = tuple[int, int]

Styles = ArrayLike | tuple[ArrayLike, ...]
"""A style image, or several."""

Maps = tuple[ArrayLike, ArrayLike]
"""Semantic maps of content and style."""

Init = str | ArrayLike | Mapping[str, Any]
"""A name of `settings.INIT_SOURCES`, an image, or a mapping of names (an image: ``image``) to shares."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where in the picture something is painted: masks in [0, 1], at any resolution."""

    keep: ArrayLike | None = None
    """What is left as it is in the content, ``(height, width)``."""
    strength: ArrayLike | None = None
    """How much the style's weight counts, likewise."""
    regions: ArrayLike | None = None
    """Where each of several styles is used, ``(height, width, styles)``."""
    maps: Maps | None = None
    """Semantic maps besides, as `stylize` takes them."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Earlier frames of a film, warped to where things are in the present one."""

    images: Image
    """``(frames, height, width, 3)`` in [0, 1]; where nothing can be trusted they are of no matter."""
    trust: Image
    """How far each can be trusted, ``(frames, height, width, 1)`` in [0, 1]."""
    weight: float
    """Of the temporal term, see `objective.temporal_distance`."""


_EVERYWHERE = Places()

PLACES = {"keep": "content.keep", "strength": "style.strength_map", "regions": "style.regions"}
"""The settings that name what `Places` has."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a run begins with; None for what it lacks."""

    content: ArrayLike | None = None
    style: Styles | None = None
    """A picture, or a tuple of several: ``style.shares`` are theirs."""
    content_map: ArrayLike | None = None
    """What is where in the picture to be made, ``(height, width, labels)`` in [0, 1], at any resolution."""
    style_map: ArrayLike | None = None
    """The same of the style, with as many labels."""
    init: Init | None = None
    """The first image; None: as the settings say."""
    colours: Image | None = None
    """The picture whose colours the result gets, if it is painted in greys; see `coloured`."""
    own_size: Size | None = None
    """Height and width of a content that was enlarged; see `sized`."""
    places: Places = _EVERYWHERE
    past: Frames | None = None
    """Of a film, at the size of the result."""


@dataclass(frozen=True, eq=False)
class Painting:
    """One style of a run, at the size that it is looked at."""

    image: Image
    alpha: Image | None = None
    """How much of each of its positions counts, ``(height, width, 1)``; None: all of each."""
    map: Image | None = None
    """Its semantic map, of the same size."""
    share: float = 1.0
    """Of all styles together, which add up to one."""
    canvas: Size | None = None
    """Height and width of the array at whose top left it is looked at; None: its own. See `canvases`."""


def each_style(pictures: Pictures) -> tuple[ArrayLike, ...]:
    """Return the styles of a run: none, one or several."""
    if pictures.style is None:
        return ()
    return pictures.style if isinstance(pictures.style, tuple) else (pictures.style,)


def shares_of(styles: int, settings: Settings) -> tuple[float, ...]:
    """Return the shares of so many styles, which add up to one: as settings say, or equal ones.

    Raises:
        SettingError: there are as many shares as there are no styles.
    """
    shares = settings.style.shares or (1.0,) * styles
    if len(shares) != styles:
        what = f"there are {len(shares)} for {styles} style{'s' * (styles != 1)}: give one for each"
        raise SettingError.at("style.shares", what)
    return tuple(share / sum(shares) for share in shares)


def is_texture(pictures: Pictures) -> bool:
    """Tell whether there is neither a content nor a map of it."""
    return pictures.content is None and pictures.content_map is None


def sized(pictures: Pictures, settings: Settings) -> Pictures:
    """Return pictures with content and styles at the sizes that they are compared at, or a grey stand-in.

    Raises:
        NstError: pictures or maps that cannot be used.
    """
    if pictures.content is None and pictures.style is None:
        raise SettingError.at("content, style", "there is neither; give at least one picture")
    styles = [cropped(style, settings) for style in each_style(pictures)]
    content = content_at(pictures, styles[0] if styles else None, settings)
    at_size = tuple(style_at(pictures, style, content, settings) for style in styles)
    own = None if pictures.content is None else own_size(np.shape(pictures.content), content)
    return replace(pictures, content=content, style=at_size or (content,), own_size=own)


def own_size(shape: tuple[int, ...], content: Image) -> Size | None:
    """Return the height and width that a content had if it is larger now."""
    return (shape[0], shape[1]) if shape[0] < content.shape[0] else None


def cropped(style: ArrayLike, settings: Settings) -> Image:
    """Return the part of a style that is looked at, with its alpha if anything shows through it."""
    return _visible(images.crop(_numbers(style, "style"), settings.style.crop), "style")


def content_at(pictures: Pictures, style: Image | None, settings: Settings) -> Image:
    """Return the content at the size of the result, or a grey picture of it.

    Without a content that size is ``settings.size``, or the map's, or that of the style, `cropped`. If the
    picture wraps, the sides of such a one are rounded down to multiples of VGG's largest stride, unless both
    are given; those that are given, and a content's, are kept, and fit or are refused.
    """
    content = _content(pictures, style, settings)
    if pictures.content_map is not None:
        maps.check_shape(np.asarray(pictures.content_map), content.shape[:2], "content")
    follows = pictures.content is None and not isinstance(settings.size, tuple)
    if follows and settings.network.padding == "wrap":
        content = images.canvas(*(max(_DEEPEST, side - side % _DEEPEST) for side in content.shape[:2]))
    return content


def style_at(pictures: Pictures, style: Image, content: Image, settings: Settings) -> Image:
    """Return the style, `cropped`, at the size that it is looked at; see `style_size`."""
    if pictures.style_map is not None:
        style_map = images.crop(pictures.style_map, settings.style.crop)
        maps.check_shape(style_map, style.shape[:2], "style")
    fit = settings.style.fit or ("own" if is_texture(pictures) else "content")
    size = content.shape[0], content.shape[1]
    if settings.style.scale_with == "preview":
        size = images.fit(*size, LONGEST)
    return images.resize(style, style_size(style.shape[:2], size, settings.style.scale, fit))


def coloured(pictures: Pictures, settings: Settings) -> Pictures:
    """Return pictures, `sized`, in the colours that they are compared in.

    ``content``: in greys, the style's lightness brought to mean and deviation of the content's; the result is
    to get the content's colours, see `shown`. ``matched``: the style's colours brought to mean and covariance
    of the content's. Parts of a style count as much as they can be seen.
    """
    if settings.colour == "style":
        return pictures
    content = np.asarray(pictures.content)
    light = colour.lightness(content) if settings.colour == "content" else None
    styles = tuple(_coloured(np.asarray(style), content, light) for style in each_style(pictures))
    if light is None:
        return replace(pictures, style=styles)
    init = pictures.init
    if not (init is None or isinstance(init, str | Mapping)):
        init = colour.grey(colour.lightness(as_image(init, "initial")[:, :, :3]))
    past = pictures.past
    if past is not None:
        greys = np.stack([colour.grey(colour.lightness(image)) for image in past.images])
        past = replace(past, images=greys)
    return replace(pictures, content=colour.grey(light), style=styles, init=init, colours=content, past=past)


def _coloured(style: Image, content: Image, light: Image | None) -> Image:
    """Return a style in the content's colours, or if its lightness is given in greys of that."""
    rgb, alpha = style[:, :, :3], style[:, :, 3:]
    visible = alpha if alpha.size else None
    if light is None:
        painting = np.clip(colour.matched(rgb, content, visible), 0, 1)
    else:
        painting = colour.grey(colour.matched(colour.lightness(rgb), light, visible))
    return np.concatenate([painting, alpha], -1)


def placed(places: Places, content: Image) -> tuple[Image | None, Image | None]:
    """Return how much the style counts at each place of a content, by regions, and what is left alone.

    Returns:
        ``(height, width, regions)``, or None for everywhere alike; ``(height, width, 1)``, or None.

    Raises:
        NstError: a mask of another shape than the content, or all of it is left alone.
    """
    size = content.shape[0], content.shape[1]
    given = {key: getattr(places, use) for use, key in PLACES.items()}
    keep, strength, regions = (
        None if values is None else place_at(values, size, key) for key, values in given.items()
    )
    where: Image | None = None
    for factor in (regions, strength, None if keep is None else 1 - keep):
        where = factor if where is None else where if factor is None else where * factor
    if where is not None and not where.any():
        what = "leave nothing of the picture to be styled: white is kept, and black gets no style"
        raise SettingError.at("content.keep, style.strength_map", what)
    return where, keep


def place_at(mask: ArrayLike, size: Size, name: str) -> Image:
    """Return a mask, or one for each region, at a content's size: ``(height, width, regions)`` in [0, 1].

    Raises:
        ImageError: it has another aspect ratio.
    """
    array = np.asarray(mask, np.float32)
    array = array[:, :, None] if array.ndim == 2 else array
    maps.check_shape(array, size, name)
    resize = images.resize_map if array.shape[2] > 1 else images.resize_smoothly  # regions stay whole
    fitting: Image = np.clip(resize(array, size), 0, 1)
    return fitting


def shown(image: Image, colours: Image | None, content: Image, keep: Image | None) -> Image:
    """Return an optimised image as it is shown: in the colours of a picture or its own, and parts left alone.

    Args:
        image: the image.
        colours: a picture, whose colours it gets; None: it has its own.
        content: what is there where nothing is painted, unless ``colours`` is.
        keep: 1 where nothing is painted, ``(height, width, 1)``.
    """
    painted = image if colours is None else colour.recoloured(image, colours)
    if keep is None:
        return painted
    photograph = content if colours is None else colours
    return photograph * keep + painted * (1 - keep)


def _content(pictures: Pictures, style: Image | None, settings: Settings) -> Image:
    size = settings.size
    if pictures.content is not None:
        content = as_image(pictures.content, "content")[:, :, :3]
        if size is None:
            return content
        return images.resize(content, _allowed(*bounded_size(content.shape, settings), settings))
    if isinstance(size, tuple):
        return images.canvas(*_allowed(size[1], size[0], settings))
    like = np.asarray(style if pictures.content_map is None else pictures.content_map)
    height, width = like.shape[:2]
    if size is not None:
        height, width = (max(1, round(side * size / max(like.shape[:2]))) for side in (height, width))
    elif pictures.content_map is None:
        height, width = images.fit(height, width, LONGEST)
    return images.canvas(*_allowed(height, width, settings))


def _allowed(height: int, width: int, settings: Settings) -> Size:
    """Return a size, or raise SettingError for one that is too large."""
    if height * width > settings.max_pixels:
        most = int(max(height, width) * (settings.max_pixels / (height * width)) ** 0.5)
        what = f"a picture of {width} x {height} has more than max_pixels, {settings.max_pixels}"
        raise SettingError.at("size", f"{what}: use at most {most}, or raise that")
    return height, width


def bounded_size(shape: tuple[int, ...], settings: Settings) -> Size:
    """Return height and width of a content of some shape within ``settings.size``, as large as it may be.

    It is not enlarged unless ``settings.enlarge``.
    """
    size = settings.size or LONGEST
    width, height = size if isinstance(size, tuple) else (size, size)
    scale = min(height / shape[0], width / shape[1])
    scale = scale if settings.enlarge else min(1.0, scale)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def style_size(style: tuple[int, ...], content: Size, scale: float = 1.0, fit: str = "content") -> Size:
    """Return the size to which a style image is resized.

    ``content``: the content's height and width times ``scale``, as in Gatys et al. (2016), section 3.
    ``aspect``: the content's area times ``scale`` squared, with the style's own aspect ratio.
    ``own``: its own height and width, the longer at most `settings.LONGEST`, times ``scale``.
    """
    height, width = images.fit(style[0], style[1], LONGEST) if fit == "own" else content
    if fit == "aspect":
        ratio = (height * width / (style[0] * style[1])) ** 0.5
        height, width = style[0] * ratio, style[1] * ratio
    return max(1, round(height * scale)), max(1, round(width * scale))


def as_image(image: ArrayLike, name: str) -> Image:
    """Return an image as float32 RGB in [0, 1], or RGBA if it is not opaque; uint8 is divided by 255.

    Raises:
        ImageError: another shape, values that are not finite or far outside [0, 1], or nothing to be seen.
    """
    return _visible(_numbers(image, name), name)


def _visible(numbers: Image, name: str) -> Image:
    rgb, alpha = numbers[:, :, :3], numbers[:, :, 3:]
    if np.all(alpha == 1):
        return rgb
    return np.concatenate([images.filled(rgb, alpha[:, :, 0], name), alpha], -1)


def _numbers(image: ArrayLike, name: str) -> Image:
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise ImageError(
            f"the {name} image has shape {array.shape}; it should be (height, width, 3), RGB, or 4 with alpha"
        )
    unit: Image = np.asarray(array, np.float32)
    if array.dtype == np.uint8:
        unit = unit / np.float32(255)
    low, high = float(np.min(unit)), float(np.max(unit))
    if not (low >= -0.5 and high <= 1.5):  # nor if one is no number
        raise ImageError(
            f"the {name} image has values from {low:g} to {high:g}; they should be in [0, 1], or uint8"
        )
    clipped: Image = unit if low >= 0 and high <= 1 else np.clip(unit, 0, 1)
    return clipped


def without(settings: Settings, *, content: bool, style: bool) -> Settings:
    """Return settings for a run that has no content or no style: nothing is compared with what is not there.

    The first image is noise where it would be a picture that is not there, or, without a style, the solution.

    Raises:
        SettingError: the run begins with a style that is not there, or has the colours of no content.
    """
    if not content and settings.colour != "style":
        what = f"{settings.colour} needs a content, and there is none: give one, or leave it at style"
        raise SettingError.at("colour", what)
    if not content:
        settings = settings.with_values({"content.weight": 0.0, "content.layers": ()})
    if not style:
        if settings.init == "style":
            raise SettingError.at("init", "is style, and there is none: use content, noise or a file")
        settings = settings.with_values({"style.weight": 0.0, "style.layers": ()})
    if settings.init == "content" and not (content and style):
        settings = settings.with_values({"init": "noise"})
    return settings
