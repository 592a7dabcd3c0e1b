import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import Bounds, minimize

from nst_jax import Encoder, config, stylize, stylize_grid
from nst_jax.errors import ConfigError, NstError
from nst_jax.networks import vgg
from nst_jax.runs import inputs
from nst_jax.solvers import scipy_lbfgsb as lbfgsb
from nst_jax.solvers import solver
from nst_jax.transfer import fitting
from nst_jax.transfer import problem as tasks

N = 12
SLOPES = np.linspace(1, 30, N).astype(np.float32)
NAMES = ["content=c.png", "style=s.png"]
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


def valley(x):
    value = jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)
    return value, {}


def solve(fun, x, budget=60, low=-2.0, high=3.0, corrections=20):
    """Return all states of a solve."""
    method = solver.evaluating(fun)
    states = [jax.jit(method.init)(jnp.asarray(x, jnp.float32))]
    with lbfgsb.steps(jax.jit(method.step), low=low, high=high, corrections=corrections) as step:
        while len(states) <= budget and states[-1].status == solver.RUNNING:
            states.append(step(states[-1]))
    return states


def status(state):
    return solver.STATUSES[int(state.status)]


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
    x, heavy = np.linspace(0, 1, N), lambda x: (weight * valley(x)[0], {})
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
    method = solver.evaluating(lambda x: (jnp.sum(0 * x), {}))
    with lbfgsb.steps(method.step, low=-1, high=1) as step:
        state = step(step(method.init(jnp.ones(3))))
        assert status(state) == "stalled"
        assert step(state) is state


def test_a_mistake_of_the_function_is_told_and_leaves_no_thread():
    def broken(state):
        raise MemoryError("too little")

    with pytest.raises(MemoryError, match="too little"), lbfgsb.steps(broken, low=-1, high=1) as step:
        step(solver.evaluating(bowl).init(jnp.zeros(N)))


def test_a_mistake_of_scipy_is_told():
    method = solver.evaluating(bowl)
    with pytest.raises(ValueError, match="bound"), lbfgsb.steps(method.step, low=1, high=-1) as step:
        step(method.init(jnp.zeros(N)))


def test_bounds_are_of_all_images_and_channels_together(random):
    a, b = random.normal(size=(3, 4, 3)), random.normal(size=(5, 2, 3))
    assert lbfgsb.bounds(a, b) == (min(a.min(), b.min()), max(a.max(), b.max()))


# --- A whole run ----------------------------------------------------------------------------------


@pytest.fixture
def pair(random):
    return np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)) ** 3)


@pytest.fixture(scope="module")
def encoder(narrow):
    return Encoder(narrow, "narrow", "", "", "")


def quick(pair, encoder, **options):
    return stylize(*pair, encoder=encoder, **{"evaluations": 20, "method": "lbfgsb", **options})


def test_the_loss_falls_the_same_each_time(pair, encoder):
    seen = []
    a = quick(pair, encoder, init="noise", seed=3)
    b = quick(pair, encoder, init="noise", seed=3, stops=7, callback=lambda p: seen.append(p.evaluations))
    assert (a.status, a.evaluations) == ("finished", 20)
    assert a.loss < 0.5 * a.initial_loss
    np.testing.assert_array_equal(a.image, b.image)
    assert {7, 14, 20} <= set(seen)


def test_the_picture_stays_within_the_range_of_its_sources(pair, encoder):
    grey = [np.float32(0.45 + 0.1 * image) for image in pair]
    low, high = lbfgsb.bounds(*map(vgg.to_input, tasks.fitted(*grey)))
    x = vgg.to_input(quick(grey, encoder, init=np.zeros((24, 32, 3), np.float32)).image)
    assert x.min() == pytest.approx(low, abs=1e-3)  # some pixels want to be darker
    assert low - 1e-3 <= x.min() <= x.max() <= high + 1e-3


def test_a_run_can_be_interrupted(pair, encoder):
    result = quick(pair, encoder, callback=lambda progress: progress.evaluations >= 5, stops=5)
    assert (result.status, result.evaluations) == ("interrupted", 5)


def test_an_error_of_the_callback_leaves_no_thread(pair, encoder):
    def fail(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(pair, encoder, callback=fail)


def test_a_network_that_is_not_finite(pair, narrow):
    broken = {name: {k: v * jnp.nan for k, v in layer.items()} for name, layer in narrow.items()}
    result = quick(pair, Encoder(broken, "broken", "", "", ""))
    assert (result.status, result.evaluations) == ("not finite", 1)
    np.testing.assert_allclose(result.image, pair[0], atol=1e-5)


def test_each_level_is_a_run_of_its_own(pair, encoder):
    large = [np.kron(image, np.ones((2, 2, 1), np.float32)) for image in pair]
    result = quick(large, encoder, levels=2, evaluations=10)
    assert result.image.shape == (48, 64, 3)
    assert result.evaluations == 20


def test_patches_are_refused(pair, encoder):
    with pytest.raises(NstError, match="line search fails where patches change"):
        quick(pair, encoder, style_kind="patch", style_layers=("conv2_1",), levels=1)


def test_as_many_pairs_as_wanted(narrow, pair):
    for history, wanted in ((None, 20), (7, 7)):
        settings = config.load(assignments=[*NAMES, "solver.kind=lbfgsb"])
        options = inputs.options(settings) | {"history": history}
        task = tasks.prepare(pair[0], pair[0], params=narrow, init="content", **options)
        assert task.program.history == wanted
        assert "history" not in task.open


def test_the_estimate_counts_what_scipy_takes(narrow, pair):
    options = inputs.options(config.load(assignments=NAMES))
    both = [
        tasks.prepare(
            pair[0], pair[0], params=narrow, init="content", **options | {"method": m, "history": 9}
        )
        for m in ("lbfgs", "lbfgsb")
    ]
    ours, scipys = map(fitting.estimate, both)
    rest = [ours.optimiser - 2 * 9 * pair[0].nbytes, scipys.optimiser - lbfgsb.nbytes(pair[0].size, 9)]
    assert rest[0] == pytest.approx(rest[1], abs=2 * pair[0].nbytes)
    assert scipys.total == scipys.network + scipys.optimiser + scipys.features
    assert "SciPy's L-BFGS-B with 9 pairs" in fitting.table(both[1], scipys)


def test_sweeps_refuse_it(pair, encoder, tmp_path):
    (tmp_path / "my.yaml").write_text("solver: {kind: lbfgsb}\nsweep:\n  axes:\n    - style.weight: [1, 2]\n")
    with pytest.raises(ConfigError, match=r"my.yaml:3:3: sweep: solver.kind lbfgsb is for single runs"):
        config.load(str(tmp_path / "my.yaml"))
    assert config.load(assignments=["solver.kind=lbfgsb"]).solver.kind == "lbfgsb"
    for grid in ({"axes": {"seed": [1, 2]}, "method": "lbfgsb"}, {"axes": {"method": ["lbfgs", "lbfgsb"]}}):
        with pytest.raises(NstError, match="lbfgsb is for single runs"):
            stylize_grid(*pair, encoder=encoder, **grid)
