import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.losses.hypercolumns import on_grid
from nst_jax.losses.neighbours import Neighbours
from nst_jax.losses.terms import INPUT, Guides

LAYERS = {"conv2_1": (10, 8, 3), "conv3_1": (5, 4, 4), "conv4_1": (2, 2, 5)}
WEIGHTS = dict.fromkeys(LAYERS, 1 / 3)
TERM = Neighbours()


all_targets, distances = jax.jit(TERM.all_targets), jax.jit(TERM.distances)


def features(random, scale=1.0):
    found = {name: np.float32(np.maximum(random.normal(size=shape), 0)) for name, shape in LAYERS.items()}
    return found | {INPUT: np.zeros((20, 16, 3), np.float32)}


def guides(query, maps=None, gamma=0.0, visible=()):
    blank = jnp.zeros((20, 16, 0))
    style, content = maps or (blank, blank)
    visible = tuple(jnp.asarray(each) for each in visible)
    return {name: Guides((style,), content, gamma, visible, F) for name, F in TERM.condensed(query).items()}


def columns(F):
    """Hypercolumns by hand: each layer on the grid of 5 x 4, divided by its channels."""
    return np.concatenate(
        [np.float64(on_grid(F[name], (5, 4))).reshape(20, -1) / LAYERS[name][2] for name in LAYERS], 1
    )


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_places_get_the_features_of_their_nearest_neighbours(random):
    query, style = features(random), features(random)
    found = all_targets([TERM.condensed(style)], guides(query))
    q, s = (columns(each) for each in (query, style))
    cosines = unit(q - q.mean(0)) @ unit(s - s.mean(0)).T
    for name in LAYERS:
        wanted = np.reshape(on_grid(style[name], (5, 4)), (20, -1))[cosines.argmax(1)]
        np.testing.assert_allclose(found.layers[name].reshape(20, -1), wanted, rtol=1e-5)


def test_in_the_last_pass_each_layer_has_its_own_nearest_neighbours(random):
    last, query = TERM.last[0], features(random)
    styles = [features(random) for _ in range(2)]
    both = {name: each._replace(style=each.style * 2) for name, each in guides(query).items()}
    found = jax.jit(last.all_targets)([last.condensed(style) for style in styles], both)
    for name in LAYERS:
        q, *tables = (np.float64(on_grid(F[name], (5, 4))).reshape(20, -1) for F in (query, *styles))
        s, middle = np.concatenate(tables), tables[0].mean(0)
        copied = np.reshape(found.layers[name], (20, -1))
        which = [np.flatnonzero(np.all(np.isclose(s, row), 1))[0] for row in copied]
        cosines = unit(q - q.mean(0)) @ unit(s - middle).T  # of conv4_1 some positions are equally near
        np.testing.assert_allclose(cosines[range(20), which], cosines.max(1), rtol=1e-5)
    assert (last.likeness, last.last, len(TERM.last)) == (0, (), 2)


def test_the_best_of_several_pictures_is_taken(random):
    query, one, other = (features(random) for _ in range(3))
    both = {name: each._replace(style=each.style * 2) for name, each in guides(query).items()}
    found = all_targets([TERM.condensed(one), TERM.condensed(other)], both)
    tables = {
        name: np.concatenate([on_grid(F[name], (5, 4)).reshape(20, -1) for F in (one, other)])
        for name in LAYERS
    }
    rows = np.concatenate([np.reshape(found.layers[name], (20, -1)) for name in LAYERS], 1)
    known = np.concatenate(list(tables.values()), 1)
    which = [int(np.flatnonzero(np.all(np.isclose(known, row), 1))[0]) for row in rows]
    assert {0, 1} == {index // 20 for index in which}


def test_the_distance_is_that_of_squares(random):
    F, query, style = (features(random) for _ in range(3))
    target = all_targets([TERM.condensed(style)], guides(query))
    x = columns(F)
    R = np.concatenate([np.reshape(target.layers[name], (20, -1)) / LAYERS[name][2] for name in LAYERS], 1)
    wanted = np.sum((x - R) ** 2) / np.sum(R**2)
    found = distances(F, target, WEIGHTS)
    assert set(found) == {"hypercolumns"}
    np.testing.assert_allclose(found["hypercolumns"], TERM.unit * wanted, rtol=1e-4)
    doubled = distances(F, target, dict.fromkeys(LAYERS, 2 / 3))
    np.testing.assert_allclose(doubled["hypercolumns"], 2 * found["hypercolumns"], rtol=1e-5)


def test_a_layer_of_weight_zero_does_not_count(random):
    F, query, style = (features(random) for _ in range(3))
    target = all_targets([TERM.condensed(style)], guides(query))
    weights = WEIGHTS | {"conv4_1": 0.0}
    other = F | {"conv4_1": 5 * F["conv4_1"] + 1}
    assert distances(F, target, weights) == distances(other, target, weights)


def test_a_content_that_is_the_style_gives_the_style(random):
    F = features(random)
    target = all_targets([TERM.condensed(F)], guides(F))
    for name in LAYERS:
        np.testing.assert_allclose(target.layers[name], on_grid(F[name], (5, 4)), rtol=1e-5)
    np.testing.assert_allclose(distances(F, target, WEIGHTS)["hypercolumns"], 0, atol=1e-4)


def test_maps_decide_where_they_count_enough(random):
    query, style = features(random), features(random)
    ours, theirs = np.zeros((2, 20, 16, 2), np.float32)
    ours[:, :8, 0], ours[:, 8:, 1] = 1, 1
    theirs[:12, :, 0], theirs[12:, :, 1] = 1, 1
    found = all_targets([TERM.condensed(style)], guides(query, (theirs, ours), 1e4))
    table = np.reshape(on_grid(style["conv3_1"], (5, 4)), (20, -1))
    for row, column in np.ndindex(5, 4):
        which = np.flatnonzero(np.all(np.isclose(table, found.layers["conv3_1"][row, column]), 1))
        assert all((place // 4 < 3) == (column < 2) for place in which)


def test_what_is_hidden_is_not_copied(random):
    query, style = features(random), features(random)
    seen = np.zeros((20, 16, 1), np.float32)
    seen[:8] = 1
    found = all_targets([TERM.condensed(style)], guides(query, visible=(seen,)))
    table = np.reshape(on_grid(style["conv3_1"], (5, 4)), (20, -1))[:8]
    for row in np.reshape(found.layers["conv3_1"], (20, -1)):
        assert np.any(np.all(np.isclose(table, row), 1))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_plain_features_have_a_finite_gradient(random, value):
    slopes = jax.jit(jax.grad(lambda F, target: TERM.distances(F, target, WEIGHTS)["hypercolumns"]))
    flat = {name: np.full(F.shape, value, np.float32) for name, F in features(random).items()}
    for F, style in ((flat, features(random)), (features(random), flat), (flat, flat)):
        target = all_targets([TERM.condensed(style)], guides(F))
        slope = slopes(F, target)
        assert all(np.isfinite(each).all() for each in slope.values())
