"""The step of an optimisation, compiled ahead of time for one problem or for a batch of them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from jax.stages import Lowered
from jax.typing import DTypeLike

from nst_jax import settings
from nst_jax.files import cache_folder
from nst_jax.networks import vgg
from nst_jax.solvers import lbfgs, streamed
from nst_jax.solvers.state import Masked, Method, State
from nst_jax.transfer import machine, objective, rows, variables
from nst_jax.transfer.objective import LossWeights, Targets, Terms
from nst_jax.transfer.seeing import BREADTH, Seeing, positions, wraps
from nst_jax.transfer.variables import Bands
from nst_jax.typing import Json, Tree

Args = tuple[vgg.Params, Targets, LossWeights]
"""What a step takes besides the state: the network's parameters, prepared, targets and weights."""

Devices = tuple[jax.Device, ...]

_MATMUL = {"auto": None, "f32": "float32", "tf32": "tensorfloat32", "bf16": "float32"}
"""JAX's words. With bf16 it is the arrays that are narrow."""

_PLANNED = ("history", "history_on", "history_type")

EACH = (0, None, 0, 0)
"""In a batch, each problem has its own state, targets and weights; the network is everyone's."""


@dataclass(frozen=True)
class Program:
    """All that shapes the compiled program, besides what its arguments are."""

    network: settings.Network
    solver: settings.Solver
    precision: settings.Precision = "auto"
    recompute: tuple[int, ...] = ()
    breadth: int = BREADTH
    """Of tiles; see `seeing`."""
    bands: Bands = ()
    """Of the Laplacian pyramid that is optimised; none: pixels are. See `variables`."""
    is_by_rows: bool = False
    """Whether all devices share the picture, see `rows`."""

    def build(self) -> Method:
        """Return the functions to be compiled."""
        module, _, name = settings.SOLVERS[self.solver.kind].partition(":")
        method: Method = getattr(import_module(module), name)(Masked(self.loss, self.share), self.solver)
        return method

    def share(self, x: Array, params: vgg.Params, targets: Targets, weights: LossWeights) -> Array | None:
        """Return the share that a picture has of its canvas; None without one."""
        height, width = self.bands[0] if self.bands else x.shape[:2]
        return None if targets.extent is None else positions(targets.extent) / (height * width)

    def loss(self, x: Array, *args: Tree) -> tuple[Array, Terms]:
        """Return `objective.loss` of what is optimised."""
        return objective.loss(self.picture(x), *args, **self.seeing)  # type: ignore[no-any-return]

    def packed(self, image: Array) -> Array:
        """Return what is optimised, for an image to begin with."""
        return variables.packed(image, self.bands, wrap=wraps(self.seeing))

    def picture(self, x: Array) -> Array:
        """Return the image that it stands for."""
        return variables.picture(x, self.bands, wrap=wraps(self.seeing))

    def init(self, image: Array, *args: Tree) -> State:
        """Return the state before the first evaluation, of an image to begin with."""
        state: State = self.build().init(self.packed(image), *args)
        return state

    @property
    def seeing(self) -> Seeing:
        """How images are looked at."""
        return {
            "pool": self.network.pool,
            "padding": self.network.padding,
            "engine": self.network.engine,
            "recompute": self.recompute,
            "breadth": self.breadth,
            "dtype": self.dtype,
        }

    @property
    def dtype(self) -> DTypeLike | None:
        """Of features and network; None: float32."""
        return jnp.bfloat16 if self.precision == "bf16" else None

    def precisely(self) -> AbstractContextManager[object]:
        """Return a context in which matrix products and convolutions are as precise as this program wants.

        It is meant to surround the calls of compiled functions: gradients are traced after the function is.
        """
        context: AbstractContextManager[object] = jax.default_matmul_precision(_MATMUL[self.precision])  # type: ignore[arg-type]
        return context

    @property
    def devices(self) -> Devices:
        """Those that share a single picture; none: there is but one."""
        return rows.devices() if self.is_by_rows else ()

    @property
    def plan(self) -> dict[str, Json]:
        """What may be chosen so that a problem fits in memory, as plain values; see `memory.fit`."""
        solver = {name: getattr(self.solver, name) for name in _PLANNED}
        seeing = {"recompute": list(self.recompute), "breadth": self.breadth, "engine": self.network.engine}
        return solver | seeing

    def as_planned(self, plan: Mapping[str, Json]) -> "Program":
        """Return the program with what was chosen before."""
        solver = replace(self.solver, **{name: plan[name] for name in _PLANNED})
        network = replace(self.network, engine=plan["engine"])
        recompute = tuple(plan["recompute"])
        return replace(self, network=network, solver=solver, recompute=recompute, breadth=plan["breadth"])

    @property
    def is_outside(self) -> bool:
        """Whether the solver's history lies outside of the device: what is compiled then is an evaluation."""
        return self.solver.history_on in streamed.PLACES

    @property
    def is_searching(self) -> bool:
        """Whether a step takes a number of evaluations that is not known before."""
        return self.solver.kind == "lbfgs" and self.solver.linesearch == "zoom"


