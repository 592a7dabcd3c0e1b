"""Work through an image strip by strip, so that what lies between input and output stays small.

Arrays are ``(height, width, channels)``; a strip is some of their rows, all columns. The loops are compiled
once for all strips (`jax.lax.fori_loop`), so that a program does not grow with the image.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero
from jax.typing import DTypeLike

from nst_jax.typing import Tree

Sums = TypeVar("Sums")
"""A tree of arrays."""


def mapped(
    f: Callable[..., tuple[Array, ...]],
    xs: Sequence[Array],
    *,
    rows: int,
    outputs: Sequence[tuple[int, DTypeLike]],
    wrap: bool = False,
) -> tuple[Array, ...]:
    """Return ``f`` of all rows, a strip at a time; each row of the result sees one row on either side.

    Args:
        f: maps strips ``(n + 2, width, channels)`` of each array, with what lies beyond the border, to arrays
            ``(n, width, channels)``.
        xs: arrays of the same height.
        rows: of a strip; the last strip overlaps the one before it unless they divide the height.
        outputs: channels and type of each array that ``f`` returns.
        wrap: beyond the border lies the row of the other end, not zeros.
    """
    height, width = xs[0].shape[:2]
    if height < rows + 2:
        return f(*(jnp.pad(x, ((1, 1), (0, 0), (0, 0)), mode="wrap" if wrap else "constant") for x in xs))

    def body(index: Array, results: tuple[Array, ...]) -> tuple[Array, ...]:
        first = jnp.minimum(rows * index, height - rows)
        strips = (_with_neighbours(x, first, rows, wrap) for x in xs)
        return tuple(_write(all_, part, first) for all_, part in zip(results, f(*strips), strict=True))

    # Every row will be written, so the first value does not matter. Zeros depend on nothing and would be
    # allocated at the very beginning of the program, long before they are needed.
    anything = xs[0][0, 0, 0]
    empty = tuple(jnp.broadcast_to(anything.astype(kind), (height, width, n)) for n, kind in outputs)
    results: tuple[Array, ...] = jax.lax.fori_loop(0, -(-height // rows), body, empty)
    return results


def recomputed(
    f: Callable[[Tree, Array, Array], tuple[Array, Sums]],
    params: Tree,
    x: Array,
    *,
    rows: int,
    halo: int,
    pool: int,
) -> tuple[Array, Sums]:
    """Return ``f`` of all rows, a strip at a time; the gradient computes ``f`` of each strip again.

    Only ``x`` is kept for the gradient, and whatever ``f`` computes on its way exists for one strip at a time
    (Chen et al. 2016, "Training deep nets with sublinear memory cost", with strips instead of layers). The
    overlap of strips is computed twice.

    Args:
        f: maps the parameters, a strip ``(rows + 2 halo, width, channels)`` and a mask of its rows within the
            image, ``(rows + 2 halo, 1, 1)``, to an array ``(rows // pool, ..)`` and a tree of arrays that add
            up.
        params: whatever arrays ``f`` needs besides; there is no gradient with respect to them.
        x: ``(height, width, channels)``.
        rows: of a strip, a multiple of ``pool``.
        halo: rows on either side that a row of the result sees.
        pool: rows of x for a row of the result.

    Returns:
        The array, with ``height // pool`` rows, and the sums over strips.

    Raises:
        TypeError: a gradient with respect to ``params`` is asked for.
    """
    height = x.shape[0]
    count, length = -(-height // rows), rows + 2 * halo

    def padded(x: Array) -> Array:
        return jnp.pad(x, ((halo, count * rows - height + halo), (0, 0), (0, 0)))

    def within(index: Array | int) -> Array:
        position = rows * index - halo + jnp.arange(length)
        return ((position >= 0) & (position < height))[:, None, None]

    def strip(wide: Array, index: Array) -> Array:
        return _slice(wide, rows * index, length)

    part, sums = jax.eval_shape(lambda x: f(params, x[:length], within(0)), jax.eval_shape(padded, x))

    @jax.custom_vjp
    def run(params: Tree, x: Array) -> tuple[Array, Sums]:
        wide = padded(x)

        def body(index: Array, carried: tuple[Array, Sums]) -> tuple[Array, Sums]:
            found, totals = carried
            y, more = f(params, strip(wide, index), within(index))
            return _write(found, y, rows // pool * index), jax.tree.map(jnp.add, totals, more)

        empty = jnp.broadcast_to(x[0, 0, 0].astype(part.dtype), (count * rows // pool, *part.shape[1:]))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), sums)
        found, totals = jax.lax.fori_loop(0, count, body, (empty, zeros))
        return found[: height // pool], totals

    def forward(params: Tree, x: CustomVJPPrimal) -> tuple[tuple[Array, Sums], tuple[Tree, Array]]:
        if any(leaf.perturbed for leaf in jax.tree.leaves(params)):
            raise TypeError("strips have no gradient with respect to parameters: use recompute=0")
        kept = jax.tree.map(lambda leaf: leaf.value, params), cast(Array, x.value)
        return run(*kept), kept

    def backward(kept: tuple[Tree, Array], cotangents: tuple[Array, Sums]) -> tuple[None, Array]:
        params, x = kept
        wide = padded(x)
        missing = count * rows // pool - height // pool
        g, totals = jax.tree.map(instantiated, cotangents)
        g = jnp.pad(g, ((0, missing), (0, 0), (0, 0)))

        def body(index: Array, dx: Array) -> Array:
            _, pull = jax.vjp(lambda strip: f(params, strip, within(index)), strip(wide, index))
            (change,) = pull((_slice(g, rows // pool * index, rows // pool), totals))
            return _write(dx, strip(dx, index) + change, rows * index)

        zeros = jnp.broadcast_to(0 * g[0, 0, 0].astype(x.dtype), wide.shape)  # not before g is there
        dx = jax.lax.fori_loop(0, count, body, zeros)
        return None, dx[halo : halo + height]

    run.defvjp(forward, backward, symbolic_zeros=True)
    return run(params, x)


def instantiated(g: Array | SymbolicZero) -> Array:
    """Return a cotangent as an array, whether it is one or stands for zeros."""
    return jnp.zeros(g.shape, g.dtype) if isinstance(g, SymbolicZero) else g


def _with_neighbours(x: Array, first: Array, rows: int, wrap: bool) -> Array:
    """Return some rows of an array, and one more on either side."""
    height = x.shape[0]
    if wrap:
        parts = (((first - 1) % height, 1), (first, rows), ((first + rows) % height, 1))
        return jnp.concatenate([_slice(x, begin, count) for begin, count in parts])
    held = jnp.clip(first - 1, 0, height - rows - 2)  # the nearest rows that exist
    return _slice(_slice(x, held, rows + 2), first - held, rows + 2, border=1)


def _slice(x: Array, first: Array, rows: int, *, border: int = 0) -> Array:
    x = jnp.pad(x, ((border, border), (0, 0), (0, 0))) if border else x
    return jax.lax.dynamic_slice_in_dim(x, first, rows, 0)


def _write(x: Array, part: Array, first: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, part, first, 0)
