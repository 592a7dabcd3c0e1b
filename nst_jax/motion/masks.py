"""Where a flow can be trusted: the weights c of the temporal losses of Ruder et al. (2016).

A mask is ``(height, width)`` float32: 1 where what is seen in a frame was seen in the earlier one, too.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nst_jax.errors import ImageError
from nst_jax.images import FloatArray
from nst_jax.motion.warp import positions, warped

Truth = NDArray[np.bool_]


def consistent(forward: ArrayLike | None, backward: ArrayLike, *, unit: float = 1.0) -> FloatArray:
    """Return 1 where the backward flow can be trusted, else 0: at disocclusions, boundaries, and the border.

    It is 0 where `disoccluded` (Ruder et al. 2016, eq. 5) or `at_boundaries` (eq. 6) is true, and where the
    flow points out of the frame, of which the paper says nothing but its code does the same.

    Args:
        forward: flow of the earlier frame to this one, (height, width, 2); None: eq. 5 is left out.
        backward: flow of this frame to the earlier one.
        unit: pixels that the flow was estimated in, such as 4 for flow at 320 pixels of pictures of 1280.
            The paper's constants are squares of pixels of its own, full, size; an error of half a pixel
            where the flow was estimated is no disocclusion where it is used.

    Raises:
        ImageError: flows of different sizes, or arrays that are none.
    """
    trusted = within(backward) & ~at_boundaries(backward, unit=unit)
    if forward is not None:
        trusted &= ~disoccluded(forward, backward, unit=unit)
    return trusted.astype(np.float32)


def disoccluded(forward: ArrayLike, backward: ArrayLike, *, unit: float = 1.0) -> Truth:
    """Return where flow there and back does not meet: the earlier frame did not show what is there.

    ``|w~ + w^|^2 > 0.01 (|w~|^2 + |w^|^2) + 0.5`` with the backward flow w^ and the forward flow w as it is
    where that leads, ``w~(p) = w(p + w^(p))`` (Ruder et al. 2016, eq. 4 and 5).
    """
    back = np.asarray(backward, np.float32) / np.float32(unit)
    there = warped(forward, backward) / np.float32(unit)
    return np.asarray(_square(there + back) > 0.01 * (_square(there) + _square(back)) + 0.5)


def at_boundaries(backward: ArrayLike, *, unit: float = 1.0) -> Truth:
    """Return where the flow changes abruptly, and is hardly right to a pixel.

    ``|grad u|^2 + |grad v|^2 > 0.01 |w^|^2 + 0.002`` with central differences, one-sided at the border
    (Ruder et al. 2016, eq. 6). Gradients have no unit.
    """
    back = np.asarray(backward, np.float32)
    slopes = sum(_square(_gradient(back, axis)) for axis in (0, 1))
    return np.asarray(slopes > 0.01 * _square(back / np.float32(unit)) + 0.002)


def within(flow: ArrayLike) -> Truth:
    """Return where a flow points to a place between pixels of the frame."""
    rows, columns = positions(flow)
    height, width = rows.shape
    return np.asarray((rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1))


def minus_nearer(masks: Sequence[ArrayLike]) -> list[FloatArray]:
    """Return the masks of the long-term loss: each without what nearer frames account for.

    ``c_long(i-j, i) = max(c(i-j, i) - sum of c(i-k, i) over the nearer k < j, 0)`` (Ruder et al. 2016,
    on long-term consistency).

    Args:
        masks: c(i-j, i) for one or more j, the nearest frame first; (height, width) each.

    Raises:
        ImageError: masks of different sizes.
    """
    arrays = [np.asarray(mask, np.float32) for mask in masks]
    if len({array.shape for array in arrays}) > 1:
        sizes = ", ".join(" x ".join(map(str, array.shape)) for array in arrays)
        raise ImageError(f"masks of one frame must be of one size; these are {sizes}")
    sums = [np.sum(arrays[:number], axis=0, dtype=np.float32) for number in range(len(arrays))]
    return [np.maximum(array - nearer, np.float32(0)) for array, nearer in zip(arrays, sums, strict=True)]


def _square(vectors: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("hwc,hwc->hw", vectors, vectors))


def _gradient(flow: FloatArray, axis: int) -> FloatArray:
    """Return differences along an axis; a side of one pixel has none."""
    return np.zeros_like(flow) if flow.shape[axis] < 2 else np.asarray(np.gradient(flow, axis=axis))