@partial(jax.jit, static_argnames="program")
def start(image: Array, args: Args, *, program: Program) -> State:
    """Return the state before the first evaluation."""
    state = program.init(image, *args)
    if program.is_by_rows:  # else the history would be whole on each device for a moment
        where = rows.shardings(state, program.devices)
        state = jax.lax.with_sharding_constraint(state, where)  # type: ignore[no-untyped-call]
    return state


# The history is large: donated, there is one copy of it. What is not used, such as the gradient before, is
# donated as well: otherwise it would lie about.
@partial(jax.jit, static_argnames="program", donate_argnames="state", keep_unused=True)
def step(state: State, args: Args, *, program: Program) -> State:
    """Take one step; the state given is consumed."""
    return program.build().step(state, *args)


@partial(jax.jit, static_argnames="program")
def _start_batch(images: Array, args: Args, *, program: Program) -> State:
    return jax.vmap(program.init, in_axes=EACH)(images, *args)


def begin(program: Program, first_images: Sequence[Array], args: Args, place: "Place") -> State:
    """Return the state of a batch before the first evaluation."""
    starting = start if len(first_images) == 1 else _start_batch
    state: State = place(starting(place(stacked(first_images)), args, program=program))
    return state


@partial(jax.jit, static_argnames=("program", "coarser", "size"))
def carried(state: State, before: State, *, program: Program, coarser: Program, size: int = 1) -> State:
    """Return the state of a batch before the first evaluation, with what its solver keeps of a coarser level.

    Args:
        state: from `begin`.
        before: the last of the level before.
        program: of this level.
        coarser: of the level before.
        size: of the batch.
    """

    def carry(state: State, before: State) -> State:
        def resized(x: Array) -> Array:
            return variables.resized(x, coarser.bands, program.bands, state.x.shape)

        go_on = program.build().carry
        return go_on(state, before, resized) if go_on else state

    found: State = (carry if size == 1 else jax.vmap(carry))(state, before)
    return found


# Compiling.


@dataclass(frozen=True)
class Shapes:
    """Shapes and types of what the step of one problem takes; hashable."""

    structure: jax.tree_util.PyTreeDef
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def state(self) -> State:
        """Of the solver's state."""
        state: State = jax.tree.unflatten(self.structure, self.leaves)[0]
        return state

    @property
    def args(self) -> Args:
        """Of the network, the targets and the weights."""
        args: Args = jax.tree.unflatten(self.structure, self.leaves)[1]
        return args


def shapes_like(state: State, args: Args) -> Shapes:
    """Return the shapes of what the step takes, given that, or its shapes."""
    leaves, structure = jax.tree.flatten((state, args))
    return Shapes(structure, tuple(_shape(leaf) for leaf in leaves))


def compiled(
    program: Program, shapes: Shapes, size: int = 1, devices: Devices = ()
) -> Callable[[State, Args], State]:
    """Return the step of a batch of some size, compiled ahead of time, and once for equal arguments."""
    devices = devices if size > 1 and len(devices) > 1 else program.devices  # a single one is the default
    with _compiling:  # two threads that want the same program shall compile it once
        return _compiled(program, shapes, size, devices)


