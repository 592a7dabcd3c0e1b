"""A run from a config: image files in, a picture and its record out.

Beside ``out.png`` a run leaves the folder ``out.run``: the picture, the resolved config, metrics as JSON
lines, the loss curve and intermediate pictures, alone and as a strip. While it works they are in
``out.run.partial``; an earlier result is replaced, file by file, only once the new one is whole.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nst_jax import config as configs
from nst_jax import images
from nst_jax.errors import ConfigError, OutputError
from nst_jax.files import write_atomically
from nst_jax.images import FloatArray
from nst_jax.runs import inputs, records
from nst_jax.runs.records import carries, plain, to_json
from nst_jax.runs.report import loss_curve
from nst_jax.settings import Settings
from nst_jax.typing import Json

if TYPE_CHECKING:
    from nst_jax.transfer.problem import Problem
    from nst_jax.transfer.stylize import Progress

STEP = 256
"""Longer side of an intermediate picture in the strip of them, in pixels."""

MOST_STEPS = 24
"""So many are in the strip."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended and what it wrote."""

    output: Path
    folder: Path
    status: str
    sentence: str
    loss: float
    initial_loss: float
    seconds: float


def run(
    settings: Settings,
    *,
    callback: Callable[["Progress"], object] = lambda progress: None,
    say: inputs.Say = print,
    earlier: Mapping[str, Json] | None = None,
    download: inputs.Download | None = None,
) -> Outcome:
    """Read the images that settings name, stylise, and write the picture with its record.

    Args:
        settings: the settings.
        callback: called between chunks with a `stylize.Progress`; the run ends if it returns True.
        say: told what the user should know.
        earlier: the record of the run that this one repeats; what is not as it was then is said.
        download: called while weights are downloaded.

    Raises:
        NstError: inputs that cannot be used, or a place that cannot be written.
    """
    _refuse_sweep(settings)
    output = Path(settings.output.image)
    _check_output(output, settings)
    found, problem = _ready(settings, say, download)

    from nst_jax.transfer.loop import Batch, Look, solve
    from nst_jax.transfer.stylize import progress_of

    record = records.record(settings, problem.network.record(), found.digests)
    for difference in records.differences(record, earlier or {}):
        say(f"note: this may not repeat the picture exactly: {difference}")
    picture = partial(records.write_picture, alpha=found.alpha, settings=settings)
    folder = output.with_name(f"{output.stem}.run")
    curve: list[records.Metric] = []
    steps: dict[int, FloatArray] = {}

    with _unfinished(folder) as (workshop, metrics):

        def watch(look: Look) -> object:
            progress = progress_of(look)
            curve.append(_line(progress))
            _write_line(metrics, curve[-1])
            every = settings.output.save_every
            if every and progress.evaluations % every == 0:
                name = f"step_{progress.evaluations:06d}{output.suffix}"
                rgb = progress.picture()
                picture(workshop / name, rgb, record=record)
                steps[progress.evaluations] = images.bounded(rgb, STEP)
            return callback(progress)

        result = solve(Batch((problem,)), watch, stops=settings.output.save_every)[0]
        ended = records.ended(result)
        record |= {"result": ended}
        data = picture(workshop / f"picture{output.suffix}", result.image, record=record)
        title = f"{output.name}: {result.sentence}"
        if steps:
            write_atomically(workshop / "steps.png", images.encode("steps.png", _strip(steps, title)))
        write_atomically(workshop / "config.yaml", configs.to_yaml(settings).encode())
        write_atomically(workshop / "loss.svg", loss_curve(curve, title=title).encode())
        timed = record | {"result": ended | {"seconds": round(result.seconds, 3)}}
        write_atomically(workshop / "result.json", to_json(timed))
    _settle(workshop, folder)
    if not carries(output):
        write_atomically(output.with_suffix(".json"), to_json(record))
    write_atomically(output, data)
    return Outcome(
        output, folder, result.status, result.sentence, result.loss, result.initial_loss, result.seconds
    )


def plan(settings: Settings, *, say: inputs.Say = print, download: inputs.Download | None = None) -> str:
    """Return in words what a run would take of memory; it is compiled, but not run.

    Raises:
        NstError: inputs that cannot be used, or too little memory.
    """
    _, problem = _ready(settings, say, download)

    from nst_jax.transfer import memory

    return memory.table(*memory.fit(problem))


