import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy import optimize

from nst_jax.losses.gram import Gram
from nst_jax.losses.moments import Moments
from nst_jax.losses.terms import Guides

SHAPE = (6, 5, 4)


@pytest.fixture
def pair(random):
    return np.float32(np.maximum(random.normal(size=(2, *SHAPE)), 0))


def wanted(F, A, weight):
    F, A = (np.float64(each).reshape(-1, each.shape[-1]) for each in (F, A))
    gram = np.mean((F.T @ F / len(F) - A.T @ A / len(A)) ** 2)
    means = np.mean((F.mean(0) - A.mean(0)) ** 2)
    return gram + weight * (means + np.mean((F.std(0) - A.std(0)) ** 2))


@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0])
def test_it_is_the_gram_matrix_with_means_and_deviations(pair, weight):
    term = Moments(weight)
    F, A = pair
    target = term.statistics(A)
    np.testing.assert_allclose(term.loss(F, target), wanted(F, A, weight), rtol=1e-4)
    np.testing.assert_allclose(target.gram * 30, reference.gram(A), rtol=1e-5)
    assert term.per_channel(target) == Gram().per_channel(target.gram)
    assert term.loss(A, target) == 0


def test_the_gradient_is_that_of_finite_differences(pair):
    F, A = pair
    gradient = jax.grad(lambda F: Moments().loss(F, Moments().statistics(A)))(F)
    numeric = optimize.approx_fprime(
        F.ravel().astype(float), lambda x: wanted(x.reshape(SHAPE), A, 10.0), 1e-7
    )
    np.testing.assert_allclose(gradient.ravel(), numeric, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_dead_channels_and_plain_pictures_have_a_finite_gradient(pair, value):
    flat = jnp.full(SHAPE, value)
    for F, A in ((flat, pair[1]), (pair[0], flat), (flat, flat)):
        loss, gradient = jax.value_and_grad(lambda F, A=A: Moments().loss(F, Moments().statistics(A)))(F)
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()


def test_what_is_transparent_counts_for_nothing(pair):
    _, A = pair
    visible = np.ones((*SHAPE[:2], 1), np.float32)
    visible[2:] = 0
    found = Moments().targets([A], Guides((), (), 1.0, (visible,)))
    for one, other in zip(found, Moments().statistics(A[:2]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
