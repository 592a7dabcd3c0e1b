"""Many problems: their batches (see `plan`) are solved one by one or on threads, and states are saved."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypedDict

import jax
import numpy as np

from nst_jax.errors import NstError, OutputError
from nst_jax.solvers.state import RUNNING
from nst_jax.transfer import loop, pyramid
from nst_jax.transfer.checkpoints import Checkpoint
from nst_jax.transfer.looks import Look, Result
from nst_jax.transfer.plan import How, Job, fitted, jobs, workers
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.remembering import Remember, remembering


class Point(TypedDict):
    """A point of a loss curve, as in a run's metrics."""

    evaluations: int
    loss: float
    terms: dict[str, float]


Curve = list[Point]

POINTS = 50
"""A curve has about so many points."""

REMEMBERED = 64
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


_HOW = How()

Done = Callable[[int, Result, Curve], None]


class Queue(Protocol):
    """Hands out jobs to the threads of this process, and perhaps to other processes as well."""

    def take(self, found: Callable[[Collection[int]], bool]) -> Job | None:
        """Return the next job, perhaps after a while; None if there is none left for this process.

        Args:
            found: to be called every now and then while one waits, with the numbers of problems that other
                processes have solved; it tells whether the work is to end, which None is the answer to.
        """

    def state_of(self, job: Job) -> Path | None:
        """Return the file for the state of a job that was taken; None: none is kept."""

    def is_lost(self, job: Job, *, surely: bool = False) -> bool:
        """Tell whether a job that was taken is another process's by now.

        Args:
            job: the job.
            surely: whether to find out, in place of telling what is known.
        """

    def leave(self, job: Job, *, is_done: bool) -> None:
        """Take note that a job that was taken has ended, done or not."""


def run(
    problems: Mapping[int, Problem],
    *,
    done: Done,
    finished: Collection[int] = (),
    how: How = _HOW,
    watch: Callable[[GridProgress], object] = lambda progress: None,
    remember: Remember | None = None,
    queue: Callable[[Iterator[Job]], Queue] | None = None,
    planned: Sequence[Job] | None = None,
) -> bool:
    """Solve problems, as many at once as is good.

    Args:
        problems: by number. Those of one program and shape may be batched; see `align`.
        done: called with the number, the result and the loss curve of a problem that has ended.
        finished: numbers of problems that need not be solved; the others are grouped as if these were.
        how: how the work is done.
        watch: called every now and then; if it returns True all ends, with its states saved.
        remember: for what other problems will have in common with these; None: nothing is kept after them.
        queue: makes of the jobs, which are planned as they are asked for, what hands them out; None: they are
            handed out in turn.
        planned: the batches, of problems that fit in memory, to be solved in turn; None: they are planned.

    Returns:
        Whether all is done; False if ``watch`` ended it.

    Raises:
        NstError: there is not enough memory.
    """
    fitting = fitted(problems, finished, how.mode) if planned is None else dict(problems)
    every = jobs(fitting, finished, how) if planned is None else iter(planned)
    handing = queue(every) if queue else _InTurn(every, how.keep)
    grid = _Grid(fitting, handing, done, frozenset(finished), watch, how)
    grid.remember = remember or grid.remember
    left = {index: problem for index, problem in fitting.items() if index not in grid.finished}
    threads = workers(left, how) if planned is None else 1
    if threads == 1:
        _work(grid)
    else:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for future in [pool.submit(_work, grid) for _ in range(threads)]:
                    future.result()
            finally:
                grid.stopped.set()
    return len(grid.ended) == len(fitting)


@dataclass(eq=False)
class _InTurn:
    """Hands out jobs in turn, to this process alone."""

    jobs: Iterator[Job]
    keep: Path | None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, found: Callable[[Collection[int]], bool]) -> Job | None:
        with self.lock:
            return next(self.jobs, None)

    def state_of(self, job: Job) -> Path | None:
        return self.keep / f"{job.indexes[0]:05d}.npz" if self.keep else None

    def is_lost(self, job: Job, *, surely: bool = False) -> bool:
        return False

    def leave(self, job: Job, *, is_done: bool) -> None:
        pass


# The threads.


