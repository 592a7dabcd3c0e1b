"""Many problems: grouped into batches that share a compiled program, as many at once as fit in memory.

On a GPU or TPU problems of one shape are batched with ``jax.vmap``: L-BFGS without a line search takes one
evaluation a step, so they stay in lockstep, and one that has ended is frozen by the solver itself. Several
devices share a batch. On a CPU a batch is no faster than its problems one after another, but two of them on
two threads are, since one alone leaves cores idle at times: there every thread takes the next problem. Either
way there is one compiled program for each shape of picture.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypedDict

import jax
import numpy as np

from nst_jax.errors import NstError
from nst_jax.files import write_atomically
from nst_jax.losses.terms import AdditiveTerm
from nst_jax.networks.layers import stride
from nst_jax.settings import Mode
from nst_jax.solvers.state import RUNNING, State
from nst_jax.transfer import checkpoints, loop, machine, memory
from nst_jax.transfer.loop import Batch, Look, Result
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.program import Devices, Program, Shapes, compiled, nbytes
from nst_jax.typing import Json, Tree


class Point(TypedDict):
    """A point of a loss curve, as in a run's metrics."""

    evaluations: int
    loss: float
    terms: dict[str, float]


Curve = list[Point]

POINTS = 50
"""A curve has about so many points."""

SAVE_SECONDS = 20.0
SAVE_SHARE = 0.05
"""States are saved no more often than this, and take no more than this share of the time."""

_REMEMBERED = 64
"""So many pictures' targets are kept."""


@dataclass(frozen=True)
class GridProgress:
    """How far a grid is."""

    cells: int
    done: int
    evaluations: int
    budget: int
    """Evaluations of all cells together."""
    best_loss: float
    """The lowest loss of any cell so far."""
    seconds: float


@dataclass(frozen=True)
class How:
    """How a grid is worked off.

    Attributes:
        mode: ``vmap``, ``threads``, or ``auto``: threads on a single CPU device, and for line searches.
        max_parallel: problems at once; None: what fits in memory, and on threads as many as there are cores.
        keep: folder for the states of unfinished work, which is gone on with if it is of the same ``stamp``.
        stamp: identifies all that decides the results besides the problems' numbers.
    """

    mode: Mode = "auto"
    max_parallel: int | None = None
    keep: Path | None = None
    stamp: str = ""


_HOW = How()

Done = Callable[[int, Result, Curve], None]


def run(
    problems: Mapping[int, Problem],
    *,
    done: Done,
    finished: Collection[int] = (),
    how: How = _HOW,
    watch: Callable[[GridProgress], object] = lambda progress: None,
) -> bool:
    """Solve problems, as many at once as is good.

    Args:
        problems: by number. Those of one program and shape may be batched; see `align`.
        done: called with the number, the result and the loss curve of a problem that has ended.
        finished: numbers of problems that need not be solved; the others are grouped as if these were.
        how: how the work is done.
        watch: called every now and then; if it returns True all ends, with its states saved.

    Returns:
        Whether all is done; False if ``watch`` ended it.

    Raises:
        NstError: there is not enough memory.
    """
    fitted = _fitted(problems, finished, how.mode)
    grid = _Grid(fitted, _jobs(fitted, finished, how), done, frozenset(finished), watch, how)
    left = {index: problem for index, problem in fitted.items() if index not in grid.finished}
    threads = _workers(left, how)
    if threads == 1:
        _work(grid)
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for future in [pool.submit(_work, grid) for _ in range(threads)]:
                    future.result()
            finally:
                grid.stopped.set()
    return grid.ended == len(fitted)


# The threads.


@dataclass(frozen=True)
class Job:
    """A batch of a grid, and the numbers of its problems."""

    indexes: tuple[int, ...]
    batch: Batch


