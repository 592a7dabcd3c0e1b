"""A batch that other processes paint as well: each takes the next pictures that nobody is at."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from nst_jax.errors import OutputError
from nst_jax.files import write_atomically
from nst_jax.runs import batch_files, painting
from nst_jax.runs.batch_work import Painter, Posed, at_once, painting_here
from nst_jax.runs.leases import Leases
from nst_jax.runs.schedule import Task
from nst_jax.runs.turns import Turns


@dataclass(eq=False, kw_only=True)
class PainterInTurn(Painter):
    """Paints some pictures of one program after others, until all are painted, by whomever."""

    root: Path
    """Within it are all pictures."""
    held: Leases
    processes: Callable[[], int]
    """Tells how many there are."""

    def __post_init__(self) -> None:
        """Make a task of each picture."""
        super().__post_init__()
        every = [job for group in self.work.groups for job in group]
        self.jobs = {batch_files.lease_of(job, self.root): job for job in every}
        tasks = {
            name: Task((number,), self.work.place_of(job), self._area(job))
            for number, (name, job) in enumerate(self.jobs.items())
        }
        self.turns = Turns(self.held, tasks, self._is_done, self.say, "picture")
        self.every = every

    def _is_done(self, name: str) -> bool:
        return self.work.is_done(self.jobs[name])

    def paint(self) -> None:
        """Paint what nobody else does, or some of it before an interruption."""
        place, paint = None, painting_here()
        while self.total and (names := self.turns.take(self._found, self._count)):
            chunk = [self.jobs[name] for name in names]
            if self.work.place_of(chunk[0]) != place:
                place, paint = self.work.place_of(chunk[0]), painting_here()
            is_whole = self._paint(chunk, paint)
            for name in self.turns.mine.intersection(names):  # what was not written
                if is_whole and not self.held.is_lost(name):  # a fault, which others find too
                    self.turns.give_up(name)
                else:
                    self.turns.leave(name, is_done=False)
            if not is_whole:
                return

    def _found(self, tasks: Collection[Task]) -> bool:
        """Note what others have painted; return whether the work should end."""
        jobs = [self.every[number] for task in tasks for number in task.numbers]
        self.elsewhere += [job.output for job in jobs]
        self.behind += sum(map(self._area, jobs))
        return self._tell(0)

    def _count(self, task: Task, cost: float) -> int:
        """Return how many pictures to take: no more than is fair, so that the last are shared evenly.

        Fewer than could be painted together are a power of two: each size of a batch is compiled.
        """
        share = max(1, int(cost / task.cost / max(1, self.processes())))
        most = at_once(int(task.cost))
        return most if share >= most else 2 ** (share.bit_length() - 1)

    def _write(self, posed: Posed, files: painting.Files) -> None:
        name = batch_files.lease_of(posed.job, self.root)
        if files and self.held.is_lost(name, surely=True):  # who has taken over writes the same
            return
        super()._write(posed, files)
        if files:
            self.turns.leave(name, is_done=True)


def agree(held: Leases, root: Path, made_by: str) -> None:
    """Let only those share a batch who would paint the same pictures.

    Raises:
        OutputError: others would paint others.
    """
    path, text = held.folder / "made_by", made_by.encode()
    with held.alone("agreement"):
        if not path.exists():
            write_atomically(path, text)
        if path.read_bytes() != text:
            what = f"{root}: is being painted in other styles, or with other settings or versions"
            otherwise = f"give all the same, or wait for those; if none is at work, remove {held.folder}"
            raise OutputError(f"{what}: {otherwise}")
