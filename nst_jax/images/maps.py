"""Semantic maps (Champandard 2016): a content and a style map as channels that mean the same in both.

A map is an array (height, width, channels) in [0, 1] over its image, at any resolution. Either its channels
guide as they are, or its colours are labels, each of which becomes a channel.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import ImageError
from nst_jax.images.pictures import FloatArray

Kind = Literal["channels", "colours"]

MAX_LABELS = 64
_NEAR = 0.12
"""Colours no further apart than this (root mean square over channels) pass for one label."""

_SMALL, _LARGE = 0.002, 0.05
"""Shares of a map's pixels: a rarer colour is no label, a more frequent one always is."""

_INSIDE = 0.2
"""The share of a label's pixels that have only their own colour around them; blends at edges have few."""

_MANY_COLOURS, _MANY_CENTRES = 65536, 256
"""Limits to the search for labels, which only maps without flat colours reach."""

_LISTED = 8


def check_shape(map: FloatArray, image_shape: tuple[int, int], name: str) -> None:
    """Check that a map has the aspect ratio of its image, to 2 % or to a pixel of the map.

    Args:
        map: (height, width, channels).
        image_shape: the image's (height, width).
        name: whose map it is, for the message: ``content`` or ``style``.

    Raises:
        ImageError: the aspect ratios differ.
    """
    (height, width), (image_height, image_width) = map.shape[:2], image_shape
    fitting_height, fitting_width = width * image_height / image_width, height * image_width / image_height
    off = min(abs(height - fitting_height), abs(width - fitting_width))
    if off > 1 and abs(height / fitting_height - 1) > 0.02:
        raise ImageError(
            f"the {name} map is {width} x {height} pixels, its image {image_width} x {image_height}: "
            "both should have the same aspect ratio"
        )


def encoded(
    content: FloatArray, style: FloatArray, *, kind: Kind
) -> tuple[FloatArray, FloatArray, list[str]]:
    """Return both maps with channels that mean the same in both, and warnings, each of one line.

    ``channels`` leaves the maps as they are. ``colours`` makes a channel of each label, 1 where a pixel's
    colour is nearest to that label's and 0 elsewhere. Labels are the main colours of the style map, then
    those of the content map that the style map lacks. A main colour holds at least 0.2 % of the pixels, and
    not only along edges; in maps of more than 64 colours (anti-aliased, JPEG), similar ones count together.
    Colours are told apart to 8 bits.

    Args:
        content: (height, width, channels) in [0, 1].
        style: the same for the style, at its own size.
        kind: what guides, ``channels`` or ``colours``.

    Raises:
        ImageError: the maps differ in their number of channels, or have more than 64 labels.
    """
    check_channels(content, style)
    content_colours, content_pixels, content_counts = _distinct(content)
    style_colours, style_pixels, style_counts = _distinct(style)
    exact = kind == "colours" and max(len(content_colours), len(style_colours)) <= MAX_LABELS
    content_main, shares = _main(content_colours, content_pixels, content_counts, exact=exact)
    style_main, _ = _main(style_colours, style_pixels, style_counts, exact=exact)
    reach = min(_reach(content_main), _reach(style_main)) if exact else _NEAR
    lost = (_distance_to(style_main, content_main) > reach) & (shares >= _SMALL)
    warnings = _missing(content_main[lost], shares[lost])
    if kind == "channels":
        maps = np.asarray(content, np.float32), np.asarray(style, np.float32)
        constant = [bool((map == map[0, 0]).all()) for map in maps]
    else:
        labels = np.concatenate([style_main, content_main[lost]])
        if len(labels) > MAX_LABELS:
            raise ImageError(
                f"the maps have {len(labels)} colours between them, but at most {MAX_LABELS} can be labels: "
                "paint them in fewer flat colours, or use them as channels"
            )
        one_hot = np.eye(len(labels), dtype=np.float32)
        # A style map's edges may resemble a label that only the content has: they are no style for it.
        maps = (
            one_hot[_nearest(content_colours, labels)[content_pixels]],
            one_hot[_nearest(style_colours, style_main)[style_pixels]],
        )
        constant = [len(content_main) == 1, len(style_main) == 1]
    names = [name for name, is_constant in zip(("content", "style"), constant, strict=True) if is_constant]
    return *maps, [*warnings, *(f"the {name} map has one colour only: it guides nothing" for name in names)]


def regions(map: FloatArray) -> tuple[FloatArray, list[str]]:
    """Return where each main colour of a map is, and what they are called, from the darkest to the lightest.

    Args:
        map: (height, width, channels) in [0, 1].

    Returns:
        (height, width, colours), 1 where a colour is the nearest, else 0; see `encoded` for main colours.
    """
    colours, pixels, counts = _distinct(map)
    main, _ = _main(colours, pixels, counts, exact=len(colours) <= MAX_LABELS)
    main = main[np.argsort(main.mean(1), kind="stable")]
    one_hot = np.eye(len(main), dtype=np.float32)
    return one_hot[_nearest(colours, main)[pixels]], [_name(colour) for colour in main]


