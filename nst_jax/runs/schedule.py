"""Which of many tasks a worker takes next: threads, actors of a cluster and processes at one folder alike.

A task is what one compiled program does at a time. Tasks that may end last begin first (Graham, "Bounds on
multiprocessing timing anomalies", 1969: longest processing time first); otherwise a worker stays with the
programs that it has compiled, and new ones are begun where the most work is left for those who are at it.
"""

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass

Worker = Hashable
Program = Hashable


@dataclass(frozen=True)
class Task:
    """Problems that are solved together."""

    numbers: tuple[int, ...]
    """Of the problems, which tell tasks apart."""
    program: Program
    """Tasks of one are solved by one compiled program."""
    cost: float
    """Of any unit, such as pixels times evaluations."""


def next_task(
    waiting: Collection[Task],
    *,
    known: Collection[Program] = (),
    at: Mapping[Program, int] | None = None,
    workers: int = 1,
) -> Task | None:
    """Return the task that a worker takes, or None if none waits.

    Args:
        waiting: tasks that nobody has taken.
        known: programs that the worker has compiled.
        at: how many workers are at each program.
        workers: how many there are in all.
    """
    if not waiting:
        return None
    longest = _largest(waiting)
    if longest.cost * workers >= sum(task.cost for task in waiting):  # it may be what ends last
        return longest
    if mine := [task for task in waiting if task.program in known]:
        return _largest(mine)
    left: dict[Program, float] = {}
    for task in waiting:
        left[task.program] = left.get(task.program, 0.0) + task.cost
    others = at or {}
    program = max(left, key=lambda each: left[each] / (1 + others.get(each, 0)))
    return _largest(task for task in waiting if task.program == program)


def _largest(tasks: Iterable[Task]) -> Task:
    return max(tasks, key=lambda task: (task.cost, tuple(-number for number in task.numbers)))


class Schedule:
    """Who is at which task, as the one who gives them out knows it."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.waiting = {task.numbers: task for task in tasks}
        self.taken: dict[tuple[int, ...], tuple[Worker, Task]] = {}
        self.known: dict[Worker, set[Program]] = {}

    def take(self, worker: Worker, workers: int) -> Task | None:
        """Give a worker, of so many, its next task; None if none waits."""
        known = self.known.setdefault(worker, set())
        at: dict[Program, int] = {}
        for _, other in self.taken.values():
            at[other.program] = at.get(other.program, 0) + 1
        task = next_task(self.waiting.values(), known=known, at=at, workers=workers)
        if task:
            del self.waiting[task.numbers]
            self.taken[task.numbers] = worker, task
            known.add(task.program)
        return task

    def done(self, task: Task) -> None:
        """Note that a task is done."""
        self.taken.pop(task.numbers, None)

    def lost(self, worker: Worker) -> None:
        """Put back what a worker was at, which has died and with it what it had compiled."""
        self.known.pop(worker, None)
        for numbers, (whose, left) in list(self.taken.items()):
            if whose == worker:
                del self.taken[numbers]
                self.waiting[numbers] = left

    @property
    def is_done(self) -> bool:
        """Tell whether nothing waits and nobody is at work."""
        return not self.waiting and not self.taken
