"""The pictures of a batch that are still to be painted: posed one by one, and painted some at a time."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax import images
from nst_jax.errors import ImageError, NstError, OutputError
from nst_jax.runs import batch_files, inputs, painting
from nst_jax.runs.batch_files import Job
from nst_jax.runs.painting import Paint
from nst_jax.settings import Settings
from nst_jax.transfer.pictures import Size

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network
    from nst_jax.transfer.batch import GridProgress
    from nst_jax.transfer.plan import How
    from nst_jax.transfer.problem import Problem
    from nst_jax.transfer.remembering import Remember

AT_ONCE, PIXELS = 8, 2**22
"""So many pictures are read and painted together, and no more than two if they have more pixels than that."""

AT_ONCE_ELSEWHERE, PIXELS_ELSEWHERE = 64, 2**24
"""The same if others paint them than this process."""

_REMEMBERED = 16
"""Of one size: prepared networks, and what styles are compared by at each level."""


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    done: int
    """Pictures that are painted, or cannot be."""
    total: int
    faults: int
    seconds: float
    left: float | None


@dataclass(frozen=True, eq=False)
class Posed:
    """A picture that can be painted."""

    job: Job
    settings: Settings
    read: inputs.Inputs
    problem: "Problem"


@dataclass(eq=False)
class Work:
    """What is to be painted, and what all of it has in common."""

    settings: Settings
    network: "Network"
    sizes: dict[str, Size]
    """Of photographs as they are painted."""
    canvases: dict[str, Size]
    """Of those that share a program with others of other sizes, see `transfer.sharing`."""
    groups: list[list[Job]]
    """Each of one program."""
    skipped: list[Path]
    faults: list[str]
    stamp: str
    """What pictures have in common that are made by these settings, see `batch_files.stamp_of`."""
    reader: inputs.Reader = field(default_factory=inputs.Reader)
    failed: int = 0
    """Pictures that could not be painted, once they were looked at."""
    digests: dict[Path, dict[str, str]] = field(default_factory=dict)
    """Of what pictures would be made of, as far as it was looked at; by the places of the pictures."""

    def is_done(self, job: Job) -> bool:
        """Tell whether the picture of a job is there, made as it would be now of the same pixels."""
        made_of = batch_files.is_made(job, self.stamp)
        if made_of is None:
            return False
        if job.output not in self.digests:
            self.reader.forget()
            try:
                self.digests[job.output] = self.reader.read(job.settings(self.settings)).digests
            except NstError:  # said when it is to be painted
                return False
        return self.digests[job.output] == made_of

    def place_of(self, job: Job) -> Size:
        """Return the size of a job's program."""
        return self.canvases.get(job.photograph) or self.sizes[job.photograph]

    def posed(self, job: Job) -> Posed:
        """Read what a job is of.

        Raises:
            NstError: it cannot be painted.
        """
        from nst_jax.transfer.problem import posed
        from nst_jax.transfer.sharing import can_share, on_canvas

        settings = job.settings(self.settings)
        self.reader.forget()
        found = self.reader.read(settings)
        images.check_sides(job.output, found.size)
        problem = posed(found.pictures, inputs.as_posed(settings), self.network)
        canvas = self.canvases.get(job.photograph)
        if canvas and can_share(problem):
            problem = on_canvas(problem, canvas)
        return Posed(job, settings, found, problem)

    def tried(self, job: Job) -> Posed | None:
        """Read what a job is of; None if it cannot be painted, which is noted."""
        try:
            return self.posed(job)
        except NstError as error:
            self.fault(job, error)
        return None

    def fault(self, job: Job, error: object) -> None:
        """Note what is wrong with a picture."""
        self.failed += 1
        what = "; ".join(str(error).splitlines())
        line = what if what.startswith(f"{job.photograph}: ") else f"{job.photograph}: {what}"
        if line not in self.faults:
            self.faults.append(line)

    def first_posed(self, found: Sequence[Job]) -> Posed | None:
        """Read what the first of some jobs is of that can be painted; None if none can.

        Raises:
            ConfigError: settings that no picture could be painted by.
        """
        for job in found:
            with contextlib.suppress(ImageError):  # it is the photograph's own
                return self.posed(job)
        return None


def how_for(settings: Settings, paint: Paint = painting.here) -> "How":
    """Return how the work is done, and by whom."""
    from nst_jax.transfer.plan import How

    return How(
        settings.sweep.lanes, settings.sweep.max_parallel or (AT_ONCE if paint is painting.here else None)
    )


# Painting.


