"""What is optimised: an image's pixels, or the bands of its Laplacian pyramid, of which the image is the sum.

A step along all bands at once changes large shapes as readily as single pixels: Kolkin, Salavon &
Shakhnarovich, "Style transfer by relaxed optimal transport and self-similarity" (2019), implementation
details; the pyramid is that of Burt & Adelson, "The Laplacian pyramid as a compact image code" (1983).

Images are ``(height, width, channels)``. Bands are one array ``(positions, channels)``, the finest first, so
that every solver takes them; the sizes of all, `Bands`, say what lies where. Without bands, pixels are meant.
"""

import jax
import jax.numpy as jnp
from jax import Array

Bands = tuple[tuple[int, int], ...]
"""Height and width of each band, the finest first."""

MOST = 6
"""Five bands of detail, and what is left of the image, as in the paper's code."""


def bands_of(shape: tuple[int, int], *, wrap: bool = False) -> Bands:
    """Return the sizes of an image's bands, each half the one before, rounded up.

    There are `MOST`, or fewer where a side would be of one pixel; of an image that wraps, only even sides are
    halved.
    """
    found = [(shape[0], shape[1])]
    while len(found) < MOST and min(found[-1]) > 2 and not (wrap and any(side % 2 for side in found[-1])):
        height, width = found[-1]
        found.append((-(-height // 2), -(-width // 2)))
    return tuple(found)


def nbytes(bands: Bands, shape: tuple[int, ...]) -> int:
    """Return the bytes of what is optimised of an RGB image of some shape, in float32."""
    return 3 * 4 * sum(height * width for height, width in bands or [(shape[0], shape[1])])


def packed(image: Array, bands: Bands, *, wrap: bool = False) -> Array:
    """Return the bands of an image, each times 2^i: b_i = I_i - up(I_(i+1)), and I_i itself of the last.

    I_(i+1) has the means of 2 x 2 pixels of I_i. Differs from the paper, where bands are as they are: what a
    pixel of b_i becomes in the image has about 2^i times its length, and so has its gradient. Adam does
    without, but L-BFGS begins with a step along the gradient.
    """
    if not bands:
        return image
    found = []
    for i, size in enumerate(bands[:-1]):
        smaller = _halved(image)
        found.append(2.0**i * (image - _doubled(smaller, size, wrap=wrap)))
        image = smaller
    found.append(2.0 ** len(found) * image)
    return jnp.concatenate([band.reshape(-1, band.shape[-1]) for band in found])


def picture(x: Array, bands: Bands, *, wrap: bool = False) -> Array:
    """Return the image whose bands these are: I_i = b_i + up(I_(i+1)). It inverts `packed`, and is linear."""
    if not bands:
        return x
    *finer, coarsest = (band / 2**i for i, band in enumerate(unpacked(x, bands)))
    image: Array = coarsest
    for band in reversed(finer):
        image = band + _doubled(image, (band.shape[0], band.shape[1]), wrap=wrap)
    return image


def unpacked(x: Array, bands: Bands) -> list[Array]:
    """Return each of the bands as an image, times 2^i as they are."""
    found, begin = [], 0
    for height, width in bands:
        found.append(x[begin : begin + height * width].reshape(height, width, x.shape[-1]))
        begin += height * width
    return found


def resized(x: Array, before: Bands, bands: Bands, shape: tuple[int, ...]) -> Array:
    """Return what belongs to each variable for an image of another size, linearly between positions.

    Bands correspond by their distance to the finest.

    Args:
        x: of the size before, of the shape of its variables.
        before: the bands of that size.
        bands: of the other.
        shape: of the other's variables.
    """
    if not bands:
        return _stretched(x, (shape[0], shape[1]))
    known = unpacked(x, before)
    found = [_stretched(known[min(i, len(known) - 1)], size) for i, size in enumerate(bands)]
    return jnp.concatenate([band.reshape(-1, shape[-1]) for band in found])


def _stretched(image: Array, size: tuple[int, int]) -> Array:
    found: Array = jax.image.resize(image, (*size, image.shape[-1]), "linear", antialias=False)
    return found


def _halved(image: Array) -> Array:
    """Return the means of 2 x 2 pixels; a last row or column alone is its own mean."""
    for axis in (0, 1):
        odd = [(0, image.shape[axis] % 2 if axis == each else 0) for each in range(3)]
        a = jnp.moveaxis(jnp.pad(image, odd, mode="edge"), axis, 0)
        image = jnp.moveaxis((a[::2] + a[1::2]) / 2, 0, axis)
    return image


def _doubled(image: Array, size: tuple[int, int], *, wrap: bool) -> Array:
    """Return an image enlarged twice, linearly between the centres of pixels, and cut to a size."""
    for axis in (0, 1):
        around = [(int(axis == each),) * 2 for each in range(3)]
        wider = jnp.pad(image, around, mode="wrap" if wrap else "edge")
        a, b, c = (jax.lax.slice_in_dim(wider, i, i + image.shape[axis], axis=axis) for i in range(3))
        pairs = jnp.stack([a + 3 * b, 3 * b + c], axis + 1) / 4
        longer = [side * (1 + (axis == each)) for each, side in enumerate(image.shape)]
        image = jax.lax.slice_in_dim(pairs.reshape(longer), 0, size[axis], axis=axis)
    return image
