import jax
import numpy as np
import pytest

from nst_jax.losses.sliced import Sliced
from nst_jax.losses.terms import Guides

SHAPE = (12, 10, 4)


@pytest.fixture
def pair(random):
    return np.float32(np.maximum(random.normal(size=(2, *SHAPE)), 0))


def target_of(F, A, seed=0):
    term = Sliced(seed)
    return term.renewed(F, term.targets([A], Guides((), F, 1.0)))


def test_it_is_the_mean_of_squared_distances_along_the_directions(pair):
    F, A = pair
    target = target_of(F, A)
    key = jax.random.split(jax.random.key(0))[0]
    axes = np.float64(jax.random.orthogonal(key, 4))
    np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-6)
    x, y = (np.sort(each.reshape(-1, 4) @ axes, 0) for each in (F, A))
    np.testing.assert_allclose(Sliced().loss(F, target), np.mean((x - y) ** 2), rtol=2e-3)


def test_positions_do_not_matter(pair, random):
    F, _ = pair
    shuffled = random.permutation(F.reshape(-1, 4)).reshape(SHAPE)
    assert Sliced().loss(F, target_of(F, shuffled)) < 1e-5 * np.var(F)


def test_following_it_brings_the_distributions_together(pair):
    F, A = pair[0], 3 * pair[1] ** 2 + 1
    term, before = Sliced(), None
    target = term.targets([A], Guides((), F, 1.0))
    for _ in range(10):
        target = term.renewed(F, target)
        before = term.loss(F, target) if before is None else before
        F = target.wanted
    assert term.loss(F, term.renewed(F, target)) < 0.02 * before


def test_directions_are_new_each_time_and_the_same_in_every_run(pair):
    F, A = pair
    one, again = target_of(F, A), target_of(F, A)
    np.testing.assert_array_equal(one.wanted, again.wanted)
    assert not np.array_equal(Sliced().renewed(F, one).wanted, one.wanted)
    assert not np.array_equal(target_of(F, A, 1).wanted, one.wanted)


def test_the_gradient_draws_features_to_where_they_were_moved(pair):
    F, A = pair
    target = target_of(F, A)
    gradient = jax.grad(Sliced().loss)(F, target)
    np.testing.assert_allclose(gradient, 2 * (F - target.wanted) / F.size, rtol=1e-5)
