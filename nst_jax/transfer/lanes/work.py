"""The threads that solve lanes, what they save, and what they tell."""

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import NstError
from nst_jax.solvers import solver
from nst_jax.transfer import checkpoints, pyramid
from nst_jax.transfer import loop as transfer
from nst_jax.transfer.fitting import Steps, shapes_of, weights_of
from nst_jax.transfer.lanes.plan import Job, Mode, fitted, jobs, workers
from nst_jax.transfer.lanes.programs import Place, batch, compiled, placements, stacked, start
from nst_jax.transfer.loop import Look, Result
from nst_jax.transfer.memory import keep_freed
from nst_jax.transfer.objective import Targets
from nst_jax.transfer.problem import Task, content_targets, style_targets

Curve = list[dict[str, Any]]
"""Records with ``evaluations``, ``loss`` and ``terms``, as in a run's metrics."""

POINTS = 50
"""A curve has about so many points."""

SAVE_SECONDS = 20.0
SAVE_SHARE = 0.05
"""States are saved no more often than this, and take no more than this share of the time."""

_REMEMBERED = 64
"""So many pictures' targets are kept at hand."""


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


def run(
    tasks: Mapping[int, Task],
    *,
    done: Callable[[int, Result, Curve], None],
    finished: Collection[int] = (),
    mode: Mode = "auto",
    max_parallel: int | None = None,
    watch: Callable[[GridProgress], object] | None = None,
    keep: Path | None = None,
    stamp: str = "",
) -> bool:
    """Run tasks, as many at once as is good.

    Args:
        tasks: by number. Those of one program and shape are lanes of each other; see `programs.align`.
        done: called with the number, the result and the loss curve of a task that has ended.
        finished: numbers of tasks that need not be run; the others are grouped as if these were.
        mode: ``vmap``, ``threads``, or ``auto``: threads on a single CPU device, and for line searches.
        max_parallel: tasks at once; None: what fits in memory, and on threads as many as there are cores.
        watch: called every now and then; if it returns True all ends, with its states saved.
        keep: folder for the states of unfinished work, which is gone on with if it is of the same ``stamp``.
        stamp: identifies all that decides the results besides the tasks' numbers.

    Returns:
        Whether all is done; False if ``watch`` ended it.

    Raises:
        NstError: there is not enough memory.
    """
    keep_freed()
    tasks = fitted(tasks, finished, mode)
    queue = jobs(tasks, finished=finished, mode=mode, max_parallel=max_parallel, keep=keep, stamp=stamp)
    grid = _Grid(tasks, queue, done, frozenset(finished), watch, keep, stamp)
    left = {index: task for index, task in tasks.items() if index not in grid.finished}
    threads = workers(left, mode, max_parallel)
    if threads == 1:
        _work(grid)
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for future in [pool.submit(_work, grid) for _ in range(threads)]:
                    future.result()
            finally:
                grid.stopped.set()
    return grid.ended == len(tasks)


@dataclass
class _Grid:
    """What the threads of a grid share."""

    tasks: Mapping[int, Task]
    jobs: Iterator[Job]
    done: Callable[[int, Result, Curve], None]
    finished: frozenset[int]
    watch: Callable[[GridProgress], object] | None
    keep: Path | None
    stamp: str
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: int = 0
    spent: dict[int, int] = field(default_factory=dict)
    best_loss: float = float("inf")
    begun: float = field(default_factory=time.perf_counter)
    remembered: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ended = len(self.finished)
        self.spent = {index: _budget(self.tasks[index]) for index in self.finished}

    def next_job(self) -> Job | None:
        with self.lock:
            return None if self.stopped.is_set() else next(self.jobs, None)

    def once(self, make: Callable[..., Any], task: Task, *key: Any, **options: Any) -> Any:
        """Return what ``make`` returned for this key before."""
        with self.lock:
            known = (make, id(task.params), *task.program.seeing.values(), task.program.precision, *key)
            if known not in self.remembered:
                if len(self.remembered) >= _REMEMBERED:
                    self.remembered.pop(next(iter(self.remembered)))
                self.remembered[known] = make(task, **options)
            return self.remembered[known]

    def tell(self, spent: Mapping[int, int], best_loss: float, ended: int = 0) -> None:
        with self.lock:
            self.spent.update(spent)
            self.ended += ended
            self.best_loss = min(self.best_loss, best_loss)
            budget = sum(map(_budget, self.tasks.values()))
            seconds = time.perf_counter() - self.begun
            evaluations = sum(self.spent.values())
            progress = GridProgress(len(self.tasks), self.ended, evaluations, budget, self.best_loss, seconds)
            if self.watch and self.watch(progress) is True:
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
        more = f"; try --max-parallel {job.lanes // 2}" if job.lanes > 1 else "; use a smaller size"
        raise NstError(f"out of memory with {job.lanes} cells in one program{more}") from None
    finally:
        if not well:  # the other threads shall save what they have, and not go on for hours
            grid.stopped.set()


