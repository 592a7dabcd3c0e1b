"""The content term: Gatys, Ecker & Bethge (CVPR 2016), equation (1), or `self_similarity`."""

import jax.numpy as jnp
from jax import Array

from nst_jax.losses.self_similarity import self_distances, self_similarity_loss
from nst_jax.settings import ContentKind


def content_target(kind: ContentKind, P: Array) -> Array:
    """Return what features are compared with, given those of the content image."""
    return P if kind == "features" else self_distances(P)


def content_distance(kind: ContentKind, F: Array, target: Array) -> Array:
    """Return how far features are from a `content_target`."""
    if kind == "features":
        return content_loss(F, target)
    return self_similarity_loss(self_distances(F), target)


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
