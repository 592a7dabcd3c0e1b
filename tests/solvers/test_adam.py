import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.settings import Solver
from nst_jax.solvers.adam import adam, method
from nst_jax.solvers.lbfgs import forget_last
from nst_jax.solvers.state import RUNNING, STATUSES


def valley(x, weight=1.0):
    value = weight * jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)
    return value, {"half": value / 2}


def solve(fun, x, *args, budget, learning_rate):
    make = adam(fun, learning_rate=learning_rate)
    state, step = jax.jit(make.init)(jnp.asarray(x), *args), jax.jit(make.step)
    while state.evaluations < budget and state.status == RUNNING:
        state = step(state, *args)
    return state


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


def test_a_first_value_that_is_not_finite_ends_the_run():
    make = adam(lambda x: (jnp.sum(x) * jnp.nan, {}))
    state = make.step(make.init(jnp.ones(3)))
    for found in (state, make.step(state)):  # which stays as it is
        assert (status(found), int(found.evaluations)) == ("not finite", 1)
        np.testing.assert_array_equal(found.best, np.ones(3))


def test_a_later_gradient_that_is_not_finite_ends_the_run_with_the_last_good_image():
    cliff = lambda x: (jnp.sum(jnp.where(x > 3, jnp.nan, (x - 2.9) ** 2)), {})
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
