"""What a cluster would take for many tasks: its work is simulated, by events, with the schedule itself."""

import heapq
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from nst_jax.runs.schedule import Program, Schedule, Task, Worker

if TYPE_CHECKING:
    from nst_jax.transfer.problem import Problem

_FEW, _MORE = 2, 8
"""Evaluations that are timed, so that what a picture takes besides them can be told from them."""


@dataclass(frozen=True)
class Cluster:
    """Workers, numbered from 0, and what becomes of them."""

    workers: int
    slowness: Mapping[int, float] = field(default_factory=dict)
    """How many times as long as others some take, to compile as well."""
    dies: Callable[[], float | None] = lambda: None
    """Called for each task that is begun: after which share of it the worker dies; None: it does not."""
    restart: float = 0.0
    """Seconds until a worker that died is there again."""
    reads: Callable[[Program], float] | None = None
    """Seconds to have a program again that the worker had before it died; None: as long as compiling."""


@dataclass(frozen=True)
class Simulated:
    """What came of it, in seconds."""

    makespan: float
    """From the beginning to the end of the last task."""
    compiling: float
    """Of all workers together, as what follows."""
    lost: float
    """At tasks whose worker died."""


class Scheduled(Protocol):
    """Gives out tasks, see `Schedule`."""

    def take(self, worker: Worker, workers: int) -> Task | None:
        """Give a worker its next task; None if none waits."""

    def done(self, task: Task) -> None:
        """Note that a task is done."""

    def lost(self, worker: Worker) -> None:
        """Put back what a worker was at."""

    @property
    def is_done(self) -> bool:
        """Tell whether all is done."""


def simulate(
    tasks: Collection[Task],
    cluster: Cluster,
    *,
    seconds: Callable[[Task], float] = lambda task: task.cost,
    compiling: Callable[[Program], float] = lambda program: 0.0,
    schedule: Callable[[Collection[Task], Callable[[], float]], Scheduled] = Schedule,
) -> Simulated:
    """Return what a cluster takes for tasks. Workers are there at the beginning, with nothing compiled.

    Args:
        tasks: to be done.
        cluster: who does them.
        seconds: that a task takes without compiling, which the schedule is not told.
        compiling: seconds that a worker takes at its first task of a program.
        schedule: makes what gives them out, of tasks and a clock.
    """
    now = makespan = compiled = lost = 0.0
    given = schedule(tasks, lambda: now)
    known: list[set[Hashable]] = [set() for _ in range(cluster.workers)]
    before: list[set[Hashable]] = [set() for _ in range(cluster.workers)]
    ready = list(range(cluster.workers))
    idle: list[int] = []
    events: list[tuple[float, int, Task | None]] = []  # when, who, what is done then; None: it died of it
    deaths: set[int] = set()
    while not given.is_done:
        for worker in ready:
            task = given.take(worker, cluster.workers)
            if task is None:
                idle.append(worker)
                continue
            first = 0.0
            if task.program not in known[worker]:
                again = cluster.reads if task.program in before[worker] else None
                first = (again or compiling)(task.program)
            slowness = cluster.slowness.get(worker, 1.0)
            whole, share = slowness * (first + seconds(task)), cluster.dies()
            compiled += slowness * first
            known[worker].add(task.program)
            before[worker].add(task.program)
            if share is None:
                heapq.heappush(events, (now + whole, worker, task))
            else:
                lost += share * whole
                deaths.add(worker)
                heapq.heappush(events, (now + share * whole, worker, None))
        now, worker, ended = heapq.heappop(events)
        ready = [worker]
        if ended is not None:
            given.done(ended)
            makespan = now
        elif worker in deaths:
            deaths.remove(worker)
            given.lost(worker)
            known[worker].clear()
            heapq.heappush(events, (now + cluster.restart, worker, None))
            ready, idle = idle, []
    return Simulated(makespan, compiled, lost)


@dataclass(frozen=True)
class Forecast:
    """What work takes."""

    lines: tuple[str, ...]
    seconds: float | None
    """Until all is done; None: not known."""


