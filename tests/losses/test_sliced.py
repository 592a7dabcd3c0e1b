from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.losses.sliced import Sliced
from nst_jax.losses.terms import Guides

SHAPE = (12, 10, 4)


@pytest.fixture
def pair(random):
    return np.float32(np.maximum(random.normal(size=(2, *SHAPE)), 0))


@partial(jax.jit, static_argnames=("seed", "shape"))
def target_of(A, seed=0, shape=SHAPE):
    return Sliced(seed).targets([A], Guides((), np.zeros(shape), 1.0))


both = jax.jit(jax.value_and_grad(Sliced().loss))


def loss(F, target):
    return both(F, target)[0]


def wanted(F, A, axes):
    x, y = (np.sort(np.float64(each).reshape(-1, 4) @ np.float64(axes), 0) for each in (F, A))
    return np.mean((x - y) ** 2)


def test_it_is_the_mean_of_squared_distances_along_the_directions(pair):
    F, A = pair
    target = target_of(A)
    np.testing.assert_allclose(target.axes.T @ target.axes, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(loss(F, target), wanted(F, A, target.axes), rtol=5e-3)


def test_positions_do_not_matter(pair, random):
    F, _ = pair
    shuffled = random.permutation(F.reshape(-1, 4)).reshape(SHAPE)
    assert loss(F, target_of(shuffled)) < 1e-5 * np.var(F)


def test_it_sees_what_no_moments_do(random):
    """Two distributions with the same mean and covariance."""
    F = np.float32(np.sign(random.normal(size=SHAPE)))
    A = np.float32(random.normal(size=SHAPE))
    A = (A - A.mean((0, 1))) @ np.linalg.inv(np.linalg.cholesky(np.cov(A.reshape(-1, 4).T, bias=True))).T
    F = (F - F.mean((0, 1))) @ np.linalg.inv(np.linalg.cholesky(np.cov(F.reshape(-1, 4).T, bias=True))).T
    assert loss(np.float32(F), target_of(np.float32(A))) > 0.01


def test_the_gradient_is_that_of_finite_differences(pair):
    F, A = pair[0] + 0.01, 2 * pair[1]
    target = target_of(A)
    gradient = np.ravel(both(F, target)[1])
    for index in range(0, F.size, 37):
        step = np.zeros(F.size)
        step[index] = 1e-3
        up, down = (wanted(F + s * step.reshape(SHAPE), A, target.axes) for s in (1, -1))
        np.testing.assert_allclose(gradient[index], (up - down) / 2e-3, rtol=0.05, atol=2e-5)


def test_directions_are_the_same_in_every_run_and_others_at_other_sizes(pair):
    _, A = pair
    one = target_of(A)
    np.testing.assert_array_equal(one.axes, target_of(A).axes)
    assert not np.allclose(one.axes, target_of(A, seed=1).axes)
    assert not np.allclose(one.axes, target_of(A, shape=(24, 20, 4)).axes)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_plain_pictures_have_a_finite_gradient(pair, value):
    flat = jnp.full(SHAPE, value)
    for F, A in ((flat, pair[1]), (pair[0], flat), (flat, flat)):
        value, gradient = both(F, target_of(A))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
