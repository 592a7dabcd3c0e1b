from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der

from nst_jax.solvers import solver


def rosenbrock(x, weight=1.0):
    value = weight * jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)
    return value, {"half": value / 2}


def solve(fun, x, *args, method="lbfgs", budget=200, **options):
    make = {"lbfgs": solver.lbfgs, "adam": solver.adam}[method](fun, **options)
    state, step = jax.jit(make.init)(jnp.asarray(x), *args), jax.jit(make.step)
    while state.evaluations < budget and state.status == solver.RUNNING:
        state = step(state, *args)
    return state


METHODS = {
    "lbfgs": {"method": "lbfgs", "first_step": 0.01},
    "zoom": {"method": "lbfgs", "linesearch": "zoom", "first_step": 0.01},
    "adam": {"method": "adam", "learning_rate": 0.02, "budget": 4000},
}


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("weight", [1e-9, 1.0, 1e9])
def test_finds_the_minimum_whatever_the_scale(options, weight):
    state = solve(rosenbrock, jnp.zeros(6), weight, **options)
    np.testing.assert_allclose(state.best, np.ones(6), atol=0.02)
    assert solver.STATUSES[int(state.status)] in ("running", "stalled")


def test_value_and_aux_are_unscaled_and_belong_to_the_best(random):
    x = np.float32(random.normal(size=6))
    for budget in (1, 7, 30):
        state = solve(rosenbrock, x, 1e6, budget=budget)
        np.testing.assert_allclose(state.value, 1e6 * rosen(np.float64(state.best)), rtol=1e-4)
        np.testing.assert_allclose(state.aux["half"], state.value / 2, rtol=1e-6)


def test_first_evaluation_is_of_the_first_image():
    x = jnp.arange(5.0)
    state = solve(rosenbrock, x, budget=1)
    np.testing.assert_array_equal(state.x, x)
    np.testing.assert_allclose(state.value, rosen(np.arange(5.0)), rtol=1e-6)
    assert state.evaluations == 1


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_first_step_has_the_wanted_size(method):
    options = {"first_step": 0.5} if method == "lbfgs" else {"learning_rate": 0.5}
    x = jnp.asarray(np.random.default_rng(0).normal(size=50), jnp.float32)
    state = solve(rosenbrock, x, method=method, budget=2, **options)
    moved = state.inner.s_history[1] if method == "lbfgs" else state.x - x
    assert float(jnp.sqrt(jnp.mean(moved**2))) == pytest.approx(0.5, rel=0.01)


def test_budget_counts_evaluations_of_the_function():
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(1))
        return rosenbrock(x)

    state = solve(counted, jnp.zeros(4), budget=25, first_step=0.01)
    jax.effects_barrier()
    assert len(calls) == int(state.evaluations) == 25


def test_zoom_counts_the_evaluations_of_its_line_search():
    state = solve(rosenbrock, jnp.zeros(4), budget=25, linesearch="zoom", first_step=0.01)
    assert int(state.evaluations) >= 25
    assert int(state.inner.iter_num) < 25


def test_one_copy_of_the_function_is_compiled():
    traces = []

    def traced(x):
        traces.append(1)
        return jnp.sum(jnp.sin(x)), {}

    method = solver.lbfgs(traced)
    state = method.init(jnp.ones(3))
    program = jax.jit(method.step).lower(state).as_text()
    assert program.count("stablehlo.sine") == 1


def test_quadratic_in_as_many_steps_as_it_has_eigenvalues(random):
    """L-BFGS with exact curvature: a well scaled quadratic is solved to float32 in few evaluations."""
    A = np.diag(np.linspace(1, 10, 20))
    f = lambda x: (0.5 * x @ A @ x, {})
    state = solve(f, np.float32(random.normal(size=20)), budget=60, first_step=0.1)
    np.testing.assert_allclose(state.best, 0, atol=1e-4)


def cliff(x):
    """A parabola that is not a number beyond 3."""
    return jnp.sum(jnp.where(x > 3, jnp.nan, (x - 2.9) ** 2)), {}


def test_a_step_to_nan_is_refused_and_the_run_goes_on():
    state = solve(cliff, jnp.zeros(4), budget=60, first_step=10.0)
    assert np.isfinite(state.best).all()
    np.testing.assert_allclose(state.best, 2.9, atol=1e-2)


