import jax
import numpy as np
import pytest
from scipy.spatial import distance

from nst_jax.losses.content import content_distance, content_target
from nst_jax.losses.self_similarity import SIDE, self_distances, self_similarity_loss


@pytest.fixture
def pair(random):
    return np.float32(np.maximum(random.normal(size=(2, 6, 5, 4)), 0.1))


def test_it_is_that_of_scipys_cosine_distances(pair):
    def wanted(F):
        D = distance.cdist(F.reshape(-1, 4), F.reshape(-1, 4), "cosine")
        return D / D.sum(0)

    F, P = pair
    np.testing.assert_allclose(self_distances(F), wanted(F), atol=1e-5)
    loss = self_similarity_loss(self_distances(F), self_distances(P))
    np.testing.assert_allclose(loss, 30 * np.mean(np.abs(wanted(F) - wanted(P))), rtol=1e-3)


@pytest.mark.parametrize("scale", [0.01, 5.0])
def test_a_positive_factor_changes_nothing(pair, scale):
    _, P = pair
    target = content_target("self_similarity", P)
    np.testing.assert_allclose(content_distance("self_similarity", scale * P, target), 0, atol=1e-4)


def test_large_pictures_are_averaged_over_cells(random):
    cells = np.float32(random.uniform(0.1, 1, size=(SIDE, 20, 3)))
    whole = np.repeat(np.repeat(cells, 3, 0), 2, 1)
    assert self_distances(whole).shape == (32 * SIDE, 32 * SIDE)
    tall = np.repeat(cells, 3, 0)
    np.testing.assert_allclose(self_distances(tall), self_distances(cells), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_plain_pictures_have_a_finite_gradient(pair, value):
    F, P = np.full((6, 5, 4), value, np.float32), pair[0]

    @jax.jit
    def both(x, other):
        target = content_target("self_similarity", other)
        return jax.value_and_grad(lambda x: content_distance("self_similarity", x, target))(x)

    for ours, theirs in ((F, P), (P, F), (F, F)):
        loss, slope = both(ours, theirs)
        assert np.isfinite(loss)
        assert np.isfinite(slope).all()
