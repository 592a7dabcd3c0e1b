import jax
import numpy as np
import pytest
from scipy import stats

from nst_jax.losses import ranks
from nst_jax.losses.ranks import drawn, quantiles


@jax.jit
def _moved(x, y, share):
    return ranks.moved(x, quantiles(y), share)


def moved(x, y, share=None):
    return np.asarray(_moved(np.float32(x), np.float32(y), share))


def by_sorting(x, y):
    """Each value of x to that of y with its rank; both have as many."""
    found = np.empty_like(x)
    for channel in range(x.shape[1]):
        found[np.argsort(x[:, channel], kind="stable"), channel] = np.sort(y[:, channel])
    return found


def test_values_take_those_of_their_rank(random):
    x, y = random.normal(size=(2, 500, 3)) * [[[1]], [[5]]] + [[[0]], [[2]]]
    off = moved(x, y) - by_sorting(x, y)
    assert np.sqrt(np.mean(off**2)) < 0.01 * y.std()  # two values in one bin have one rank


def test_the_squared_distance_is_scipys(random):
    """What moves the values is the least that can: the distance of Wasserstein, squared."""
    x, y = random.gamma(2, size=400), random.normal(3, 2, size=400)
    found = np.mean((x - moved(x[:, None], y[:, None])[:, 0]) ** 2)
    x, y = np.sort(x), np.sort(y)
    np.testing.assert_allclose(found, np.mean((x - y) ** 2), rtol=2e-3)
    plain = np.mean(np.abs(x - y))
    np.testing.assert_allclose(plain, stats.wasserstein_distance(x, y), rtol=1e-5)


@pytest.mark.parametrize("count", [30, 300, 20000])
def test_other_counts_go_by_quantiles(random, count):
    x, y = random.normal(size=(count, 1)), random.normal(4, 3, size=(1200, 1))
    off = np.sort(moved(x, y)[:, 0]) - np.quantile(y, (np.arange(count) + 0.5) / count)
    assert np.sqrt(np.mean(off**2)) < 0.04 * y.std()


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("count", [1000, 50000])
def test_the_same_values_in_another_order_stay(random, scale, count):
    x = np.float32(scale * random.gamma(1, size=(count, 2)))
    found = moved(x, x[random.permutation(count)])
    assert np.mean((x - found) ** 2) < 3e-4 * np.var(x)
    np.testing.assert_allclose(found.mean(0), x.mean(0), rtol=1e-3)


def test_equal_values_get_the_mean_of_their_ranks(random):
    """As the zeros of a rectifier do: half of x is 0, and goes to the mean of y's lower half."""
    x = np.r_[np.zeros(500), random.uniform(1, 2, 500)][:, None]
    y = random.normal(size=1000)[:, None]
    found = np.ravel(moved(x, y))
    np.testing.assert_allclose(found[:500], np.sort(y[:, 0])[:500].mean(), rtol=1e-2)
    np.testing.assert_allclose(found.mean(), y.mean(), atol=2e-2)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_plain_and_single_values_are_no_trouble(value):
    plain, one = np.full((50, 2), value), np.float32([[1.0, 2.0]])
    np.testing.assert_allclose(moved(plain, one), np.broadcast_to(one, (50, 2)), rtol=1e-5)
    np.testing.assert_allclose(moved(one, plain), np.full((1, 2), value), rtol=1e-5)
    np.testing.assert_allclose(moved(plain, plain), plain, rtol=1e-5)


def test_what_does_not_count_has_no_ranks(random):
    x, y = random.normal(size=(400, 1)), random.normal(3, 2, size=(200, 1))
    x[200:] += 50
    share = np.float32(np.arange(400) < 200)[:, None]
    np.testing.assert_allclose(moved(x, y, share)[:200].mean(), y.mean(), atol=0.2)
    off = moved(x, y, share)[:200] - by_sorting(x[:200], y)
    assert np.sqrt(np.mean(off**2)) < 0.05 * y.std()


def test_what_is_seen_more_is_drawn_more_often():
    F = np.float32([[[1.0], [2.0], [3.0], [4.0]]])
    np.testing.assert_array_equal(np.ravel(drawn([F])), [1, 2, 3, 4])
    np.testing.assert_array_equal(np.ravel(drawn([F, F])), [1, 2, 3, 4] * 2)
    visible = np.float32([[[0.0], [3.0], [0.0], [1.0]]])
    np.testing.assert_array_equal(np.ravel(drawn([F], [visible])), [2, 2, 2, 4])


def test_shares_are_of_pictures_whatever_their_size():
    small, large = np.full((1, 10, 1), 1.0, np.float32), np.full((9, 10, 1), 2.0, np.float32)
    ones = [np.ones_like(small), np.ones_like(large)]
    found = np.ravel(drawn([small, large], ones, [0.75, 0.25]))
    assert (len(found), np.sum(found == 1)) == (100, 75)
