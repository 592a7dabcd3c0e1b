"""The smoothness term: total variation."""

import jax.numpy as jnp
from jax import Array

Slices = tuple[slice, slice]


def total_variation(x: Array, *, wrap: bool = False) -> Array:
    """Return the sum of squared differences of neighbouring pixels, in both directions.

    sum (x[i+1, j] - x[i, j])^2 + sum (x[i, j+1] - x[i, j])^2 over pixels and channels. The papers use no such
    prior; Johnson's neural-style does, and half of this sum is the function whose gradient it adds.

    Args:
        x: image ``(height, width, channels)``, in grey levels (0 to 255).
        wrap: whether the last row and the first are neighbours too, as on a torus; likewise columns.
    """
    if wrap:
        return jnp.sum(jnp.square(jnp.roll(x, -1, 0) - x)) + jnp.sum(jnp.square(jnp.roll(x, -1, 1) - x))
    return jnp.sum(jnp.square(x[1:] - x[:-1])) + jnp.sum(jnp.square(x[:, 1:] - x[:, :-1]))


def variation_of_part(x: Array, own: Slices, inside: Array) -> Array:
    """Return what a part of an image has of its `total_variation`: the sum over all parts is that.

    Args:
        x: the part with what is around it, at least one row below and one column to the right unless there it
            ends, ``(height, width, channels)``.
        own: the part itself, its rows and columns.
        inside: which positions the image has, ``(height, width, 1)``.
    """
    found = jnp.zeros((), x.dtype)
    for axis in (0, 1):
        more = [(0, int(axis == each)) for each in range(3)]
        following, follows = (jnp.roll(jnp.pad(a, more), -1, axis) for a in (x, inside))
        cut = jnp.where(follows & jnp.pad(inside, more), jnp.square(following - jnp.pad(x, more)), 0)
        found += jnp.sum(cut[own])
    return found
