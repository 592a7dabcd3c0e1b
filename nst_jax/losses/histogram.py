"""The style as Gram matrices and histograms of every channel.

Risser, Wilmot & Barnes, "Stable and controllable neural texture synthesis and style transfer using histogram
losses" (2017): a Gram matrix leaves open how the values of a channel are distributed, which shows as
brightness that wanders; so their histograms are matched as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.gram import Gram, positions
from nst_jax.losses.ranks import drawn, moved
from nst_jax.losses.sliced import RENEW
from nst_jax.losses.terms import Guides, StyleTerm

WEIGHT = 1.0
"""Gamma, on the network of mean activation one."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Histograms:
    """What the features of one layer are drawn to."""

    gram: Array
    """See `gram.gram_matrix`."""
    style: Array
    """Features of the style, ``(positions, channels)``."""
    wanted: Array
    """Those of the picture with the style's histograms, R(F), ``(height, width, channels)``."""


@dataclass(frozen=True)
class Histogram(StyleTerm):
    """Gram matrices and the histograms of channels are alike."""

    renew_every = RENEW
    is_smooth = False

    weight: float = WEIGHT

    def targets(self, features: Sequence[Array], guides: Guides) -> Histograms:
        """Return the style's Gram matrix and features; R(F) is known when it is `renewed`."""
        style = drawn(features, guides.visible)
        unknown = jnp.zeros((*guides.content.shape[:2], style.shape[-1]), style.dtype)
        return Histograms(Gram().targets(features, guides), style, unknown)

    def loss(self, F: Array, target: Histograms) -> Array:
        """Return `gram.style_loss` + gamma sum_ik (F_ik - R_ik)^2 / (N M): their equation (7), on average.

        No gradient flows through R. Differs from the paper, which has histograms at conv1_1 and conv4_1 only
        and finds R for every evaluation.
        """
        return Gram().loss(F, target.gram) + self.weight * jnp.mean(jnp.square(F - target.wanted))

    def renewed(self, F: Array, target: Histograms) -> Histograms:
        """Return the target with R of the features of now."""
        return replace(target, wanted=moved(positions(F), target.style).reshape(F.shape))

    def per_channel(self, target: Histograms) -> int:
        """Return N^2."""
        return target.gram.size