def _ready(
    settings: Settings, say: inputs.Say, download: inputs.Download | None
) -> tuple[inputs.Inputs, "Problem"]:
    """Return what settings name, and the problem that it poses."""
    _refuse_sweep(settings)
    found = inputs.read_inputs(settings)
    network = inputs.network(settings, download, say=say, notes=found.notes)

    from nst_jax.transfer.problem import posed  # late: it imports JAX, and mistakes should not wait

    return found, posed(found.pictures, inputs.as_posed(settings), network)


def _refuse_sweep(settings: Settings) -> None:
    if settings.sweep.axes:
        raise ConfigError("sweep.axes: this config is of a sweep; use nst-jax sweep --config FILE")


def _check_output(output: Path, settings: Settings) -> None:
    """Refuse, before any work, what could not be written or would cost the user a file."""
    images.check_suffix(output, bits=settings.output.bits)
    parent = output.parent
    if not parent.is_dir():
        raise OutputError(f"{output}: the folder {parent} does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{output}: the folder {parent} is not writable")
    if output.is_dir():
        raise OutputError(f"{output}: is a folder; give the name of a picture")
    for name in inputs.names_of(settings).values():
        if output.exists() and Path(name).exists() and os.path.samefile(name, output):
            raise OutputError(
                f"{output}: is an input of this run and would be overwritten; give another --output"
            )
    folder = output.with_name(f"{output.stem}.run")
    if folder.exists() and not (folder / "result.json").is_file() and not _is_empty(folder):
        raise OutputError(f"{folder}: is not the folder of an earlier run; move it or give another --output")
    if not carries(output) and output.with_suffix(".json").exists():
        try:
            known = "encoder" in records.read_record(output)
        except (OSError, ValueError, TypeError):
            known = False
        if not known:  # it would be overwritten with this run's record
            raise OutputError(
                f"{output.with_suffix('.json')}: is not of an earlier run; give another --output"
            )
    needed = (
        64 * settings.longest**2 * settings.output.bits // 8
    )  # picture, copies and steps: rough, and generous
    free = shutil.disk_usage(parent).free
    if free < min(needed, 2**28):
        raise OutputError(
            f"{output}: no space left: {free / 2**20:.0f} MiB free, {needed / 2**20:.0f} MiB wanted"
        )


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def _unfinished(folder: Path) -> Iterator[tuple[Path, IO[str]]]:
    """Give a fresh folder to work in, and the open file of metrics there."""
    workshop = folder.with_name(f"{folder.name}.partial")
    try:
        workshop.mkdir(exist_ok=True)
        for left in workshop.iterdir():  # of a run that was killed
            left.unlink()
        metrics = (workshop / "metrics.jsonl").open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{workshop}: cannot be written: {error.strerror}") from None
    try:
        with metrics:
            yield workshop, metrics
    finally:
        unused = workshop / "metrics.jsonl"
        if unused.exists() and not unused.stat().st_size:  # it ended before it began: leave no trace
            shutil.rmtree(workshop)


def _strip(steps: dict[int, FloatArray], title: str) -> FloatArray:
    """Return intermediate pictures side by side: all, or at equal intervals, the last among them."""
    every = -(-len(steps) // MOST_STEPS)
    shown = list(steps)[::-1][::every][::-1]
    axes = [("evaluations", [str(number) for number in shown])]
    return images.contact_sheet({(i,): steps[n] for i, n in enumerate(shown)}, axes, title=title, cell=STEP)


def _line(progress: "Progress") -> records.Metric:
    line: records.Metric = {
        "evaluations": progress.evaluations,
        "loss": progress.loss,
        "terms": progress.terms,
        "seconds": round(progress.seconds, 3),
    }
    return {**line, "level": progress.level} if progress.levels > 1 else line


def _write_line(file: IO[str], line: records.Metric) -> None:
    try:
        file.write(json.dumps(plain(line)) + "\n")
        file.flush()
    except OSError as error:
        raise OutputError(f"{file.name}: cannot be written: {error.strerror}") from None


def _settle(workshop: Path, folder: Path) -> None:
    """Move the files of a whole run to their place; steps of an earlier, longer run go."""
    try:
        folder.mkdir(exist_ok=True)
        new = {file.name for file in workshop.iterdir()}
        for name in new:
            os.replace(workshop / name, folder / name)
        for stale in (*folder.glob("step_*.*"), *folder.glob("steps.png"), *folder.glob("picture.*")):
            if stale.name not in new:
                stale.unlink()
        workshop.rmdir()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
