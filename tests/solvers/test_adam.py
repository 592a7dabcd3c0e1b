from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.settings import Solver
from nst_jax.solvers.adam import adam, method
from nst_jax.solvers.lbfgs import forget_last
from nst_jax.solvers.state import NOT_FINITE, RUNNING, STATUSES


def valley(x, weight=1.0):
    value = weight * jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)
    return value, {"half": value / 2}


def solve(fun, x, *args, budget, learning_rate):
    make = adam(fun, learning_rate=learning_rate)
    state, step = jax.jit(make.init)(jnp.asarray(x), *args), jax.jit(make.step)
    while state.evaluations < budget and state.status == RUNNING:
        state = step(state, *args)
    return state


def cliff(x):
    return jnp.sum(jnp.where(x > 3, jnp.nan, (x - 2.9) ** 2)), {}


def status(state):
    return STATUSES[int(state.status)]


def test_it_finds_the_minimum_whatever_the_scale():
    make = adam(valley, learning_rate=0.02)

    def advanced(state, weight):
        return jax.lax.fori_loop(0, 3000, lambda _, state: make.step(state, weight), state)

    run = jax.jit(lambda weight: advanced(make.init(jnp.zeros(6), weight), weight))
    for weight in (1e-9, 1.0, 1e9):
        state = run(weight)
        np.testing.assert_allclose(state.best, np.ones(6), atol=0.02)
        assert int(state.evaluations) == 3000
        np.testing.assert_allclose(state.aux["half"], state.value / 2, rtol=1e-6)


def test_the_first_evaluation_is_of_the_first_image_and_the_first_step_has_the_wanted_size(random):
    x = np.float32(random.normal(size=50))
    first, second = (solve(valley, x, budget=n, learning_rate=0.5) for n in (1, 2))
    np.testing.assert_array_equal(first.x, x)
    np.testing.assert_allclose(first.value, valley(x)[0], rtol=1e-6)
    assert float(jnp.sqrt(jnp.mean((second.x - x) ** 2))) == pytest.approx(0.5, rel=0.01)


def test_steps_are_those_of_the_paper(random):
    """Algorithm 1 of Kingma & Ba, in plain NumPy; its steps do not depend on the gradient's scale."""
    x = np.float64(random.normal(size=6))
    state = solve(valley, np.float32(x), budget=6, learning_rate=0.01)
    m, v, slope = np.zeros(6), np.zeros(6), jax.jit(jax.grad(lambda x: valley(x)[0]))
    for t in range(1, 6):
        g = np.float64(slope(np.float32(x)))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(state.x, x, rtol=1e-4, atol=1e-5)


def test_the_second_decay_is_that_of_squared_gradients(random):
    x, slope = np.float64(random.normal(size=6)), jax.grad(lambda x: valley(x)[0])
    make = adam(valley, learning_rate=0.01, beta2=0.5)
    state = make.init(jnp.float32(x))
    for _ in range(4):
        state = make.step(state)
    m, v = np.zeros(6), np.zeros(6)
    for t in range(1, 4):
        g = np.float64(slope(np.float32(x)))
        m, v = 0.9 * m + 0.1 * g, 0.5 * v + 0.5 * g**2
        x -= 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.5**t)) + 1e-8)
    np.testing.assert_allclose(state.x, x, rtol=1e-4, atol=1e-5)


def test_a_mean_of_all_iterates_is_the_result_and_the_latest_value_is_told(random):
    make = adam(valley, learning_rate=0.3, averaging=0.8)
    state, iterates = make.init(jnp.float32(random.normal(size=6))), []
    for n in range(1, 8):
        state = make.step(state)
        iterates.append(np.float64(state.x))
        weights = 0.8 ** np.arange(n - 1, -1, -1)
        np.testing.assert_allclose(state.best, weights @ np.array(iterates) / weights.sum(), rtol=1e-5)
        np.testing.assert_allclose(state.value, valley(state.x)[0], rtol=1e-5)
        np.testing.assert_allclose(state.aux["half"], state.value / 2, rtol=1e-6)


