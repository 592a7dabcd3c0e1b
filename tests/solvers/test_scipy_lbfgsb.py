import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import Bounds, minimize, rosen, rosen_der

from nst_jax.solvers import scipy_lbfgsb as lbfgsb
from nst_jax.solvers.state import FIRST_STEP, RUNNING, STATUSES

N = 12
SLOPES = np.linspace(1, 30, N).astype(np.float32)
GOAL = np.linspace(-4, 4, N).astype(np.float32)


@pytest.fixture(autouse=True)
def _no_thread_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def bowl(x):
    """A quadratic with its minimum at `GOAL`."""
    value = 0.5 * jnp.sum(SLOPES * (x - GOAL) ** 2)
    return value, {"half": value / 2}


def valley(x, weight=1.0):
    value = weight * jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)
    return value, {}


def solve(fun, x, budget=60, low=-2.0, high=3.0, corrections=20):
    """Return all states of a solve."""
    method = lbfgsb.evaluating(fun)
    states = [jax.jit(method.init)(jnp.asarray(x, jnp.float32))]
    with lbfgsb.steps(jax.jit(method.step), low=low, high=high, corrections=corrections) as step:
        while len(states) <= budget and states[-1].status == RUNNING:
            states.append(step(states[-1]))
    return states


def status(state):
    return STATUSES[int(state.status)]


def test_a_quadratic_within_bounds():
    """The axes of the bowl are the coordinates', so its minimum in a box is its minimum, clipped."""
    last = solve(bowl, np.zeros(N))[-1]
    np.testing.assert_allclose(last.best, GOAL.clip(-2, 3), atol=1e-3)
    assert np.count_nonzero((last.best == -2) | (last.best == 3)) == np.sum((GOAL < -2) | (GOAL > 3))
    np.testing.assert_allclose(last.aux["half"], last.value / 2)


@pytest.mark.parametrize("fun", [bowl, valley])
def test_every_evaluation_is_where_scipy_makes_it(fun, random):
    """Driven directly, with the same function in float64 around a float32 program."""
    x0, seen = random.normal(size=N).astype(np.float32), []
    value_and_grad = jax.jit(jax.value_and_grad(lambda x: fun(x)[0]))
    scale = 1 / np.sqrt(np.mean(np.float64(value_and_grad(x0)[1]) ** 2))

    def direct(x):
        value, grad = value_and_grad(jnp.asarray(x, jnp.float32))
        seen.append((x.copy(), float(value)))
        return float(value) * scale, np.float64(grad) * scale

    options = {"maxcor": 5, "ftol": 0, "gtol": 0, "maxfun": 40}
    minimize(direct, x0, jac=True, method="L-BFGS-B", bounds=Bounds(-2, 3), options=options)
    states = solve(fun, x0, budget=40, corrections=5)[1:]
    count = min(25, len(states), len(seen))  # float32 drifts apart when there is little left to gain
    assert count > 10
    for state, (x, value) in list(zip(states, seen, strict=False))[:count]:
        np.testing.assert_allclose(state.x, x, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(state.inner[0] / state.scale, value, rtol=1e-2, atol=1e-4)


def test_bounds_hold_at_every_evaluation_and_for_the_start():
    states = solve(valley, np.full(N, 50.0), low=-0.5, high=0.75)[1:]
    assert all(state.x.min() >= -0.5 and state.x.max() <= 0.75 for state in states)
    np.testing.assert_array_equal(states[0].x, np.full(N, 0.75))
    assert states[-1].value < states[0].value


@pytest.mark.parametrize("budget", [1, 2, 7, 23])
def test_every_step_is_one_evaluation(budget):
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(1))
        return valley(x)

    states = solve(counted, np.zeros(N), budget=budget)
    jax.effects_barrier()
    assert len(calls) == int(states[-1].evaluations) == budget
    assert [int(state.evaluations) for state in states] == list(range(budget + 1))


@pytest.mark.parametrize("weight", [1e-9, 1.0, 1e9])
def test_weights_of_any_magnitude_behave_alike(weight):
    x, heavy = np.linspace(0, 1, N), lambda x: valley(x, weight)
    usual, weighted = solve(valley, x, budget=30)[-1], solve(heavy, x, budget=30)[-1]
    np.testing.assert_allclose(weighted.value, weight * usual.value, rtol=0.05)


