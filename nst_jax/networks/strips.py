"""Work through an image strip by strip, so that what lies between input and output stays small.

Arrays are ``(height, width, channels)``; a strip is some of their rows, all columns. The loops are compiled
once for all strips (`jax.lax.fori_loop`), so that a program does not grow with the image.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike

Padding = Literal["zero", "replicate", "wrap"]
"""What lies beyond the border: zeros, the nearest position repeated, or the other side, as on a torus."""

_MODES = {"zero": "constant", "replicate": "edge", "wrap": "wrap"}
"""NumPy's words."""


def bordered(x: Array, rows: int, columns: int, padding: Padding) -> Array:
    """Return an array with so many more rows and columns on either side."""
    return jnp.pad(x, ((rows, rows), (columns, columns), (0, 0)), mode=_MODES[padding])


def mapped(
    f: Callable[..., tuple[Array, ...]],
    xs: Sequence[Array],
    *,
    rows: int,
    outputs: Sequence[tuple[int, DTypeLike]],
    padding: Padding = "zero",
) -> tuple[Array, ...]:
    """Return ``f`` of all rows, a strip at a time; each row of the result sees one row on either side.

    Args:
        f: maps strips ``(n + 2, width, channels)`` of each array, with what lies beyond the border, to arrays
            ``(n, width, channels)``.
        xs: arrays of the same height.
        rows: of a strip; the last strip overlaps the one before it unless they divide the height.
        outputs: channels and type of each array that ``f`` returns.
        padding: what lies beyond the border.
    """
    height, width = xs[0].shape[:2]
    if height < rows + 2:
        return f(*(bordered(x, 1, 0, padding) for x in xs))

    def body(index: Array, results: tuple[Array, ...]) -> tuple[Array, ...]:
        first = jnp.minimum(rows * index, height - rows)
        strips = (_with_neighbours(x, first, rows, padding) for x in xs)
        return tuple(_write(all_, part, first) for all_, part in zip(results, f(*strips), strict=True))

    # Every row will be written, so the first value does not matter. Zeros depend on nothing and would be
    # allocated at the very beginning of the program, long before they are needed.
    anything = xs[0][0, 0, 0]
    empty = tuple(jnp.broadcast_to(anything.astype(kind), (height, width, n)) for n, kind in outputs)
    results: tuple[Array, ...] = jax.lax.fori_loop(0, -(-height // rows), body, empty)
    return results


def instantiated(g: Array | SymbolicZero) -> Array:
    """Return a cotangent as an array, whether it is one or stands for zeros."""
    return jnp.zeros(g.shape, g.dtype) if isinstance(g, SymbolicZero) else g


def _with_neighbours(x: Array, first: Array, rows: int, padding: Padding) -> Array:
    """Return some rows of an array, and one more on either side."""
    height = x.shape[0]
    if padding != "zero":
        above, below = first - 1, first + rows
        if padding == "wrap":
            above, below = above % height, below % height
        else:
            above, below = jnp.maximum(above, 0), jnp.minimum(below, height - 1)
        parts = ((above, 1), (first, rows), (below, 1))
        return jnp.concatenate([_slice(x, begin, count) for begin, count in parts])
    held = jnp.clip(first - 1, 0, height - rows - 2)  # the nearest rows that exist
    return _slice(_slice(x, held, rows + 2), first - held, rows + 2, border=1)


def _slice(x: Array, first: Array, rows: int, *, border: int = 0) -> Array:
    x = jnp.pad(x, ((border, border), (0, 0), (0, 0))) if border else x
    return jax.lax.dynamic_slice_in_dim(x, first, rows, 0)


def _write(x: Array, part: Array, first: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, first, 0)
