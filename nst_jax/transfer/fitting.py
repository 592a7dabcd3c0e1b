"""A task's step, compiled ahead of time, and settings chosen so that it fits in memory."""

import threading
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nst_jax.errors import NstError
from nst_jax.solvers import scipy_lbfgsb as lbfgsb
from nst_jax.solvers import solver
from nst_jax.transfer import memory, objective
from nst_jax.transfer import problem as tasks
from nst_jax.transfer.problem import Task
from nst_jax.transfer.program import Program

FEWEST = 5
"""A shorter history is not worth the name."""


@partial(jax.jit, static_argnames="program")
def start(x: Array, args: tuple[Any, ...], *, program: Program) -> solver.State:
    """Return the state before the first evaluation; ``args``: parameters, targets, weights."""
    return program.build().init(x, *args)


# The history is large: donated, there is one copy of it.
@partial(jax.jit, static_argnames="program", donate_argnames="state")
def step(state: solver.State, args: tuple[Any, ...], *, program: Program) -> solver.State:
    """Take one step; the state given is consumed."""
    return program.build().step(state, *args)


class Steps:
    """Takes steps by a compiled program, and where matches are held renews them when it is time.

    The objective jumps there: the pair of gradients from both sides is kept out of L-BFGS's history.
    """

    def __init__(self, program: Program, compiled: Any, args: tuple[Any, ...], *, lanes: int = 1) -> None:
        self.program, self.compiled, self.args, self.lanes = program, compiled, args, lanes
        self.taken: int | None = None

    def __call__(self, state: solver.State) -> solver.State:
        """Take one step; the state given is consumed."""
        if not self.program.holding:
            return self.compiled(state, self.args)  # type: ignore[no-any-return]
        if self.taken is None:
            self.taken = int(np.max(state.evaluations))
        renewed = self.taken % self.program.rematch == 0
        if renewed:
            self.held = _matches(state.x, self.args, program=self.program, lanes=self.lanes)
        state = self.compiled(state, self.args)
        if renewed and self.taken:
            state = _forget_last(state, lanes=self.lanes)
        self.taken += 1
        return state

    @property
    def held(self) -> Any:
        """The matches that are held, by layer."""
        return (
            {name: style.held for name, style in self.args[1].style.items()} if self.program.holding else {}
        )

    @held.setter
    def held(self, matches: Any) -> None:
        network, targets, weights = self.args
        style = {name: replace(targets.style[name], held=held) for name, held in matches.items()}
        self.args = network, replace(targets, style=targets.style | style), weights


@partial(jax.jit, static_argnames=("program", "lanes"))
def _matches(x: Array, args: tuple[Any, ...], *, program: Program, lanes: int) -> Any:
    find: Any = partial(objective.matches, **program.matching, **program.seeing)
    return (find if lanes == 1 else jax.vmap(find, in_axes=EACH))(x, *args)


@partial(jax.jit, static_argnames="lanes", donate_argnames="state")
def _forget_last(state: solver.State, *, lanes: int) -> solver.State:
    return (solver.forget_last if lanes == 1 else jax.vmap(solver.forget_last))(state)


EACH = (0, None, 0, 0)
"""A lane has its own state, targets and weights; the network is everyone's."""


@dataclass(frozen=True)
class Shapes:
    """Shapes and types of what the step of a task takes; hashable."""

    structure: Any
    leaves: tuple[Any, ...]

    @property
    def state(self) -> Any:
        """Of the solver's state."""
        return jax.tree.unflatten(self.structure, self.leaves)[0]

    @property
    def args(self) -> Any:
        """Of the network, the targets and the weights."""
        return jax.tree.unflatten(self.structure, self.leaves)[1]


def shapes_like(state: Any, args: Any) -> Shapes:
    """Return the shapes of what the step takes, given that, or its shapes."""
    leaves, structure = jax.tree.flatten((state, args))
    return Shapes(structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))  # type: ignore[no-untyped-call]


def shapes_of(task: Task) -> Shapes:
    """Return what the step of a task takes, without computing anything."""

    def arguments() -> tuple[Any, Any]:
        network = task.network()
        args = (network, tasks.targets(task, network), weights_of(task))
        return start(jnp.zeros(task.content.shape), args, program=task.program), args

    return shapes_like(*jax.eval_shape(arguments))


def weights_of(task: Task) -> Any:
    """Return the weights of a task as float32."""
    return jax.tree.map(np.float32, task.weights)


_compiling = threading.Lock()


