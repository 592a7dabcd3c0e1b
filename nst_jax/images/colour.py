"""Colours: lightness apart from hue, and the colours of one picture given to another.

Oklab is a space in which equal steps look equal: L is lightness, 0 of black and 1 of white, a goes from green
to red, b from blue to yellow, and a grey has neither (Ottosson, "A perceptual color space for image
processing", 2020). Both ways to preserve colours are those of Gatys, Bethge, Hertzmann & Shechtman,
"Preserving color in neural artistic style transfer" (2016); where they differ from the paper it is said.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nst_jax.images.pictures import FloatArray, strips
from nst_jax.images.sizes import resize

Exact = NDArray[np.float64]

_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
"""From linear sRGB to the responses of the eye's cones."""

_OPPONENTS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
"""From their cube roots to L, a and b."""

_LINEAR, _LAB = np.linalg.inv(_CONES), np.linalg.inv(_OPPONENTS)

_BEYOND = 1e-12
"""Linear light so far outside [0, 1] is rounding."""

_HALVINGS = 16
"""Chroma is reduced to the most that can be shown, but for the share that so many halvings leave."""

FAINT = 0.01
"""Deviations of less count as this much: the noise of a grey painting is not to be stretched into colours."""


# Oklab.


def oklab(rgb: FloatArray | Exact) -> Exact:
    """Return sRGB colours, ``(..., 3)`` in [0, 1], as L, a and b."""
    return from_linear(_decoded(np.asarray(rgb, np.float64)))


def from_linear(light: Exact) -> Exact:
    """Return linear sRGB colours as L, a and b; colours that no display shows are allowed."""
    found: Exact = np.cbrt(light @ _CONES.T) @ _OPPONENTS.T
    return found


def linear(lab: Exact) -> Exact:
    """Return Oklab colours in linear sRGB, outside of [0, 1] where no display shows them."""
    found: Exact = ((lab @ _LAB.T) ** 3) @ _LINEAR.T
    return found


def in_gamut(lab: Exact) -> Exact:
    """Return Oklab colours in sRGB, with less chroma where no display shows them.

    Lightness and hue are kept, and as much of a and b as there is room for: to cut off the channels would
    change all three. Black and white have no room for any.
    """
    light = linear(lab)
    outside = ~_fits(light)
    if outside.any():
        light[outside] = linear(_paler(lab[outside]))
    return _encoded(np.clip(light, 0, 1))


def _fits(light: Exact) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = np.all((light >= -_BEYOND) & (light <= 1 + _BEYOND), axis=-1)
    return inside


def _paler(lab: Exact) -> Exact:
    """Return colours ``(count, 3)`` with the greatest share of their chroma with which they can be shown."""
    lightness, chroma = np.clip(lab[:, :1], 0, 1), lab[:, 1:]
    share, step = np.zeros((len(lab), 1)), 1.0
    for _ in range(_HALVINGS):
        step /= 2
        tried = np.hstack([lightness, (share + step) * chroma])
        share += step * _fits(linear(tried))[:, None]
    return np.hstack([lightness, share * chroma])


def _decoded(rgb: Exact) -> Exact:
    """Return sRGB in linear light (IEC 61966-2-1)."""
    found: Exact = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    return found


def _encoded(light: Exact) -> Exact:
    found: Exact = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return found


# Lightness alone.


def lightness(rgb: FloatArray) -> FloatArray:
    """Return a picture's L, ``(height, width, 1)``."""
    return _in_strips(lambda strip: oklab(strip)[..., :1], rgb)


def grey(lightness: FloatArray) -> FloatArray:
    """Return the grey picture of an L, ``(height, width, 1)``; what lies outside of [0, 1] is cut off."""
    return _in_strips(lambda strip: np.repeat(_encoded(np.clip(strip, 0.0, 1.0) ** 3), 3, axis=-1), lightness)


def recoloured(picture: FloatArray, colours: FloatArray) -> FloatArray:
    """Return a picture's lightness in the colours of another, which is resized to it; see `in_gamut`.

    Differs from the paper: a and b of Oklab in place of I and Q of YIQ, whose Y is no measure of how light a
    saturated colour looks.
    """

    def strip(ours: FloatArray, theirs: FloatArray) -> Exact:
        return in_gamut(np.concatenate([oklab(ours)[..., :1], oklab(theirs)[..., 1:]], axis=-1))

    height, width = picture.shape[:2]
    return _in_strips(strip, picture, resize(colours, (height, width)))


# Means and covariances.


def matched(picture: FloatArray, like: FloatArray, visible: FloatArray | None = None) -> FloatArray:
    """Return a picture whose values have mean and covariance of another's; it may leave [0, 1].

    x -> A x + b with A = S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2, of covariances S and C: the Monge map. Of all
    affine maps that do, it moves colours least; as it is symmetric, it stretches them and does not turn them.
    Differs from the paper: its C^1/2 S^-1/2 turns them too, where S and C do not commute. Of one channel,
    such as lightness, both are the ratio of the standard deviations. Where the picture hardly varies, by less
    than `FAINT` in some direction, it stays short of the other; one of a single colour remains so.

    Args:
        picture: ``(height, width, channels)``.
        like: the other, with as many channels.
        visible: ``(height, width, 1)``: how much each of the picture's positions counts; None: all alike.
    """
    mean, covariance = moments(picture, visible)
    wanted, like_covariance = moments(like)
    matrix = _monge(covariance, like_covariance)
    return _in_strips(lambda strip: (strip - mean) @ matrix + wanted, picture)


def moments(picture: FloatArray, visible: FloatArray | None = None) -> tuple[Exact, Exact]:
    """Return mean ``(channels,)`` and covariance ``(channels, channels)`` of a picture's values."""
    channels = picture.shape[2]
    total, first, second = 0.0, np.zeros(channels), np.zeros((channels, channels))
    for rows in strips(*picture.shape[:2]):
        x = picture[rows].reshape(-1, channels).astype(np.float64)
        weight = np.ones(len(x)) if visible is None else visible[rows].reshape(-1).astype(np.float64)
        weighted = weight[:, None] * x
        total, first, second = total + weight.sum(), first + weighted.sum(0), second + weighted.T @ x
    mean = first / total
    return mean, second / total - np.outer(mean, mean)


def _monge(covariance: Exact, wanted: Exact) -> Exact:
    root = _of_eigenvalues(covariance, lambda variance: np.sqrt(np.maximum(variance, FAINT**2)))
    inverse = np.linalg.inv(root)
    between = _of_eigenvalues(root @ wanted @ root, lambda square: np.sqrt(np.maximum(square, 0)))
    return inverse @ between @ inverse


def _of_eigenvalues(symmetric: Exact, function: Callable[[Exact], Exact]) -> Exact:
    """Return the symmetric matrix that has a function of another's eigenvalues."""
    values, vectors = np.linalg.eigh(symmetric)
    found: Exact = (vectors * function(values)) @ vectors.T
    return found


# Large pictures.


def _in_strips(make: Callable[..., Exact], *pictures: FloatArray) -> FloatArray:
    """Return what a function makes of pictures' pixels, computed strip by strip, in float64."""
    height, width = pictures[0].shape[:2]
    found: FloatArray | None = None
    for rows in strips(height, width):
        made = make(*(picture[rows] for picture in pictures))
        found = np.empty((height, *made.shape[1:]), np.float32) if found is None else found
        found[rows] = made
    assert found is not None
    return found
