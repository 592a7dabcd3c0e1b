"""The folder of a film's finished frames: ``OUT.film``, beside the film that is made of them in the end.

The same command goes on with work that was interrupted. What follows is computed from frames as they are
there, in 8 bits: those of a film that was interrupted are those of one that was not. In the end frames go;
the record, the metrics and a contact sheet stay.
"""

import contextlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from nst_jax import images
from nst_jax.errors import ConfigError, OutputError
from nst_jax.files import locked, same_file, write_atomically
from nst_jax.films import opened as films
from nst_jax.images import FloatArray
from nst_jax.images.sheet import contact_sheet
from nst_jax.runs import records
from nst_jax.settings import Settings
from nst_jax.typing import Json

Say = Callable[[str], object]

_RECORD, _METRICS, _SHEET = "film.json", "metrics.jsonl", "sheet.jpg"

MOST_SHOWN = 12
"""Frames on a contact sheet."""


@dataclass(frozen=True)
class Progress:
    """How far a film is."""

    frame: int
    """How many are done."""
    frames: int | None
    """About how many there are."""
    loss: float
    """Of the last."""
    seconds: float
    left: float | None


@dataclass(frozen=True)
class Outcome:
    """How the work on a film ended."""

    output: Path
    frames: int
    """That are painted by now, or if it is done, that are in the film."""
    seconds: float
    is_interrupted: bool


def rate_of(settings: Settings) -> Fraction | None:
    """Return the frames per second that settings ask for; None: those of what there is."""
    rate = settings.film.rate
    return None if rate is None else Fraction(str(rate))


def check(settings: Settings) -> None:
    """Refuse settings that no film is painted by.

    Raises:
        ConfigError: the first of them.
    """
    if settings.sweep.axes:
        raise ConfigError("sweep.axes: a film is not swept: give one value of each setting")
    if settings.solver.kind == "lbfgsb":
        raise ConfigError("solver.kind: lbfgsb is for single pictures: use lbfgs")


def check_output(output: Path, settings: Settings, reads: Iterable[Path]) -> None:
    """Refuse a film that could not be written, or would be written over what it is made of.

    Raises:
        NstError: with what is allowed.
    """
    films.check_output(output, settings.film.codec)
    if same_file(output, reads):
        raise OutputError(
            f"{output}: is an input of this film and would be overwritten; give another --output"
        )


def later(settings: Settings) -> Settings:
    """Return the settings of frames that go on from another: few evaluations, at the last size."""
    evaluations = max(1, round(settings.film.later * settings.solver.evaluations))
    return settings.with_values({"solver.evaluations": evaluations, "pyramid.levels": 1})


def folder_of(output: Path) -> Path:
    """Return the folder of a film's frames."""
    return output.with_name(f"{output.stem}.film")


@contextlib.contextmanager
def claimed(folder: Path, output: Path) -> Iterator[None]:
    """Make the folder of a film's frames, in which no other process works meanwhile.

    Raises:
        OutputError: it is not such a folder, another process works in it, or it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _RECORD).is_file():
        raise OutputError(f"{folder}: is not the folder of an earlier film; move it or give another --output")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        with locked(folder / "lock", f"{output}: is being painted by another process; give another --output"):
            yield
    finally:
        with contextlib.suppress(OSError):  # there are frames in it
            folder.rmdir()


def is_of(folder: Path, stamp: str) -> bool:
    """Tell whether the frames of a folder were made by what a stamp stands for."""
    try:
        known = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(known, dict) and known.get("stamp") == stamp


def begin(folder: Path, stamp: str, record: Json, say: Say) -> None:
    """Make the folder this film's: what others left there goes."""
    left = [*folder.glob("frame_*.png")]
    for path in [*left, folder / _METRICS, folder / _SHEET]:
        path.unlink(missing_ok=True)
    _clear(folder)
    if left:
        say(f"removed from {folder} {len(left)} frames that other settings, or another film, had left")
    write_atomically(folder / _RECORD, records.to_json({"stamp": stamp} | record))


def leading(folder: Path, order: Iterable[int]) -> int:
    """Return how many of the first frames, in some order, are there."""
    return sum(1 for _ in itertools.takewhile(lambda number: _path(folder, number).is_file(), order))


def read(folder: Path, number: int) -> FloatArray:
    """Return a finished frame; the first is 1."""
    return images.read(_path(folder, number)).rgb


def keep(folder: Path, number: int, image: FloatArray) -> None:
    """Write a frame."""
    folder.mkdir(exist_ok=True)
    images.write(_path(folder, number), image)


def note(folder: Path, line: dict[str, Json]) -> None:
    """Add a line to the metrics."""
    with (folder / _METRICS).open("a", encoding="utf-8") as metrics:
        metrics.write(_line(line))


def notes(folder: Path) -> list[dict[str, Json]]:
    """Return the lines of the metrics."""
    return records.lines(folder / _METRICS)


def go_on(folder: Path, count: int, say: Say) -> None:
    """Tell that so many frames are gone on with, and drop the half line of metrics that a kill may leave."""
    say(f"going on after {count} frames that are painted; to begin anew, remove {folder}")
    whole = "".join(_line(line) for line in notes(folder))
    write_atomically(folder / _METRICS, whole.encode())


def joined(
    folder: Path, numbers: Iterable[int], output: Path, rate: Fraction, *, cut: bool = False, **options: Json
) -> None:
    """Make a film of finished frames.

    Args:
        folder: where they are.
        numbers: theirs, in the order of the film.
        output: the film.
        rate: frames per second.
        cut: whether to leave out the last row or column of an odd number: some players show no such films.
        options: of `films.opened.writing`.

    Raises:
        NstError: it cannot be written.
    """
    order = list(numbers)
    height, width = read(folder, order[0]).shape[:2]
    if cut:
        height, width = (max(1, side - side % 2) for side in (height, width))
    with films.writing(output, (height, width), rate, **options) as write:
        for number in order:
            write(images.to_levels(read(folder, number)[:height, :width]))


def finish(folder: Path, numbers: Sequence[int], rate: Fraction, *, within: Path | None = None) -> None:
    """Draw the contact sheet of a film that is there, and remove its frames.

    Args:
        folder: of the film.
        numbers: of its frames, in their order.
        rate: frames per second.
        within: the folder that the frames are in; None: ``folder`` itself.
    """
    shown = sorted({*np.linspace(0, len(numbers) - 1, MOST_SHOWN).round().astype(int).tolist()})
    pictures: dict[tuple[int, ...], FloatArray] = {
        (i,): read(within or folder, numbers[at]) for i, at in enumerate(shown)
    }
    labels = [f"{at + 1}: {float(at / rate):.1f} s" for at in shown]
    sheet = contact_sheet(pictures, [("", labels)])
    with contextlib.suppress(OutputError):  # the film is there, which is what was asked for
        images.write(folder / _SHEET, sheet)
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        write_atomically(folder / _RECORD, records.to_json(record | {"stamp": None}))
    for path in folder.glob("frame_*.png"):
        path.unlink(missing_ok=True)
    _clear(folder)


def _clear(folder: Path) -> None:
    """Remove the folders of earlier passes."""
    for path in (*folder.glob("pass_*"), folder / "source"):
        shutil.rmtree(path, ignore_errors=True)


def _line(line: dict[str, Json]) -> str:
    return json.dumps(records.plain(line)) + "\n"


def _path(folder: Path, number: int) -> Path:
    return folder / f"frame_{number:06d}.png"