def forecast(
    tasks: Collection[Task],
    workers: int,
    devices: str,
    *,
    seconds: float | None = None,
    compiling: float = 0.0,
) -> Forecast:
    """Return what a cluster would take.

    Args:
        tasks: that are left to do.
        workers: how many there are.
        devices: what the workers' are called.
        seconds: of a unit of cost, on one worker; None: not known, times are shares of one worker's.
        compiling: seconds that a worker takes to compile a program, where ``seconds`` are known.
    """
    if not tasks:
        return Forecast(("nothing is left to do",), 0.0)
    programs = len({task.program for task in tasks})
    total, longest = sum(task.cost for task in tasks), max(task.cost for task in tasks)
    unit = seconds if seconds is not None else 1 / total
    compiled = compiling if seconds is not None else 0.0
    least, why = max((total / workers * unit, "work / workers"), (longest * unit, "the longest job"))
    span = simulate(
        tasks, Cluster(workers), seconds=lambda task: task.cost * unit, compiling=lambda program: compiled
    ).makespan
    what = f"{_count(len(tasks), 'job')} of {_count(programs, 'program')}"
    where = f"on {_count(workers, 'worker')} ({devices})"
    if seconds is not None:
        about, bound, last = map(duration, (span, least, longest * unit))
        taken = f"about {about}, at least {bound} ({why}), longest job {last}"
    else:
        taken = (
            f"{span:.2g} of one worker's time, at least {least:.2g} ({why}), longest job {longest * unit:.2g}"
        )
    lines = [f"{what} {where}: {taken}"]
    if workers > len(tasks):
        lines.append(f"note: {workers - len(tasks)} of the workers have nothing to do")
    return Forecast(tuple(lines), None if seconds is None else span)


def of_problems(problems: Mapping[int, "Problem"], workers: int, devices: str | None) -> Forecast:
    """Return what solving problems would take.

    Args:
        problems: that are left to do.
        workers: how many there are, each of which solves one at a time.
        devices: what the workers' are; None: this machine's. If it has such, some evaluations are timed.
    """
    import jax

    from nst_jax.transfer import plan

    own = jax.default_backend()
    places = plan.groups(problems)
    tasks = [
        Task((n,), place, plan.cost(problems[n])) for place, numbers in enumerate(places) for n in numbers
    ]
    seconds, compiling = None, 0.0
    if problems and devices in (None, own):
        typical = problems[max(places, key=len)[0]]
        found = pace(typical)
        compiling, seconds = found.compiling, found.evaluation / (typical.size[0] * typical.size[1])
    return forecast(tasks, workers, devices or own, seconds=seconds, compiling=compiling)


@dataclass(frozen=True)
class Pace:
    """What a picture takes, in seconds."""

    evaluation: float
    """Each, in the mean over its sizes."""
    besides: float
    """Once, at all sizes together."""
    compiling: float


def timed(work: Callable[[int], int]) -> Pace:
    """Return what a picture takes.

    Args:
        work: paints it with so many evaluations at each size, and returns how many these are together.
    """

    def seconds(evaluations: int) -> tuple[int, float]:
        since = time.perf_counter()
        made = work(evaluations)
        return made, time.perf_counter() - since

    _, first = seconds(_FEW)
    (few, before), (more, after) = seconds(_FEW), seconds(_MORE)
    each = (after - before) / (more - few) if after > before else after / more  # others are at work here
    return Pace(each, max(0.0, before - few * each), max(0.0, first - before))


def pace(problem: "Problem") -> Pace:
    """Return what a problem takes; some evaluations are made."""
    from nst_jax.transfer import pyramid
    from nst_jax.transfer.loop import solve
    from nst_jax.transfer.stretch import Batch

    def work(evaluations: int) -> int:
        settings = problem.settings.with_values({"solver.evaluations": evaluations})
        short = replace(problem, settings=settings)
        solve(Batch((short,)))
        return pyramid.budget(short)

    return timed(work)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"


def duration(seconds: float) -> str:
    """Say how long something takes, about."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
