from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.solvers import state as states
from nst_jax.solvers import streamed
from nst_jax.solvers.adam import adam
from nst_jax.solvers.lbfgs import lbfgs
from nst_jax.solvers.scipy_lbfgsb import evaluating


def bowl(x, weight=1.0):
    value = weight * jnp.sum(x**2)
    return value, {"half": value / 2}


METHODS = {"lbfgs": lbfgs(bowl, history=3), "adam": adam(bowl), "lbfgsb": evaluating(bowl)}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_state_begins_without_an_evaluation_and_keeps_its_types(method):
    x = jnp.ones(4)
    begun = method.init(x, 3.0)
    assert (int(begun.evaluations), int(begun.refused), int(begun.status)) == (0, 0, states.RUNNING)
    assert begun.value == jnp.inf
    assert begun.aux == {"half": 0}
    after = jax.eval_shape(method.step, begun, 3.0)
    kinds = lambda tree: [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]
    assert kinds(after) == kinds(begun)
    assert jax.tree.structure(after) == jax.tree.structure(begun)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_function_is_scaled_by_its_first_gradient_and_reported_unscaled(method):
    after = method.step(method.init(jnp.full(4, 2.0), 1e6), 1e6)
    np.testing.assert_allclose(after.value, 1.6e7, rtol=1e-6)
    np.testing.assert_allclose(after.aux["half"], 8e6, rtol=1e-6)
    np.testing.assert_allclose(after.scale, 1 / 4e6, rtol=1e-5)  # each element's gradient is 4e6


@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 1e30])
def test_the_scale_of_a_gradient_neither_overflows_nor_vanishes(magnitude, random):
    grad = np.float32(random.normal(size=20))
    wanted = 0.5 / np.sqrt(np.mean(np.float64(grad) ** 2)) / magnitude
    np.testing.assert_allclose(states.scale_of(jnp.asarray(grad * magnitude), 0.5), wanted, rtol=1e-4)


def test_a_gradient_of_zero_is_not_scaled():
    assert states.scale_of(jnp.zeros(3), 0.5) == 1


def test_refused_steps_end_a_run_in_the_end():
    before = METHODS["adam"].init(jnp.ones(4))
    before = replace(before, evaluations=jnp.asarray(5), value=jnp.asarray(4.0))

    def refused(state):
        aux = {"half": jnp.asarray(9.0)}
        args = (jnp.asarray(18.0), aux, jnp.asarray(False), state.scale, state.evaluations + 1, state.inner)
        return states.moved_to(state, state.x, *args)

    for count in range(1, states.PATIENCE + 1):
        before = refused(before)
        wanted = states.RUNNING if count < states.PATIENCE else states.STALLED
        assert (int(before.refused), int(before.status)) == (count, wanted)
    assert (float(before.value), float(before.aux["half"])) == (4, 0)  # of the best so far


def test_a_state_that_has_ended_stays():
    state = METHODS["adam"].init(jnp.ones(4))
    ended = replace(state, status=jnp.asarray(states.STALLED))
    later = replace(state, x=state.x + 1, evaluations=state.evaluations + 1)
    np.testing.assert_array_equal(states.unless_ended(ended, later).x, ended.x)
    np.testing.assert_array_equal(states.unless_ended(state, later).x, later.x)


@pytest.mark.parametrize("method", [lambda f: lbfgs(f, history=3), adam, evaluating, streamed.evaluating])
def test_a_masked_function_is_scaled_as_without_what_is_masked(method):
    masked = states.Masked(lambda x: bowl(x[:3]), lambda x: jnp.asarray(3 / 8))
    alone, larger = method(bowl), method(masked)
    x = jnp.array([1.0, -2.0, 3.0])
    wanted = alone.step(alone.init(x))
    found = larger.step(larger.init(jnp.pad(x, (0, 5), constant_values=7)))
    np.testing.assert_allclose(found.scale, wanted.scale, rtol=1e-6)