def _solve(grid: _Grid, job: Job) -> None:
    """Run the lanes of a job through their levels, see `pyramid`."""
    begun = time.perf_counter()
    tasks = [grid.tasks[index] for index in job.indexes]
    every = list(zip(*map(pyramid.levels, tasks), strict=True))
    saving = _Saving(grid, job, len(every))
    images: NDArray[np.float32] | None = None
    for number in range(saving.level, len(every)):
        last = number == len(every) - 1
        if images is not None:
            pairs = zip(images[: len(tasks)], every[number - 1], every[number], strict=True)
            here = [replace(task, init=pyramid.grown(image, before, task)) for image, before, task in pairs]
        else:
            here = list(every[number])
        found = _one_level(
            grid, replace(job, shapes=job.shapes if last else shapes_of(here[0])), here, saving, number
        )
        if found is None:
            return
        images, look, curves = found
    assert images is not None
    seconds = (time.perf_counter() - begun) / len(job.indexes)
    for lane, (index, curve) in enumerate(zip(job.indexes, curves, strict=True)):
        if index not in grid.finished:
            grid.done(index, _result(images[lane], look, lane, curve, tasks[0].evaluations, seconds), curve)
    new = set(job.indexes) - grid.finished
    grid.tell(dict.fromkeys(job.indexes, _budget(tasks[0])), float("inf"), ended=len(new))
    saving.forget()


