import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, optimize

from nst_jax.losses.terms import Guides
from nst_jax.losses.wasserstein import RIDGE, Wasserstein, roots

SHAPE = (6, 5, 4)


@pytest.fixture
def pair(random):
    return np.float32(np.maximum(random.normal(size=(2, *SHAPE)) + 0.5, 0))


def wanted(F, A):
    """The distance by SciPy's matrix roots, in float64."""
    F, A = (np.float64(each).reshape(-1, each.shape[-1]) for each in (F, A))
    S, T = (np.cov(each.T, bias=True) for each in (F, A))
    ridge = (RIDGE * np.trace(T) / len(T) + 1e-6) * np.eye(len(T))
    S, T = S + ridge, T + ridge
    half = linalg.sqrtm(T)
    cross = np.trace(linalg.sqrtm(half @ S @ half).real)
    return (np.sum((F.mean(0) - A.mean(0)) ** 2) + np.trace(S + T) - 2 * cross) / len(T)


def loss(F, A):
    term = Wasserstein()
    return term.loss(F, term.targets([A], Guides((), (), 1.0)))


def test_it_is_the_distance_of_gaussians(pair):
    F, A = pair
    np.testing.assert_allclose(loss(F, A), wanted(F, A), rtol=1e-4)
    np.testing.assert_allclose(loss(3 * F, A), wanted(3 * F, A), rtol=1e-4)
    np.testing.assert_allclose(loss(A, A), 0, atol=1e-5)


def test_independent_channels_have_the_closed_form(random):
    """Of diagonal covariances: (mu - nu)^2 + (sigma - tau)^2, added up over channels."""
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)], np.float32)
    F, A = (np.float32(each * signs + shift)[None] for each, shift in (([1, 3], [2, 0]), ([2, 1], [0, 1])))
    ridge = RIDGE * (4 + 1) / 2 + 1e-6
    deviations = (np.sqrt([[1 + ridge, 9 + ridge], [4 + ridge, 1 + ridge]]) * [[1], [-1]]).sum(0)
    np.testing.assert_allclose(loss(F, A), (4 + 1 + np.sum(deviations**2)) / 2, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences(pair):
    F, A = pair
    gradient = jax.grad(loss)(F, A)
    numeric = optimize.approx_fprime(F.ravel().astype(float), lambda x: wanted(x.reshape(SHAPE), A), 1e-6)
    np.testing.assert_allclose(gradient.ravel(), numeric, rtol=5e-3, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_dead_channels_and_plain_pictures_have_a_finite_gradient(pair, value):
    flat = jnp.full(SHAPE, value)
    dead = pair[1] * np.float32([1, 0, 1, 0])
    for F, A in ((flat, pair[1]), (pair[0], flat), (flat, flat), (dead, pair[0]), (pair[0], dead)):
        found, gradient = jax.value_and_grad(loss)(F, A)
        assert np.isfinite(found)
        assert np.isfinite(gradient).all()


def test_roots_are_scipys_over_six_decades(random):
    vectors = linalg.qr(random.normal(size=(24, 24)))[0]
    M = (vectors * np.logspace(-3, 3, 24)) @ vectors.T
    root, inverse = roots(jnp.float32(M))
    wanted = linalg.sqrtm(M)
    np.testing.assert_allclose(root, wanted, atol=2e-3 * np.abs(wanted).max())
    np.testing.assert_allclose(np.trace(root), np.trace(wanted), rtol=1e-3)
    np.testing.assert_allclose(inverse, linalg.inv(wanted), atol=0.02 * np.abs(linalg.inv(wanted)).max())


def test_what_is_transparent_counts_for_nothing(pair):
    _, A = pair
    visible = np.ones((*SHAPE[:2], 1), np.float32)
    visible[2:] = 0
    found = Wasserstein().targets([A], Guides((), (), 1.0, (visible,)))
    for one, other in zip(found, Wasserstein().targets([A[:2]], Guides((), (), 1.0)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