def test_the_best_is_kept():
    states = solve(valley, np.full(N, -1.5), budget=40)
    found = [float(valley(state.x)[0]) for state in states[1:]]
    np.testing.assert_allclose([state.value for state in states[1:]], np.minimum.accumulate(found), rtol=1e-5)
    np.testing.assert_allclose(valley(states[-1].best)[0], states[-1].value, rtol=1e-5)


def test_a_first_value_that_is_not_finite_ends_the_run():
    states = solve(lambda x: (jnp.sum(x) * jnp.nan, {}), np.ones(3))
    assert status(states[-1]) == "not finite"
    assert int(states[-1].evaluations) == 1
    np.testing.assert_array_equal(states[-1].best, np.ones(3))


def test_a_later_value_that_is_not_finite_ends_the_run_with_the_last_good_image():
    cliff = lambda x: (jnp.sum(jnp.where(x > 0.5, jnp.nan, (x - 2.9) ** 2)), {})
    last = solve(cliff, np.zeros(4))[-1]
    assert status(last) == "not finite"
    assert int(last.evaluations) >= 2
    assert np.isfinite(last.best).all()
    assert np.isfinite(last.value)


def test_what_cannot_fall_stalls():
    flat = solve(lambda x: (jnp.sum(0 * x), {}), np.ones(3))[-1]
    assert (status(flat), int(flat.evaluations)) == ("stalled", 1)
    bottom = solve(bowl, np.zeros(N), budget=500)
    assert status(bottom[-1]) == "stalled"
    assert len(bottom) < 500


def test_a_run_that_has_ended_stays_as_it_is():
    method = lbfgsb.evaluating(lambda x: (jnp.sum(0 * x), {}))
    with lbfgsb.steps(method.step, low=-1, high=1) as step:
        state = step(step(method.init(jnp.ones(3))))
        assert status(state) == "stalled"
        assert step(state) is state


def test_a_mistake_of_the_function_is_told_and_leaves_no_thread():
    def broken(state):
        raise MemoryError("too little")

    with pytest.raises(MemoryError, match="too little"), lbfgsb.steps(broken, low=-1, high=1) as step:
        step(lbfgsb.evaluating(bowl).init(jnp.zeros(N)))


def test_a_mistake_of_scipy_is_told():
    method = lbfgsb.evaluating(bowl)
    with pytest.raises(ValueError, match="bound"), lbfgsb.steps(method.step, low=1, high=-1) as step:
        step(method.init(jnp.zeros(N)))


def test_bounds_are_of_all_images_and_channels_together(random):
    a, b = random.normal(size=(3, 4, 3)), random.normal(size=(5, 2, 3))
    assert lbfgsb.bounds(a, b) == (min(a.min(), b.min()), max(a.max(), b.max()))


def test_a_step_leaves_the_scaled_value_and_gradient_of_its_x(random):
    method = lbfgsb.evaluating(valley)
    x = np.float32(random.normal(size=6))
    state = method.step(method.init(jnp.asarray(x), 1e6), 1e6)
    value, grad = state.inner
    np.testing.assert_array_equal(state.x, x)
    np.testing.assert_allclose(np.sqrt(np.mean(grad**2)), FIRST_STEP, rtol=1e-5)
    np.testing.assert_allclose(state.value, 1e6 * rosen(np.float64(x)), rtol=1e-5)
    np.testing.assert_allclose(value, state.value * state.scale, rtol=1e-6)
    again = method.step(replace(state, x=state.x + 1), 1e6)
    assert (again.evaluations, again.value, again.scale) == (2, state.value, state.scale)  # the best so far
    np.testing.assert_allclose(again.inner[0], 1e6 * state.scale * rosen(np.float64(x) + 1), rtol=1e-4)
    wanted = 1e6 * state.scale * rosen_der(np.float64(x) + 1)
    np.testing.assert_allclose(again.inner[1], wanted, rtol=1e-4)