def check_channels(content: FloatArray, style: FloatArray) -> None:
    """Raise ImageError if two maps, ``(height, width, channels)``, differ in their number of channels."""
    counts = content.shape[2], style.shape[2]
    if counts[0] != counts[1]:
        words = [f"{count} channel{'s' if count > 1 else ''}" for count in counts]
        remedy = ": save both as RGB" if max(counts) <= 4 else ""
        raise ImageError(
            f"the content map has {words[0]}, the style map has {counts[1]}; "
            f"they should have equally many{remedy}"
        )


def _distinct(map: FloatArray) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.intp]]:
    """Return a map's colours (count, channels), which of them each pixel has, and how many pixels each has.

    Four channels at a time are packed into an integer, as sorting rows takes far longer.
    """
    height, width, channels = map.shape
    levels = np.rint(np.asarray(map, np.float32) * 255).astype(np.uint8).reshape(-1, channels)
    codes = np.zeros(height * width, np.uint64)
    for start in range(0, channels, 4):
        for channel in levels.T[start : start + 4]:
            codes = codes << np.uint64(8) | channel
        _, first, indices, counts = np.unique(
            codes, return_index=True, return_inverse=True, return_counts=True
        )
        codes = indices.astype(np.uint64)
    return np.asarray(levels[first] / np.float32(255), np.float32), indices.reshape(height, width), counts


def _main(
    colours: FloatArray, pixels: NDArray[np.intp], counts: NDArray[np.intp], *, exact: bool
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Return the main colours, the most frequent first, and the share of pixels of each.

    Where none stands out, as in noise, all are main.
    """
    owners = np.arange(len(colours)) if exact else _owners(colours, counts)
    owned = owners[pixels]
    totals = np.bincount(owners, counts, minlength=len(colours))
    inside = np.bincount(owned[_surrounded(owned)], minlength=len(colours))
    shares = totals / pixels.size
    main = (shares >= _LARGE) | ((shares >= _SMALL) & (inside >= _INSIDE * totals))
    order = np.argsort(-totals, kind="stable")
    order = order[main[order] if main.any() else totals[order] > 0][:_MANY_CENTRES]
    return colours[order], shares[order]


def _owners(colours: FloatArray, counts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each colour the index of the more frequent one that it passes for, or its own."""
    owners = np.arange(len(colours))
    rest = np.argsort(-counts, kind="stable")[:_MANY_COLOURS]
    for _ in range(_MANY_CENTRES):
        if not len(rest):
            break
        near = _distance(colours[rest], colours[rest[0]]) <= _NEAR
        owners[rest[near]] = rest[0]
        rest = rest[~near]
    return owners


def _surrounded(labels: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which pixels have their own label on all eight sides; beyond the border it goes on."""
    height, width = labels.shape
    padded = np.pad(labels, 1, mode="edge")
    same = np.ones(labels.shape, np.bool_)
    for y in range(3):
        for x in range(3):
            same &= padded[y : y + height, x : x + width] == labels
    return same


def _distance(colours: FloatArray, colour: FloatArray) -> FloatArray:
    distance: FloatArray = np.sqrt(np.square(colours - colour).mean(axis=-1))
    return distance


def _distance_to(labels: FloatArray, colours: FloatArray) -> FloatArray:
    """Return how far each colour is from the label nearest to it."""
    return np.array([np.min(_distance(labels, colour)) for colour in colours], np.float32)


def _nearest(colours: FloatArray, labels: FloatArray) -> NDArray[np.intp]:
    nearest, least = np.zeros(len(colours), np.intp), np.full(len(colours), np.inf, np.float32)
    for index, label in enumerate(labels):
        distance = _distance(colours, label)
        nearest[distance < least] = index
        least = np.minimum(least, distance)
    return nearest


def _reach(labels: FloatArray) -> float:
    """Return how far a colour may be from a label to pass for it: less than half of the way to the next."""
    gaps = [np.min(_distance(labels[i + 1 :], label)) for i, label in enumerate(labels[:-1])]
    return min([_NEAR, *(0.49 * float(gap) for gap in gaps)])


def _missing(colours: FloatArray, shares: NDArray[np.float64]) -> list[str]:
    """Return warnings of colours that the style map lacks; only the most frequent are named."""
    named = list(zip(map(_name, colours[:_LISTED]), shares[:_LISTED], strict=True))
    if rest := len(colours[_LISTED:]):
        named.append((f"{rest} more colour{'s' if rest > 1 else ''}", shares[_LISTED:].sum()))
    return [
        f"the content map has {name} on {_percent(share)} of its pixels, which the style map does not have"
        for name, share in named
    ]


def _name(colour: FloatArray) -> str:
    if len(colour) in (1, 3, 4):
        levels = colour.repeat(3) if len(colour) == 1 else colour
        return "#" + "".join(f"{round(float(value) * 255):02x}" for value in levels)
    return str(tuple(round(float(value), 2) for value in colour))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.1f} %"
