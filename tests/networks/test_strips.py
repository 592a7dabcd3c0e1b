from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.networks import strips


def blurred(x):
    """Sums of three rows, and the same halved: what a strip with a row on either side yields."""
    y = x[:-2] + 2 * x[1:-1] + 3 * x[2:]
    return y, y[..., :1] > 0


@pytest.mark.parametrize("height", [1, 2, 5, 8, 9, 10, 11, 16, 31])
@pytest.mark.parametrize("rows", [1, 4, 8])
@pytest.mark.parametrize("wrap", [False, True])
def test_mapped_equals_the_whole(random, height, rows, wrap):
    x = np.float32(random.normal(size=(height, 3, 2)))
    outputs = [(2, np.float32), (1, bool)]
    run = jax.jit(lambda x: strips.mapped(blurred, (x,), rows=rows, outputs=outputs, wrap=wrap))
    found, positive = run(x)
    padded = np.pad(x, ((1, 1), (0, 0), (0, 0)), mode="wrap" if wrap else "constant")
    wanted = padded[:-2] + 2 * padded[1:-1] + 3 * padded[2:]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(positive, np.asarray(found)[..., :1] > 0)


def test_mapped_by_vmap(random):
    xs = np.float32(random.normal(size=(3, 11, 4, 2)))
    run = jax.jit(lambda x: strips.mapped(blurred, (x,), rows=4, outputs=[(2, np.float32), (1, bool)])[0])
    np.testing.assert_array_equal(jax.vmap(run)(xs), jnp.stack([run(x) for x in xs]))


FACTOR = {"factor": jnp.float32(0.5)}


def example(params, x, inside):
    """Two rounds of neighbours, zero beyond the image, pooled in rows; and the sum of its own rows."""
    for _ in range(2):
        padded = jnp.pad(x, ((1, 1), (0, 0), (0, 0)))
        x = jnp.where(inside, jnp.tanh(padded[:-2] - padded[1:-1] + params["factor"] * padded[2:] + 0.1), 0)
    own = x[2:-2]
    return own.reshape(len(own) // 2, 2, *own.shape[1:]).mean(1), {"sum": jnp.sum(own**2, (0, 1))}


@pytest.mark.parametrize(("height", "rows"), [(4, 4), (7, 4), (17, 4), (12, 6), (17, 6)])
def test_recomputed_equals_the_whole_with_its_gradient(random, height, rows):
    x = random.normal(size=(height, 3, 2))
    weights = random.normal(size=(height // 2, 3, 2))

    def whole(x):
        x = jnp.pad(x, ((2, 2 + height % 2), (0, 0), (0, 0)))
        position = jnp.arange(len(x))[:, None, None] - 2
        y, sums = example(FACTOR, x, (position >= 0) & (position < height))
        return y[: height // 2], sums

    def split(x):
        return strips.recomputed(example, FACTOR, x, rows=rows, halo=2, pool=2)

    @partial(jax.jit, static_argnums=0)
    @partial(jax.grad, argnums=1, has_aux=True)
    def slope(f, x):
        y, sums = f(x)
        return jnp.sum(y * weights) + jnp.sum(jnp.sin(sums["sum"])), (y, sums)

    with jax.enable_x64(True):
        (found, ours), (wanted, theirs) = (slope(f, jnp.asarray(x)) for f in (split, whole))
        for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_nothing_within_a_strip_is_kept_for_the_gradient(random):
    """The saved arrays of the gradient are its input and the parameters alone."""
    x = jnp.asarray(random.normal(size=(64, 3, 2)), jnp.float32)
    _, pull = jax.vjp(lambda x: strips.recomputed(example, FACTOR, x, rows=8, halo=2, pool=2), x)
    assert [leaf.shape for leaf in jax.tree.leaves(pull)] == [x.shape, ()]


def test_compiled_by_itself_and_without_a_gradient_of_the_parameters(random):
    x = jnp.asarray(random.normal(size=(20, 3, 2)), jnp.float32)
    total = lambda params, x: jnp.sum(strips.recomputed(example, params, x, rows=8, halo=2, pool=2)[0])
    slope = jax.grad(total, argnums=1)(FACTOR, x)
    np.testing.assert_allclose(jax.grad(jax.jit(total), argnums=1)(FACTOR, x), slope, rtol=1e-5)
    with pytest.raises(TypeError, match="no gradient with respect to parameters: use recompute=0"):
        jax.grad(total)(FACTOR, x)
