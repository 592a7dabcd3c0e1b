import jax
import numpy as np
import pytest

from nst_jax.losses.gram import Gram
from nst_jax.losses.histogram import Histogram
from nst_jax.losses.terms import Guides

SHAPE = (12, 10, 3)


@pytest.fixture
def pair(random):
    return np.float32(np.maximum(random.normal(size=(2, *SHAPE)), 0.01))


def target_of(F, A, term):
    return term.renewed(F, term.targets([A], Guides((), F, 1.0)))


@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0])
def test_it_is_the_gram_matrix_with_histograms_by_sorting(pair, random, weight):
    F, A = np.float32(random.gamma(2, size=(2, *SHAPE)))
    term = Histogram(weight)
    target = target_of(F, A, term)
    x, y = (np.sort(np.float64(each).reshape(-1, 3), 0) for each in (F, A))
    wanted = Gram().loss(F, Gram().statistics(A)) + weight * np.mean((x - y) ** 2)
    np.testing.assert_allclose(term.loss(F, target), wanted, rtol=2e-3)
    assert term.per_channel(target) == 9


def test_it_sees_what_gram_matrices_do_not():
    """Features with equal second moments: -1 and 1, and others of the same energy that are seldom."""
    F, A = np.ones((1, 100, 1), np.float32), np.zeros((1, 100, 1), np.float32)
    A[0, ::4] = 2
    term = Histogram()
    assert Gram().loss(F, Gram().statistics(A)) == 0
    np.testing.assert_allclose(term.loss(F, target_of(F, A, term)), 0.25, rtol=1e-3)


def test_no_gradient_flows_through_the_ranks(pair):
    F, A = pair
    term = Histogram(1.0)
    target = target_of(F, A, term)
    gradient = jax.grad(term.loss)(F, target) - jax.grad(Gram().loss)(F, target.gram)
    np.testing.assert_allclose(gradient, 2 * (F - target.wanted) / F.size, atol=1e-6)