def test_a_rising_step_is_refused():
    state = solve(lambda x: (jnp.sum(x**4), {}), jnp.full(3, 10.0), budget=2, first_step=1000.0)
    assert int(state.refused) == 1
    np.testing.assert_array_equal(state.x, np.full(3, 10.0))
    better = solve(lambda x: (jnp.sum(x**4), {}), jnp.full(3, 10.0), budget=60, first_step=1000.0)
    assert better.value < 1


def test_evaluating_leaves_the_scaled_value_and_gradient_of_its_x(random):
    method = solver.evaluating(rosenbrock)
    x = np.float32(random.normal(size=6))
    state = method.step(method.init(jnp.asarray(x), 1e6), 1e6)
    value, grad = state.inner
    np.testing.assert_array_equal(state.x, x)
    np.testing.assert_allclose(np.sqrt(np.mean(grad**2)), solver.FIRST_STEP, rtol=1e-5)
    np.testing.assert_allclose(state.value, 1e6 * rosen(np.float64(x)), rtol=1e-5)
    np.testing.assert_allclose(value, state.value * state.scale, rtol=1e-6)
    again = method.step(replace(state, x=state.x + 1), 1e6)
    assert (again.evaluations, again.value, again.scale) == (2, state.value, state.scale)  # the best so far
    np.testing.assert_allclose(again.inner[0], 1e6 * state.scale * rosen(np.float64(x) + 1), rtol=1e-4)
    wanted = 1e6 * state.scale * rosen_der(np.float64(x) + 1)
    np.testing.assert_allclose(again.inner[1], wanted, rtol=1e-4)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_a_first_value_that_is_not_finite_ends_the_run(method):
    state = solve(lambda x: (jnp.sum(x) * jnp.nan, {}), jnp.ones(3), method=method)
    assert solver.STATUSES[int(state.status)] == "not finite"
    np.testing.assert_array_equal(state.best, np.ones(3))
    assert state.evaluations == 1


def test_adam_ends_on_a_gradient_that_is_not_finite_with_the_last_good_image():
    state = solve(cliff, jnp.zeros(4), method="adam", learning_rate=1.0)
    assert solver.STATUSES[int(state.status)] == "not finite"
    assert np.isfinite(state.best).all()
    assert np.isfinite(state.value)


def test_a_function_that_cannot_fall_stalls():
    # Its gradient points the wrong way, so that no step helps.
    @jax.custom_vjp
    def liar(x):
        return jnp.sum(x**2) + 1.0

    liar.defvjp(lambda x: (liar(x), x), lambda x, g: (-1e3 * g * x,))
    state = solve(lambda x: (liar(x), {}), jnp.ones(3), budget=500, first_step=100.0)
    assert solver.STATUSES[int(state.status)] in ("stalled", "running")
    assert int(state.evaluations) <= 500
    np.testing.assert_array_equal(state.best, np.ones(3))


def test_a_flat_function_stays_where_it_is():
    state = solve(lambda x: (jnp.sum(0 * x), {}), jnp.ones(3), budget=20)
    np.testing.assert_array_equal(state.best, np.ones(3))


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_a_run_that_has_ended_stays_as_it_is(method):
    make = {"lbfgs": solver.lbfgs, "adam": solver.adam}[method](lambda x: (jnp.sum(x) * jnp.nan, {}))
    ended = make.step(make.init(jnp.ones(3)))
    after = make.step(ended)
    assert solver.STATUSES[int(after.status)] == "not finite"
    assert after.evaluations == ended.evaluations == 1
    np.testing.assert_array_equal(after.best, np.ones(3))


def test_lanes_of_a_batch_do_not_disturb_each_other():
    method = solver.lbfgs(rosenbrock, history=5, first_step=0.01)
    weights = jnp.array([1e-3, 1.0, jnp.nan, 1e3])
    x = jnp.zeros(8)
    start = jax.vmap(method.init, (None, 0))(x, weights)
    step = jax.jit(jax.vmap(method.step))
    lanes = start
    for _ in range(20):
        lanes = step(lanes, weights)
    assert solver.STATUSES[int(lanes.status[2])] == "not finite"
    for lane in (0, 1, 3):
        alone = solve(rosenbrock, x, weights[lane], budget=20, history=5, first_step=0.01)
        np.testing.assert_allclose(lanes.value[lane], alone.value, rtol=0.05, atol=1e-6)
