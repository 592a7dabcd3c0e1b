"""Work through an image tile by tile, so that what lies between input and output never exists as a whole.

Arrays are ``(height, width, channels)``; a tile is a rectangle of them with what it sees around it, zero
beyond the border. One loop is compiled for all tiles (`jax.lax.fori_loop`), so that a program does not grow
with the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import CustomVJPPrimal

from nst_jax.networks.strips import instantiated
from nst_jax.typing import Tree

Sums = TypeVar("Sums")
"""A tree of arrays."""

Place = tuple[Array | int, Array | int]
"""The row and column of a tile's first position; negative beyond the border."""


@dataclass(frozen=True)
class Tiling:
    """How an image is divided into tiles. Pairs are of rows and columns."""

    size: tuple[int, int]
    """Of the image."""
    tile: tuple[int, int]
    """Of a tile without what it sees around it: multiples of ``pool``, or the whole side."""
    halo: tuple[int, int]
    """So much is seen on either side; 0 where a tile has the whole side."""
    pool: int
    """Rows or columns of the image for one of the result."""

    @property
    def count(self) -> int:
        """Of tiles."""
        return self._down * self._across

    @property
    def window(self) -> tuple[int, int]:
        """Of a tile with what it sees."""
        (height, width), (down, across) = self.tile, self.halo
        return height + 2 * down, width + 2 * across

    @property
    def output(self) -> tuple[int, int]:
        """Of the result."""
        return self.size[0] // self.pool, self.size[1] // self.pool

    def place(self, index: Array | int) -> Place:
        """Return where a tile begins, with what it sees."""
        row = index // self._across if self._down > 1 else 0
        column = index % self._across if self._across > 1 else 0
        return self.tile[0] * row - self.halo[0], self.tile[1] * column - self.halo[1]

    def output_place(self, index: Array | int) -> Place:
        """Return where a tile's part of the result begins."""
        row, column = self.place(index)
        return (row + self.halo[0]) // self.pool, (column + self.halo[1]) // self.pool

    @property
    def _down(self) -> int:
        return -(-self.size[0] // self.tile[0])

    @property
    def _across(self) -> int:
        return -(-self.size[1] // self.tile[1])


def recomputed(
    f: Callable[[Tree, Array, Place], tuple[Array, Sums]], params: Tree, x: Array, tiling: Tiling
) -> tuple[Array, Sums]:
    """Return ``f`` of an image, a tile at a time; the gradient computes ``f`` of each tile again.

    Only ``x`` is kept for the gradient, and whatever ``f`` computes on its way exists for one tile at a time
    (Chen et al. 2016, "Training deep nets with sublinear memory cost", with tiles instead of layers). What
    several tiles see is computed for each, and gradients add up there.

    Args:
        f: maps the parameters, a tile with what it sees and its place to the tile's part of the result and a
            tree of arrays that add up.
        params: whatever arrays ``f`` needs besides; there is no gradient with respect to them.
        x: the image.
        tiling: its tiles.

    Returns:
        The result, of ``tiling.output``, and the sums over tiles.

    Raises:
        TypeError: a gradient with respect to ``params`` is asked for.
    """
    part_size = tiling.tile[0] // tiling.pool, tiling.tile[1] // tiling.pool

    def tile(x: Array, index: Array | int) -> Array:
        return window(x, tiling.place(index), tiling.window)

    part, sums = jax.eval_shape(lambda x: f(params, tile(x, 0), tiling.place(0)), x)

    @jax.custom_vjp
    def run(params: Tree, x: Array) -> tuple[Array, Sums]:
        def body(index: Array, carried: tuple[Array, Sums]) -> tuple[Array, Sums]:
            found, totals = carried
            y, more = f(params, tile(x, index), tiling.place(index))
            return put(found, y, tiling.output_place(index)), jax.tree.map(jnp.add, totals, more)

        # Every position will be written, so the first value does not matter. Zeros depend on nothing and
        # would be allocated at the very beginning of the program, long before they are needed.
        empty = jnp.broadcast_to(x[0, 0, 0].astype(part.dtype), (*tiling.output, part.shape[2]))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), sums)
        found: tuple[Array, Sums] = jax.lax.fori_loop(0, tiling.count, body, (empty, zeros))
        return found

    def forward(params: Tree, x: CustomVJPPrimal) -> tuple[tuple[Array, Sums], tuple[Tree, Array]]:
        if any(leaf.perturbed for leaf in jax.tree.leaves(params)):
            raise TypeError("tiles have no gradient with respect to parameters or targets: use recompute=()")
        kept = jax.tree.map(lambda leaf: leaf.value, params), cast(Array, x.value)
        return run(*kept), kept

    def backward(kept: tuple[Tree, Array], cotangents: tuple[Array, Sums]) -> tuple[None, Array]:
        params, x = kept
        g, totals = jax.tree.map(instantiated, cotangents)

        def body(index: Array, dx: Array) -> Array:
            _, pull = jax.vjp(lambda x: f(params, x, tiling.place(index)), tile(x, index))
            (change,) = pull((window(g, tiling.output_place(index), part_size), totals))
            return added(dx, change, tiling.place(index))

        known = next(leaf for leaf in (g, *jax.tree.leaves(totals)) if leaf.size)
        zero = 0 * known[(0,) * known.ndim].astype(x.dtype)  # so that it is not made before g is there
        zeros = jnp.broadcast_to(zero, x.shape)
        return None, jax.lax.fori_loop(0, tiling.count, body, zeros)

    run.defvjp(forward, backward, symbolic_zeros=True)
    return run(params, x)


