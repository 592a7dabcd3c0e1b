import jax
import numpy as np
import pytest

from nst_jax.losses.gram import Gram
from nst_jax.losses.histogram import Histogram
from nst_jax.losses.terms import Guides

SHAPE = (12, 10, 3)


def target_of(A, term):
    return term.targets([A], Guides((), np.zeros(SHAPE), 1.0))


@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0])
def test_it_is_the_gram_matrix_with_histograms_by_sorting(random, weight):
    F, A = np.float32(random.gamma(2, size=(2, *SHAPE)))
    term = Histogram(weight)
    target = target_of(A, term)
    x, y = (np.sort(np.float64(each).reshape(-1, 3), 0) for each in (F, A))
    wanted = Gram().loss(F, Gram().statistics(A)) + weight * np.mean((x - y) ** 2)
    np.testing.assert_allclose(term.loss(F, target), wanted, rtol=5e-3)
    assert term.per_channel(target) == 9


def test_it_sees_what_gram_matrices_do_not():
    """Features with equal second moments: all 1, and others of the same energy that are seldom."""
    F, A = np.ones((1, 100, 1), np.float32), np.zeros((1, 100, 1), np.float32)
    A[0, ::4] = 2
    term = Histogram()
    assert Gram().loss(F, Gram().statistics(A)) == 0
    np.testing.assert_allclose(term.loss(F, target_of(A, term)), 0.25, rtol=1e-3)


def test_no_gradient_flows_through_the_ranks(random):
    F, A = np.float32(random.gamma(2, size=(2, *SHAPE)))
    with_ranks, without = Histogram(1.0), Histogram(0.0)
    target = target_of(A, with_ranks)
    gradient = jax.grad(with_ranks.loss)(F, target) - jax.grad(without.loss)(F, target)
    wanted = np.empty((120, 3))
    for channel, (x, y) in enumerate(zip(F.reshape(-1, 3).T, A.reshape(-1, 3).T, strict=True)):
        wanted[np.argsort(x), channel] = np.sort(x) - np.sort(y)
    off = np.reshape(gradient, (-1, 3)) - 2 * wanted / F.size
    assert np.sqrt(np.mean(off**2)) < 0.02 * np.std(2 * wanted / F.size)


def test_a_plain_style_has_a_finite_gradient(random):
    F = np.float32(random.gamma(2, size=SHAPE))
    for A in (np.zeros_like(F), np.ones_like(F)):
        assert np.isfinite(jax.grad(Histogram().loss)(F, target_of(A, Histogram()))).all()
