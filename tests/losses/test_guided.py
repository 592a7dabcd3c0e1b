import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from nst_jax.losses.gram import gram_matrix, style_loss
from nst_jax.losses.guided import GuidedGram, guided_gram_matrices
from nst_jax.losses.terms import Guides

TERM = GuidedGram()


@pytest.fixture
def features(random):
    return np.float32(np.maximum(random.normal(size=(2, 6, 5, 4)), 0))


def halves():
    """Return guides of the upper two rows, of the others, and of a region that is nowhere."""
    guides = np.zeros((6, 5, 3), np.float32)
    guides[:2, :, 0] = guides[2:, :, 1] = 1
    return guides


def test_a_regions_matrix_is_that_of_the_region_alone(features):
    F, _ = features
    upper, lower, nothing = guided_gram_matrices(F, halves())
    np.testing.assert_allclose(upper, reference.gram(F[:2]) / 10, rtol=1e-5)
    np.testing.assert_allclose(lower, reference.gram(F[2:]) / 20, rtol=1e-5)
    np.testing.assert_array_equal(nothing, np.zeros((4, 4)))


def test_one_region_of_ones_is_the_whole(features):
    F, A = features
    ones = np.ones((6, 5, 1), np.float32)
    np.testing.assert_allclose(guided_gram_matrices(F, ones)[0], gram_matrix(F), rtol=1e-5)
    target = TERM.targets([A], Guides((ones,), ones, 1.0))
    np.testing.assert_allclose(TERM.loss(F, target), style_loss(gram_matrix(F), gram_matrix(A)), rtol=1e-4)


def test_the_loss_is_the_mean_over_regions_of_both_pictures(features):
    F, A = features
    guides = halves()
    target = TERM.targets([A], Guides((guides,), guides, 1.0))
    np.testing.assert_allclose(target.shares, [0.5, 0.5, 0])
    parts = [
        np.mean((reference.gram(F[r]) - reference.gram(A[r])) ** 2) / F[r, :, 0].size ** 2
        for r in (slice(0, 2), slice(2, 6))
    ]
    np.testing.assert_allclose(TERM.loss(F, target), np.mean(parts), rtol=1e-4)
    assert TERM.per_channel(target) == 4**2
    only = TERM.targets([A], Guides((guides * jnp.asarray([[[1, 0, 1]]]),), guides, 1.0))
    np.testing.assert_allclose(only.shares, [1, 0, 0])


def test_the_gradient_is_finite_where_a_region_is_nowhere(features):
    F, A = features
    target = TERM.targets([A], Guides((halves(),), halves(), 1.0))
    assert np.isfinite(jax.grad(TERM.loss)(F, target)).all()


def test_what_is_transparent_counts_for_nothing_in_a_region(features):
    _, A = features
    visible = np.ones((6, 5, 1), np.float32)
    visible[1], visible[3:] = 0, 0
    found = TERM.targets([A], Guides((halves(),), halves(), 1.0, (visible,))).grams
    np.testing.assert_allclose(found[0], gram_matrix(A[:1]), rtol=1e-5)
    np.testing.assert_allclose(found[1], gram_matrix(A[2:3]), rtol=1e-5)
