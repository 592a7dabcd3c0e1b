from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.networks import tiles
from nst_jax.networks.tiles import Tiling

FACTOR = {"factor": jnp.float32(0.5)}


def example(tiling, params, x, place):
    """Two rounds of neighbours, zero beyond the image, pooled; and the sum of the tile's own part."""
    inside = tiles.exists(place, x.shape[:2], tiling.size)
    for _ in range(2):
        padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
        around = padded[:-2, 1:-1] - padded[1:-1, 1:-1] + params["factor"] * padded[2:, 1:-1]
        x = jnp.where(inside, jnp.tanh(around + 0.3 * padded[1:-1, 2:] + 0.1), 0)
    (down, across), (height, width) = tiling.halo, tiling.tile
    own = x[down : down + height, across : across + width]
    even = own[: height // 2 * 2, : width // 2 * 2]
    return even.reshape(height // 2, 2, width // 2, 2, -1).mean((1, 3)), {"sum": jnp.sum(own**2, (0, 1))}


def whole(size):
    return Tiling(size, size, (0, 0), 2)


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((4, 3), (4, 3)),
        ((7, 3), (4, 3)),
        ((17, 4), (4, 4)),
        ((17, 9), (6, 4)),
        ((8, 13), (8, 6)),
        ((5, 6), (4, 4)),
    ],
)
def test_recomputed_equals_the_whole_with_its_gradient(random, size, tile):
    x = random.normal(size=(*size, 2))
    weights = random.normal(size=(size[0] // 2, size[1] // 2, 2))
    halo = tuple(2 * (part < side) for part, side in zip(tile, size, strict=True))
    tiling = Tiling(size, tile, halo, 2)
    at_once = lambda x: example(whole(size), FACTOR, x, (0, 0))
    by_tiles = lambda x: tiles.recomputed(partial(example, tiling), FACTOR, x, tiling)

    @partial(jax.jit, static_argnums=0)
    @partial(jax.grad, argnums=1, has_aux=True)
    def slope(f, x):
        y, sums = f(x)
        return jnp.sum(y * weights) + jnp.sum(jnp.sin(sums["sum"])), (y, sums)

    with jax.enable_x64(True):
        (found, ours), (wanted, theirs) = (slope(f, jnp.asarray(x)) for f in (by_tiles, at_once))
        for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("place", [(-9, 0), (-3, -2), (0, 0), (2, 3), (5, 1), (9, 4)])
@pytest.mark.parametrize("size", [(1, 4), (4, 1), (9, 5)])
def test_a_window_and_its_transpose(random, place, size):
    """What there is not is zero; <window(x), part> = <x, added(part)>."""
    x, part = random.normal(size=(7, 4, 1)), random.normal(size=(*size, 1))
    rows, columns = (slice(20 + first, 20 + first + count) for first, count in zip(place, size, strict=True))
    wanted = np.pad(x, ((20, 20), (20, 20), (0, 0)))[rows, columns]
    found = jax.jit(partial(tiles.window, size=size))(x, place)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    spread = jax.jit(tiles.added)(jnp.zeros((7, 4, 1)), part, place)
    np.testing.assert_allclose(np.sum(x * spread), np.sum(found * part), rtol=1e-5)
    exist = np.pad(np.ones((7, 4, 1), bool), ((20, 20), (20, 20), (0, 0)))[rows, columns]
    np.testing.assert_array_equal(tiles.exists(place, size, (7, 4)), exist)


def test_put_leaves_what_is_beyond_the_border(random):
    x, part = random.normal(size=(7, 5, 1)), random.normal(size=(4, 3, 1))
    wanted = x.copy()
    wanted[5:, 3:] = part[:2, :2]
    np.testing.assert_allclose(tiles.put(jnp.asarray(x), jnp.asarray(part), (5, 3)), wanted, rtol=1e-6)


ROWS = Tiling((64, 3), (8, 3), (2, 0), 2)


def test_nothing_within_a_tile_is_kept_for_the_gradient(random):
    """The saved arrays of the gradient are its input and the parameters alone."""
    x = jnp.asarray(random.normal(size=(64, 3, 2)), jnp.float32)
    _, pull = jax.vjp(lambda x: tiles.recomputed(partial(example, ROWS), FACTOR, x, ROWS), x)
    assert [leaf.shape for leaf in jax.tree.leaves(pull)] == [x.shape, ()]


def test_compiled_by_itself_and_without_a_gradient_of_the_parameters(random):
    x = jnp.asarray(random.normal(size=(64, 3, 2)), jnp.float32)
    total = lambda params, x: jnp.sum(tiles.recomputed(partial(example, ROWS), params, x, ROWS)[0])
    slope = jax.grad(total, argnums=1)(FACTOR, x)
    np.testing.assert_allclose(jax.grad(jax.jit(total), argnums=1)(FACTOR, x), slope, rtol=1e-5)
    with pytest.raises(TypeError, match="no gradient with respect to parameters or targets: use recompute="):
        jax.grad(total)(FACTOR, x)
