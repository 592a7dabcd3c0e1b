"""Many processes paint at one folder: each takes the next task that nobody holds, until all is done.

FOLDER/plan.json       into which batches the problems are divided
FOLDER/leases/0007.1   who paints the batch that begins with problem 7, see `leases`
FOLDER/00007.1.npz     the state of that, which who takes over goes on with
"""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax.errors import OutputError
from nst_jax.runs import painting
from nst_jax.runs.leases import SECONDS, Leases, Stand
from nst_jax.runs.schedule import Program, Task, next_task

if TYPE_CHECKING:
    from nst_jax.transfer.batch import Curve, GridProgress
    from nst_jax.transfer.looks import Result
    from nst_jax.transfer.plan import How, Job
    from nst_jax.transfer.problem import Problem

Found = Callable[[Collection[int]], bool]
_Left = dict[str, tuple[Task, "Job | None"]]


@dataclass(frozen=True)
class Shared:
    """Paints with all other processes that are given the same problems and folder, see `painting.Paint`.

    That folder is ``how.keep``. It returns when all problems are done, by whomever.

    Args:
        is_done: tells whether the files of a problem are there.
        say: told what the user should know.
        seconds: time of a lease, the same for all processes.
    """

    is_done: Callable[[int], bool]
    say: Callable[[str], object]
    seconds: float = SECONDS

    def __call__(
        self,
        problems: Mapping[int, "Problem"],
        *,
        encoders: Mapping[int, painting.Encode],
        store: Callable[[int, painting.Files], None],
        finished: Collection[int],
        how: "How",
        watch: Callable[["GridProgress"], object],
    ) -> bool:
        """Return whether all is done.

        Raises:
            NstError: as `transfer.batch.run`; the folder cannot be used.
        """
        from nst_jax.transfer import batch

        assert how.keep is not None
        keep, folder = how.keep, folder_of(how.keep)

        def done(number: int, result: "Result", curve: "Curve") -> None:
            store(number, encoders[number](result, curve))

        with Leases(folder, self.seconds) as held:

            def queue(jobs: Iterator["Job"]) -> _Queue:
                try:
                    with held.alone("plan"):  # which is made as jobs are asked for
                        left: _Left = {_name(job): (_task(job), job) for job in jobs}
                    return _Queue(self, keep, held, left)
                except OutputError:
                    if folder.is_dir():
                        raise
                left = {str(n): (Task((n,), None, 0.0), None) for n in problems.keys() - set(finished)}
                return _Queue(self, keep, held, left, is_late=True)

            shared = replace(how, is_shared=True)
            return batch.run(problems, done=done, finished=finished, how=shared, watch=watch, queue=queue)


def folder_of(keep: Path) -> Path:
    """Return the folder of leases, which is made.

    Raises:
        OutputError: it cannot be.
    """
    folder = keep / "leases"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from None
    return folder


@contextmanager
def closing(keep: Path, seconds: float = SECONDS) -> Iterator[bool]:
    """Let one process do what is to be done when all is painted, and remove the folder; others wait for that.

    Gives whether this is the one.
    """
    with Leases(keep / "leases", seconds) as held, held.alone("end") as is_last:
        yield is_last
        if is_last:
            shutil.rmtree(keep, ignore_errors=True)


def _name(job: "Job") -> str:
    return f"{job.indexes[0]:04d}"


def _task(job: "Job") -> Task:
    from nst_jax.transfer import alike, plan

    return Task(job.indexes, alike.program_of(job.batch.problems[0]), sum(map(plan.cost, job.batch.problems)))


