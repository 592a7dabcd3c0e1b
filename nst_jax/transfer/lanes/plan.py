"""Which lanes run together: as many as fit in memory, in equal chunks that share a compiled program."""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from nst_jax.files import write_atomically
from nst_jax.networks import vgg
from nst_jax.transfer import memory
from nst_jax.transfer.fitting import Shapes, fit, nbytes, shapes_of
from nst_jax.transfer.lanes.programs import compiled, group_of
from nst_jax.transfer.problem import Task
from nst_jax.transfer.program import Program

Mode = Literal["auto", "vmap", "threads"]


@dataclass(frozen=True)
class Job:
    """Lanes that run together in one program. If there are fewer tasks than lanes, the last is repeated."""

    indexes: tuple[int, ...]
    lanes: int
    devices: tuple[Any, ...]
    shapes: Shapes


def jobs(
    tasks: Mapping[int, Task],
    *,
    finished: Collection[int],
    mode: Mode,
    max_parallel: int | None,
    keep: Path | None,
    stamp: str,
) -> Iterator[Job]:
    """Group tasks of one program and shape, and give their chunks in turn."""
    devices = jax.local_devices()
    groups: dict[Any, list[int]] = {}
    for index, task in tasks.items():
        groups.setdefault(_program_of(task), []).append(index)
    for indexes in groups.values():
        if not set(indexes) - set(finished):
            continue
        task, count = tasks[indexes[0]], len(indexes)
        shapes, used, lanes = shapes_of(task), tuple(devices[:1]), 1
        if batched(task.program, mode):
            used = tuple(devices[: min(len(devices), count, max_parallel or count)])
            # The same again when interrupted work is gone on with, however much memory is free then.
            known, name = _plans(keep, stamp), f"{indexes[0]} of {count}, {len(used)} devices, {max_parallel}"
            lanes = known.get(name) or lanes_at_once(task, shapes, count, used, max_parallel)
            if keep and name not in known:
                write_atomically(keep / "plan.json", json.dumps(known | {name: lanes}).encode())
        for first in range(0, count, lanes):
            chunk = tuple(indexes[first : first + lanes])
            if set(chunk) - set(finished):
                yield Job(chunk, lanes, used if lanes > 1 else used[:1], shapes)


@dataclass(frozen=True)
class Share:
    """Tasks of one program and shape, how many of them run at once, and the bytes that these take."""

    tasks: tuple[Task, ...]
    at_once: int
    nbytes: int


def shares(tasks: Mapping[int, Task], *, mode: Mode, max_parallel: int | None) -> list[Share]:
    """Return how tasks would be run, and what that would take; their programs are compiled.

    Raises:
        NstError: there is not enough memory.
    """
    tasks = fitted(tasks, (), mode)
    threads = workers(tasks, mode, max_parallel)
    groups: dict[Any, list[Job]] = {}
    for job in jobs(tasks, finished=(), mode=mode, max_parallel=max_parallel, keep=None, stamp=""):
        groups.setdefault(_program_of(tasks[job.indexes[0]]), []).append(job)
    found = []
    for group in groups.values():
        job = group[0]
        every = tuple(tasks[index] for each in group for index in each.indexes)
        arguments, rest = memory.taken(compiled(every[0].program, job.shapes, job.lanes, job.devices))
        network = nbytes(job.shapes.args[0])
        at_once = min(len(every), threads * job.lanes)
        copies = at_once if job.lanes == 1 else 1
        found.append(Share(every, at_once, network + copies * (arguments - network + rest)))
    return found


def _program_of(task: Task) -> Any:
    layers = (tuple(task.weights.content_layers), tuple(task.weights.style_layers))
    return group_of(task), layers, id(task.params)


def fitted(tasks: Mapping[int, Task], finished: Collection[int], mode: Mode) -> dict[int, Task]:
    """Return tasks that fit in memory one by one, see `fitting.fit`; those to be batched as they are."""
    programs: dict[Any, Program] = {}
    result = dict(tasks)
    for index, task in tasks.items():
        if index not in finished and not batched(task.program, mode):
            known = _program_of(task)
            if known not in programs:
                programs[known] = fit(task)[0].program
            result[index] = replace(task, program=programs[known])
    return result


def batched(program: Program, mode: Mode) -> bool:
    """Tell whether lanes of a program are best batched."""
    if program.searching:  # lanes would all wait for the one that searches longest
        return False
    devices = jax.local_devices()
    return mode == "vmap" or (mode == "auto" and (devices[0].platform != "cpu" or len(devices) > 1))


def lanes_at_once(
    task: Task, shapes: Shapes, count: int, devices: tuple[Any, ...], max_parallel: int | None = None
) -> int:
    """Return into chunks of how many lanes ``count`` tasks are best divided.

    A first guess, from the sizes of state and features, is compiled; if the compiler says that it needs more
    memory than there is, fewer are tried. Chunks are equal, in whole multiples of the devices.
    """
    usable = memory.usable(devices, task.memory_limit)
    features = jax.eval_shape(
        lambda: vgg.features(task.params, jnp.zeros(task.content.shape), layers=task.params)
    )
    fitting = usable // (nbytes(shapes.state) + nbytes(features)) * len(devices)
    lanes = equal(count, min(count, max_parallel or count, max(1, fitting)), len(devices))
    while lanes > len(devices):
        needed = sum(memory.taken(compiled(task.program, shapes, lanes, devices)))
        if needed <= usable:
            break
        fewer = min(min(lanes, count) - 1, int(0.95 * lanes * usable / needed))
        lanes = equal(count, fewer, len(devices))
    return lanes


def equal(count: int, most: int, multiple: int = 1) -> int:
    """Return the size of equal chunks of ``count``, at most ``most``, in multiples of a number.

    All in one chunk may be more than ``most`` by what fills up the last multiple.
    """
    most = count if most >= count else max(most - most % multiple, multiple)
    size = -(-count // -(-count // most))
    return -(-size // multiple) * multiple


def workers(tasks: Mapping[int, Task], mode: Mode, max_parallel: int | None) -> int:
    """Return how many threads take lanes: one for each core of a CPU, if they fit in memory."""
    device = jax.local_devices()[0]
    if device.platform != "cpu" or any(batched(task.program, mode) for task in tasks.values()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = min(len(tasks), max_parallel or cores)
    if wanted <= 1:
        return 1
    largest = max(tasks.values(), key=lambda task: task.content.size)
    shapes = shapes_of(largest)
    arguments, rest = memory.taken(compiled(largest.program, shapes, 1, (device,)))
    network = nbytes(shapes.args[0])
    return int(
        max(
            1,
            min(
                wanted,
                (memory.usable([device], largest.memory_limit) - network) // (arguments - network + rest),
            ),
        )
    )


def _plans(keep: Path | None, stamp: str) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((keep / "plan.json").read_text()) if keep else {}
    except (OSError, ValueError):
        known = {}
    return known if known.get("stamp") == stamp else {"stamp": stamp}
