from functools import partial

import jax
import numpy as np
import pytest

from nst_jax.losses.gram import Gram
from nst_jax.losses.histogram import Histogram
from nst_jax.losses.terms import Guides

SHAPE = (12, 10, 3)


@partial(jax.jit, static_argnums=1)
def target_of(A, term):
    return term.targets([A], Guides((), np.zeros(SHAPE), 1.0))


@partial(jax.jit, static_argnums=0)
def both(term, F, target):
    """Return the loss and its gradient."""
    return jax.value_and_grad(term.loss)(F, target)


@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0])
def test_it_is_the_gram_matrix_with_histograms_by_sorting(random, weight):
    F, A = np.float32(random.gamma(2, size=(2, *SHAPE)))
    term = Histogram(weight)
    target = target_of(A, term)
    x, y = (np.sort(np.float64(each).reshape(-1, 3), 0) for each in (F, A))
    wanted = Gram().loss(F, Gram().statistics(A)) + weight * np.mean((x - y) ** 2)
    np.testing.assert_allclose(both(term, F, target)[0], wanted, rtol=5e-3)
    assert term.per_channel(target) == 9


def test_it_sees_what_gram_matrices_do_not():
    """Features with equal second moments: all 1, and others of the same energy that are seldom."""
    F, A = np.ones((1, 100, 1), np.float32), np.zeros((1, 100, 1), np.float32)
    A[0, ::4] = 2
    term = Histogram()
    assert Gram().loss(F, Gram().statistics(A)) == 0
    np.testing.assert_allclose(both(term, F, target_of(A, term))[0], 0.25, rtol=1e-3)


def test_no_gradient_flows_through_the_ranks(random):
    F, A = np.float32(random.gamma(2, size=(2, *SHAPE)))
    with_ranks, without = Histogram(1.0), Histogram(0.0)
    target = target_of(A, with_ranks)
    gradient = both(with_ranks, F, target)[1] - both(without, F, target)[1]
    wanted = np.empty((120, 3))
    for channel, (x, y) in enumerate(zip(F.reshape(-1, 3).T, A.reshape(-1, 3).T, strict=True)):
        wanted[np.argsort(x), channel] = np.sort(x) - np.sort(y)
    off = np.reshape(gradient, (-1, 3)) - 2 * wanted / F.size
    assert np.sqrt(np.mean(off**2)) < 0.02 * np.std(2 * wanted / F.size)


def test_a_plain_style_has_a_finite_gradient(random):
    F = np.float32(random.gamma(2, size=SHAPE))
    for A in (np.zeros_like(F), np.ones_like(F)):
        assert np.isfinite(both(Histogram(), F, target_of(A, Histogram()))[1]).all()
