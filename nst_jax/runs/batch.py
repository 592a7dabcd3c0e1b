"""A batch: many photographs, each painted in one style or in several.

The pictures are what is known of a batch: one whose record says that it was made of the same pixels by the
same settings, network and versions is not painted again, so the same call goes on with interrupted work. What
is wrong with one photograph is its own matter: the others are painted.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nst_jax import images, samples
from nst_jax.errors import ConfigError, NstError
from nst_jax.runs import batch_files, claims, inputs, leases, painting, records
from nst_jax.runs.batch_files import Job, photographs
from nst_jax.runs.batch_turns import PainterInTurn, agree
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
    elsewhere: tuple[Path, ...] = ()
    """Painted by other processes meanwhile, where these share the batch."""


def run(
    settings: Settings,
    photographs: Sequence[str],
    output: str,
    *,
    mix: bool = False,
    shard: str | None = None,
    paint: painting.Paint = painting.here,
    callback: Callable[[Progress], object] = lambda progress: None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
    lease: float = leases.SECONDS,
) -> Outcome:
    """Paint each photograph in each style.

    Args:
        settings: of every picture; photographs take the place of the content that they name.
        photographs: files, see `photographs`, or ``sample:NAME``.
        output: a folder, or a pattern such as ``out/{name}_{style}.jpg``.
        mix: whether several styles are mixed, as in a single run, in place of each by itself.
        shard: with "auto" any number of processes share the batch: each paints what no other does, and
            returns when all is done, by whomever.
        paint: who does it; with "auto" this process does.
        callback: called every now and then; the work stops if it returns True, and the same call goes on.
        say: told what the user should know.
        download: called while weights are downloaded.
        lease: seconds without a sign of life after which others take over what a process was at, with "auto";
            the same for all of them.

    Raises:
        NstError: settings, styles or names that cannot be used, a place that cannot be written.
    """
    begun = time.perf_counter()
    check_shard(shard)
    pattern, found = _jobs(settings, photographs, output, mix)
    styles, root = _check_styles(settings), batch_files.root_of(pattern)
    with batch_files.claimed(root, found, is_shared=shard is not None) as keep, ExitStack() as around:
        work = _look(settings, found, say, download)
        if work.skipped:
            say(f"{len(work.skipped)} of {len(found)} are done already")
        if shard is None:
            painter = Painter(work, callback, say, paint)
        else:
            held = around.enter_context(leases.Leases(keep, lease))
            agree(held, root, " ".join([work.stamp, *styles]))
            count = partial(claims.processes, keep.parent)
            painter = PainterInTurn(work, callback, say, root=root, held=held, processes=count)
        painter.paint()
    return Outcome(
        painted=tuple(painter.painted),
        skipped=tuple(work.skipped),
        faults=tuple(work.faults),
        left=painter.left,
        seconds=time.perf_counter() - begun,
        elsewhere=tuple(painter.elsewhere),
    )


def check_shard(shard: str | None) -> None:
    """Refuse shards that a batch does not have.

    Raises:
        ConfigError: it is none of those.
    """
    if shard not in (None, claims.AUTO):
        raise ConfigError(f"--shard {shard}: a batch is shared by --shard auto, in any number of processes")


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


def _check_styles(settings: Settings) -> list[str]:
    """Return the digests of the styles, if they can be used.

    Raises:
        NstError: one cannot.
    """
    found = []
    for name in inputs.styles_of(settings):
        picture, digest = inputs.read_picture(name, settings.max_pixels)
        cropped(inputs.with_alpha(picture), settings)
        found.append(digest)
    return found


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
    stamp = batch_files.stamp_of(records.record(settings, network.record(), {}))
    work = Work(settings, network, sizes, {}, [], [], list(broken.values()), stamp)
    there = [job for job in found if job.photograph in sizes]
    work.skipped += [job.output for job in there if work.is_done(job)]
    left = [job for job in there if job.output not in set(work.skipped)]
    first = work.first_posed(there) if left else None  # not of those left: that changes with interruptions
    if first and can_share(first.problem):
        work.canvases = _canvases(sizes, settings.solver.evaluations)
    work.groups = _groups(left, sizes | work.canvases)
    return work


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
