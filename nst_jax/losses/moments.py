"""The style as Gram matrices, means and standard deviations.

A Gram matrix fixes neither the means of features nor their deviations, only sums of both: pictures with the
same one may be pale or blotchy (Risser, Wilmot & Barnes, "Stable and controllable neural texture synthesis
and style transfer using histogram losses", 2017). So both are compared as well, as in Galerne, Raad, Lezama
& Morel, "Scaling painting style transfer" (2022).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from nst_jax.losses.gram import Gram, style_loss
from nst_jax.losses.terms import AdditiveTerm

WEIGHT = 10.0
"""How much means and deviations count beside the Gram matrix, on the network of mean activation one.

Differs from Galerne et al., who have 1e4 beside 1e3 / N^2 for N channels, on the network as it is. Chosen by
eye: with 1 the pictures are those of Gram matrices, with 100 little is left of the content.
"""

_LEAST = 1e-6
"""Added to variances: the root has no slope at 0, where a channel is dead."""


class Statistics(NamedTuple):
    """Averages over positions."""

    gram: Array
    """See `gram.gram_matrix`."""
    mean: Array
    """``(channels,)``"""

    @property
    def deviation(self) -> Array:
        """Standard deviations: the roots of G_ii - mu_i^2, which are variances."""
        variance = jnp.diagonal(self.gram) - jnp.square(self.mean)
        return jnp.sqrt(jnp.maximum(variance, 0) + _LEAST)


@dataclass(frozen=True)
class Moments(AdditiveTerm):
    """Gram matrices per position, means and standard deviations are alike."""

    unit = 0.26
    ignores_zeros = True

    weight: float = WEIGHT

    def statistics(self, F: Array) -> Statistics:
        """Return the Gram matrix and the means."""
        return Statistics(Gram().statistics(F), jnp.mean(F, (0, 1), jnp.promote_types(F.dtype, jnp.float32)))

    def weighted(self, F: Array, share: Array) -> Statistics:
        """Return both where positions count by their shares."""
        means = jnp.sum(F * share, (0, 1), jnp.promote_types(F.dtype, jnp.float32)) / jnp.sum(share)
        return Statistics(Gram().weighted(F, share), means)

    def compare(self, statistics: Statistics, target: Statistics) -> Array:
        """Return `gram.style_loss` + w (mean_i (mu_i - nu_i)^2 + mean_i (sigma_i - tau_i)^2)."""
        means = jnp.mean(jnp.square(statistics.mean - target.mean))
        deviations = jnp.mean(jnp.square(statistics.deviation - target.deviation))
        return style_loss(statistics.gram, target.gram) + self.weight * (means + deviations)

    def per_channel(self, target: Statistics) -> int:
        """Return N^2."""
        return target.gram.size
