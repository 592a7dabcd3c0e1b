import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import rosen

from nst_jax.errors import NstError
from nst_jax.solvers import streamed
from nst_jax.solvers.lbfgs import lbfgs
from nst_jax.solvers.state import RUNNING, STATUSES

SLOPES = np.geomspace(1, 300, 50).astype(np.float32)


def bowl(x, weight=1.0):
    """A quadratic with its minimum at 3."""
    return weight * 0.5 * jnp.sum(SLOPES * jnp.square(x - 3)), {"first": x[0]}


def valley(x, weight=1.0):
    value = weight * jnp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)
    return value, {"half": value / 2}


def begun(make, x, *args):
    state = jax.jit(make.init)(jnp.asarray(x, jnp.float32), *args)
    return jax.tree.map(lambda leaf: leaf.astype(leaf.dtype), state)


def steps(fun, size, args=(), **options):
    evaluate = jax.jit(streamed.evaluating(fun).step)
    return streamed.Steps(lambda state: evaluate(state, *args), size=size, **({"history": 5} | options))


def values(step, state, budget):
    """Return the best value after each evaluation, and the last state."""
    found = []
    while state.evaluations < budget and state.status == RUNNING:
        state = step(state)
        found.append(float(state.value))
    return found, state


@pytest.mark.parametrize("history", [1, 3, 20])
@pytest.mark.parametrize("where", ["host", "disk"])
def test_it_is_lbfgs(tmp_path, monkeypatch, history, where):
    """The same values as jaxopt's two loops give, to rounding; in several chunks."""
    monkeypatch.setattr(streamed, "CHUNK", 16)
    make = lbfgs(bowl, history=history)
    step = jax.jit(make.step)
    wanted, _ = values(step, begun(make, np.zeros(50)), 25)
    folder = tmp_path if where == "disk" else None
    found, _ = values(
        steps(bowl, 50, history=history, folder=folder), begun(streamed.evaluating(bowl), np.zeros(50)), 25
    )
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-3 * wanted[0] * 1e-3)
    assert not list(tmp_path.iterdir())  # the file has no name


@pytest.mark.parametrize("is_short", [False, True])
def test_it_finds_the_minimum_whatever_the_scale(is_short):
    for weight in (1e-9, 1.0, 1e9):
        state = begun(streamed.evaluating(valley), np.zeros(6), weight)
        _, state = values(steps(valley, 6, (weight,), is_short=is_short, history=10), state, 300)
        np.testing.assert_allclose(state.best, np.ones(6), atol=0.05)
        np.testing.assert_allclose(
            state.value, weight * rosen(np.float64(state.best)), rtol=1e-3, atol=1e-6 * weight
        )


def test_a_step_that_is_not_good_is_taken_back():
    def walled(x):
        value = jnp.sum(jnp.square(x - 3))
        return jnp.where(x[0] > 0.5, jnp.nan, value), {}

    state = begun(streamed.evaluating(walled), np.zeros(4))
    found, state = values(steps(walled, 4), state, 60)
    assert np.isfinite(found).all()
    assert found[-1] < found[0]
    assert state.best[0] <= 0.5


def test_a_first_value_that_is_not_finite_ends_it():
    state = begun(streamed.evaluating(lambda x: (jnp.sum(x) * jnp.nan, {})), np.ones(4))
    _, state = values(steps(lambda x: (jnp.sum(x) * jnp.nan, {}), 4), state, 9)
    assert STATUSES[int(state.status)] == "not finite"


@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize("where", ["host", "disk"])
def test_what_is_kept_goes_on_bit_for_bit(tmp_path, where, is_short):
    options = {"is_short": is_short, "folder": tmp_path if where == "disk" else None}
    first = steps(valley, 6, **options)
    _, state = values(first, begun(streamed.evaluating(valley), np.zeros(6)), 12)
    rows = {name: b"".join(first.kept[name].blocks()) for name in ("pairs", "last")}
    kept = {name: np.array(known) for name, known in first.known.items()}
    before = jax.tree.map(np.array, state)
    wanted, _ = values(first, state, 30)
    second = steps(valley, 6, **options)
    for name, data in rows.items():
        second.kept[name].fill(io.BytesIO(data))
    state, second.kept = before, kept
    found, _ = values(second, jax.tree.map(jnp.asarray, state), 30)
    assert found == wanted


def test_gradients_of_two_functions_make_no_pair():
    step = steps(bowl, 50, is_new=lambda: True)
    values(step, begun(streamed.evaluating(bowl), np.zeros(50)), 5)
    assert step.known["taken"] == 0


def test_a_disk_that_is_too_small_is_said_before(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        NstError, match=r"the history needs .* GiB of the disk of .*, which has .*: free some"
    ):
        steps(bowl, 50, folder=tmp_path)


@pytest.mark.parametrize("is_short", [False, True])
def test_what_is_kept_is_as_large_as_is_said(tmp_path, is_short):
    step = steps(bowl, 50, history=7, is_short=is_short, folder=tmp_path)
    kept = sum(len(block) for rows in (step.pairs, step.last) for block in rows.blocks())
    assert kept == streamed.nbytes(50, 7, is_short=is_short)
