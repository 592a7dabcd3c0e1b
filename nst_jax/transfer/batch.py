"""Many problems: their batches (see `plan`) are solved one by one or on threads, and states are saved."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypedDict

import jax
import numpy as np

from nst_jax.errors import NstError
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


_HOW = How()

Done = Callable[[int, Result, Curve], None]


def run(
    problems: Mapping[int, Problem],
    *,
    done: Done,
    finished: Collection[int] = (),
    how: How = _HOW,
    watch: Callable[[GridProgress], object] = lambda progress: None,
    remember: Remember | None = None,
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
        planned: the batches, of problems that fit in memory, to be solved in turn; None: they are planned.

    Returns:
        Whether all is done; False if ``watch`` ended it.

    Raises:
        NstError: there is not enough memory.
    """
    fitting = fitted(problems, finished, how.mode) if planned is None else dict(problems)
    every = jobs(fitting, finished, how) if planned is None else iter(planned)
    grid = _Grid(fitting, every, done, frozenset(finished), watch, how)
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
    return grid.ended == len(fitting)


# The threads.


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
    remember: Remember = field(default_factory=lambda: remembering(_REMEMBERED))

    def __post_init__(self) -> None:
        self.ended = len(self.finished)
        self.spent = {index: pyramid.budget(self.problems[index]) for index in self.finished}

    def next_job(self) -> Job | None:
        with self.lock:
            return None if self.stopped.is_set() else next(self.jobs, None)

    def tell(self, spent: Mapping[int, int], best_loss: float, ended: int = 0) -> None:
        with self.lock:
            self.spent.update(spent)
            self.ended += ended
            self.best_loss = min(self.best_loss, best_loss)
            budget = sum(map(pyramid.budget, self.problems.values()))
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
    first = job.batch.problems[0]
    budget, keep = first.evaluations, grid.how.keep
    path = keep / f"{job.indexes[0]:05d}.npz" if keep else None
    made_by = {"stamp": grid.how.stamp, "indexes": list(job.indexes), "size": job.batch.size}
    checkpoint = Checkpoint(path, made_by | {"chosen": first.program.plan}, first.passes)
    curves = _Curves(checkpoint, len(job.indexes))
    every = max(1, budget // POINTS)

    def watch(look: Look) -> bool:
        curves.add(look, every=1 if first.program.is_searching else every)
        spent = map(int, look.spent)
        grid.tell(dict(zip(job.indexes, spent, strict=False)), float(np.min(look.loss)))
        return grid.stopped.is_set()

    results = loop.solve(
        job.batch, watch, stops=every, is_fitted=True, checkpoint=checkpoint, remember=grid.remember
    )
    if any(result.status == "interrupted" for result in results):
        return
    for index, result, curve in zip(job.indexes, results, curves.points, strict=True):
        if index not in grid.finished:
            grid.done(index, result, curve)
    new = set(job.indexes) - grid.finished
    grid.tell(dict.fromkeys(job.indexes, pyramid.budget(first)), float("inf"), ended=len(new))
    checkpoint.forget()


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
