"""The size of a picture: what fits, and resampling to it."""

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from nst_jax.errors import ImageError
from nst_jax.images.pictures import FloatArray, to_unit


def fit(height: int, width: int, longest: int) -> tuple[int, int]:
    """Return the (height, width) of a picture whose longer side is at most ``longest``, at the same aspect.

    A smaller picture keeps its size.

    Raises:
        ImageError: a size is less than 1.
    """
    if min(height, width, longest) < 1:
        raise ImageError(
            f"cannot fit a picture of {height} x {width} into {longest} pixels: sizes start at 1"
        )
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: ArrayLike, size: tuple[int, int], *, wrap: bool = False) -> FloatArray:
    """Resample to ``size`` = (height, width) with a Lanczos window of 3 lobes, widened when shrinking.

    Values are float32 throughout, and clipped to [0, 1] as the window over- and undershoots at edges.

    Args:
        image: (height, width) or (height, width, channels), in [0, 1].
        size: the new height and width.
        wrap: whether beyond the border lies the other side, as on a torus, or nothing.

    Raises:
        ImageError: a size is less than 1.
    """
    height, width = np.shape(image)[:2]
    if not wrap or (height, width) == tuple(size):
        return _resized(image, size, Image.Resampling.LANCZOS, "picture")
    tiles = np.concatenate(3 * [np.concatenate(3 * [np.asarray(image)], 0)], 1)
    middle = (width, height, 2 * width, 2 * height)
    return _resized(tiles, size, Image.Resampling.LANCZOS, "picture", middle)


def bounded(image: ArrayLike, longest: int) -> FloatArray:
    """Resample to at most ``longest`` pixels on the longer side, see `fit` and `resize`."""
    height, width = np.shape(image)[:2]
    return resize(image, fit(height, width, longest))


def resize_map(map: ArrayLike, size: tuple[int, int]) -> FloatArray:
    """Resample to ``size`` = (height, width): the average over an area when shrinking, else the nearest.

    Raises:
        ImageError: a size is less than 1.
    """
    return _resized(map, size, Image.Resampling.BOX, "map")


def resize_smoothly(image: ArrayLike, size: tuple[int, int]) -> FloatArray:
    """Resample to ``size`` = (height, width) linearly between pixels: nothing over- or undershoots.

    Raises:
        ImageError: a size is less than 1.
    """
    return _resized(image, size, Image.Resampling.BILINEAR, "picture")


def turned(image: ArrayLike, degrees: float, scale: float) -> FloatArray:
    """Return the largest rectangle of an image turned about its middle, then scaled.

    It has the image's aspect ratio and none of what turning brings in from beyond the border.

    Args:
        image: (height, width, channels), in [0, 1].
        degrees: anticlockwise.
        scale: size of the result relative to that rectangle.
    """
    array = np.asarray(image, np.float32)
    height, width = array.shape[:2]
    sine, cosine = abs(np.sin(np.radians(degrees))), abs(np.cos(np.radians(degrees)))
    share = min(height / (height * cosine + width * sine), width / (width * cosine + height * sine))
    rows, columns = max(1, int(height * share)), max(1, int(width * share))
    top, left = (height - rows) // 2, (width - columns) // 2
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channel)).rotate(degrees, Image.Resampling.BICUBIC))
        for channel in np.moveaxis(array, -1, 0)
    ]
    inner = (
        np.stack(channels, -1)[top : top + rows, left : left + columns]
        if channels
        else array[:rows, :columns]
    )
    return resize(to_unit(inner), (max(1, round(rows * scale)), max(1, round(columns * scale))))


def canvas(height: int, width: int) -> FloatArray:
    """Return a grey picture: a stand-in for one that is missing but whose size is known."""
    return np.full((height, width, 3), 0.5, np.float32)


def crop(image: ArrayLike, box: tuple[float, float, float, float] | None) -> FloatArray:
    """Return the part of a picture or map within left, top, right and bottom, given as shares from 0 to 1."""
    array = np.asarray(image, np.float32)
    if box is None:
        return array
    height, width = array.shape[:2]
    left, right = (min(round(share * width), width - 1 + end) for end, share in enumerate(box[::2]))
    top, bottom = (min(round(share * height), height - 1 + end) for end, share in enumerate(box[1::2]))
    return array[top : max(bottom, top + 1), left : max(right, left + 1)]


def middle_square(image: ArrayLike, side: int) -> FloatArray:
    """Return the largest square in the middle of an image, resampled to ``side`` pixels."""
    array = np.asarray(image, np.float32)
    height, width = array.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return resize(array[top : top + edge, left : left + edge], (side, side))


Box = tuple[int, int, int, int]
"""Left, top, right and bottom of a part, in pixels."""


def _resized(
    image: ArrayLike, size: tuple[int, int], window: Image.Resampling, name: str, part: Box | None = None
) -> FloatArray:
    """Resample an image, or a part of it, whose edges then see what lies around it."""
    array = np.asarray(image, np.float32)
    if min(size) < 1:
        raise ImageError(f"cannot resize a {name} to {size[0]} x {size[1]}: sizes start at 1")
    if array.shape[:2] == tuple(size) and part is None:
        return array
    if array.ndim == 2:
        return _resampled(array, size, window, part)
    found = np.empty((*size, array.shape[2]), np.float32)
    for channel in range(array.shape[2]):
        found[:, :, channel] = _resampled(array[:, :, channel], size, window, part)
    return found


def _resampled(
    channel: FloatArray, size: tuple[int, int], window: Image.Resampling, part: Box | None
) -> FloatArray:
    image = Image.fromarray(np.ascontiguousarray(channel))
    return to_unit(np.asarray(image.resize((size[1], size[0]), window, part)))
