"""A frame between two painted ones, made of both."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from nst_jax.errors import ImageError
from nst_jax.images import FloatArray

SOFT = 1.5
"""Standard deviation in pixels of what the edges of masks are softened by: a hard one would be seen."""

LEAST = 1e-3
"""Trust that is left where a mask has none: where neither picture has any, both are used by their shares."""


def blended(
    before: ArrayLike, after: ArrayLike, trust_before: ArrayLike, trust_after: ArrayLike, share: float
) -> FloatArray:
    """Return ``(a A + b B) / (a + b)`` of two pictures, with ``a = (1 - s) c_A``, ``b = s c_B``, trusts c.

    Where only one of them can be trusted, it alone is seen; where both can, one goes over into the other.

    Args:
        before: the painted frame before, warped to where things are now, (height, width, 3).
        after: the one after, likewise.
        trust_before: 1 where the first can be trusted, else 0, (height, width).
        trust_after: the same of the second.
        share: s, of the second: how far the frame is on the way from one to the other, from 0 to 1.

    Raises:
        ImageError: sizes that differ, or a share that is none.
    """
    pictures = [np.asarray(each, np.float32) for each in (before, after)]
    masks = [np.asarray(each, np.float32) for each in (trust_before, trust_after)]
    if len({each.shape[:2] for each in (*pictures, *masks)}) > 1 or not 0 <= share <= 1:
        sizes = ", ".join(str(each.shape) for each in (*pictures, *masks))
        raise ImageError(f"pictures and masks of one size are blended by a share: {sizes}, share {share:g}")
    weights = [
        of * (ndimage.gaussian_filter(mask, SOFT, mode="nearest") * mask + LEAST)
        for of, mask in zip((1 - share, share), masks, strict=True)
    ]
    shares = weights / np.sum(weights, axis=0)
    return np.asarray(np.einsum("khw,khwc->hwc", shares, np.stack(pictures)), np.float32)
