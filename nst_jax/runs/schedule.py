"""Which of many tasks a worker takes next: threads, actors of a cluster and processes at one folder alike.

A task is what one compiled program does at a time. Workers are shared out to programs by the work that is
left, and more to those of long tasks: they are to be done before others, so that the last tasks are short and
one that is lost or slow holds nobody up for long. A worker stays with what it has compiled until it is not
needed there and is elsewhere. What may end last begins first (Graham, "Bounds on multiprocessing timing
anomalies", 1969: longest processing time first).
"""

import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

Worker = Hashable
Program = Hashable

_RESERVE = 2.0
"""A program is to be done so many of its longest tasks before the end of all."""

_SLOW = 0.7
"""Workers below this speed take nothing that would end after all others; the rest is chance."""


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
    speed: float = 1.0,
    rates: Mapping[Program, float] | None = None,
) -> Task | None:
    """Return the task that a worker takes, or None if none waits.

    Args:
        waiting: tasks that nobody has taken.
        known: programs that the worker has compiled.
        at: how many workers are at each program.
        workers: how many there are in all.
        speed: of the worker; most have 1.
        rates: seconds of a unit of cost, by program, where that was measured.
    """
    queues: dict[Program, _Queue] = {}
    for task in sorted(waiting, key=_rank):
        queues.setdefault(task.program, _Queue()).put(task)
    return _chosen(queues, known, at or {}, workers, speed, rates or {})


@dataclass
class _Queue:
    """Waiting tasks of one program, the longest last."""

    tasks: list[Task] = field(default_factory=list)
    cost: float = 0.0
    """Of all."""

    def put(self, task: Task) -> None:
        insort(self.tasks, task, key=_rank)
        self.cost += task.cost

    def remove(self, task: Task) -> None:
        del self.tasks[bisect_left(self.tasks, _rank(task), key=_rank)]
        self.cost -= task.cost


@dataclass(frozen=True)
class _Left:
    """What waits of a program; in seconds where rates are known."""

    program: Program
    longest: Task
    shortest: Task
    length: float
    """Of the longest task."""
    work: float
    at: int

    @property
    def order(self) -> tuple[float, tuple[int, ...]]:
        return self.length, _rank(self.longest)[1]


def _chosen(
    queues: Mapping[Program, _Queue],
    known: Collection[Program],
    at: Mapping[Program, int],
    workers: int,
    speed: float,
    rates: Mapping[Program, float],
) -> Task | None:
    every = _lefts(queues, at, rates)
    rest = sum(left.work for left in every) / workers  # until all is done
    if speed < _SLOW:
        shorter = [left for left in every if left.length <= rest * speed]
        if not shorter:
            return min((left.shortest for left in every), key=_rank, default=None)
        every = shorter
    if not every:
        return None
    last = max(every, key=lambda left: left.order)
    if last.length >= rest:  # it may be what ends last
        return last.longest
    # Workers are due to programs by their work, and by how soon it is to be done.
    hurry = {left.program: left.work / max(rest - _RESERVE * left.length, rest / 10) for left in every}
    due = workers / sum(hurry.values())

    def lack(left: _Left) -> tuple[float, tuple[float, tuple[int, ...]]]:
        return due * hurry[left.program] - left.at, left.order

    best = max(every, key=lack)
    stay = max((left for left in every if left.program in known), key=lack, default=None)
    if stay and (lack(stay)[0] > 0 or lack(best)[0] < 1):
        return stay.longest
    return best.longest


def _lefts(
    queues: Mapping[Program, _Queue], at: Mapping[Program, int], rates: Mapping[Program, float]
) -> list[_Left]:
    usual = sum(rates.values()) / len(rates) if rates else 1.0
    found = []
    for program, queue in queues.items():
        rate, longest = rates.get(program, usual), queue.tasks[-1]
        length, work = longest.cost * rate, queue.cost * rate
        found.append(_Left(program, longest, queue.tasks[0], length, work, at.get(program, 0)))
    return found


def _rank(task: Task) -> tuple[float, tuple[int, ...]]:
    return task.cost, tuple(-number for number in task.numbers)


class Schedule:
    """Who is at which task, as the one who gives them out knows it.

    It learns how long the programs' tasks take, and which workers are slow, of what is done. So the order in
    which tasks are given depends on the clock; what comes of them does not.
    """

    def __init__(self, tasks: Iterable[Task], clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting = {task.numbers: task for task in tasks}
        self.taken: dict[tuple[int, ...], tuple[Worker, Task]] = {}
        self.known: dict[Worker, set[Program]] = {}
        self.clock = clock
        self._queues: dict[Program, _Queue] = {}
        self._at: Counter[Program] = Counter()
        self._begun: dict[tuple[int, ...], tuple[float, bool]] = {}
        """When, and whether the program was compiled before."""
        self._paces: dict[bool, dict[Program, _Pace]] = {True: {}, False: {}}
        """Seconds of a unit of cost, with programs compiled before or not."""
        self._speeds: dict[Worker, _Pace] = {}
        for task in sorted(self.waiting.values(), key=_rank):
            self._queues.setdefault(task.program, _Queue()).put(task)

    def take(self, worker: Worker, workers: int) -> Task | None:
        """Give a worker, of so many, its next task; None if none waits."""
        known = self.known.setdefault(worker, set())
        speed = self._speeds[worker].ratio if worker in self._speeds else 1.0
        rates = {program: pace.ratio for program, pace in self._paces[True].items()}
        task = _chosen(self._queues, known, self._at, workers, speed, rates)
        if task:
            self._queues[task.program].remove(task)
            if not self._queues[task.program].tasks:
                del self._queues[task.program]
            self._at[task.program] += 1
            self._begun[task.numbers] = self.clock(), task.program in known
            del self.waiting[task.numbers]
            self.taken[task.numbers] = worker, task
            known.add(task.program)
        return task

    def done(self, task: Task) -> None:
        """Note that a task is done."""
        worker, _ = self.taken.pop(task.numbers, (None, None))
        if worker is None:
            return
        self._at[task.program] -= 1
        begun, is_known = self._begun.pop(task.numbers)
        seconds = self.clock() - begun
        pace = self._paces[is_known].setdefault(task.program, _Pace())
        pace.add(seconds, task.cost)
        self._speeds.setdefault(worker, _Pace()).add(pace.ratio * task.cost, seconds)

    def lost(self, worker: Worker) -> None:
        """Put back what a worker was at, which has died and with it what it had compiled."""
        self.known.pop(worker, None)
        for numbers, (whose, left) in list(self.taken.items()):
            if whose == worker:
                del self.taken[numbers]
                del self._begun[numbers]
                self._at[left.program] -= 1
                self.waiting[numbers] = left
                self._queues.setdefault(left.program, _Queue()).put(left)

    @property
    def is_done(self) -> bool:
        """Tell whether nothing waits and nobody is at work."""
        return not self.waiting and not self.taken


@dataclass
class _Pace:
    """Sums of two measures."""

    above: float = 0.0
    below: float = 0.0

    def add(self, above: float, below: float) -> None:
        self.above += above
        self.below += below

    @property
    def ratio(self) -> float:
        return self.above / self.below if self.below > 0 else 1.0