def _one_level(
    grid: _Grid, job: Job, tasks: list[Task], saving: "_Saving", level: int
) -> tuple[NDArray[np.float32], Look, list[Curve]] | None:
    """Run lanes at one size; return their pictures, or None if the grid was stopped."""
    tasks = tasks + tasks[-1:] * (job.lanes - len(tasks))
    program, budget = tasks[0].program, tasks[0].evaluations
    each, shared = placements(job.devices)
    layers = (*tasks[0].weights.content_layers, *tasks[0].weights.style_layers)
    network = shared(grid.once(Task.network, tasks[0], layers))
    targets = each(stacked([_targets(grid, task, network) for task in tasks]))
    args = (network, targets, each(stacked([weights_of(task) for task in tasks])))
    step = compiled(program, job.shapes, job.lanes, job.devices)
    steps = Steps(program, step, args, lanes=job.lanes)
    state, curves = saving.resume(each, job, level, steps)
    if state is None:
        state = start(program, [task.first_image() for task in tasks], args, each)
        curves = [[] for _ in job.indexes]

    every = max(1, budget // POINTS)
    for state, look in transfer.advance(  # noqa: B020
        steps, state, budget=budget, searching=program.searching, stops=every
    ):
        look = _lanes_of(look)
        for lane, curve in enumerate(curves):
            _add_point(curve, look, lane, every=1 if program.searching else every, budget=budget)
        spent = dict(zip(job.indexes, (int(n) + level * budget for n in look.evaluations), strict=False))
        grid.tell(spent, float(np.min(look.loss)))
        saving.save(state, curves, level, steps)
        if grid.stopped.is_set():
            return None
    return transfer.to_image(state.best).reshape(-1, *tasks[0].content.shape), look, curves


def _budget(task: Task) -> int:
    return task.levels * task.evaluations


def _targets(grid: _Grid, task: Task, network: Any) -> Targets:
    """Return a task's targets, computed once for each picture and not for each task."""
    content = (tuple(task.weights.content_layers), _digest(task.content))
    program = task.program
    guides = [None if map_ is None else _digest(map_) for map_ in (task.content_map, task.style_map)]
    kind = (program.kind, *guides, task.copies) if program.kind != "gram" else ()
    held = (task.content.shape, program.holding, program.patch_size) if program.kind != "gram" else ()
    style = (tuple(task.weights.style_layers), _digest(task.style), *kind, *held)
    return Targets(
        grid.once(content_targets, task, content, network=network),
        grid.once(style_targets, task, style, network=network),
    )


def _digest(image: NDArray[np.float32]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def _lanes_of(look: Look) -> Look:
    """Return a look whose arrays have an axis of lanes, be it a single one."""
    terms = {name: np.atleast_1d(term) for name, term in look.terms.items()}
    evaluations, status = np.atleast_1d(look.evaluations), np.atleast_1d(look.status)
    return Look(evaluations, status, np.atleast_1d(look.loss), terms, look.rate)


def _add_point(curve: Curve, look: Look, lane: int, *, every: int, budget: int) -> None:
    """Add the first, every so manieth and last value to a curve: the same ones however often one looks."""
    at = int(look.evaluations[lane])
    ended = look.status[lane] != solver.RUNNING or at >= budget
    if at == (curve[-1]["evaluations"] if curve else 0) or not (not curve or at % every == 0 or ended):
        return
    terms = {name: float(term[lane]) for name, term in look.terms.items()}
    curve.append({"evaluations": at, "loss": float(look.loss[lane]), "terms": terms})


def _result(
    image: NDArray[np.float32], look: Look, lane: int, curve: Curve, budget: int, seconds: float
) -> Result:
    at = int(look.evaluations[lane])
    return Result(
        image=image,
        loss=curve[-1]["loss"],
        terms=curve[-1]["terms"],
        initial_loss=curve[0]["loss"],
        evaluations=at,
        status=transfer.ended(int(look.status[lane]), at >= budget),
        seconds=seconds,
    )


class _Saving:
    """Keeps the state of a job's lanes on disk while they run."""

    def __init__(self, grid: _Grid, job: Job, levels: int) -> None:
        self.grid = grid
        self.path = grid.keep / f"{job.indexes[0]:05d}.npz" if grid.keep else None
        self.about = {"stamp": grid.stamp, "indexes": list(job.indexes), "lanes": job.lanes}
        self.saved, self.wait = time.perf_counter(), SAVE_SECONDS
        known = checkpoints.about(self.path) if self.path else {}
        same = all(known.get(key) == value for key, value in self.about.items())
        self.level: int = known["level"] if same and 0 <= known.get("level", -1) < levels else 0
        """Where to begin."""

    def resume(self, place: Place, job: Job, level: int, steps: Steps) -> tuple[Any, list[Curve]]:
        like = (batch(job.shapes.state, job.lanes), steps.held)
        found = checkpoints.load(self.path, like) if self.path else None
        about = self.about | {"level": level}
        if found is None or any(found[1].get(key) != value for key, value in about.items()):
            return None, []
        state, held = place(found[0])
        if held:
            steps.held = held
        return state, found[1]["curves"]

    def save(self, state: Any, curves: list[Curve], level: int, steps: Steps) -> None:
        """Save if it is time to, or the last moment."""
        begun = time.perf_counter()
        if self.path and (self.grid.stopped.is_set() or begun - self.saved > self.wait):
            checkpoints.save(self.path, (state, steps.held), self.about | {"curves": curves, "level": level})
            self.saved = time.perf_counter()
            self.wait = max(SAVE_SECONDS, (self.saved - begun) / SAVE_SHARE)

    def forget(self) -> None:
        if self.path:
            self.path.unlink(missing_ok=True)
