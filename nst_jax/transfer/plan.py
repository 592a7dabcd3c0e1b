"""Which problems run together: batches that share a compiled program, as many at once as fit in memory.

On a GPU or TPU problems of one shape are batched with ``jax.vmap``: L-BFGS without a line search takes one
evaluation a step, so they stay in lockstep, and one that has ended is frozen by the solver itself. Several
devices share a batch. On a CPU a batch is no faster than its problems one after another, but two of them on
two threads are, since one alone leaves cores idle at times: there every thread takes the next problem. Either
way there is one compiled program for each shape of picture.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from nst_jax.architecture import stride
from nst_jax.errors import NstError
from nst_jax.files import write_atomically
from nst_jax.settings import Mode
from nst_jax.transfer import machine, memory, pyramid
from nst_jax.transfer.alike import group_of, program_of
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.program import Devices, Program, Shapes, compiled, nbytes
from nst_jax.transfer.stretch import Batch
from nst_jax.typing import Json


@dataclass(frozen=True)
class How:
    """How a grid is worked off.

    Attributes:
        mode: ``vmap``, ``threads``, or ``auto``: threads on a single CPU device, and for line searches.
        max_parallel: problems at once; None: what fits in memory, and on threads as many as there are cores.
        keep: folder for the states of unfinished work, which is gone on with if it is of the same ``stamp``.
        stamp: identifies all that decides the results besides the problems' numbers.
        is_shared: whether other processes, with other devices perhaps, work off the same grid: then its
            chunks are those that the first has planned, alone, and written to ``keep``.
    """

    mode: Mode = "auto"
    max_parallel: int | None = None
    keep: Path | None = None
    stamp: str = ""
    is_shared: bool = False


_HOW = How()


@dataclass(frozen=True)
class Job:
    """A batch of a grid, and the numbers of its problems."""

    indexes: tuple[int, ...]
    batch: Batch


def align(problems: Sequence[Problem]) -> list[Problem]:
    """Give problems of one shape the same layers, so that they share a program: others get weight zero.

    Where an image is too small for a layer of another problem, its mean over no positions is not zero but no
    number: such problems keep their own layers, and do not share a program.
    """
    groups: dict[object, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(group_of(problem), []).append(problem)
    layers = {key: _common_layers(group) for key, group in groups.items()}

    def whole(problem: Problem) -> Problem:
        content, style = layers[group_of(problem)]
        weights = replace(
            problem.weights,
            content_layers={**dict.fromkeys(content, 0.0), **problem.weights.content_layers},
            style_layers={**dict.fromkeys(style, 0.0), **problem.weights.style_layers},
        )
        return replace(problem, weights=weights)

    return [whole(problem) for problem in problems]


def _common_layers(problems: Sequence[Problem]) -> tuple[list[str], list[str]]:
    content = [name for problem in problems for name in problem.weights.content_layers]
    # Terms that look at all layers together would see the others, whatever their weights.
    style = [name for p in problems if not p.term.is_joint for name in p.weights.style_layers]
    deepest = max(map(stride, (*content, *style)), default=1)
    smallest = min(problem.shortest for problem in problems)
    return (content, style) if smallest >= deepest else ([], [])


def jobs(problems: Mapping[int, Problem], finished: Collection[int], how: How) -> Iterator[Job]:
    """Group problems of one program and shape, and give their chunks in turn.

    Raises:
        NstError: other processes have planned batches where this one would not.
    """
    devices = tuple(jax.local_devices())
    for indexes in groups(problems):
        if not set(indexes) - set(finished):
            continue
        problem, count = problems[indexes[0]], len(indexes)
        batched = is_batched(problem.program, how.mode)
        shapes, used, size = memory.shapes_of(problem), devices[:1], 1
        if batched:
            used = devices[: min(len(devices), count, how.max_parallel or count)]
        if batched or how.is_shared:
            # The same again when interrupted work is gone on with, however much memory is free then.
            name = planned_as(indexes, len(used), how)
            known = planned(how, name)
            size = known or (batch_size(problem, shapes, count, used, how.max_parallel) if batched else 1)
            if not known:
                keep_planned(how, {name: size})
            if size > 1 and not batched:
                raise NstError(
                    f"other processes paint batches of {size} at once, this one none, as its devices or "
                    "sweep.lanes are others: give all the same"
                )
            used = used[: max(n for n in range(1, len(used) + 1) if size % n == 0)]
        for first in range(0, count, size):
            chunk = tuple(indexes[first : first + size])
            if set(chunk) - set(finished):
                here = tuple(problems[index] for index in chunk)
                yield Job(chunk, Batch(here, size, used if size > 1 else used[:1], shapes))


def groups(problems: Mapping[int, Problem]) -> list[list[int]]:
    """Return the numbers of problems, those of one program and shape together."""
    found: dict[object, list[int]] = {}
    for index, problem in problems.items():
        found.setdefault((group_of(problem), program_of(problem)), []).append(index)
    return list(found.values())


def cost(problem: Problem) -> float:
    """Return how much work a problem is, about: pixels times evaluations, of all its sizes."""
    return float(problem.size[0] * problem.size[1] * pyramid.budget(problem))


def planned_as(indexes: Sequence[int], devices: int, how: How) -> str:
    """Return the name that the size of the chunks of a group is kept under, for so many devices."""
    name = f"{indexes[0]} of {len(indexes)}"
    return name if how.is_shared else f"{name}, {devices} devices, {how.max_parallel}"


def planned(how: How, name: str) -> int | None:
    """Return the size of chunks that was kept under a name; None if none was."""
    size: int | None = _plans(how).get(name)
    return size


def keep_planned(how: How, sizes: Mapping[str, int]) -> None:
    """Keep sizes of chunks, so that they are the same when interrupted work is gone on with.

    Raises:
        OutputError: they cannot be written.
    """
    if how.keep:
        write_atomically(how.keep / "plan.json", json.dumps(_plans(how) | dict(sizes)).encode())


@dataclass(frozen=True, eq=False)
class Share:
    """Problems of one program and shape, how many of them run at once, and the bytes that these take."""

    problems: tuple[Problem, ...]
    at_once: int
    nbytes: int

    def sentence(self, name: str) -> str:
        """Say it, given what one of them is called."""
        height, width = self.problems[0].size
        evaluations = sum(problem.evaluations for problem in self.problems)
        of = "of" if self.problems[0].canvas is None else "of at most"
        what = f"{len(self.problems)} {name}{'s' * (len(self.problems) > 1)} {of} {width} x {height}"
        taken = f"{memory.gib(self.nbytes)} besides Python and JAX"
        return f"{what}, {evaluations} evaluations, {self.at_once} at once: {taken}"


def shares(problems: Mapping[int, Problem], how: How = _HOW) -> list[Share]:
    """Return how problems would be run, and what that would take; their programs are compiled.

    Raises:
        NstError: there is not enough memory.
    """
    problems = fitted(problems, (), how.mode)
    threads = workers(problems, how)
    groups: dict[object, list[Job]] = {}
    for job in jobs(problems, (), replace(how, keep=None)):
        groups.setdefault(program_of(job.batch.problems[0]), []).append(job)
    found = []
    for group in groups.values():
        every = tuple(problem for job in group for problem in job.batch.problems)
        batch = group[0].batch
        assert batch.shapes is not None
        network = nbytes(batch.shapes.args[0])
        each = _each(compiled(every[0].program, batch.shapes, batch.size, batch.devices), network)
        at_once = min(len(every), threads * batch.size)
        copies = at_once if batch.size == 1 else 1
        found.append(Share(every, at_once, network + copies * each))
    return found


def fitted(problems: Mapping[int, Problem], finished: Collection[int], mode: Mode) -> dict[int, Problem]:
    """Return problems that fit in memory one by one, see `memory.fit`; those to be batched as they are."""
    programs: dict[object, Program] = {}
    result = dict(problems)
    for index, problem in problems.items():
        if index not in finished and not is_batched(problem.program, mode):
            known = group_of(problem), program_of(problem)
            if known not in programs:
                programs[known] = memory.fit(problem)[0].program
            result[index] = replace(problem, program=programs[known])
    return result


def is_batched(program: Program, mode: Mode) -> bool:
    """Tell whether problems of a program are best batched."""
    if program.is_searching:  # all would wait for the one that searches longest
        return False
    if program.is_outside or program.is_by_rows:
        return False
    devices = jax.local_devices()
    return mode == "vmap" or (mode == "auto" and (devices[0].platform != "cpu" or len(devices) > 1))


def batch_size(
    problem: Problem, shapes: Shapes, count: int, devices: Devices, max_parallel: int | None = None
) -> int:
    """Return into chunks of how many ``count`` problems are best divided.

    A first guess, from the sizes of state and features, is compiled; if the compiler says that it needs more
    memory than there is, fewer are tried. Chunks are equal, in whole multiples of the devices.
    """
    usable = machine.usable(devices, problem.settings.memory_limit)
    fitting = usable // (nbytes(shapes.state) + memory.features_nbytes(problem)) * len(devices)
    size = equal(count, min(count, max_parallel or count, max(1, fitting)), len(devices))
    while size > len(devices):
        needed = sum(machine.taken(compiled(problem.program, shapes, size, devices)))
        if needed <= usable:
            break
        fewer = min(min(size, count) - 1, int(0.95 * size * usable / needed))
        size = equal(count, fewer, len(devices))
    return size


def equal(count: int, most: int, multiple: int = 1) -> int:
    """Return the size of equal chunks of ``count``, at most ``most``, in multiples of a number.

    All in one chunk may be more than ``most`` by what fills up the last multiple.
    """
    most = count if most >= count else max(most - most % multiple, multiple)
    size = -(-count // -(-count // most))
    return -(-size // multiple) * multiple


def workers(problems: Mapping[int, Problem], how: How) -> int:
    """Return how many threads take problems: one for each core of a CPU, if they fit in memory."""
    device = jax.local_devices()[0]
    every = [problem.program for problem in problems.values()]
    if device.platform != "cpu" or any(p.is_by_rows or is_batched(p, how.mode) for p in every):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = min(len(problems), how.max_parallel or cores)
    if wanted <= 1:
        return 1
    largest = max(problems.values(), key=lambda problem: problem.size[0] * problem.size[1])
    shapes = memory.shapes_of(largest)
    network = nbytes(shapes.args[0])
    room = machine.usable([device], largest.settings.memory_limit) - network
    return int(max(1, min(wanted, room // _each(compiled(largest.program, shapes), network))))


def _each(step: object, network: int) -> int:
    """Return the bytes of a compiled step besides the network, and what of them is kept when freed."""
    arguments, rest = machine.taken(step)
    return arguments - network + rest + memory.kept(rest)


def _plans(how: How) -> dict[str, Json]:
    try:
        known: dict[str, Json] = json.loads((how.keep / "plan.json").read_text()) if how.keep else {}
    except (OSError, ValueError):
        known = {}
    return known if known.get("stamp") == how.stamp else {"stamp": how.stamp}