@dataclass(eq=False)
class Painter:
    """Paints chunk after chunk, and tells how far it is."""

    work: Work
    callback: Callable[[Progress], object]
    say: inputs.Say
    by: Paint = painting.here
    painted: list[Path] = field(default_factory=list)
    elsewhere: list[Path] = field(default_factory=list)
    """What other processes have painted meanwhile."""
    begun: float = field(default_factory=time.perf_counter)
    behind: float = 0.0
    """Pixels of the chunks that are done."""
    notes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Count what there is to paint."""
        every = [job for group in self.work.groups for job in group]
        self.total = len(every)
        self.pixels = sum(map(self._area, every))

    def _area(self, job: Job) -> int:
        height, width = self.work.place_of(job)
        return height * width

    def paint(self) -> None:
        """Paint what can be painted, or some of it before an interruption."""
        groups = self.work.groups
        if self.by is not painting.here:  # others may be at several programs at once
            groups = [[job for group in groups for job in group]] if groups else []
        all(map(self._paint_group, groups))

    def _paint_group(self, group: Sequence[Job]) -> bool:
        """Paint pictures; return whether all was done that could be, without interruption."""
        area, is_here = max(map(self._area, group)), self.by is painting.here
        paint = painting_here() if is_here else self.by
        return all(self._paint(chunk, paint) for chunk in _chunks(group, at_once(area, is_here=is_here)))

    def _paint(self, chunk: Sequence[Job], paint: Paint) -> bool:
        ready = [posed for job in chunk if (posed := self.work.tried(job))]
        for note in (note for posed in ready for note in posed.read.notes):
            if note not in self.notes:
                self.notes.add(note)
                self.say(note)
        whole = not ready or self._solve(ready, paint)
        self.behind += sum(map(self._area, chunk))
        return whole

    def _solve(self, ready: Sequence[Posed], paint: Paint) -> bool:
        """Paint what is ready, together or if that does not fit in memory one by one."""
        waiting = dict(enumerate(ready))
        area = sum(self._area(posed.job) for posed in ready)

        def watch(progress: "GridProgress") -> bool:
            return self._tell(area * progress.evaluations / progress.budget)

        try:
            return paint(
                {number: posed.problem for number, posed in waiting.items()},
                encoders={number: self._encoder(posed) for number, posed in waiting.items()},
                store=lambda number, files: self._write(waiting.pop(number), files),
                finished=(),
                how=how_for(self.work.settings, self.by),
                watch=watch,
            )
        except OutputError:
            raise
        except NstError as error:
            if len(ready) > 1:
                return all(self._solve([posed], paint) for posed in list(waiting.values()))
            self.work.fault(ready[0].job, error)
            return True

    def _tell(self, area: float) -> bool:
        """Tell how far the work is, after an area of the chunk; return whether it should end."""
        seconds, share = time.perf_counter() - self.begun, (self.behind + area) / self.pixels
        left = seconds * (1 - share) / share if share else None
        done = self.total - self.left
        return self.callback(Progress(done, self.total, len(self.work.faults), seconds, left)) is True

    @property
    def left(self) -> int:
        """Return how many pictures are neither painted, by whomever, nor known not to be possible."""
        return self.total - len(self.painted) - len(self.elsewhere) - self.work.failed

    def _encoder(self, posed: Posed) -> batch_files.Encoder:
        network, read, canvas = self.work.network.record(), posed.read, posed.problem.canvas
        return batch_files.Encoder(posed.job, posed.settings, network, read.digests, read.alpha, canvas)

    def _write(self, posed: Posed, files: painting.Files) -> None:
        if not files:
            self.work.fault(posed.job, "the loss or its gradient is no finite number; nothing is written")
            return
        batch_files.write(posed.job, files)
        self.painted.append(posed.job.output)


def at_once(area: int, *, is_here: bool = True) -> int:
    """Return how many pictures of an area, in pixels, are painted together, by this process or by others."""
    most, pixels = (AT_ONCE, PIXELS) if is_here else (AT_ONCE_ELSEWHERE, PIXELS_ELSEWHERE)
    return max(2, min(most, pixels // area))


def painting_here() -> Paint:
    """Return what paints in this process, and remembers what pictures of one program have in common."""
    from nst_jax.transfer.remembering import remembering

    return partial(painting.here, remember=_of_all(remembering(_REMEMBERED)))


def _chunks(group: Sequence[Job], count: int) -> Iterator[Sequence[Job]]:
    """Give the jobs of a group, so many at a time."""
    yield from (group[first : first + count] for first in range(0, len(group), count))


def _of_all(known: "Remember") -> "Remember":
    """Return what remembers all but what contents are compared by: each is of one picture."""

    def remember(make: Callable[[], object], key: Callable[[], object]) -> object:
        name = key()
        is_content = isinstance(name, tuple) and name[0] == "content"
        return make() if is_content else known(make, lambda: name)

    return remember
