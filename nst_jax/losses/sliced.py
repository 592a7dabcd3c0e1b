"""The style as whole distributions of features, along many directions: sliced optimal transport.

Heitz, Vanhoey, Chambon & Belcour, "A sliced Wasserstein loss for neural texture synthesis" (CVPR 2021).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.gram import positions
from nst_jax.losses.ranks import Quantiles, distance, drawn, quantiles
from nst_jax.losses.terms import Guides, StyleTerm

_precisely = partial(jnp.matmul, precision="highest")


class Slices(NamedTuple):
    """The style at one layer."""

    axes: Array
    """Directions, orthonormal, ``(channels, channels)``: one in each column."""
    quantiles: Quantiles
    """Of the style's features along them."""
    share: Array | None
    """How much each position of the picture counts, ``(positions, 1)``; None: all alike."""


@dataclass(frozen=True)
class Sliced(StyleTerm):
    """Distributions of features are alike along as many directions as there are channels."""

    unit = 4.0

    seed: int = 0
    """Of the directions."""

    def targets(self, features: Sequence[Array], guides: Guides) -> Slices:
        """Return directions, and the style along them.

        Differs from Heitz et al., who draw new directions for every evaluation, which would corrupt what
        L-BFGS remembers: each size of a run has its own.
        """
        style = drawn(features, guides.visible, guides.shares)
        height, width = guides.content.shape[:2]
        key = jax.random.fold_in(jax.random.key(self.seed), height * width)
        axes = jax.random.orthogonal(key, style.shape[-1])
        share = None if guides.where is None else positions(guides.where)
        return Slices(axes, quantiles(_precisely(style, axes)), share)

    def loss(self, F: Array, target: Slices) -> Array:
        """Return the mean over directions p of the squared distance of Wasserstein of p.F and p.A.

        sum_ik (x_ik - y_ik)^2 / (N M), where x are projections of the features and y those of the style with
        the same ranks, through which no gradient flows; see `ranks.moved` for how ranks are found.
        """
        return distance(_precisely(positions(F), target.axes), target.quantiles, target.share)
