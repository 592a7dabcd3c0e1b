"""All kinds of films behind one door: by ffmpeg, animations, and folders of frames.

What is read is told apart by what it is, and what is written by its suffix.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from nst_jax.errors import FilmError
from nst_jax.files import check_folder
from nst_jax.files import check_room as room_for
from nst_jax.films import animations, codecs, ffmpeg, folders
from nst_jax.films.film import Film, Frame, Say, silently
from nst_jax.images.animations import SUFFIXES as ANIMATED
from nst_jax.images.animations import format_of
from nst_jax.typing import Json

_PACKED = 0.7
"""What is left of noise, as paint nearly is, in a PNG."""


def opened(path: Path, *, rate: Fraction | None = None) -> Film:
    """Return what is in a film of any kind.

    Args:
        path: a file, or a folder of pictures whose names end in a number.
        rate: frames per second. Films and animations are as long as before, by frames that are repeated or
            left out; those of a folder are all there, and 24 a second if this is None.

    Raises:
        NstError: there is no such file, it is no film, or there is no ffmpeg, which most need.
    """
    if path.is_dir():
        return folders.probe(path, rate)
    if format_of(path):
        return animations.probe(path, rate)
    film = ffmpeg.probe(path)
    return film if rate is None else replace(film, rate=rate, is_resampled=rate != film.rate)


def frames(film: Film, say: Say = silently, *, begin: int = 0) -> Generator[Frame, None, None]:
    """Give the frames of a film one after another.

    Args:
        film: from `opened`.
        say: told what the user should know.
        begin: the number of the first one to give.

    Raises:
        NstError: nothing can be read of it.
    """
    kinds = {"film": ffmpeg.frames, "animation": animations.frames, "folder": folders.frames}
    return kinds[film.kind](film, say, begin=begin)


@contextlib.contextmanager
def writing(
    path: Path,
    size: tuple[int, int],
    rate: Fraction,
    *,
    codec: str | None = None,
    quality: int | None = None,
    sound: Path | None = None,
    aspect: Fraction = Fraction(1),
    source: Film | None = None,
    say: Say = silently,
) -> Iterator[Callable[[Frame], None]]:
    """Give a function that adds a frame to a new film, which is there once all of it is.

    Args:
        path: of the film; an old one is replaced, or left as it is if anything goes wrong.
        size: height and width in pixels.
        rate: frames per second.
        codec: of `codecs.CODECS`, for films by ffmpeg; None: by the suffix.
        quality: from 1 to 100, of these and WebP; None: good.
        sound: the film whose sound, subtitles, chapters and titles a film by ffmpeg has.
        aspect: of a pixel.
        source: what it is made of: an animation has the loops of one, a folder the names of frames.
        say: told what the user should know.

    Raises:
        NstError: it cannot be written.
    """
    check_output(path, codec)
    if is_folder(path):
        with folders.writing(path, [file.name for file in source.files] if source else ()) as write:
            yield write
    elif path.suffix.lower() in ANIMATED:
        loops = source.loops if source else 0
        with animations.writing(path, size, rate, quality=quality, loops=loops, say=say) as write:
            yield write
    else:
        options: dict[str, Json] = {"sound": sound, "aspect": aspect, "say": say}
        with ffmpeg.writing(path, size, rate, codec=codec, quality=quality, **options) as write:
            yield write


def beside(source: Path) -> Path:
    """Return what a film is called that is made of another one: of the same kind, if that can be written."""
    name = f"{source.stem}_painted"
    if source.is_dir():
        return source.with_name(name)
    suffix = source.suffix.lower()
    return source.with_name(name + (suffix if suffix in ANIMATED else ".mp4"))


def check_output(path: Path, codec: str | None) -> None:
    """Refuse a film that could not be written, before any work.

    Raises:
        NstError: with what is allowed.
    """
    suffix = path.suffix.lower()
    if is_folder(path):
        if codec is not None:
            raise FilmError(f"{path}: a folder of frames has no codec; leave {codec} out")
        folders.check_output(path)
        return
    if suffix in ANIMATED:
        animations.check_output(path, codec)
    elif codec is None and suffix not in _films():
        allowed = ", ".join((*_films(), *ANIMATED))
        raise FilmError(f"{path}: {suffix} is not of a film; use {allowed}, or a folder")
    else:
        ffmpeg.check_output(path, codec)
    check_folder(path)


def is_folder(path: Path) -> bool:
    """Tell whether what is written there is a folder of frames: its name has no suffix, or none of a film."""
    suffix = path.suffix.lower()
    return not suffix or (path.is_dir() and suffix not in (*_films(), *ANIMATED))


def is_for_even(path: Path, codec: str | None) -> bool:
    """Tell whether not all players show what is written there if a side has an odd number of pixels."""
    is_film = not is_folder(path) and path.suffix.lower() not in ANIMATED
    return is_film and codecs.codec_for(path, codec) in ("h264", "h265")


def _films() -> tuple[str, ...]:
    return tuple(dict.fromkeys(suffix for codec in codecs.CODECS.values() for suffix in codec.suffixes))


def marks(film: Film) -> list[Json]:
    """Return what tells a film from another: of every file, how large and old it is."""
    found = list[Json]()
    for file in film.files or (film.path,):
        status = file.stat()
        found += [*([file.name] if film.files else []), status.st_size, status.st_mtime_ns]
    return found


def check_room(folder: Path, frames: int | None, size: tuple[int, int], *, copies: int = 1) -> None:
    """Refuse a film whose painted frames, as PNG files, the disk of a folder has no room for.

    Args:
        folder: one that exists.
        frames: about how many there are; None: that is not known, and nothing is refused.
        size: height and width in pixels.
        copies: how often each frame is kept.

    Raises:
        OutputError: there is less than they need.
    """
    nbytes = (frames or 0) * size[0] * size[1] * 3 * copies * _PACKED
    room_for(
        folder,
        nbytes,
        f"a film of {frames} frames of {size[1]} x {size[0]}",
        "free some, or use a smaller size",
    )
