"""A batch: many photographs, each painted in one style or in several.

The pictures are what is known of a batch: one whose record says that it was made of the same pixels by the
same settings, network and versions is not painted again, so the same call goes on with interrupted work. What
is wrong with one photograph is its own matter: the others are painted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax import images, samples
from nst_jax.errors import NstError
from nst_jax.runs import batch_files, inputs, painting, records
from nst_jax.runs.batch_files import Job, photographs
from nst_jax.runs.batch_work import Painter, Progress, Work, how_for
from nst_jax.runs.forecast import of_problems
from nst_jax.settings import Settings, Solver
from nst_jax.transfer.canvases import PROGRAM, canvases
from nst_jax.transfer.pictures import Size, bounded_size, cropped

if TYPE_CHECKING:
    from nst_jax.transfer.problem import Problem

__all__ = ["Outcome", "Progress", "photographs", "plan", "run"]


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended."""

    painted: tuple[Path, ...]
    skipped: tuple[Path, ...]
    """Done already."""
    faults: tuple[str, ...]
    """What is wrong with pictures that could not be painted, a line for each."""
    left: int
    """So many were not begun, for it was interrupted."""
    seconds: float


def run(
    settings: Settings,
    photographs: Sequence[str],
    output: str,
    *,
    mix: bool = False,
    paint: painting.Paint = painting.here,
    callback: Callable[[Progress], object] = lambda progress: None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
) -> Outcome:
    """Paint each photograph in each style.

    Args:
        settings: of every picture; photographs take the place of the content that they name.
        photographs: files, see `photographs`, or ``sample:NAME``.
        output: a folder, or a pattern such as ``out/{name}_{style}.jpg``.
        mix: whether several styles are mixed, as in a single run, in place of each by itself.
        paint: who does it.
        callback: called every now and then; the work stops if it returns True, and the same call goes on.
        say: told what the user should know.
        download: called while weights are downloaded.

    Raises:
        NstError: settings, styles or names that cannot be used, a place that cannot be written.
    """
    begun = time.perf_counter()
    pattern, found = _jobs(settings, photographs, output, mix)
    _check_styles(settings)
    with batch_files.claimed(batch_files.root_of(pattern), found):
        work = _look(settings, found, say, download)
        if work.skipped:
            say(f"{len(work.skipped)} of {len(found)} are done already")
        painter = Painter(work, callback, say, paint)
        painter.paint()
    painted, skipped, seconds = tuple(painter.painted), tuple(work.skipped), time.perf_counter() - begun
    left = painter.total - len(painted) - work.failed
    return Outcome(painted, skipped, tuple(work.faults), left, seconds)


def plan(
    settings: Settings,
    photographs: Sequence[str],
    output: str,
    *,
    mix: bool = False,
    workers: int = 1,
    devices: str | None = None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
) -> str:
    """Return in words what `run` would paint and take of memory and time; nothing is written.

    It is compiled, and some evaluations are made here to tell the time. For ``workers`` and ``devices`` see
    `sweep.outlook`.

    Raises:
        NstError: as `run`, or too little memory.
    """
    _, found = _jobs(settings, photographs, output, mix)
    _check_styles(settings)
    work = _look(settings, found, say, download)

    from nst_jax.transfer.plan import shares

    problems: list[Problem] = []
    for group in work.groups:  # of each the first that poses a problem stands for all
        posed = next(filter(None, map(work.tried, group)), None)
        problems += [posed.problem] * len(group) if posed else []
    left = sum(map(len, work.groups))
    lines = [f"{len(found)} pictures: {len(work.skipped)} are done already, {left} to be painted"]
    numbered = dict(enumerate(problems))
    lines += [share.sentence("picture") for share in shares(numbered, how_for(settings))]
    return "\n".join([*lines, *of_problems(numbered, workers, devices).lines, *work.faults])


def _jobs(settings: Settings, files: Sequence[str], output: str, mix: bool) -> tuple[str, list[Job]]:
    """Return the pattern of the pictures' names, and what there is to paint."""
    pattern = batch_files.pattern_of(output, several=not mix and len(inputs.styles_of(settings)) > 1)
    return pattern, batch_files.jobs(settings, files, pattern, mix=mix)


def _check_styles(settings: Settings) -> None:
    for name in inputs.styles_of(settings):
        cropped(inputs.with_alpha(inputs.read_picture(name, settings.max_pixels)[0]), settings)


# What there is to do.


def _look(
    settings: Settings, found: Sequence[Job], say: inputs.Say, download: inputs.Download | None
) -> Work:
    """Return what is to be painted: what is not done yet, and can be read as far as headers tell.

    Raises:
        NstError: settings that no picture could be painted by, as the first that can be read tells.
    """
    from nst_jax.transfer.sharing import can_share

    sizes, broken = _sizes(settings, found)
    network = inputs.network(settings, download, say=say)
    work = Work(settings, network, sizes, {}, [], [], list(broken.values()))
    stamp = batch_files.stamp_of(records.record(settings, network.record(), {}))
    there = [job for job in found if job.photograph in sizes]
    work.skipped += [job.output for job in there if _is_done(work, job, stamp)]
    left = [job for job in there if job.output not in set(work.skipped)]
    first = work.first_posed(there) if left else None  # not of those left: that changes with interruptions
    if first and can_share(first.problem):
        work.canvases = _canvases(sizes, settings.solver.evaluations)
    work.groups = _groups(left, sizes | work.canvases)
    return work


def _is_done(work: Work, job: Job, stamp: str) -> bool:
    """Tell whether the picture of a job is there, made as it would be now of the same pixels."""
    made_of = batch_files.is_made(job, stamp)
    if made_of is None:
        return False
    work.reader.forget()
    try:
        return bool(work.reader.read(job.settings(work.settings)).digests == made_of)
    except NstError:  # said when it is to be painted
        return False


def _sizes(settings: Settings, found: Sequence[Job]) -> tuple[dict[str, Size], dict[str, str]]:
    """Return the sizes of photographs as they are painted, and what is wrong with those that have none."""
    sizes, broken = {}, {}
    for name in dict.fromkeys(job.photograph for job in found):
        try:
            sample = inputs.sample_of(name)
            if sample:
                own = samples.load(sample).shape[:2]
            else:
                own = images.size_of(name, max_pixels=settings.max_pixels)
            sizes[name] = bounded_size(own, inputs.as_posed(settings))
        except NstError as error:
            broken[name] = str(error)
    return sizes, broken


def _canvases(sizes: dict[str, Size], evaluations: int) -> dict[str, Size]:
    """Return the canvases of photographs that share one with others of other sizes.

    They are those of all photographs, whether they are done already or not: so a picture is the same however
    often the work is interrupted.
    """
    found: dict[Size, list[str]] = {}
    price = PROGRAM * Solver().evaluations / evaluations
    for name, canvas in zip(sizes, canvases(list(sizes.values()), price=price), strict=True):
        found.setdefault(canvas, []).append(name)
    shared = {c: names for c, names in found.items() if len({sizes[name] for name in names}) > 1}
    return {name: canvas for canvas, names in shared.items() for name in names}


def _groups(found: Sequence[Job], places: dict[str, Size]) -> list[list[Job]]:
    """Return jobs by the size of their programs, in each style after style."""
    groups: dict[Size, list[Job]] = {}
    for job in found:
        groups.setdefault(places[job.photograph], []).append(job)
    return list(groups.values())