def window(x: Array, place: Place, size: tuple[int, int]) -> Array:
    """Return a rectangle of an array, zero where it has nothing. Nothing as large as the array is made."""
    short = [max(0, wanted - side) for wanted, side in zip(size, x.shape, strict=False)]
    wide = jnp.pad(x, ((0, short[0]), (0, short[1]), (0, 0))) if any(short) else x
    begin = _within(place, size, wide)
    part = jax.lax.dynamic_slice(wide, (*begin, 0), (*size, x.shape[2]))
    for axis in (0, 1):
        part = _rolled(part, begin[axis] - place[axis], axis)
    return jnp.where(exists(place, size, x.shape[:2]), part, 0)


def added(x: Array, part: Array, place: Place) -> Array:
    """Return an array with more in a rectangle of it: the transpose of `window`."""
    part = jnp.where(exists(place, part.shape[:2], x.shape[:2]), part, 0)
    size = min(x.shape[0], part.shape[0]), min(x.shape[1], part.shape[1])
    begin = _within(place, size, x)
    for axis in (0, 1):
        part = _rolled(part, place[axis] - begin[axis], axis)
    there = jax.lax.dynamic_slice(x, (*begin, 0), (*size, x.shape[2]))
    return jax.lax.dynamic_update_slice(x, there + part[: size[0], : size[1]], (*begin, 0))


def put(x: Array, part: Array, place: Place) -> Array:
    """Return an array with another rectangle from a place on, but for what of that is beyond its border."""
    size = part.shape[:2]
    begin = _within(place, size, x)
    is_new = jnp.ones((1, 1, 1), bool)
    for axis in (0, 1):
        beyond = place[axis] - begin[axis]
        part = _rolled(part, beyond, axis)
        is_new = is_new & jnp.expand_dims(jnp.arange(size[axis]) >= beyond, (1 - axis, 2))
    there = jax.lax.dynamic_slice(x, (*begin, 0), part.shape)
    return jax.lax.dynamic_update_slice(x, jnp.where(is_new, part, there), (*begin, 0))


def exists(place: Place, size: tuple[int, ...], image: tuple[int, ...] | Array) -> Array:
    """Tell which positions of a rectangle an image of some size has, ``(height, width, 1)``."""
    row, column = (first + jnp.arange(count) for first, count in zip(place, size, strict=True))
    down, across = (row >= 0) & (row < image[0]), (column >= 0) & (column < image[1])
    return (down[:, None] & across[None])[:, :, None]


def _within(place: Place, size: tuple[int, ...], x: Array) -> Place:
    """Return the nearest place where an array has a rectangle of some size."""
    row, column = (
        jnp.clip(first, 0, side - count) if side > count else 0
        for first, count, side in zip(place, size, x.shape, strict=False)
    )
    return row, column


def _rolled(x: Array, by: Array | int, axis: int) -> Array:
    return x if isinstance(by, int) and by == 0 else jnp.roll(x, by, axis)
