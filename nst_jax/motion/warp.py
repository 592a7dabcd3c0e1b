"""Pictures moved by a flow."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from nst_jax.errors import ImageError
from nst_jax.images import FloatArray


def warped(image: ArrayLike, flow: ArrayLike, *, wrap: bool = False) -> FloatArray:
    """Return ``image(p + flow(p))`` at each pixel p, bilinear between pixels: omega of Ruder et al. (2016).

    Flows of whole pixels copy values exactly. Several pictures, or maps and flows, are warped alike: the
    result is linear in ``image``.

    Args:
        image: (height, width) or (height, width, channels), such as the frame before.
        flow: (height, width, 2), in pixels down and to the right, such as from this frame to that one.
        wrap: whether beyond the border lies the other side, as on a torus, or the nearest pixel.

    Raises:
        ImageError: shapes that do not belong together.
    """
    array = np.asarray(image, np.float32)
    places = positions(flow)
    if array.ndim not in (2, 3) or array.shape[:2] != places.shape[1:]:
        raise ImageError(
            f"a flow of {places.shape[1]} x {places.shape[2]} pixels cannot warp an image of shape"
            f" {array.shape}: they must be of one size"
        )
    channels = array[:, :, None] if array.ndim == 2 else array
    found = np.empty(channels.shape, np.float32)
    for channel in range(channels.shape[2]):
        found[:, :, channel] = ndimage.map_coordinates(
            channels[:, :, channel], places, order=1, mode="grid-wrap" if wrap else "nearest"
        )
    return found.reshape(array.shape)


def chained(flow: ArrayLike, earlier: ArrayLike) -> FloatArray:
    """Return the flow to a frame further back: ``flow(p) + earlier(p + flow(p))``.

    Args:
        flow: of frame i to an earlier one j, (height, width, 2).
        earlier: of frame j to one before it.

    Raises:
        ImageError: they differ in size.
    """
    return np.asarray(flow, np.float32) + warped(earlier, flow)


def positions(flow: ArrayLike) -> NDArray[np.float64]:
    """Return ``p + flow(p)``, (2, height, width): rows, then columns.

    Raises:
        ImageError: it has not the shape of a flow.
    """
    array = np.asarray(flow, np.float64)
    if array.ndim != 3 or array.shape[2] != 2 or array.size == 0:
        raise ImageError(f"a flow has shape (height, width, 2); this one has {array.shape}")
    rows, columns = np.ogrid[: array.shape[0], : array.shape[1]]
    return np.stack([array[:, :, 0] + rows, array[:, :, 1] + columns])