_compiling = threading.Lock()


def forget_compiled() -> None:
    """Let go of all compiled programs, and of all that JAX keeps of them, where memory is short."""
    _compiled.cache_clear()
    jax.clear_caches()  # type: ignore[no-untyped-call]
    machine.give_back()


@lru_cache(maxsize=64)
def _compiled(
    program: Program, shapes: Shapes, size: int, devices: Devices
) -> Callable[[State, Args], State]:
    found = lowered(program, shapes, size, devices).compile()
    machine.give_back()
    return found


def lowered(program: Program, shapes: Shapes, size: int = 1, devices: Devices = ()) -> Lowered:
    """Return the step of a batch of some size, ready to be compiled for devices.

    They need not be there: those of a topology will do, see `benchmarks/devices.py`. None: JAX's default.
    """
    with program.precisely():
        if program.is_by_rows:
            return _lowered_rows(program, shapes, devices)
        if size > 1:
            return _lowered_batch(program, shapes, size, devices)
        each, _ = shardings(devices)
        state, args = jax.tree.map(lambda a: _shape(a, sharding=each), (shapes.state, shapes.args))
        return step.lower(state, args, program=program)


def _lowered_rows(program: Program, shapes: Shapes, devices: Devices) -> Lowered:
    def put(tree: Tree) -> Tree:
        return jax.tree.map(lambda a, s: _shape(a, sharding=s), tree, rows.shardings(tree, devices))

    network, *others = shapes.args
    network = jax.tree.map(lambda a: _shape(a, sharding=rows.everywhere(devices)), network)
    jitted = jax.jit(
        lambda state, args: program.build().step(state, *args),
        donate_argnums=0,
        out_shardings=rows.shardings(shapes.state, devices),
    )
    return jitted.lower(put(shapes.state), (network, *map(put, others)))


def _lowered_batch(program: Program, shapes: Shapes, size: int, devices: Devices) -> Lowered:
    def step_batch(state: State, args: Args) -> State:
        stepped: State = jax.vmap(program.build().step, in_axes=EACH)(state, *args)
        return stepped

    network, targets, weights = shapes.args
    each, shared = shardings(devices)
    state, targets, weights = (batch_of(tree, size, each) for tree in (shapes.state, targets, weights))
    network = jax.tree.map(lambda a: _shape(a, sharding=shared), network)
    # Without out_shardings the result may lie otherwise on the devices than the next step wants it.
    jitted = jax.jit(step_batch, donate_argnames="state", out_shardings=each)
    return jitted.lower(state, (network, targets, weights))


class Steps:
    """Takes steps by a compiled program, and renews targets when it is time to.

    The objective jumps there: the pair of gradients from both sides is kept out of L-BFGS's history.
    """

    def __init__(
        self, program: Program, step: Callable[[State, Args], State], args: Args, *, size: int = 1
    ) -> None:
        self.program, self.step, self.args, self.size = program, step, args, size
        self.taken: int | None = None
        self.is_renewed = False
        """Whether the objective was another one at the evaluation before."""

    def __call__(self, state: State) -> State:
        """Take one step; the state given is consumed."""
        every = self.args[1].term.renew_every
        if every == 1:
            return self.step(state, self.args)
        if self.taken is None:
            self.taken = int(np.max(state.evaluations))
        is_due = self.taken % every == 0
        if is_due:
            targets = _renewed(state.x, self.args, program=self.program, size=self.size)
            self.args = self.args[0], targets, self.args[2]
        state = self.step(state, self.args)
        self.is_renewed = is_due and self.taken > 0
        if self.is_renewed:
            state = _forget_last(state, size=self.size)
        self.taken += 1
        return state

    @property
    def kept(self) -> Tree:
        """What belongs to the state besides it: targets renewed, or made of a picture that is gone."""
        targets = self.args[1]
        return targets.style if targets.term.renew_every > 1 or targets.term.likeness is not None else {}

    @kept.setter
    def kept(self, style: Tree) -> None:
        if style:
            targets = self.args[1]
            placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), style, targets.style)
            self.args = self.args[0], replace(targets, style=placed), self.args[2]