def test_a_slow_mean_begins_with_the_first_iterate(random):
    make = adam(valley, learning_rate=0.3, averaging=0.999999)
    state = make.step(make.init(jnp.float32(random.normal(size=6))))
    np.testing.assert_array_equal(state.best, state.x)
    after = make.step(state)
    np.testing.assert_allclose(after.best, (state.x + after.x) / 2, rtol=1e-4)


def test_what_is_not_finite_does_not_enter_the_mean():
    make = adam(cliff, learning_rate=1.0, averaging=0.9)
    state = make.init(jnp.zeros(4))
    before = state
    while state.status == RUNNING:
        before, state = state, make.step(state)
    assert status(state) == "not finite"
    np.testing.assert_array_equal(state.best, before.best)
    assert float(state.value) == float(before.value) == float(cliff(before.x)[0])


def bowl(x, share=1.0):
    """A loss that is a mean over positions, as all are: of more of them each has less of the gradient."""
    return share * jnp.mean(x**2), {}


def twice(x):
    return jnp.repeat(x, 2)


def test_a_larger_x_goes_on_with_the_moments_of_a_smaller_one():
    """A loss of twice as many positions, all of them pairs: the way of the larger is that of the smaller."""
    make = adam(bowl, learning_rate=0.1)
    small = make.init(jnp.asarray([3.0, -1.0, 0.5]))
    for _ in range(5):
        small = make.step(small)
    large = make.carry(make.init(twice(small.x)), small, twice)
    assert (int(large.evaluations), float(large.value)) == (0, np.inf)
    large = make.step(large)
    np.testing.assert_array_equal(large.x, twice(small.x))
    for _ in range(4):
        small, large = make.step(small), make.step(large)
        np.testing.assert_allclose(large.x, twice(small.x), rtol=1e-5)


def test_what_is_carried_does_not_depend_on_the_scale_of_the_loss():
    make, found = adam(bowl, learning_rate=0.1), []
    for share in (1.0, 1e6):
        small = make.init(jnp.asarray([3.0, -1.0, 0.5]))
        for _ in range(5):
            small = make.step(small, share)
        large = make.carry(make.init(twice(small.x)), small, twice)
        for _ in range(3):
            large = make.step(large, share)
        found.append(large.x)
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_of_what_was_not_finite_nothing_is_carried():
    make = adam(bowl)
    small = replace(make.step(make.init(jnp.ones(3))), status=jnp.asarray(NOT_FINITE))
    state = make.init(jnp.ones(6))
    for kept, begun in zip(*map(jax.tree.leaves, (make.carry(state, small, twice), state)), strict=True):
        np.testing.assert_array_equal(kept, begun)


def test_squares_stay_squares():
    make = adam(bowl)
    small = make.step(make.step(make.init(jnp.ones(3))))
    large = make.carry(make.init(jnp.ones(6)), small, lambda x: twice(x) - 10)
    assert large.inner[1][0].mu.min() < 0
    assert large.inner[1][0].nu.min() == 0


def test_a_first_value_that_is_not_finite_ends_the_run():
    make = adam(lambda x: (jnp.sum(x) * jnp.nan, {}))
    state = make.step(make.init(jnp.ones(3)))
    for found in (state, make.step(state)):  # which stays as it is
        assert (status(found), int(found.evaluations)) == ("not finite", 1)
        np.testing.assert_array_equal(found.best, np.ones(3))


def test_a_later_gradient_that_is_not_finite_ends_the_run_with_the_last_good_image():
    state = solve(cliff, jnp.zeros(4), budget=200, learning_rate=1.0)
    assert status(state) == "not finite"
    assert np.isfinite(state.best).all()
    assert np.isfinite(state.value)


def test_settings_choose_the_learning_rate(random):
    x = jnp.asarray(random.normal(size=50), jnp.float32)
    make = method(valley, Solver(kind="adam", learning_rate=0.25))
    state = make.step(make.step(make.init(x)))
    assert float(jnp.max(jnp.abs(state.x - x))) == pytest.approx(0.25, rel=0.01)
    assert forget_last(state) is state  # there are no pairs to forget
    assert make.carry is None
    carrying = method(valley, Solver(kind="adam", beta2=0.9, averaging=0.5, carry=True))
    assert carrying.carry is not None
    after = carrying.step(carrying.step(carrying.init(x)))
    np.testing.assert_allclose(after.best, (x + 2 * after.x) / 3, rtol=1e-5)