@dataclass
class _Grid:
    """What the threads of a grid share."""

    problems: Mapping[int, Problem]
    queue: Queue
    done: Done
    finished: frozenset[int]
    watch: Callable[[GridProgress], object]
    how: How
    lock: threading.RLock = field(default_factory=threading.RLock)
    stopped: threading.Event = field(default_factory=threading.Event)
    ended: set[int] = field(default_factory=set)
    """Numbers of the problems that are solved, by whomever."""
    spent: dict[int, int] = field(default_factory=dict)
    best_loss: float = float("inf")
    begun: float = field(default_factory=time.perf_counter)
    remember: Remember = field(default_factory=lambda: remembering(REMEMBERED))

    def __post_init__(self) -> None:
        self.ended = set(self.finished)
        self.spent = {index: pyramid.budget(self.problems[index]) for index in self.finished}

    def next_job(self) -> Job | None:
        return None if self.stopped.is_set() else self.queue.take(self.found)

    def found(self, ended: Collection[int]) -> bool:
        """Take note of what others have solved; return whether the work is to end."""
        spent = {index: pyramid.budget(self.problems[index]) for index in ended}
        self.tell(spent, float("inf"), ended)
        return self.stopped.is_set()

    def tell(self, spent: Mapping[int, int], best_loss: float, ended: Collection[int] = ()) -> None:
        with self.lock:
            self.spent.update(spent)
            self.ended.update(ended)
            self.best_loss = min(self.best_loss, best_loss)
            budget = sum(map(pyramid.budget, self.problems.values()))
            seconds = time.perf_counter() - self.begun
            evaluations = sum(self.spent.values())
            progress = GridProgress(
                len(self.problems), len(self.ended), evaluations, budget, self.best_loss, seconds
            )
            if self.watch(progress) is True:
                self.stopped.set()


def _work(grid: _Grid) -> None:
    job, well = None, False
    try:
        while (job := grid.next_job()) is not None:
            is_done = False
            try:
                is_done = _solve(grid, job)
            finally:
                grid.queue.leave(job, is_done=is_done)
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


def _solve(grid: _Grid, job: Job) -> bool:
    """Solve a batch, telling how far it is; return whether it counts: not if the grid was stopped."""
    first, queue = job.batch.problems[0], grid.queue
    made_by = {"stamp": grid.how.stamp, "indexes": list(job.indexes), "size": job.batch.size}
    made_by |= {"chosen": first.program.plan}

    def trouble(error: OutputError) -> None:
        if not queue.is_lost(job, surely=True):
            raise error

    checkpoint = Checkpoint(queue.state_of(job), made_by, first.passes, trouble)
    curves = _Curves(checkpoint, len(job.indexes))
    every = max(1, first.evaluations // POINTS)

    def watch(look: Look) -> bool:
        curves.add(look, every=1 if first.program.is_searching else every)
        spent = map(int, look.spent)
        grid.tell(dict(zip(job.indexes, spent, strict=False)), float(np.min(look.loss)))
        return grid.stopped.is_set() or queue.is_lost(job)

    results = loop.solve(
        job.batch, watch, stops=every, is_fitted=True, checkpoint=checkpoint, remember=grid.remember
    )
    if any(result.status == "interrupted" for result in results) or queue.is_lost(job, surely=True):
        return False
    for index, result, curve in zip(job.indexes, results, curves.points, strict=True):
        if index not in grid.ended:
            grid.done(index, result, curve)
    grid.tell(dict.fromkeys(job.indexes, pyramid.budget(first)), float("inf"), job.indexes)
    checkpoint.forget()
    return True


class _Curves:
    """The loss curves of a batch's problems at their present level, kept with its state."""

    def __init__(self, checkpoint: Checkpoint, count: int) -> None:
        self.checkpoint, self.count = checkpoint, count

    @property
    def points(self) -> list[Curve]:
        """The points of each curve."""
        found: list[Curve] = self.checkpoint.notes["curves"]
        return found

    def add(self, look: Look, *, every: int) -> None:
        """Add points to the curves: the first, the last and those due, the same however often one looks."""
        if self.checkpoint.notes.get("level") != look.level:
            self.checkpoint.notes = {"level": look.level, "curves": [[] for _ in range(self.count)]}
        for i, curve in enumerate(self.points):
            at = int(look.evaluations[i])
            is_due = not curve or (look.before + at) % every == 0 or look.status[i] != RUNNING
            if at != (curve[-1]["evaluations"] if curve else 0) and is_due:
                terms = {name: float(term[i]) for name, term in look.terms.items()}
                curve.append({"evaluations": at, "loss": float(look.loss[i]), "terms": terms})
