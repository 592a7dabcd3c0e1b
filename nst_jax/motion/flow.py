"""Optical flow between two frames, estimated at a reduced size.

References: Zach, Pock & Bischof, "A duality based approach for realtime TV-L1 optical flow" (2007), as in
scikit-image; Kroeger, Timofte, Dai & Van Gool, "Fast optical flow using dense inverse search" (2016), as in
OpenCV.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nst_jax.errors import ConfigError, ImageError, did_you_mean
from nst_jax.images import FloatArray, bounded
from nst_jax.motion.warp import warped

LONGEST = 320
"""Pixels of the longer side at which flow is estimated."""

SMALLEST = 16
"""Pixels that a side has at least when flow is estimated; shorter pictures are continued."""

TVL1 = {"attachment": 30.0, "tightness": 0.3, "num_warp": 5, "num_iter": 10}
"""Of scikit-image's function; its own attachment, 15, does not follow a turn or a zoom as well."""

CONTRAST = 0.25
"""The standard deviation of both grey pictures together, which attachment is relative to."""

NOISE = 0.02
"""Contrast below this is not enlarged further."""

_REACH = 6.0
"""Standard deviation in pixels of the surroundings of a detail, in small pictures."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def flow(before: ArrayLike, after: ArrayLike, *, longest: int = LONGEST, method: str = "tvl1") -> FloatArray:
    """Return where each pixel of ``after`` was in ``before``: (dy, dx), so that `warped` makes one the other.

    The pictures are reduced to grey ones of at most ``longest`` pixels; what is found is enlarged linearly
    and multiplied. A change of exposure is taken away before. Where the two are equal in eight bits and the
    flow is below half a pixel, it is 0: what stands still is not moved by noise of what moves elsewhere.

    Mean error on known motion of frames of 320 x 180, in pixels, and seconds on one core: ``tvl1`` 0.16 and
    0.32, at 160 pixels 0.26 and 0.11; ``dis`` 0.28 and 0.01, at 160 pixels 0.53 (benchmarks/flow.py).

    Args:
        before: (height, width, 3) or (height, width), in [0, 1].
        after: the same.
        longest: pixels of the longer side, at least 16.
        method: ``tvl1`` of scikit-image, or ``dis`` of OpenCV, which are only needed here.

    Returns:
        (height, width, 2) float32, in pixels of the pictures as they were given.

    Raises:
        ImageError: pictures of different sizes, or with values that are not numbers.
        ConfigError: an unknown method, one whose library is not installed, or too small a size.
    """
    if method not in METHODS:
        hint = did_you_mean(method, METHODS)
        raise ConfigError(f"'{method}' is not a method of optical flow{hint}; allowed: {', '.join(METHODS)}")
    if longest < SMALLEST:
        raise ConfigError(f"flow cannot be estimated at {longest} pixels: at least {SMALLEST}")
    pictures = pair(before, after)
    small = [bounded(grey(each), longest) for each in pictures]
    found = scaled(_within_sides(METHODS[method], *small), pictures[0].shape[:2])
    found[_still(*pictures) & (np.abs(found).max(-1) < 0.5)] = 0
    return found


def scaled(flow: ArrayLike, size: tuple[int, int]) -> FloatArray:
    """Return a flow for pictures of another ``size`` = (height, width): linear in between, and multiplied.

    Raises:
        ImageError: a size is less than 1, or an array that is no flow.
    """
    array = np.array(flow, np.float32)
    if array.ndim != 3 or array.shape[2] != 2 or min(*array.shape, *size) < 1:
        raise ImageError(f"a flow of shape {array.shape} cannot be scaled to {size[0]} x {size[1]}")
    if array.shape[:2] == tuple(size):
        return array
    factors = np.divide(size, array.shape[:2])
    # The middle of pixel i is at i + 1/2 of either size.
    places = [(np.arange(n) + 0.5) / factor - 0.5 for n, factor in zip(size, factors, strict=True)]
    grid = np.meshgrid(*places, indexing="ij")
    between = partial(ndimage.map_coordinates, coordinates=grid, order=1, mode="nearest")
    return np.stack([between(array[:, :, axis]) * np.float32(factors[axis]) for axis in (0, 1)], -1)


def grey(picture: FloatArray) -> FloatArray:
    """Return the brightness of a picture, (height, width)."""
    return picture if picture.ndim == 2 else np.asarray(picture @ _LUMA)


def details(picture: FloatArray) -> FloatArray:
    """Return what differs from the surroundings, relative to how much things differ there.

    ``0.2 (g - blur(g)) / sqrt(blur((g - blur(g))^2) + 0.02^2)`` of a grey picture g, (height, width), with a
    Gaussian blur of 6 pixels: for pictures of about 80.
    """
    found = picture - ndimage.gaussian_filter(picture, _REACH)
    spread = np.sqrt(ndimage.gaussian_filter(found * found, _REACH) + NOISE**2)
    return np.asarray(found / spread * 0.2, np.float32)


def checked(picture: ArrayLike) -> FloatArray:
    """Return a picture as an array of float32.

    Raises:
        ImageError: another shape than a picture has, or values that are not numbers.
    """
    array = np.asarray(picture, np.float32)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(
            f"a frame has shape (height, width, 3) or (height, width); this one has {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ImageError("a frame holds values that are not numbers")
    return array


def pair(before: ArrayLike, after: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return two frames as arrays, see `checked`.

    Raises:
        ImageError: frames of different sizes, or one that is none.
    """
    frames = checked(before), checked(after)
    if frames[0].shape != frames[1].shape:
        shapes = " and ".join(str(each.shape) for each in frames)
        raise ImageError(f"flow is between pictures of one size; these have shapes {shapes}")
    return frames


