"""The style as Gram matrices of regions.

Gatys et al., "Controlling perceptual factors in neural style transfer" (CVPR 2017), equations (5) and (6).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.gram import positions, product, style_loss
from nst_jax.losses.terms import AdditiveTerm, Guides


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Guided:
    """Gram matrices of the style's regions, and where these are in the picture to be made."""

    grams: Array
    """``(regions, channels, channels)``"""
    guides: Array
    """``(height, width, regions)``"""
    shares: Array
    """Of each region in the loss, ``(regions,)``: equal for those that both pictures have, else zero."""


@dataclass(frozen=True)
class GuidedGram(AdditiveTerm):
    """Gram matrices are alike region by region."""

    maps = "required"
    is_guided = True

    def targets(self, features: Sequence[Array], guides: Guides) -> Guided:
        """Return the Gram matrices of the style's regions."""
        theirs, ours = guides.style[0], guides.content
        if guides.where is not None:
            ours = ours * jnp.sqrt(guides.where)
        if guides.visible:
            theirs = theirs * jnp.sqrt(guides.visible[0])  # the square of a guide is what counts
        present = (jnp.max(theirs, (0, 1)) > 0) & (jnp.max(ours, (0, 1)) > 0)
        shares = present / jnp.maximum(1, jnp.sum(present))
        return Guided(guided_gram_matrices(features[0], theirs), ours, shares)

    def guide(self, target: Guided) -> Array:
        """Return the regions of the picture."""
        return target.guides

    def guided(self, F: Array, guide: Array) -> Array:
        """Return mean_k g_rk^2 F_ik F_jk for regions r of a guide g, ``(regions, channels, channels)``."""
        flat = positions(jnp.asarray(F))
        regions = positions(guide).astype(flat.dtype).T[:, :, None]
        return jnp.stack([product(flat * g, flat * g) for g in regions]) / len(flat)

    def compare(self, statistics: Array, target: Guided) -> Array:
        """Return the mean of `gram.style_loss` over the regions that both pictures have."""
        G = statistics / _energy(target.guides)
        return jnp.sum(target.shares * jax.vmap(style_loss)(G, target.grams))

    def per_channel(self, target: Guided) -> int:
        """Return N^2."""
        return target.grams[0].size


def guided_gram_matrices(F: Array, guides: Array) -> Array:
    """Return a Gram matrix for each region, ``(regions, channels, channels)``.

    G_r = F_r^T F_r with F_r = T_r F, the features times a guidance channel T_r = g_r / sqrt(sum g_r^2): Gatys
    et al., "Controlling perceptual factors in neural style transfer" (CVPR 2017), equations (5) and (6). With
    a single region of ones that is `gram_matrix`; a region without positions has a matrix of zeros.

    Args:
        F: features, ``(height, width, channels)``.
        guides: g, ``(height, width, regions)``: the share of each region in each position.
    """
    return GuidedGram().guided(F, jnp.asarray(guides)) / _energy(guides)


def _energy(guides: Array) -> Array:
    """Return the mean square of each region's guide, ``(regions, 1, 1)``; 1 if it has no positions."""
    energy = jnp.mean(jnp.square(guides), (0, 1))
    return jnp.where(energy > 0, energy, 1.0)[:, None, None]
