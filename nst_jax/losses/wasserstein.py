"""The style as distributions: Wasserstein-2 distances of Gaussians with the features' mean and covariance.

As in Katherine Crowson's style-transfer-pytorch (2021). Gram matrices are second moments about zero; here
means and covariances are compared, as distributions: what counts is how far features would have to be moved.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.moments import Moments, Statistics
from nst_jax.losses.terms import AdditiveTerm

RIDGE = 0.01
"""Added to all variances, as a share of the style's mean variance: features count as blurred by so much.

Differs from style-transfer-pytorch, which adds 1e-4. In float32 its smallest eigenvalues are noise, and at
conv5_1 a tenth of the gradient with them; so the gradient is right to half a percent.
"""

ITERATIONS = 20
"""Of Newton and Schulz; 12, as there, leave the distance off by a tenth, as eigenvalues span six decades."""

_LEAST = 1e-6


class Gaussian(NamedTuple):
    """The style at one layer."""

    mean: Array
    """``(channels,)``"""
    root: Array
    """The root of its covariance, ridge included, ``(channels, channels)``."""
    ridge: Array
    """What was added to its variances."""


@dataclass(frozen=True)
class Wasserstein(AdditiveTerm):
    """Means and covariances are alike, as distributions."""

    unit = 0.6
    ignores_zeros = True

    def statistics(self, F: Array) -> Statistics:
        """Return second moments and means."""
        return Moments().statistics(F)

    def weighted(self, F: Array, share: Array) -> Statistics:
        """Return the same where positions count by their shares."""
        return Moments().weighted(F, share)

    def target_of(self, statistics: Statistics) -> Gaussian:
        """Return the mean and the root of the covariance."""
        covariance = covariance_of(statistics)
        ridge = RIDGE * jnp.trace(covariance) / len(covariance) + _LEAST
        root, _ = roots(covariance + ridge * jnp.eye(len(covariance)))
        return Gaussian(statistics.mean, root, ridge)

    def compare(self, statistics: Statistics, target: Gaussian) -> Array:
        """Return (|mu - nu|^2 + tr(S + T - 2 (T^1/2 S T^1/2)^1/2)) / N for N channels."""
        means = jnp.sum(jnp.square(statistics.mean - target.mean))
        S = covariance_of(statistics) + target.ridge * jnp.eye(target.mean.size)
        spreads = jnp.trace(S) + jnp.sum(jnp.square(target.root)) - 2 * root_trace(S, target.root)
        return (means + spreads) / target.mean.size

    def per_channel(self, target: Gaussian) -> int:
        """Return N^2, as of Gram matrices."""
        return target.root.size


def covariance_of(statistics: Statistics) -> Array:
    """Return G - mu mu^T, ``(channels, channels)``."""
    return statistics.gram - jnp.outer(statistics.mean, statistics.mean)


@jax.custom_jvp
def root_trace(S: Array, root: Array) -> Array:
    """Return tr (T^1/2 S T^1/2)^1/2 of two covariances, S and that of the style, given its root.

    With M = T^1/2 S T^1/2 the gradient with respect to S is T^1/2 M^-1/2 T^1/2 / 2, the map of optimal
    transport but for the half. There is none with respect to the style.

    Args:
        S: covariance of the picture.
        root: T^1/2.
    """
    return _root_and_slope(S, root)[0]


@root_trace.defjvp
def _root_trace_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    value, slope = _root_and_slope(*primals)
    return value, jnp.sum(slope * tangents[0])


def _root_and_slope(S: Array, root: Array) -> tuple[Array, Array]:
    M = root @ S @ root
    half, inverse = roots((M + M.T) / 2)
    return jnp.trace(half), root @ inverse @ root / 2


def roots(M: Array) -> tuple[Array, Array]:
    """Return M^1/2 and M^-1/2 of a positive definite matrix, by products of matrices alone.

    The coupled iteration of Newton and Schulz, T = (3 I - Z Y) / 2, Y <- Y T, Z <- T Z from Y = M / |M| and
    Z = I, with the Frobenius norm, leads to Y = (M / |M|)^1/2 and Z = (M / |M|)^-1/2 (Higham, "Functions of
    matrices", 2008, equation 6.35). Not by eigenvalues: LAPACK's threads and XLA's wait for each other.
    """
    identity, scale = jnp.eye(len(M), dtype=M.dtype), jnp.sqrt(jnp.sum(jnp.square(M)))
    Y, Z = jax.lax.fori_loop(0, ITERATIONS, _iterated, (M / scale, identity))
    return Y * jnp.sqrt(scale), Z / jnp.sqrt(scale)


def _iterated(_: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
    # Not within `roots`: for another function the loop would be compiled again at every call.
    times = partial(jnp.matmul, precision="highest")
    Y, Z = pair
    T = 1.5 * jnp.eye(len(Y), dtype=Y.dtype) - 0.5 * times(Z, Y)
    return times(Y, T), times(T, Z)
