"""The content term: Gatys, Ecker & Bethge (CVPR 2016), equation (1)."""

import jax.numpy as jnp
from jax import Array


def content_loss(F: Array, P: Array) -> Array:
    """Return the mean squared difference of two feature maps, C = sum_ij (F_ij - P_ij)^2 / (N M).

    Equation (1) is C * N M / 2; `conventions.CONVENTIONS` holds such factors. The gradient with respect to
    the layer's activations is that of equation (2): proportional to F - P, and zero where F is not positive,
    because F comes after the rectifier.

    Args:
        F: features of the generated image, ``(height, width, channels)``.
        P: features of the content image, of the same shape.
    """
    return jnp.mean(jnp.square(F - P))
