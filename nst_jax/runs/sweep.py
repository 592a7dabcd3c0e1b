"""A sweep: every cell of a grid is painted into a folder, then shown on a sheet and a page.

The folder is what is known of the sweep: cells that are there are not painted again, so the same command goes
on with interrupted work, and shards of a sweep may be run by anyone in any order.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nst_jax import config as configs
from nst_jax import images
from nst_jax.config import Cell
from nst_jax.errors import ConfigError, NstError, OutputError
from nst_jax.files import write_atomically
from nst_jax.runs import claims, gallery, inputs, leases, painting, records, sweep_folder
from nst_jax.runs.forecast import Forecast, of_problems
from nst_jax.runs.shared_folder import Shared, closing
from nst_jax.settings import Settings

if TYPE_CHECKING:
    from nst_jax.pretrained.network import Network
    from nst_jax.transfer.batch import GridProgress
    from nst_jax.transfer.problem import Problem

Shard = tuple[int, int] | Literal["auto"]
"""(i, n) is every n-th cell, beginning with the i-th; with "auto" any number of processes share all cells."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended."""

    folder: Path
    cells: int
    """Of the whole sweep."""
    done: int
    """Of the whole sweep, by now."""
    interrupted: bool
    seconds: float
    collection: gallery.Collection | None
    """What was made of the folder, by this process or another, if all cells are done."""


def run(
    settings: Settings,
    *,
    shard: Shard = (1, 1),
    paint: painting.Paint = painting.here,
    callback: Callable[["GridProgress"], object] = lambda progress: None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
    lease: float = leases.SECONDS,
) -> Outcome:
    """Paint the cells of a sweep that are not done yet, and show them if then all are.

    Args:
        settings: the settings, with the axes.
        shard: which cells this process paints. With "auto" it takes the next that nobody is at until all are
            done, by whomever.
        paint: who does it; with "auto" this process does. Only where it does so alone may cells be there that
            other versions of something have painted.
        callback: called now and then with a `batch.GridProgress`; the work stops if it returns True.
        say: told what the user should know.
        download: called while weights are downloaded.
        lease: seconds without a sign of life after which others take over what a process was at, with "auto";
            the same for all of them.

    Raises:
        NstError: inputs that cannot be used, a folder of something else or of other settings.
    """
    begun = time.perf_counter()
    _check_shard(shard)
    cells, found = check(settings)
    folder = Path(settings.sweep.folder)
    _note_idle_seeds(cells, say)
    network = inputs.network(settings, download, say=say, notes=_notes(found))

    from nst_jax.transfer.plan import How

    problems = _problems(cells, found, network)
    record = records.record(settings, network.record(), _digests(cells, found)) | {"kind": "sweep"}
    mine, name = cells, claims.AUTO
    if shard == "auto":
        paint = Shared(lambda number: gallery.is_done(folder, cells[number]), say, lease)
    else:
        mine = [cell for cell in cells if cell.index % shard[1] == shard[0] - 1]
        name = f"{shard[0]}-of-{shard[1]}"
    collection = None
    with sweep_folder.claimed(folder, record, name) as (keep, known):
        different = records.differences(record, known | {"inputs": {}})
        if different and paint is not painting.here:
            what = f"{folder}: was begun by other versions, which are not mixed here: {'; '.join(different)}"
            raise OutputError(f"{what}; use those, or give another --output")
        for difference in different:
            say(f"note: cells already there may differ in the last digits: {difference}")
        how = How(settings.sweep.lanes, settings.sweep.max_parallel, keep, records.stamp(record))

        def store(number: int, files: painting.Files) -> None:
            for file, data in files.items():  # the record last: that it is there says that the cell is done
                write_atomically(folder / "cells" / file, data)

        whole = paint(
            {cell.index: problems[cell.index] for cell in mine},
            encoders={c.index: _encoder(folder, c, found[c.index], record["encoder"]) for c in mine},
            store=store,
            finished={cell.index for cell in mine if gallery.is_done(folder, cell)},
            how=how,
            watch=callback,
        )
        if whole and shard == "auto":
            with closing(keep, lease) as is_last:
                collection = gallery.collect(folder) if is_last else gallery.look(folder)
        elif whole:
            shutil.rmtree(keep, ignore_errors=True)
    done = sum(gallery.read_cell(folder, cell) is not None for cell in cells)
    if shard != "auto" and done == len(cells):
        collection = gallery.collect(folder)
    return Outcome(folder, len(cells), done, not whole, time.perf_counter() - begun, collection)


def outlook(
    settings: Settings,
    *,
    workers: int = 1,
    devices: str | None = None,
    say: inputs.Say = print,
    download: inputs.Download | None = None,
) -> Forecast:
    """Return what a sweep would take of memory and time; nothing is written.

    It is compiled, and some evaluations are made here to tell the time.

    Args:
        settings: the settings, with the axes.
        workers: how many such machines, or devices of a cluster, would work at once.
        devices: what they are; None: this machine's.
        say: told what the user should know.
        download: called while weights are downloaded.

    Raises:
        NstError: inputs that cannot be used, or too little memory.
    """
    cells, found = check(settings)
    network = inputs.network(settings, download, say=say, notes=_notes(found))

    from nst_jax.transfer.plan import How, shares

    problems = _problems(cells, found, network)
    every = shares(problems, How(settings.sweep.lanes, settings.sweep.max_parallel))
    lines = [share.sentence("cell") for share in every]
    folder = Path(settings.sweep.folder)
    left = {c.index: problems[c.index] for c in cells if not gallery.is_done(folder, c)}
    taken = of_problems(left, workers, devices)
    return replace(taken, lines=(*lines, *taken.lines))


