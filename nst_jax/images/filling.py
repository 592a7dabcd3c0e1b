"""Transparent parts of a picture: what is behind them is not seen, and must not count."""

import numpy as np

from nst_jax.errors import ImageError
from nst_jax.images.pictures import FloatArray
from nst_jax.images.sizes import resize_smoothly


def filled(rgb: FloatArray, alpha: FloatArray, name: str) -> FloatArray:
    """Return a picture whose hidden pixels, those of alpha 0, have colours of their surroundings.

    The colours that a file keeps there have no influence. Averages over ever larger squares, each colour
    weighed by its alpha, fill what smaller ones leave open: the pull-push of Gortler et al., "The lumigraph"
    (SIGGRAPH 1996).

    Args:
        rgb: (height, width, 3).
        alpha: (height, width), in [0, 1].
        name: of the picture, for messages.

    Raises:
        ImageError: all is hidden.
    """
    hidden = alpha <= 0
    if hidden.all():
        raise ImageError(f"the {name} image is transparent everywhere: nothing of it can be seen")
    if not hidden.any():
        return rgb
    spread = _spread(rgb * alpha[:, :, None], alpha[:, :, None])
    return np.asarray(np.where(hidden[:, :, None], np.clip(spread, 0, 1), rgb), np.float32)


def _spread(colours: FloatArray, weight: FloatArray) -> FloatArray:
    """Return colours by their weight; as far as that is below 1, what half the size has there."""
    known = np.minimum(weight, 1)
    plain = np.asarray(colours / np.where(weight > 0, weight, 1), np.float32)
    if known.min() == 1 or weight.size == 1:
        return plain
    height, width = weight.shape[:2]
    coarse = _spread(_halved(colours), _halved(weight))
    wide = resize_smoothly(coarse, (2 * coarse.shape[0], 2 * coarse.shape[1]))[:height, :width]
    return np.asarray(wide + known * (plain - wide), np.float32)


def _halved(array: FloatArray) -> FloatArray:
    """Return the sums over squares of two by two, as if there were zeros beyond the border."""
    height, width, channels = array.shape
    even = np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)))
    squares = even.reshape((height + 1) // 2, 2, (width + 1) // 2, 2, channels)
    return np.asarray(squares.sum((1, 3)), np.float32)
