"""The style as Gram matrices and histograms of every channel.

Risser, Wilmot & Barnes, "Stable and controllable neural texture synthesis and style transfer using histogram
losses" (2017): a Gram matrix leaves open how the values of a channel are distributed, which shows as
brightness that wanders; so their histograms are matched as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jax import Array

from nst_jax.losses.gram import Gram, positions
from nst_jax.losses.ranks import Quantiles, distance, drawn, quantiles
from nst_jax.losses.terms import Guides, StyleTerm

WEIGHT = 1.0
"""Gamma, on the network of mean activation one."""


class Histograms(NamedTuple):
    """The style at one layer."""

    gram: Array
    """See `gram.gram_matrix`."""
    quantiles: Quantiles
    """Of each channel."""
    share: Array | None
    """How much each position of the picture counts, ``(height, width, 1)``; None: all alike."""


@dataclass(frozen=True)
class Histogram(StyleTerm):
    """Gram matrices and the histograms of channels are alike."""

    unit = 0.7

    weight: float = WEIGHT

    def targets(self, features: Sequence[Array], guides: Guides) -> Histograms:
        """Return the style's Gram matrix and histograms."""
        style = drawn(features, guides.visible, guides.shares)
        return Histograms(Gram().statistics(style[None]), quantiles(style), guides.where)

    def loss(self, F: Array, target: Histograms) -> Array:
        """Return `gram.style_loss` + gamma sum_ik (F_ik - R_ik)^2 / (N M), with R(F) from `ranks.moved`.

        Their equation (7), on average. No gradient flows through R. Differs from the paper, which has
        histograms at conv1_1 and conv4_1 only.
        """
        share, gram = target.share, Gram()
        of_positions = None if share is None else positions(share)
        moved = distance(positions(F), target.quantiles, of_positions)
        return gram.compare(gram.averages(F, share), target.gram) + self.weight * moved

    def per_channel(self, target: Histograms) -> int:
        """Return N^2."""
        return target.gram.size