class OutsideSteps:
    """Takes steps by a compiled evaluation, with a history outside of the device: those of `streamed`."""

    def __init__(self, evaluate: Steps, x: Array) -> None:
        solver = evaluate.program.solver
        assert solver.history is not None
        self.evaluate = evaluate
        self.memory = streamed.Steps(
            evaluate,
            size=x.size,
            history=solver.history,
            is_short=solver.history_type == "bfloat16",
            folder=cache_folder() if solver.history_on == "disk" else None,
            is_new=lambda: evaluate.is_renewed,
        )

    def __call__(self, state: State) -> State:
        """Take one step; the state given is consumed."""
        return self.memory(state)

    @property
    def kept(self) -> Tree:
        """What belongs to the state besides it."""
        return {"targets": self.evaluate.kept, "memory": self.memory.kept}

    @kept.setter
    def kept(self, before: Tree) -> None:
        self.evaluate.kept, self.memory.kept = before["targets"], before["memory"]


def steps_of(
    program: Program,
    step: Callable[[State, Args], State],
    args: Args,
    x: Array,
    *,
    size: int = 1,
) -> Steps | OutsideSteps:
    """Return how steps are taken of what has the shape of ``x``, by a compiled program."""
    steps = Steps(program, step, args, size=size)
    return OutsideSteps(steps, x) if program.is_outside else steps


@partial(jax.jit, static_argnames=("program", "size"))
def _renewed(x: Array, args: Args, *, program: Program, size: int) -> Targets:
    network, targets, _ = args

    def renew(x: Array, network: vgg.Params, targets: Targets) -> Targets:
        return objective.renewed(program.picture(x), network, targets, **program.seeing)

    found: Targets = (renew if size == 1 else jax.vmap(renew, in_axes=EACH[:3]))(x, network, targets)
    return found


@partial(jax.jit, static_argnames="size", donate_argnames="state")
def _forget_last(state: State, *, size: int) -> State:
    forgotten: State = (lbfgs.forget_last if size == 1 else jax.vmap(lbfgs.forget_last))(state)
    return forgotten


# Batches.


def stacked(trees: Sequence[Tree]) -> Tree:
    """Return the arrays of a batch with a leading axis, or those of a single problem as they are."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


Place = Callable[[Tree], Tree]
"""Puts arrays where a program wants them."""


def placements(program: Program, devices: Devices) -> tuple[Place, Place]:
    """Return how to place what each problem of a batch has of its own, and what all of them share."""
    if program.is_by_rows:
        return partial(rows.placed, devices=program.devices), partial(rows.whole, devices=program.devices)
    if len(devices) <= 1:
        return (lambda tree: jax.tree.map(jnp.asarray, tree),) * 2
    each, shared = shardings(devices)
    return partial(jax.device_put, device=each), partial(jax.device_put, device=shared)


def shardings(devices: Devices) -> tuple[Sharding | None, Sharding | None]:
    """Return the shardings of arrays with a leading axis of problems, and of those that all share."""
    if len(devices) <= 1:
        return (SingleDeviceSharding(devices[0]) if devices else None,) * 2
    mesh = Mesh(np.asarray(devices), ("batch",))
    return NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())  # type: ignore[no-untyped-call]


def batch_of(tree: Tree, size: int, sharding: Sharding | None = None) -> Tree:
    """Return the shapes of a batch of some size, given those of one problem."""
    if size == 1:
        return tree
    return jax.tree.map(lambda a: _shape(a, size=(size,), sharding=sharding), tree)


def _shape(leaf: Tree, *, size: tuple[int, ...] = (), sharding: Tree = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*size, *leaf.shape), leaf.dtype, sharding=sharding)  # type: ignore[no-untyped-call]


def nbytes(tree: Tree) -> int:
    """Return the bytes of arrays or shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