def compiled(program: Program, shapes: Shapes) -> Any:
    """Return the step of one task, compiled ahead of time; once in a process for the same arguments."""
    with _compiling:  # two threads that want the same program shall compile it once
        return _compiled(program, shapes)


@lru_cache(maxsize=64)
def _compiled(program: Program, shapes: Shapes) -> Any:
    with program.precisely():
        step_compiled = step.lower(shapes.state, shapes.args, program=program).compile()
    memory.give_back()
    return step_compiled


@dataclass(frozen=True)
class Estimate:
    """Bytes that a run takes besides the program itself, as its compiler says."""

    network: int
    optimiser: int
    """The image, its gradient and the history."""
    features: int
    """And all else that exists only during an evaluation."""
    usable: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.network + self.optimiser + self.features

    @property
    def fits(self) -> bool:
        """Whether it is no more than is usable."""
        return self.total <= self.usable


def estimate(task: Task) -> Estimate:
    """Return what a task takes; compiles its step."""
    shapes = shapes_of(task)
    arguments, rest = memory.taken(compiled(task.program, shapes))
    optimiser = min(arguments, nbytes(shapes.state))
    arguments += (scipys := _of_scipy(task))
    optimiser += scipys
    usable = memory.usable(jax.local_devices()[:1], task.memory_limit)
    return Estimate(arguments - optimiser, optimiser, rest, usable)


def _of_scipy(task: Task) -> int:
    """Return the bytes that SciPy takes of the memory that is counted: none of a GPU's."""
    counted = task.program.method == "lbfgsb" and jax.default_backend() == "cpu"
    return lbfgsb.nbytes(task.content.size, task.program.history) if counted else 0


def fit(task: Task) -> tuple[Task, Estimate]:
    """Return a task that fits in memory: with a shorter history, or features computed twice, if need be.

    Only what was left open is changed (`Task.open`): first the history, down to `tasks.FEW` pairs, then the
    features, then the history again, down to `FEWEST`.

    Raises:
        NstError: it does not fit, with the numbers and what to do.
    """
    found = estimate(task)
    programs = [task.program]
    if "recompute" in task.open and task.program.recompute < objective.IN_STRIPS:
        programs.append(replace(task.program, recompute=objective.IN_STRIPS))
    for program in programs:
        task = replace(task, program=program)
        found = found if program == programs[0] else estimate(task)
        pair = 2 * task.content.nbytes
        pairs = min(program.history, program.history - -(-(found.total - found.usable) // pair))
        few = tasks.FEW if program != programs[-1] else FEWEST
        if not found.fits and "history" in task.open and pairs >= few:
            task = replace(task, program=replace(program, history=pairs))
            found = estimate(task)
        if found.fits:
            return task, found
    raise NstError(_refusal(task, found))


def table(task: Task, found: Estimate) -> str:
    """Return in words what a task takes, and how it is made to fit."""
    height, width = task.content.shape[:2]
    program = task.program
    solvers = {"lbfgs": "L-BFGS with {} pairs", "lbfgsb": "SciPy's L-BFGS-B with {} pairs, in float64"}
    pairs = solvers.get(program.method, program.method).format(program.history)
    twice = f"blocks 1 to {program.recompute}" if program.recompute > 1 else "block 1"
    rows = [
        ("network", found.network, ""),
        ("optimiser", found.optimiser, pairs),
        ("features", found.features, f"{twice} computed twice" if program.recompute else "all kept"),
        ("together", found.total, "besides Python and JAX, about 0.5 GiB"),
        ("usable", found.usable, "of the memory limit" if task.memory_limit else "of what is free"),
    ]
    lines = [f"{name:<11}{gib(number):>10}  {note}".rstrip() for name, number, note in rows]
    return "\n".join([f"a picture of {width} x {height}, {task.evaluations} evaluations", *lines])


def _refusal(task: Task, found: Estimate) -> str:
    height, width = task.content.shape[:2]
    least = found.total
    if "history" in task.open:
        least -= (task.program.history - FEWEST) * 2 * task.content.nbytes
    share = (found.usable - found.network) / (least - found.network)
    size = int(0.97 * max(height, width) * share**0.5) if share > 0 else 0
    advice = f"use --size {size}" if size >= 64 else "free some memory"
    advice += ", or a larger --memory-limit" if task.memory_limit else ""
    return (
        f"a picture of {width} x {height} needs about {gib(least)} ({gib(found.network)} for the network), "
        f"and {gib(found.usable)} can be used: {advice}"
    )


def nbytes(tree: Any) -> int:
    """Return the bytes of arrays or shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def gib(number: int) -> str:
    """Return a number of bytes in words."""
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