def check(settings: Settings) -> tuple[list[Cell], list[inputs.Inputs]]:
    """Return the cells of a sweep and the pictures of each, or refuse what could not be painted or written.

    Raises:
        NstError: a sweep without axes, a picture that cannot be read, a folder of something else.
    """
    if not settings.sweep.axes:
        raise ConfigError("sweep.axes: there is nothing to sweep: give settings with lists of values")
    if settings.output.save_every:
        raise ConfigError("output.save_every: a sweep keeps no intermediate pictures; leave it at 0")
    if settings.output.film:
        raise ConfigError("output.film: a sweep makes no films; leave it out")
    images.check_suffix(Path(settings.output.image), bits=settings.output.bits)
    try:
        sweep_folder.check(Path(settings.sweep.folder), settings)
    except (OSError, ValueError) as error:  # a name too long, a folder that may not be entered, ...
        if isinstance(error, NstError):
            raise
        raise OutputError(f"{settings.sweep.folder}: cannot be used: {error}") from None
    cells = configs.cells(settings)
    reads = {file for cell in cells for file in inputs.files_of(cell.config)}
    sweep_folder.keep_apart(Path(settings.sweep.folder), reads)
    found = _read(cells)
    for each in found:
        images.check_sides(settings.output.image, each.size)
    return cells, found


def parse_shard(text: str) -> Shard:
    """Return (i, n) of the text ``i/n``, or "auto".

    Raises:
        ConfigError: it is neither, or i is not from 1 to n.
    """
    if text == "auto":
        return "auto"
    parts = text.split("/")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ConfigError(f"--shard {text}: should be i/n, such as 1/4 for the first of four, or auto")
    shard = (int(parts[0]), int(parts[1]))
    _check_shard(shard)
    return shard


def _check_shard(shard: Shard) -> None:
    if shard == "auto":
        return
    i, n = shard
    if not 1 <= i <= n:
        raise ConfigError(f"--shard {i}/{n}: there is no such shard; should be i/n with i from 1 to n")


def _read(cells: Sequence[Cell]) -> list[inputs.Inputs]:
    """Return the pictures of every cell; each file is read once, or little more often."""
    reader = inputs.Reader()
    by_style = sorted(cells, key=lambda cell: str(cell.config.style.image))
    found = {cell.index: reader.read(cell.config) for cell in by_style}
    return [found[cell.index] for cell in cells]


def _notes(found: Sequence[inputs.Inputs]) -> list[str]:
    return list(dict.fromkeys(note for each in found for note in each.notes))


def _digests(cells: Sequence[Cell], found: Sequence[inputs.Inputs]) -> dict[str, str]:
    """Return the digests of all pictures, by what each is used for and its name."""
    return {
        f"{use} {name}": each.digests[use]
        for cell, each in zip(cells, found, strict=True)
        for use, name in inputs.names_of(cell.config).items()
    }


def _problems(
    cells: Sequence[Cell], found: Sequence[inputs.Inputs], network: "Network"
) -> dict[int, "Problem"]:
    """Return the problems of all cells; those of one shape have equal layers."""
    from nst_jax.transfer.plan import align  # late: it imports JAX, and mistakes should not wait for that
    from nst_jax.transfer.problem import posed

    problems = []
    for cell, each in zip(cells, found, strict=True):
        try:
            problems.append(posed(each.pictures, inputs.as_posed(cell.config), network))
        except NstError as error:
            raise in_cell(cell, error) from None
    # All cells, not only those of a shard: what comes of a cell does not depend on the shards.
    return dict(zip((cell.index for cell in cells), align(problems), strict=True))


def in_cell(cell: Cell, error: NstError) -> NstError:
    """Return a mistake that says which cell it is in."""
    kind = ConfigError if isinstance(error, ConfigError) else type(error)
    return kind(f"cell {cell.index} ({cell.where}): {error}")


def _encoder(folder: Path, cell: Cell, read: inputs.Inputs, network: records.Record) -> painting.Encoder:
    name = gallery.picture_of(folder, cell).name
    return painting.Encoder(name, cell.config, cell.settings, network, read.digests, read.alpha)


def _note_idle_seeds(cells: Sequence[Cell], say: inputs.Say) -> None:
    seeds = {cell.config.seed for cell in cells}
    inits = [inputs.as_posed(cell.config).init for cell in cells]  # a texture begins with noise
    noisy = any(init.get("noise") if isinstance(init, dict) else init == "noise" for init in inits)
    if len(seeds) > 1 and not noisy:
        say("note: the seed is swept, but no cell begins with noise, so it changes nothing; set init")
