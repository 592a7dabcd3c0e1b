"""Features of all layers at one place, as one long vector: hypercolumns (Hariharan et al., CVPR 2015)."""

from collections.abc import Callable, Mapping

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


def nearest(
    query: Array, rows: Callable[[Array, int], tuple[Array, Array]], count: int, *, memory: int = 2**25
) -> tuple[Array, Array]:
    """Return for each vector of a query the row of a table with the largest product, and that product.

    Args:
        query: ``(places, channels)``.
        rows: ``rows(first, number) -> (table, more)``: so many rows of the table, ``(number, channels)``, and
            what is added to the products with each; they never exist all at a time.
        count: of all rows.
        memory: bytes of the products that exist at a time.
    """
    block = max(1, min(count, memory // (4 * len(query))))

    def body(number: Array, known: tuple[Array, Array]) -> tuple[Array, Array]:
        first = jnp.minimum(block * number, count - block)
        table, more = rows(first, block)
        products = query @ table.T + more[None]
        index = jnp.argmax(products, 1)
        best = jnp.take_along_axis(products, index[:, None], 1)[:, 0]
        better = best > known[1]
        return jnp.where(better, first + index, known[0]), jnp.where(better, best, known[1])

    none = jnp.zeros(len(query), jnp.int32), jnp.full(len(query), -jnp.inf)
    found: tuple[Array, Array] = jax.lax.fori_loop(0, -(-count // block), body, none)
    return found