def _tvl1(before: FloatArray, after: FloatArray) -> FloatArray:
    gain = _gain(before, after)
    contrast = np.sqrt((before.var() + after.var()) / 2)
    scale = np.float32(CONTRAST / max(contrast, NOISE))
    return _solved(before * (scale * np.float32(gain)), after * scale)


def _solved(before: FloatArray, after: FloatArray) -> FloatArray:
    try:
        from skimage.registration import optical_flow_tvl1
    except ImportError:
        raise ConfigError("optical flow by tvl1 needs scikit-image: pip install 'nst_jax[video]'") from None
    return np.moveaxis(optical_flow_tvl1(after, before, **TVL1), 0, -1)


def _gain(before: FloatArray, after: FloatArray) -> float:
    """Return how much brighter ``after`` is, by the median ratio of what small pictures have in common.

    What enters or leaves the frame would spoil a ratio of means or of places. So the small pictures are
    warped first, by the flow of their details alone, of which exposure takes nothing away.
    """
    small = [bounded(each, _GLANCE) for each in (before, after)]
    rough = _within_sides(lambda *pair: _solved(*map(details, pair)), *small)
    there, here = warped(small[0], rough), small[1]
    bright = np.minimum(there, here) > _DARK
    gain = float(np.median(here[bright] / there[bright])) if bright.any() else 1.0
    return gain if abs(gain - 1) > _SAME_EXPOSURE else 1.0


_GLANCE, _DARK, _SAME_EXPOSURE = 80, 0.04, 0.01
"""Pixels of small pictures; what has no ratio worth speaking of; a gain that is none."""


def _dis(before: FloatArray, after: FloatArray) -> FloatArray:
    try:
        import cv2
    except ImportError:
        raise ConfigError("optical flow by dis needs OpenCV: pip install 'nst_jax[dis]'") from None
    levels = [np.asarray(np.clip(each, 0, 1) * 255 + 0.5, np.uint8) for each in (after, before)]
    estimate = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # It gives x before y. None: it begins with no motion.
    return np.asarray(estimate.calc(*levels, None)[:, :, ::-1], np.float32)


Estimate = Callable[[FloatArray, FloatArray], FloatArray]

METHODS: dict[str, Estimate] = {"tvl1": _tvl1, "dis": _dis}
"""Backward flow between grey pictures of a side of at least `SMALLEST`."""


def _within_sides(estimate: Estimate, before: FloatArray, after: FloatArray) -> FloatArray:
    """Estimate flow of pictures that are continued by their last pixels where they are too small."""
    height, width = before.shape
    missing = [(0, max(0, SMALLEST - side)) for side in (height, width)]
    return estimate(*(np.pad(each, missing, mode="edge") for each in (before, after)))[:height, :width]


def _still(before: FloatArray, after: FloatArray) -> NDArray[np.bool_]:
    """Return where nothing changes, with two pixels on all sides: (height, width) of truth values."""
    change = np.abs(before - after)
    change = change if change.ndim == 2 else change.max(-1)
    return np.asarray(ndimage.maximum_filter(change, 5, mode="nearest") < 0.5 / 255)
