"""The compiled step of one lane or of a batch, and its arguments."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nst_jax.networks.layers import stride
from nst_jax.solvers import solver
from nst_jax.transfer import fitting
from nst_jax.transfer.fitting import EACH, Shapes
from nst_jax.transfer.problem import Task
from nst_jax.transfer.program import Program


def align(tasks: Sequence[Task]) -> list[Task]:
    """Give tasks of one shape the same layers, so that they share a program: others get weight zero.

    Where an image is too small for a layer of another task, its mean over no positions is not zero but no
    number: such tasks keep their own layers, and do not share a program.
    """
    groups: dict[Any, list[Task]] = {}
    for task in tasks:
        groups.setdefault(group_of(task), []).append(task)
    layers = {key: _common_layers(group) for key, group in groups.items()}

    def whole(task: Task) -> Task:
        common = layers[group_of(task)]
        filled = {
            kind: dict.fromkeys(names, 0.0) | getattr(task.weights, kind) for kind, names in common.items()
        }
        return replace(task, weights=replace(task.weights, **filled))

    return [whole(task) for task in tasks]


def group_of(task: Task) -> Any:
    """Return what tasks must have in common to be lanes of each other, besides layers and network."""
    searched = () if task.program.kind == "gram" else (task.style.shape, task.copies, _labels(task))
    return task.program, task.content.shape, task.evaluations, (task.levels, task.factor), searched


def _labels(task: Task) -> int:
    return 0 if task.style_map is None else task.style_map.shape[-1]


def _common_layers(tasks: Sequence[Task]) -> dict[str, list[str]]:
    kinds = ("content_layers", "style_layers")
    layers = {kind: [name for task in tasks for name in getattr(task.weights, kind)] for kind in kinds}
    deepest = max((stride(name) for names in layers.values() for name in names), default=1)
    smallest = min(min(*task.content.shape[:2], *task.style.shape[:2]) for task in tasks)
    return layers if smallest >= deepest else {kind: [] for kind in kinds}


def compiled(program: Program, shapes: Shapes, lanes: int, devices: tuple[Any, ...]) -> Any:
    """Return the step of so many lanes, compiled ahead of time; once in a process for the same arguments."""
    if lanes == 1:
        return fitting.compiled(program, shapes)
    with _compiling:
        return _compiled(program, shapes, lanes, devices)


_compiling = threading.Lock()


@lru_cache(maxsize=64)
def _compiled(program: Program, shapes: Shapes, lanes: int, devices: tuple[Any, ...]) -> Any:
    def step_lanes(state: solver.State, args: tuple[Any, ...]) -> solver.State:
        return jax.vmap(program.build().step, in_axes=EACH)(state, *args)

    network, targets, weights = shapes.args
    each, shared = shardings(devices)
    state, targets, weights = (batch(tree, lanes, each) for tree in (shapes.state, targets, weights))
    network = jax.tree.map(lambda a: _shape(a, sharding=shared), network)
    # Without out_shardings the result may lie otherwise on the devices than the next step wants it.
    step = jax.jit(step_lanes, donate_argnames="state", out_shardings=each)
    with program.precisely():
        return step.lower(state, (network, targets, weights)).compile()


@partial(jax.jit, static_argnames="program")
def _start_lanes(x: Array, args: tuple[Any, ...], *, program: Program) -> solver.State:
    return jax.vmap(program.build().init, in_axes=EACH)(x, *args)


def start(program: Program, images: Sequence[Array], args: tuple[Any, ...], place: "Place") -> solver.State:
    """Return the state of lanes before the first evaluation."""
    begin = fitting.start if len(images) == 1 else _start_lanes
    state: solver.State = place(begin(place(stacked(images)), args, program=program))
    return state


def stacked(trees: Sequence[Any]) -> Any:
    """Return the arrays of lanes as arrays with a leading axis, or those of a single lane as they are."""
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


Place = Callable[[Any], Any]
"""Puts arrays where a program wants them."""


def placements(devices: tuple[Any, ...]) -> tuple[Place, Place]:
    """Return how to place what each lane has of its own, and what all of them share."""
    if len(devices) == 1:
        return (lambda tree: jax.tree.map(jnp.asarray, tree),) * 2
    each, shared = shardings(devices)
    return partial(jax.device_put, device=each), partial(jax.device_put, device=shared)


def shardings(devices: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the shardings of arrays with a leading axis of lanes, and of those that all lanes share."""
    if len(devices) == 1:
        return None, None
    mesh = Mesh(np.asarray(devices), ("lanes",))
    return tuple(NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("lanes",), ()))  # type: ignore[return-value, no-untyped-call]


def batch(tree: Any, lanes: int, sharding: Any = None) -> Any:
    """Return the shapes of so many lanes, given those of one."""
    if lanes == 1:
        return tree
    return jax.tree.map(lambda a: _shape(a, lanes=(lanes,), sharding=sharding), tree)


def _shape(leaf: Any, *, lanes: tuple[int, ...] = (), sharding: Any = None) -> Any:
    return jax.ShapeDtypeStruct((*lanes, *leaf.shape), leaf.dtype, sharding=sharding)  # type: ignore[no-untyped-call]
