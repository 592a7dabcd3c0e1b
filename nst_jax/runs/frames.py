"""The folder of a film's finished frames: ``OUT.film``, beside the film that is made of them in the end.

The same command goes on with work that was interrupted. What follows is computed from frames as they are
there, in 8 bits: those of a film that was interrupted are those of one that was not.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from nst_jax import images
from nst_jax.errors import OutputError
from nst_jax.files import locked, write_atomically
from nst_jax.films import ffmpeg
from nst_jax.images import FloatArray
from nst_jax.runs import records
from nst_jax.typing import Json

Say = Callable[[str], object]

_RECORD, _METRICS = "film.json", "metrics.jsonl"


@dataclass(frozen=True)
class Progress:
    """How far a film is."""

    frame: int
    """Those that are done."""
    frames: int | None
    """About how many there are."""
    loss: float
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


def done(folder: Path, stamp: str, say: Say) -> int:
    """Return how many frames of this film are painted already."""
    try:
        known = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found = 0
    if isinstance(known, dict) and known.get("stamp") == stamp:
        while _path(folder, found + 1).is_file():
            found += 1
    if found:
        say(f"going on after {found} frames that are painted; to begin anew, remove {folder}")
    return found


def begin(folder: Path, stamp: str, say: Say) -> None:
    """Make the folder this film's: what others left there goes."""
    left = sorted(folder.glob("frame_*.png"))
    for path in [*left, folder / _METRICS]:
        path.unlink(missing_ok=True)
    if left:
        say(f"removed from {folder} {len(left)} frames that other settings, or another film, had left")
    write_atomically(folder / _RECORD, records.to_json({"stamp": stamp}))


def read(folder: Path, number: int) -> FloatArray:
    """Return a finished frame; the first is 1."""
    return images.read(_path(folder, number)).rgb


def keep(folder: Path, number: int, image: FloatArray, line: dict[str, Json]) -> FloatArray:
    """Write a frame, and a line about it to the metrics, and return the frame as it is there."""
    images.write(_path(folder, number), image)
    with (folder / _METRICS).open("a", encoding="utf-8") as metrics:
        metrics.write(json.dumps(records.plain({"frame": number} | line)) + "\n")
    return read(folder, number)


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
        options: of `ffmpeg.writing`.

    Raises:
        NstError: it cannot be written.
    """
    order = list(numbers)
    height, width = read(folder, order[0]).shape[:2]
    if cut:
        height, width = (max(1, side - side % 2) for side in (height, width))
    with ffmpeg.writing(output, (height, width), rate, **options) as write:
        for number in order:
            write(np.rint(read(folder, number)[:height, :width] * 255).astype(np.uint8))


def remove(folder: Path) -> None:
    """Remove the folder of a film that is there."""
    shutil.rmtree(folder, ignore_errors=True)


def _path(folder: Path, number: int) -> Path:
    return folder / f"frame_{number:06d}.png"
