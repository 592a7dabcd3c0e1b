"""Features of all layers at one place, as one long vector: hypercolumns (Hariharan et al., CVPR 2015)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.terms import INPUT, Features

COARSER = 4
"""How many pixels a position of the grid stands for, in each direction."""


def grid_of(features: Features) -> tuple[int, int]:
    """Return the height and width of the grid on which a picture's layers meet: those of its third block."""
    height, width = features[INPUT].shape[:2]
    return max(1, height // 2 // 2), max(1, width // 2 // 2)


def on_grid(F: Array, grid: tuple[int, int]) -> Array:
    """Return features of any layer at a grid: averaged in squares, or interpolated from a coarser layer."""
    while F.shape[0] >= 2 * grid[0] and F.shape[1] >= 2 * grid[1]:
        F = halved(F)
    return F if F.shape[:2] == grid else jax.image.resize(F, (*grid, F.shape[-1]), "linear")


def halved(F: Array) -> Array:
    """Return averages of squares of two by two positions."""
    height, width, channels = F.shape[0] // 2, F.shape[1] // 2, F.shape[2]
    squares = F[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
    return jnp.mean(squares, (1, 3))


def sampled(F: Array, at: Array) -> Array:
    """Return features at places between positions, bilinearly, ``(places, channels)``.

    Args:
        F: ``(height, width, channels)``.
        at: rows and columns as shares of height and width, from 0 to 1, ``(places, 2)``.
    """
    size = jnp.asarray(F.shape[:2], jnp.float32)[None]
    where = jnp.clip(at * size - 0.5, 0, size - 1)
    low = jnp.floor(where).astype(jnp.int32)
    high = jnp.minimum(low + 1, size.astype(jnp.int32) - 1)
    down, across = jnp.split(where - low, 2, 1)
    (top, left), (bottom, right) = low.T, high.T
    upper = F[top, left] * (1 - across) + F[top, right] * across
    lower = F[bottom, left] * (1 - across) + F[bottom, right] * across
    return upper * (1 - down) + lower * down


def joined(layers: Mapping[str, Array]) -> Array:
    """Return hypercolumns, ``(positions, channels of all)``; each layer counts by 1 / its channels."""
    return jnp.concatenate([F.reshape(-1, F.shape[-1]) / F.shape[-1] for F in layers.values()], 1)


def directions(x: Array) -> Array:
    """Return vectors of length one; what is zero stays that."""
    energy = jnp.sum(jnp.square(x), -1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(energy, 1e-12))


def nearest(query: Array, table: Array, less: Array, *, memory: int = 2**26) -> tuple[Array, Array]:
    """Return for each vector of a query the row of a table with the largest product, and that product.

    Args:
        query: ``(places, channels)``.
        table: ``(rows, channels)``.
        less: what is added to the products with each row.
        memory: bytes of the products that exist at a time.
    """

    def one(vector: Array) -> tuple[Array, Array]:
        products = table @ vector + less
        best = jnp.argmax(products)
        return best, products[best]

    found: tuple[Array, Array] = jax.lax.map(one, query, batch_size=max(1, memory // (4 * len(table))))
    return found
