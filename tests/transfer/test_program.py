import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import problem

from nst_jax import settings
from nst_jax.transfer import machine, memory
from nst_jax.transfer.program import (
    Program,
    Steps,
    batch_of,
    begin,
    compiled,
    lowered,
    nbytes,
    placements,
    shapes_like,
    stacked,
)
from nst_jax.transfer.targets import targets_of

PATCHES = {"style.kind": "patch", "style.layers": ("conv2_1",), "loss.convention": "champandard2016"}


def program(precision="auto", **solver):
    return Program(settings.Network(), settings.Solver(history=10, **solver), precision)


def test_only_bf16_narrows_the_arrays():
    found = [program(precision).dtype for precision in ("auto", "f32", "tf32", "bf16")]
    assert found == [None, None, None, jnp.bfloat16]


@pytest.mark.parametrize(
    ("solver", "is_searching"),
    [
        ({}, False),
        ({"linesearch": "zoom"}, True),
        ({"linesearch": "zoom", "kind": "adam"}, False),
        ({"linesearch": "zoom", "kind": "lbfgsb"}, False),
    ],
)
def test_what_searches(solver, is_searching):
    assert program(**solver).is_searching == is_searching


def test_equal_programs_are_one():
    assert len({program(), program(), program(kind="adam"), program("bf16")}) == 3


@pytest.mark.parametrize("kind", settings.SOLVERS)
def test_every_solver_is_built(kind):
    method = program(kind=kind).build()
    assert callable(method.init)
    assert callable(method.step)


def prepared(posed):
    params = posed.prepared()
    return params, targets_of(posed, params), memory.as_float32(posed.weights)


def test_shapes_are_those_of_the_arrays_and_a_program_is_compiled_once(pair, network):
    posed = problem(pair, network)
    args, (place, _) = prepared(posed), placements(posed.program, ())
    state = begin(posed.program, [posed.first_image()], args, place)
    shapes = memory.shapes_of(posed)
    assert shapes == shapes_like(state, args)
    assert nbytes(shapes.state) == nbytes(state)
    step = compiled(posed.program, shapes)
    assert compiled(posed.program, memory.shapes_of(problem(pair, network))) is step
    assert int(step(state, args).evaluations) == 1


@pytest.mark.parametrize("size", [1, 3])
def test_what_is_lowered_for_a_device_is_what_is_compiled_without(pair, network, size):
    posed = problem(pair, network)
    shapes = memory.shapes_of(posed)
    each = ((), (jax.devices()[0],))
    default, named = (lowered(posed.program, shapes, size, devices).compile() for devices in each)
    assert machine.taken(default) == machine.taken(named)
    assert default.cost_analysis()["flops"] == named.cost_analysis()["flops"] > 0


def test_targets_are_renewed_when_it_is_time(pair, network):
    """The pair of gradients from both sides of the jump is not remembered."""
    posed = problem(pair, network, PATCHES | {"patch.rematch": 3, "pyramid.levels": 1})
    args, (place, _) = prepared(posed), placements(posed.program, ())
    steps = Steps(posed.program, compiled(posed.program, memory.shapes_of(posed)), args)
    state = begin(posed.program, [posed.first_image()], args, place)
    held, rho = [], []
    for _ in range(7):
        state = steps(state)
        held.append(np.asarray(steps.kept["conv2_1"].held[0]))
        rho.append(float(state.inner.solver.rho_history[int(state.inner.solver.iter_num - 1) % 10]))
    for first in (0, 3):
        assert all(np.array_equal(held[first], held[first + i]) for i in (1, 2))
    assert not np.array_equal(held[2], held[3])
    assert rho[3] == rho[6] == 0
    assert all(rho[i] > 0 for i in (1, 2, 4, 5))


def test_what_is_kept_can_be_put_back(pair, network):
    posed = problem(pair, network, PATCHES | {"patch.rematch": 3, "pyramid.levels": 1})
    steps = Steps(posed.program, lambda state, args: state, prepared(posed))
    other = jax.tree.map(lambda leaf: leaf + 1, steps.kept)
    steps.kept = other
    for ours, given in zip(*map(jax.tree.leaves, (steps.args[1].style, other)), strict=True):
        np.testing.assert_array_equal(ours, given)
    plain = Steps(posed.program, lambda state, args: state, prepared(problem(pair, network)))
    assert plain.kept == {}
    plain.kept = {}


def test_a_batch_has_a_leading_axis_and_a_single_problem_none():
    trees = [{"a": np.float32([1, 2])}, {"a": np.float32([3, 4])}]
    assert stacked(trees[:1]) is trees[0]
    np.testing.assert_array_equal(stacked(trees)["a"], [[1, 2], [3, 4]])
    shape = jax.eval_shape(lambda: trees[0])
    assert batch_of(shape, 1) is shape
    assert batch_of(shape, 3)["a"].shape == (3, 2)
