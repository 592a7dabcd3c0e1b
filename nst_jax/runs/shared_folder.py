"""Many processes paint at one folder: each takes the next task that nobody holds, until all is done.

FOLDER/plan.json       into which batches the problems are divided
FOLDER/leases/0007.1   who paints the batch that begins with problem 7, see `leases`
FOLDER/00007.1.npz     the state of that, which who takes over goes on with
"""

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax.errors import OutputError
from nst_jax.files import make_folder
from nst_jax.runs import painting
from nst_jax.runs.leases import SECONDS, Leases
from nst_jax.runs.schedule import Task
from nst_jax.runs.turns import Turns

if TYPE_CHECKING:
    from nst_jax.transfer.batch import Curve, GridProgress
    from nst_jax.transfer.looks import Result
    from nst_jax.transfer.plan import How, Job
    from nst_jax.transfer.problem import Problem


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
                found: dict[str, Job] = {}
                try:
                    with held.alone("plan"):  # which is made as jobs are asked for
                        found = {_name(job): job for job in jobs}
                    left, is_late = {name: _task(job) for name, job in found.items()}, False
                except OutputError:
                    if folder.is_dir():
                        raise
                    rest = problems.keys() - set(finished)
                    left, is_late = {str(n): Task((n,), None, 0.0) for n in rest}, True

                def is_done(name: str) -> bool:
                    return all(map(self.is_done, left[name].numbers))

                return _Queue(Turns(held, left, is_done, self.say, "cell", is_late), keep, found)

            shared = replace(how, is_shared=True)
            return batch.run(problems, done=done, finished=finished, how=shared, watch=watch, queue=queue)


def folder_of(keep: Path) -> Path:
    """Return the folder of leases, which is made.

    Raises:
        OutputError: it cannot be.
    """
    folder = keep / "leases"
    make_folder(folder)
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
    """The jobs of this process, see `transfer.batch.Queue`."""

    turns: Turns
    keep: Path
    jobs: Mapping[str, "Job"]
    """By the names of their leases."""

    def take(self, found: Callable[[Collection[int]], bool]) -> "Job | None":
        """Return a job, if need be after waiting; None if nothing is left but what this process is at."""
        names = self.turns.take(lambda tasks: found({n for task in tasks for n in task.numbers}))
        return self.jobs[names[0]] if names else None

    def state_of(self, job: "Job") -> Path:
        """Return the file for a job's state, each holder's own: what the one before kept is moved there."""
        generation = self.turns.held.generation(_name(job))
        files = [self.keep / f"{job.indexes[0]:05d}.{number}.npz" for number in range(generation, 0, -1)]
        for older in files[1:]:
            if older.exists() and not files[0].exists():
                with suppress(OSError):  # then the job is begun anew
                    older.replace(files[0])
        return files[0]

    def is_lost(self, job: "Job", *, surely: bool = False) -> bool:
        """Tell whether another process has taken over a job."""
        return self.turns.held.is_lost(_name(job), surely=surely)

    def leave(self, job: "Job", *, is_done: bool) -> None:
        """Give back the lease of a job that is not done, and keep no longer that of one that is."""
        self.turns.leave(_name(job), is_done=is_done)
