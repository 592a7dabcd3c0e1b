"""The style as whole distributions of features, along many directions: sliced optimal transport.

Heitz, Vanhoey, Chambon & Belcour, "A sliced Wasserstein loss for neural texture synthesis" (CVPR 2021). What
lowers it is the step of Pitié, Kokaram & Dahyot, "N-dimensional probability density function transfer" (ICCV
2005): features are moved along some directions, and the picture follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.gram import positions
from nst_jax.losses.ranks import drawn, moved
from nst_jax.losses.terms import Guides, StyleTerm

RENEW = 20
"""Evaluations with the same directions and ranks: with fresh ones L-BFGS would remember what never was."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Drawn:
    """What the features of one layer are drawn to."""

    style: Array
    """Features of the style, ``(positions, channels)``."""
    wanted: Array
    """Those of the picture, moved to the style's distribution, ``(height, width, channels)``."""
    key: Array
    """Of the directions to come, as data."""


@dataclass(frozen=True)
class Sliced(StyleTerm):
    """Distributions of features are alike along every direction."""

    renew_every = RENEW
    is_smooth = False

    seed: int = 0
    """Of the directions."""

    def targets(self, features: Sequence[Array], guides: Guides) -> Drawn:
        """Return the style's features; where the picture's shall go is known when it is `renewed`."""
        style = drawn(features, guides.visible)
        unknown = jnp.zeros((*guides.content.shape[:2], style.shape[-1]), style.dtype)
        return Drawn(style, unknown, jax.random.key_data(jax.random.key(self.seed)))

    def loss(self, F: Array, target: Drawn) -> Array:
        """Return sum_ik (F_ik - R_ik)^2 / (N M), where R are the features moved.

        For as many orthonormal directions p as channels, and just `renewed`, that is the mean over them of
        the squared Wasserstein distance of the projections p.F and p.A: the sliced distance. Until the next
        renewal it bounds it from above, and its gradient is that of a quadratic. Differs from Heitz et al.,
        who take new directions and ranks for every evaluation.
        """
        return jnp.mean(jnp.square(F - target.wanted))

    def renewed(self, F: Array, target: Drawn) -> Drawn:
        """Return the target with the features of now, moved along new directions."""
        now, later = jax.random.split(jax.random.wrap_key_data(target.key))
        axes = jax.random.orthogonal(now, F.shape[-1], dtype=target.style.dtype)
        x, y = (jnp.matmul(each, axes, precision="highest") for each in (positions(F), target.style))
        wanted = jnp.matmul(moved(x, y), axes.T, precision="highest").reshape(F.shape)
        return replace(target, wanted=wanted, key=jax.random.key_data(later))
