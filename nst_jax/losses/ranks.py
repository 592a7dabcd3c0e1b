"""Values moved from one distribution to another by their ranks: optimal transport in one dimension."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.gram import positions

BINS = 4096
"""Into so many bins values are counted: on a CPU XLA takes forty times as long to sort them."""

_MANY = 0.01
"""A bin that holds more than this share of all values is of equal ones, such as the zeros of a rectifier."""


def moved(x: Array, y: Array) -> Array:
    """Return x with each value replaced by that of y which has the same rank, channel by channel.

    That is the quantile function of y at the ranks of x, Q_y(R_x(x)). Values that fall into one of `BINS`
    bins have one rank, the mean of theirs; where they are many they get the mean of y over all their ranks.

    Args:
        x: ``(positions, channels)``.
        y: ``(other positions, channels)``.
    """
    at, first, last, _ = _counted(x)
    _, _, below, sums = _counted(y)
    # Ranks on the scale of y, and its quantile function at the middle of each bin.
    ratio = len(y) / len(x)
    lower, upper = first * ratio, last * ratio
    count = jnp.diff(below, axis=0, prepend=0.0)
    means = jnp.where(count > 0, sums / jnp.maximum(count, 1), _centres(y))
    by_channel = partial(jax.vmap, in_axes=1, out_axes=1)
    single = by_channel(jnp.interp)((lower + upper) / 2, below - count / 2, means)
    edges = jnp.concatenate([jnp.zeros_like(below[:1]), below])
    total = jnp.concatenate([jnp.zeros_like(sums[:1]), jnp.cumsum(sums, 0)])
    until = by_channel(jnp.interp)
    share = upper - lower
    whole = (until(upper, edges, total) - until(lower, edges, total)) / jnp.maximum(share, 1)
    table = jnp.where(share > _MANY * len(y), whole, single)
    channels = jnp.arange(x.shape[1])[None]
    return table[at, channels].astype(x.dtype)


def _counted(x: Array) -> tuple[Array, Array, Array, Array]:
    """Return the bin of each value; of each bin how many values are before it, up to it, and their sum."""
    low, width = _bins(x)
    at = jnp.clip(((x - low) / width).astype(jnp.int32), 0, BINS - 1)
    channels = x.shape[1]
    flat = (at * channels + jnp.arange(channels)[None]).reshape(-1)
    empty = jnp.zeros(BINS * channels, jnp.float32)
    ones, values = (
        empty.at[flat].add(each, mode="promise_in_bounds").reshape(BINS, channels)
        for each in (jnp.ones(flat.shape), x.reshape(-1))
    )
    upto = jnp.cumsum(ones, 0)
    return at, upto - ones, upto, values


def _bins(x: Array) -> tuple[Array, Array]:
    low, high = (reduce(x, 0, keepdims=True) for reduce in (jnp.min, jnp.max))
    return low, jnp.maximum(high - low, 1e-12) / BINS


def _centres(x: Array) -> Array:
    low, width = _bins(x)
    return low + (jnp.arange(BINS)[:, None] + 0.5) * width


def drawn(features: Sequence[Array], visible: Sequence[Array] = ()) -> Array:
    """Return the positions of several pictures' features as one table, each as often as it can be seen.

    Args:
        features: ``(height, width, channels)`` of each.
        visible: how much each position counts, ``(height, width, 1)``; none: all alike, and once.

    Returns:
        As many positions as there are.
    """
    table = jnp.concatenate([positions(F) for F in features])
    if not visible:
        return table
    upto = jnp.cumsum(jnp.concatenate([positions(each)[:, 0] for each in visible]))
    wanted = (jnp.arange(len(table)) + 0.5) / len(table) * upto[-1]
    return table[jnp.searchsorted(upto, wanted)]