@dataclass
class _Grid:
    """What the threads of a grid share."""

    problems: Mapping[int, Problem]
    jobs: Iterator[Job]
    done: Done
    finished: frozenset[int]
    watch: Callable[[GridProgress], object]
    how: How
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: int = 0
    spent: dict[int, int] = field(default_factory=dict)
    best_loss: float = float("inf")
    begun: float = field(default_factory=time.perf_counter)
    remembered: dict[object, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ended = len(self.finished)
        self.spent = {index: _budget(self.problems[index]) for index in self.finished}

    def next_job(self) -> Job | None:
        with self.lock:
            return None if self.stopped.is_set() else next(self.jobs, None)

    def remember(self, make: Callable[[], Json], key: Callable[[], object]) -> Json:
        """Return what was made before for an equal key; see `loop.Remember`."""
        with self.lock:
            known = key()
            if known not in self.remembered:
                if len(self.remembered) >= _REMEMBERED:
                    self.remembered.pop(next(iter(self.remembered)))
                self.remembered[known] = make()
            return self.remembered[known]

    def tell(self, spent: Mapping[int, int], best_loss: float, ended: int = 0) -> None:
        with self.lock:
            self.spent.update(spent)
            self.ended += ended
            self.best_loss = min(self.best_loss, best_loss)
            budget = sum(map(_budget, self.problems.values()))
            seconds = time.perf_counter() - self.begun
            evaluations = sum(self.spent.values())
            progress = GridProgress(
                len(self.problems), self.ended, evaluations, budget, self.best_loss, seconds
            )
            if self.watch(progress) is True:
                self.stopped.set()


def _work(grid: _Grid) -> None:
    job, well = None, False
    try:
        while (job := grid.next_job()) is not None:
            _solve(grid, job)
        well = True
    except jax.errors.JaxRuntimeError as error:
        if job is None or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = job.batch.size
        more = f"try max_parallel {size // 2}" if size > 1 else "use a smaller size"
        raise NstError(f"out of memory with {size} cells in one program; {more}") from None
    finally:
        if not well:  # the other threads shall save what they have, and not go on for hours
            grid.stopped.set()


def _solve(grid: _Grid, job: Job) -> None:
    """Solve a batch, telling how far it is; its results count unless the grid was stopped."""
    budget = job.batch.problems[0].evaluations
    checkpoint = _Checkpoint(grid.how, job, job.batch.problems[0].levels)
    every = max(1, budget // POINTS)

    def watch(look: Look) -> bool:
        at_each = 1 if job.batch.problems[0].program.is_searching else every
        checkpoint.add(look, every=at_each)
        spent = (look.before + int(n) for n in look.evaluations)
        grid.tell(dict(zip(job.indexes, spent, strict=False)), float(np.min(look.loss)))
        return grid.stopped.is_set()

    results = loop.solve(
        job.batch, watch, stops=every, is_fitted=True, checkpoint=checkpoint, remember=grid.remember
    )
    if any(result.status == "interrupted" for result in results):
        return
    for index, result, curve in zip(job.indexes, results, checkpoint.curves, strict=True):
        if index not in grid.finished:
            first, last = curve[0], curve[-1]
            whole = replace(result, initial_loss=first["loss"], loss=last["loss"], terms=last["terms"])
            grid.done(index, whole, curve)
    new = set(job.indexes) - grid.finished
    grid.tell(dict.fromkeys(job.indexes, _budget(job.batch.problems[0])), float("inf"), ended=len(new))
    checkpoint.forget()


def _budget(problem: Problem) -> int:
    return problem.levels * problem.evaluations


class _Checkpoint:
    """Keeps the state of a batch on disk while it runs, and the curves of its problems."""

    def __init__(self, how: How, job: Job, levels: int) -> None:
        self.path = how.keep / f"{job.indexes[0]:05d}.npz" if how.keep else None
        self.about = {"stamp": how.stamp, "indexes": list(job.indexes), "size": job.batch.size}
        self.saved, self.wait = time.perf_counter(), SAVE_SECONDS
        self.curves: list[Curve] = [[] for _ in job.indexes]
        self.curves_level = 0
        known = checkpoints.about(self.path) if self.path else {}
        same = all(known.get(key) == value for key, value in self.about.items())
        level = known.get("level", -1)
        self.level: int = level if same and 0 <= level < levels else 0
        """Where to begin."""

    def resume(self, like: tuple[State, Tree], level: int) -> tuple[State, Tree] | None:
        """Return what was kept at a level, or None."""
        found = checkpoints.load(self.path, like) if self.path else None
        if found is None or any(found[1].get(k) != v for k, v in (self.about | {"level": level}).items()):
            return None
        self.curves, self.curves_level = found[1]["curves"], level
        kept: tuple[State, Tree] = found[0]
        return kept

    def add(self, look: Look, *, every: int) -> None:
        """Add points to the curves: the first, the last and those due, the same however often one looks."""
        if self.curves_level != look.level - 1:
            self.curves, self.curves_level = [[] for _ in self.curves], look.level - 1
        for i, curve in enumerate(self.curves):
            at = int(look.evaluations[i])
            is_due = not curve or (look.before + at) % every == 0 or look.status[i] != RUNNING
            if at != (curve[-1]["evaluations"] if curve else 0) and is_due:
                terms = {name: float(term[i]) for name, term in look.terms.items()}
                curve.append({"evaluations": at, "loss": float(look.loss[i]), "terms": terms})

    def keep(self, state: State, kept: Tree, level: int, *, last: bool) -> None:
        """Save if it is time to, or the last moment."""
        begun = time.perf_counter()
        if self.path and (last or begun - self.saved > self.wait):
            checkpoints.save(self.path, (state, kept), self.about | {"curves": self.curves, "level": level})
            self.saved = time.perf_counter()
            self.wait = max(SAVE_SECONDS, (self.saved - begun) / SAVE_SHARE)

    def forget(self) -> None:
        """Remove what was saved."""
        if self.path:
            self.path.unlink(missing_ok=True)


# The plan: which problems run together.


def align(problems: Sequence[Problem]) -> list[Problem]:
    """Give problems of one shape the same layers, so that they share a program: others get weight zero.

    Where an image is too small for a layer of another problem, its mean over no positions is not zero but no
    number: such problems keep their own layers, and do not share a program.
    """
    groups: dict[object, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(_group_of(problem), []).append(problem)
    layers = {key: _common_layers(group) for key, group in groups.items()}

    def whole(problem: Problem) -> Problem:
        content, style = layers[_group_of(problem)]
        weights = replace(
            problem.weights,
            content_layers={**dict.fromkeys(content, 0.0), **problem.weights.content_layers},
            style_layers={**dict.fromkeys(style, 0.0), **problem.weights.style_layers},
        )
        return replace(problem, weights=weights)

    return [whole(problem) for problem in problems]


def _group_of(problem: Problem) -> object:
    """Return what problems must have in common to be in one batch, besides layers and network."""
    labels = 0 if problem.style_map is None else problem.style_map.shape[-1]
    searched = () if isinstance(problem.term, AdditiveTerm) else (problem.style.shape, labels)
    convention, factor = problem.weights.convention, problem.settings.pyramid.factor
    sizes = problem.content.shape, problem.evaluations, problem.levels, factor
    return problem.program, problem.term, convention, sizes, searched


def _common_layers(problems: Sequence[Problem]) -> tuple[list[str], list[str]]:
    content = [name for problem in problems for name in problem.weights.content_layers]
    style = [name for problem in problems for name in problem.weights.style_layers]
    deepest = max(map(stride, (*content, *style)), default=1)
    smallest = min(min(*problem.content.shape[:2], *problem.style.shape[:2]) for problem in problems)
    return (content, style) if smallest >= deepest else ([], [])


def _program_of(problem: Problem) -> object:
    layers = (tuple(problem.weights.content_layers), tuple(problem.weights.style_layers))
    return _group_of(problem), layers, id(problem.network)


def _jobs(problems: Mapping[int, Problem], finished: Collection[int], how: How) -> Iterator[Job]:
    """Group problems of one program and shape, and give their chunks in turn."""
    devices = tuple(jax.local_devices())
    groups: dict[object, list[int]] = {}
    for index, problem in problems.items():
        groups.setdefault(_program_of(problem), []).append(index)
    for indexes in groups.values():
        if not set(indexes) - set(finished):
            continue
        problem, count = problems[indexes[0]], len(indexes)
        shapes, used, size = memory.shapes_of(problem), devices[:1], 1
        if _is_batched(problem.program, how.mode):
            used = devices[: min(len(devices), count, how.max_parallel or count)]
            # The same again when interrupted work is gone on with, however much memory is free then.
            known, name = _plans(how), f"{indexes[0]} of {count}, {len(used)} devices, {how.max_parallel}"
            size = known.get(name) or batch_size(problem, shapes, count, used, how.max_parallel)
            if how.keep and name not in known:
                write_atomically(how.keep / "plan.json", json.dumps(known | {name: size}).encode())
        for first in range(0, count, size):
            chunk = tuple(indexes[first : first + size])
            if set(chunk) - set(finished):
                here = tuple(problems[index] for index in chunk)
                yield Job(chunk, Batch(here, size, used if size > 1 else used[:1], shapes))


@dataclass(frozen=True)
class Share:
    """Problems of one program and shape, how many of them run at once, and the bytes that these take."""

    problems: tuple[Problem, ...]
    at_once: int
    nbytes: int


def shares(problems: Mapping[int, Problem], how: How = _HOW) -> list[Share]:
    """Return how problems would be run, and what that would take; their programs are compiled.

    Raises:
        NstError: there is not enough memory.
    """
    problems = _fitted(problems, (), how.mode)
    threads = _workers(problems, how)
    groups: dict[object, list[Job]] = {}
    for job in _jobs(problems, (), replace(how, keep=None)):
        groups.setdefault(_program_of(job.batch.problems[0]), []).append(job)
    found = []
    for group in groups.values():
        every = tuple(problem for job in group for problem in job.batch.problems)
        batch = group[0].batch
        assert batch.shapes is not None
        arguments, rest = machine.taken(compiled(every[0].program, batch.shapes, batch.size, batch.devices))
        network = nbytes(batch.shapes.args[0])
        at_once = min(len(every), threads * batch.size)
        copies = at_once if batch.size == 1 else 1
        found.append(Share(every, at_once, network + copies * (arguments - network + rest)))
    return found


def _fitted(problems: Mapping[int, Problem], finished: Collection[int], mode: Mode) -> dict[int, Problem]:
    """Return problems that fit in memory one by one, see `memory.fit`; those to be batched as they are."""
    programs: dict[object, Program] = {}
    result = dict(problems)
    for index, problem in problems.items():
        if index not in finished and not _is_batched(problem.program, mode):
            known = _program_of(problem)
            if known not in programs:
                programs[known] = memory.fit(problem)[0].program
            result[index] = replace(problem, program=programs[known])
    return result


def _is_batched(program: Program, mode: Mode) -> bool:
    """Tell whether problems of a program are best batched."""
    if program.is_searching:  # all would wait for the one that searches longest
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


def _workers(problems: Mapping[int, Problem], how: How) -> int:
    """Return how many threads take problems: one for each core of a CPU, if they fit in memory."""
    device = jax.local_devices()[0]
    if device.platform != "cpu" or any(_is_batched(p.program, how.mode) for p in problems.values()):
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = min(len(problems), how.max_parallel or cores)
    if wanted <= 1:
        return 1
    largest = max(problems.values(), key=lambda problem: problem.content.size)
    shapes = memory.shapes_of(largest)
    arguments, rest = machine.taken(compiled(largest.program, shapes))
    network = nbytes(shapes.args[0])
    room = machine.usable([device], largest.settings.memory_limit) - network
    return int(max(1, min(wanted, room // (arguments - network + rest))))


def _plans(how: How) -> dict[str, Json]:
    try:
        known: dict[str, Json] = json.loads((how.keep / "plan.json").read_text()) if how.keep else {}
    except (OSError, ValueError):
        known = {}
    return known if known.get("stamp") == how.stamp else {"stamp": how.stamp}
