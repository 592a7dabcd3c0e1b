import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import rosen

from nst_jax.settings import Solver
from nst_jax.solvers.lbfgs import forget_last, lbfgs, method
from nst_jax.solvers.state import RUNNING, STATUSES


def rosenbrock(x, weight=1.0):
    value = weight * jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)
    return value, {"half": value / 2}


def begun(make):
    """Return a program of the first state. No type in it is weak, so that one program of steps takes all."""
    return jax.jit(lambda x, *args: jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), make.init(x, *args)))


def solve(fun, x, *args, budget=200, **options):
    make = lbfgs(fun, **options)
    state, step = begun(make)(jnp.asarray(x), *args), jax.jit(make.step)
    while state.evaluations < budget and state.status == RUNNING:
        state = step(state, *args)
    return state


def status(state):
    return STATUSES[int(state.status)]


@pytest.mark.parametrize("linesearch", ["none", "zoom"])
def test_it_finds_the_minimum_whatever_the_scale(linesearch):
    make = lbfgs(rosenbrock, linesearch=linesearch, first_step=0.01)
    start, step = begun(make), jax.jit(make.step)
    for weight in (1e-9, 1.0, 1e9):
        state = start(jnp.zeros(6), weight)
        while state.evaluations < 200 and state.status == RUNNING:
            state = step(state, weight)
        np.testing.assert_allclose(state.best, np.ones(6), atol=0.02)
        assert status(state) in ("running", "stalled")


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


def test_the_first_step_has_the_wanted_size(random):
    x = np.float32(random.normal(size=50))
    state = solve(rosenbrock, x, budget=2, first_step=0.5)
    assert float(jnp.sqrt(jnp.mean(state.inner.solver.s_history[1] ** 2))) == pytest.approx(0.5, rel=0.01)


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
    assert int(state.inner.solver.iter_num) < 25


def test_one_copy_of_the_function_is_compiled():
    traces = []

    def traced(x):
        traces.append(1)
        return jnp.sum(jnp.sin(x)), {}

    make = lbfgs(traced)
    state = make.init(jnp.ones(3))
    program = jax.jit(make.step).lower(state).as_text()
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


def test_a_first_value_that_is_not_finite_ends_the_run():
    make = lbfgs(lambda x: (jnp.sum(x) * jnp.nan, {}))
    step = jax.jit(make.step)
    state = step(begun(make)(jnp.ones(3)))
    after = step(state)
    for found in (state, after):  # which stays as it is
        assert (status(found), int(found.evaluations)) == ("not finite", 1)
        np.testing.assert_array_equal(found.best, np.ones(3))


def test_a_function_that_cannot_fall_stalls():
    # Its gradient points the wrong way, so that no step helps.
    @jax.custom_vjp
    def liar(x):
        return jnp.sum(x**2) + 1.0

    liar.defvjp(lambda x: (liar(x), x), lambda x, g: (-1e3 * g * x,))
    state = solve(lambda x: (liar(x), {}), jnp.ones(3), budget=500, first_step=100.0)
    assert status(state) in ("stalled", "running")
    assert int(state.evaluations) <= 500
    np.testing.assert_array_equal(state.best, np.ones(3))


def test_a_flat_function_stays_where_it_is():
    state = solve(lambda x: (jnp.sum(0 * x), {}), jnp.ones(3), budget=20)
    np.testing.assert_array_equal(state.best, np.ones(3))


def test_problems_of_a_batch_do_not_disturb_each_other():
    make = lbfgs(rosenbrock, history=5, first_step=0.01)
    weights = jnp.array([1e-3, 1.0, jnp.nan, 1e3])
    x = jnp.zeros(8)
    start = jax.jit(jax.vmap(make.init, (None, 0)))(x, weights)
    step = jax.jit(jax.vmap(make.step))
    batch = start
    for _ in range(20):
        batch = step(batch, weights)
    assert STATUSES[int(batch.status[2])] == "not finite"
    for i in (0, 1, 3):
        alone = solve(rosenbrock, x, weights[i], budget=20, history=5, first_step=0.01)
        np.testing.assert_allclose(batch.value[i], alone.value, rtol=0.05, atol=1e-6)


def test_a_pair_that_is_forgotten_does_not_count():
    """The next step is that of a solver which had never seen it."""
    make = lbfgs(rosenbrock, history=3, first_step=0.01)
    step, state = jax.jit(make.step), begun(make)(jnp.zeros(4))
    for _ in range(3):
        state = step(state)
    found = forget_last(state)
    slot = int(state.inner.solver.iter_num - 1) % 3
    assert state.inner.solver.rho_history[slot] > 0
    assert found.inner.solver.rho_history[slot] == 0
    np.testing.assert_array_equal(
        np.delete(found.inner.solver.rho_history, slot), np.delete(state.inner.solver.rho_history, slot)
    )
    assert not np.array_equal(step(found).x, step(state).x)


def test_settings_choose_history_and_line_search():
    make = method(rosenbrock, Solver(history=7))
    assert make.init(jnp.zeros(4)).inner.solver.s_history.shape == (7, 4)
    searching = method(rosenbrock, Solver(history=7, linesearch="zoom"))
    state, step = begun(searching)(jnp.zeros(4)), jax.jit(searching.step)
    for _ in range(2):
        state = step(state)
    assert int(state.evaluations) >= 2
