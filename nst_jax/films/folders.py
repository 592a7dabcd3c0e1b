"""Folders of numbered pictures as films."""

import contextlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from nst_jax import images
from nst_jax.errors import FilmError, NstError, OutputError
from nst_jax.files import write_atomically
from nst_jax.films.film import Film, Frame, Say, silently

RATE = Fraction(24)
"""Frames per second, which a folder does not tell."""

_NUMBER = re.compile(r"(.*?)([0-9]+)", re.DOTALL)
_RECORD = "frames.json"
"""Names the frames that this program wrote; a folder of these alone may be replaced."""


def probe(path: Path, rate: Fraction | None = None) -> Film:
    """Return what is in a folder of frames: pictures whose names end in a number, in the order of these.

    Args:
        path: the folder.
        rate: frames per second; None: 24.

    Raises:
        FilmError: there are none, there are several series, two of one number, or frames of different sizes.
        ImageError: one that cannot be read.
    """
    files = _numbered(path)
    height, width = images.size_of(files[0])
    for file in files[1:]:
        own = images.size_of(file)
        if own != (height, width):
            raise FilmError(
                f"{file}: has {own[1]} x {own[0]} pixels, and {files[0].name} {width} x {height}: the frames "
                "of a film have one size"
            )
    taken = rate or RATE
    seconds = float(len(files) / taken)
    return Film(path, width, height, taken, seconds, kind="folder", files=tuple(files))


def _numbered(folder: Path) -> list[Path]:
    """Return the frames of a folder in order; other files are left alone."""
    series: dict[str, dict[int, Path]] = {}
    try:
        for file in sorted(folder.iterdir()):
            name = _NUMBER.fullmatch(file.stem)
            is_picture = file.suffix.lower() in images.READABLE and file.is_file()
            if name and is_picture and not file.name.startswith("."):
                known = series.setdefault(name[1], {})
                other = known.setdefault(int(name[2]), file)
                if other != file:
                    raise FilmError(f"{folder}: {other.name} and {file.name} have the same number")
    except OSError as error:
        raise FilmError(f"{folder}: cannot be read: {error.strerror}") from None
    if len(series) > 1:
        first, second, *_ = (next(iter(each.values())).name for each in series.values())
        raise FilmError(
            f"{folder}: has several series of frames, such as {first} and {second}; give a folder of one"
        )
    if not series:
        raise FilmError(f"{folder}: has no pictures whose names end in a number, such as frame_0001.png")
    (known,) = series.values()
    return [known[number] for number in sorted(known)]


def _number(file: Path) -> int:
    name = _NUMBER.fullmatch(file.stem)
    return int(name[2]) if name else 0


def frames(film: Film, say: Say = silently, *, begin: int = 0) -> Generator[Frame, None, None]:
    """Give the frames of a folder one after another, with 8 bits, and white behind what is transparent.

    Args:
        film: from `probe`.
        say: told what the user should know; what is true of many frames once.
        begin: the number of the first one to give.

    Raises:
        ImageError: a frame that cannot be read.
        FilmError: one that has another size now.
    """
    first, last = _number(film.files[0]), _number(film.files[-1])
    if missing := last - first + 1 - len(film.files):
        say(f"{film.path}: {missing} numbers between {first} and {last} are missing; what is there is taken")
    said = set[str]()
    for file in film.files[begin:]:
        picture = images.read(file)
        rgb, notes = picture.rgb, [note.removeprefix(f"{file}: ") for note in picture.notes]
        if picture.alpha is not None and picture.alpha.min() < 1:
            notes.append("is transparent in parts; white is put behind")
            rgb = 1 - picture.alpha[:, :, None] * (1 - rgb)
        if rgb.shape[:2] != (film.height, film.width):
            raise FilmError(
                f"{file}: has another size than {film.files[0].name}: the frames of a film have one size"
            )
        for note in notes:
            if note not in said:
                say(f"{file}: {note}")
        said.update(notes)
        yield images.to_levels(rgb)


@contextlib.contextmanager
def writing(path: Path, names: Sequence[str] = ()) -> Iterator[Callable[[Frame], None]]:
    """Give a function that adds a frame to a new folder of PNG files, which is there once all of them are.

    Args:
        path: the folder; an old one of this program is replaced, or left as it is if anything goes wrong.
        names: of the frames, with any endings; those that have none are called frame_000001.png and so on.

    Raises:
        NstError: it cannot be written, or is there and not this program's.
    """
    check_output(path)
    target = Path(os.path.realpath(path))
    new, old = (target.with_name(f".{secrets.token_hex(4)}.partial") for _ in range(2))
    written = list[str]()

    def write(frame: Frame) -> None:
        number = len(written)
        name = Path(names[number]).stem if number < len(names) else f"frame_{number + 1:06d}"
        images.write(new / f"{name}.png", images.to_unit(frame))
        written.append(f"{name}.png")

    try:
        new.mkdir()
        yield write
        if not written:
            raise FilmError(f"{path}: has no frames")
        write_atomically(new / _RECORD, json.dumps({"frames": written}).encode())
        check_output(path)  # it took a while
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            with contextlib.suppress(OSError):
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise FilmError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)


def check_output(path: Path) -> None:
    """Refuse a folder that could not be written, or that holds anything but frames of this program.

    Raises:
        NstError: in one line.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {target.parent} is not writable")
    if target.exists() and not target.is_dir():
        raise OutputError(f"{path}: is a file; for a folder of frames give another name")
    if target.is_dir() and not _is_ours(target):
        raise OutputError(
            f"{path}: is a folder of other files, which is left alone; give a new folder for the frames"
        )


def _is_ours(folder: Path) -> bool:
    """Tell whether a folder is empty, or all that it holds is what this program wrote."""
    try:
        there = set(os.listdir(folder))
        if not there:
            return True
        known = json.loads((folder / _RECORD).read_text(encoding="utf-8"))["frames"]
        return there <= {*known, _RECORD}
    except (OSError, ValueError, KeyError, TypeError, NstError):
        return False
