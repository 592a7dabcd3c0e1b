"""Values moved from one distribution to another by their ranks: optimal transport in one dimension."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.gram import positions

BINS = 4096
"""Into so many bins values are counted: on a CPU XLA takes forty times as long to sort them."""

_MANY = 0.01
"""A bin that holds more than this share of all values is of equal ones, such as the zeros of a rectifier."""


class Quantiles(NamedTuple):
    """The distributions of some channels."""

    values: Array
    """Means over `BINS` equal ranges of ranks, ``(BINS, channels)``."""
    upto: Array
    """Their sums up to each range, divided by `BINS`, ``(BINS + 1, channels)``."""


def quantiles(y: Array) -> Quantiles:
    """Return the distributions of ``(positions, channels)``."""
    middle = jnp.mean(y, 0, keepdims=True)  # less of a sum is lost to rounding
    at = _bins(y)
    ones, sums = (_totals(at, each) for each in (jnp.ones_like(y), y - middle))
    below, total = (
        jnp.concatenate([jnp.zeros((1, y.shape[1])), jnp.cumsum(each, 0)]) / len(y) for each in (ones, sums)
    )
    ranks = jnp.arange(BINS + 1) / BINS
    of_ranks = jax.vmap(partial(jnp.interp, ranks), in_axes=1, out_axes=1)(below, total)
    values = BINS * jnp.diff(of_ranks, axis=0)
    return Quantiles(values + middle, of_ranks + ranks[:, None] * middle)


def moved(x: Array, to: Quantiles, share: Array | None = None) -> Array:
    """Return x with each value replaced by that which has the same rank in another distribution.

    Values that fall into one of `BINS` bins have one rank, the mean of theirs; where they are many they get
    the mean of all values at their ranks.

    Args:
        x: ``(positions, channels)``.
        to: the other distributions.
        share: how much each position counts, ``(positions, 1)``; None: all alike.
    """
    at = _bins(x)
    count = _totals(at, jnp.ones_like(x) if share is None else jnp.broadcast_to(share, x.shape))
    count = count / jnp.sum(count, 0, keepdims=True)
    upper = jnp.minimum(jnp.cumsum(count, 0), 1.0)
    lower = upper - count
    single = _between(to.values, (lower + upper) / 2 * BINS - 0.5)
    whole = _between(to.upto, upper * BINS) - _between(to.upto, lower * BINS)
    table = jnp.where(count > _MANY, whole / jnp.maximum(count, _MANY), single)
    return table[at, jnp.arange(x.shape[1])[None]].astype(x.dtype)


def distance(x: Array, to: Quantiles, share: Array | None = None) -> Array:
    """Return the mean of (x - y)^2, y being x `moved`: the squared distance of Wasserstein of each channel.

    No gradient flows through y. Positions count by their shares, ``(positions, 1)``, or all alike.
    """
    y = jax.lax.stop_gradient(moved(jax.lax.stop_gradient(x), to, share))
    if share is None:
        return jnp.mean(jnp.square(x - y))
    return jnp.sum(share * jnp.square(x - y)) / (jnp.sum(share) * x.shape[1])


def _between(table: Array, row: Array) -> Array:
    """Return what lies between rows of a table, channel by channel, linearly."""
    channels = jnp.arange(row.shape[1])[None]
    row = jnp.clip(row, 0, len(table) - 1)
    low = jnp.minimum(row.astype(jnp.int32), len(table) - 2)
    share = row - low
    return (1 - share) * table[low, channels] + share * table[low + 1, channels]


def _bins(x: Array) -> Array:
    """Return the bin of each value, between the least and the largest of its channel."""
    low, high = (reduce(x, 0, keepdims=True) for reduce in (jnp.min, jnp.max))
    return jnp.clip((x - low) * (BINS / jnp.maximum(high - low, 1e-12)), 0, BINS - 1).astype(jnp.int32)


def _totals(at: Array, x: Array) -> Array:
    """Return the sum of what falls into each bin, ``(BINS, channels)``."""
    channels = at.shape[1]
    flat = (at * channels + jnp.arange(channels)[None]).reshape(-1)
    empty = jnp.zeros(BINS * channels, jnp.float32)
    return empty.at[flat].add(x.reshape(-1), mode="promise_in_bounds").reshape(BINS, channels)


def drawn(
    features: Sequence[Array], visible: Sequence[Array] = (), shares: Sequence[Array | float] = ()
) -> Array:
    """Return the positions of several pictures' features as one table, each as often as it counts.

    Args:
        features: ``(height, width, channels)`` of each.
        visible: how much of each position can be seen, ``(height, width, 1)``; none: all of each.
        shares: of the pictures, whatever their sizes; none: all positions alike, and once if all are seen.

    Returns:
        As many positions as there are.
    """
    table = jnp.concatenate([positions(F) for F in features])
    if not visible:
        return table
    seen = [positions(each)[:, 0] for each in visible]
    if shares:
        seen = [share * each / jnp.sum(each) for share, each in zip(shares, seen, strict=True)]
    upto = jnp.cumsum(jnp.concatenate(seen))
    wanted = (jnp.arange(len(table)) + 0.5) / len(table) * upto[-1]
    return table[jnp.searchsorted(upto, wanted)]
