"""The smoothness term: total variation."""

import jax.numpy as jnp
from jax import Array


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
