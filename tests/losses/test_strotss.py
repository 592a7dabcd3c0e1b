import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
from scipy.spatial import distance

from nst_jax.losses import strotss
from nst_jax.losses.strotss import RelaxedTransport
from nst_jax.losses.terms import INPUT, Guides

LAYERS = {"conv1_1": (20, 16, 3), "conv3_1": (5, 4, 4)}
WEIGHTS = dict.fromkeys(LAYERS, 0.5)
TERM = RelaxedTransport()


all_targets, all_renewed = jax.jit(TERM.all_targets), jax.jit(TERM.all_renewed)
distances = jax.jit(TERM.distances)


def features(random):
    found = {name: np.float32(np.maximum(random.normal(size=shape), 0)) for name, shape in LAYERS.items()}
    return found | {INPUT: np.float32(random.uniform(-100, 100, size=(20, 16, 3)))}


def guides(visible=()):
    blank = jnp.zeros((20, 16, 0))
    return dict.fromkeys((*LAYERS, INPUT), Guides((blank,), blank, 0.0, tuple(map(jnp.asarray, visible))))


def test_the_relaxed_distance_is_no_more_than_exact_transport(random):
    for _ in range(5):
        C = distance.cdist(random.normal(size=(12, 3)), random.normal(size=(12, 3)))
        rows, columns = optimize.linear_sum_assignment(C)
        found = float(strotss.relaxed(jnp.float32(C)))
        assert found <= C[rows, columns].mean() * (1 + 1e-6)
        assert found == pytest.approx(max(C.min(0).mean(), C.min(1).mean()), rel=1e-5)


def test_moments_and_distances_are_numpys(random):
    A, B = np.float32(random.normal(size=(30, 4))), np.float32(random.normal(2, 3, size=(50, 4)))
    covariances = [np.cov(each.T, bias=True) for each in (A, B)]
    wanted = np.mean(np.abs(A.mean(0) - B.mean(0))) + np.mean(np.abs(covariances[0] - covariances[1]))
    np.testing.assert_allclose(strotss.moments(A, B), wanted, rtol=1e-4)
    np.testing.assert_allclose(strotss.euclidean(A, B), distance.cdist(A, B), rtol=1e-3)


def test_a_picture_is_near_itself_and_far_from_others(random):
    F, style = features(random), features(random)
    target = all_renewed(F, all_targets([style], guides()))
    own = all_renewed(style, target)
    far, near = (sum(distances(*pair, WEIGHTS).values()) for pair in ((F, target), (style, own)))
    assert near < 0.6 * far
    assert set(distances(F, target, WEIGHTS)) == {"transport", "moments", "palette"}


def test_places_are_new_each_time_and_the_same_in_every_run(random):
    F = features(random)
    one, again = (all_renewed(F, all_targets([F], guides())) for _ in range(2))
    np.testing.assert_array_equal(one.places, again.places)
    assert one.places.shape == (320, 2)
    assert not np.array_equal(all_renewed(F, one).places, one.places)


def test_what_is_hidden_is_not_sampled(random):
    F = features(random)
    seen = np.zeros((20, 16, 1), np.float32)
    seen[:10] = 1
    F[INPUT][10:] = 1e4
    colours = all_targets([F], guides((seen,))).colours
    assert np.max(np.abs(colours)) <= 100


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_plain_features_have_a_finite_gradient(random, value):
    slopes = jax.jit(jax.grad(lambda F, target: sum(TERM.distances(F, target, WEIGHTS).values())))
    flat = {name: np.full(F.shape, value, np.float32) for name, F in features(random).items()}
    for F, style in ((flat, features(random)), (features(random), flat), (flat, flat)):
        target = all_renewed(F, all_targets([style], guides()))
        slope = slopes(F, target)
        assert all(np.isfinite(each).all() for each in slope.values())