@dataclass(eq=False)
class _Queue:
    """The tasks that are left, of which threads of this process take those that nobody holds."""

    shared: Shared
    keep: Path
    held: Leases
    left: _Left
    """Not done yet, as far as is known; by the names of their leases."""
    is_late: bool = False
    """Whether others have done all before this process knew what there was to do, and removed the folder."""
    mine: set[str] = field(default_factory=set)
    """Of those, what threads of this process are at."""
    known: set[Program] = field(default_factory=set)
    """What this process has compiled."""
    is_waiting: bool = False
    gone: float | None = None
    """Since when the folder is."""
    stands: dict[str, Stand] = field(default_factory=dict)
    """How the others stood, when it was looked last."""
    looked: float = float("-inf")
    lock: threading.RLock = field(default_factory=threading.RLock)

    def take(self, found: Found) -> "Job | None":
        """Return a job, if need be after waiting; None if nothing is left but what this process is at."""
        while True:
            with self.lock:
                done = self._look()
                job = self._next()
                rest = self.left.keys() - self.mine
            if (done or not job) and found(done):
                if job:
                    self.leave(job, is_done=False)
                return None
            if job or not rest:
                return job
            self._tell_waiting(rest)
            time.sleep(self.held.patience)

    def _look(self) -> set[int]:
        """See how tasks stand that others may hold, and return the problems that are found to be done."""
        now = time.monotonic()
        if now - self.looked < self.held.patience / 2:  # many threads wait
            return set()
        is_gone = self.is_late or not self.held.folder.is_dir()  # who removes it has seen that all is done
        self.gone = (self.gone or now) if is_gone else None
        self.looked, self.stands = now, self.held.stands(self.left.keys() - self.mine)
        begun = {name for name, stand in self.stands.items() if is_gone or stand != "new"}
        numbers = {n for name in filter(self._is_done, begun) for n in self.left.pop(name)[0].numbers}
        if self.gone and self.left and now - self.gone > self.held.seconds:
            raise OutputError(f"{self.held.folder}: was removed before all was done")
        return numbers

    def _is_done(self, name: str) -> bool:
        return all(map(self.shared.is_done, self.left[name][0].numbers))

    def _next(self) -> "Job | None":
        """Take a task that nobody holds, and return its job; None if there is none."""
        stands = {name: stand for name, stand in self.stands.items() if name in self.left.keys() - self.mine}
        held = {name for name, stand in stands.items() if stand == "held"}
        waiting = {self.left[name][0].numbers: name for name in stands.keys() - held}
        at = Counter(self.left[name][0].program for name in held | self.mine)
        while self.gone is None and waiting:
            tasks = [self.left[name][0] for name in waiting.values()]
            task = next_task(tasks, known=self.known, at=at, workers=at.total() + 1)
            assert task
            name = waiting.pop(task.numbers)
            self.stands[name] = "held"  # by this process or, if that was faster, another
            if not self._is_taken(name):
                at[task.program] += 1
            elif self._is_done(name):  # which could not be seen yet
                self.held.end(name)
            else:
                self.mine.add(name)
                self.known.add(task.program)
                return self.left[name][1]
        return None

    def _is_taken(self, name: str) -> bool:
        try:
            return self.held.take(name)
        except OutputError:
            if self.held.folder.is_dir():
                raise
            return False  # all is done by now

    def _tell_waiting(self, names: Collection[str]) -> None:
        with self.lock:
            if not self.is_waiting:
                self.is_waiting = True
                count = sum(len(self.left[name][0].numbers) for name in names if name in self.left)
                self.shared.say(f"waiting for {count} cell{'s' * (count != 1)} that others paint")

    def state_of(self, job: "Job") -> Path:
        """Return the file for a job's state, each holder's own: what the one before kept is moved there."""
        generation = self.held.generation(_name(job))
        files = [self.keep / f"{job.indexes[0]:05d}.{number}.npz" for number in range(generation, 0, -1)]
        for older in files[1:]:
            if older.exists() and not files[0].exists():
                with suppress(OSError):  # then the job is begun anew
                    older.replace(files[0])
        return files[0]

    def is_lost(self, job: "Job", *, surely: bool = False) -> bool:
        """Tell whether another process has taken over a job."""
        return self.held.is_lost(_name(job), surely=surely)

    def leave(self, job: "Job", *, is_done: bool) -> None:
        """Give back the lease of a job that is not done, and keep no longer that of one that is."""
        name = _name(job)
        with self.lock:
            self.mine.discard(name)
            if is_done:
                self.left.pop(name, None)
                self.held.end(name)
            else:
                self.held.give_back(name)
