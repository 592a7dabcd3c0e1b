"""Films through ffmpeg: what is in a file, its frames, and a new file with the sound of the old."""

import contextlib
import itertools
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from nst_jax.errors import FilmError
from nst_jax.films import codecs, streams
from nst_jax.films.film import Film, Frame, Say, silently
from nst_jax.films.program import ffmpeg, filters, named, quick, run, why

_HDR = ("smpte2084", "arib-std-b67")
_EXACT = "flags=accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"
_HIGH, _WIDE = 720, 1280
"""Films from so many lines or columns on are in the colours of BT.709 if they do not say otherwise."""

PICTURE = "is a picture, not a film: paint it with nst-jax, without video"

_LOOKED_AT, _READ = 3000, 2**28
"""Frames whose times tell whether the rate is constant, and bytes that are read for that."""

_APART = 32
"""Frames at most between two that are shown one after the other."""

_FASTEST = 240
"""Frames per second; more is not a rate, but how finely a film with a changing one counts time."""


def probe(path: Path) -> Film:
    """Return what is in a film.

    Raises:
        FilmError: there is no such file, it is no film, or there is no ffmpeg.
    """
    if not path.is_file():
        raise FilmError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    # The header of this format has the size as it is shown, and the exact rate.
    header = ["-pix_fmt", "yuv444p", "-f", "yuv4mpegpipe", "pipe:1"]
    said, done = run("-i", named(path), "-map", "0:V:0", "-frames:v", "1", *header)
    found = re.match(rb"YUV4MPEG2 ([^\n]*)\n", done.stdout)
    # Only what ffmpeg says itself stands so far left: a title may hold anything.
    line = re.search(r"^  Stream #0.*?: Video: (?!.*\(attached pic\))(.*)", said, re.MULTILINE)
    kind = re.search(r"^Input #0, (\S+), from ", said, re.MULTILINE)
    if kind and (name := _other_kind(kind[1], said)):
        raise FilmError(f"{path}: {name}")
    if found is None or line is None:
        raise FilmError(f"{path}: {why(said, 'is no film that ffmpeg can read')}")
    fields = {field[:1]: field[1:] for field in found[1].decode().split() if not field.startswith("X")}
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    hours, minutes, seconds = map(float, duration.groups()) if duration else (0.0, 0.0, 0.0)
    rates = re.search(r"([\d.]+k?) fps, ([\d.]+k?) tbr", line[1])
    bits = re.search(r"\b(?:yuva?|gbra?|gray|y)\w*?p?(9|10|12|14|16)[lb]e", line[1])
    is_hdr = any(name in line[1] for name in _HDR)
    says_colours = bool(re.search(r"bt709|bt470|smpte170m|smpte240m|bt2020|gbr", line[1]))
    film = Film(
        path=path,
        width=int(fields["W"]),
        height=int(fields["H"]),
        rate=_fraction(fields["F"]),
        seconds=3600 * hours + 60 * minutes + seconds if duration else None,
        has_sound=bool(re.search(r"^  Stream #0.*?: Audio:", said, re.MULTILINE)),
        bits=int(bits[1]) if bits else 8,
        is_hdr=is_hdr,
        is_variable=bool(rates and rates[1] != rates[2]),
        aspect=_fraction(fields.get("A", "1:1")) or Fraction(1),
        says_colours=says_colours and not (is_hdr and "unknown/" in line[1]),
    )
    return _with_times(film, _times(path))


def frames(film: Film, say: Say = silently, *, begin: int = 0) -> Generator[Frame, None, None]:
    """Give the frames of a film one after another; whoever stops early stops ffmpeg as well.

    Args:
        film: from `probe`; with another rate, if ``is_resampled``.
        say: told what the user should know.
        begin: the number of the first one to give; those before are read and left out.

    Raises:
        FilmError: nothing can be read of it.
    """
    if film.is_hdr:
        how = "mapped to" if _can_map() else "taken for"
        flat = "" if _can_map() else ", and look flat: this ffmpeg has no zscale and tonemap"
        say(f"{film.path}: is in HDR; its colours are {how} those of a plain screen{flat}")
    elif film.bits > 8:
        say(f"{film.path}: has {film.bits} bits per channel; 8 are used")
    if film.is_variable:
        say(f"{film.path}: its rate changes; {float(film.rate):g} frames per second are taken")
    command = [
        *(ffmpeg(), "-hide_banner", "-nostdin", "-v", "error", "-i", named(film.path), "-map", "0:V:0"),
        *("-vf", _to_rgb(film), "-r", str(film.rate), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"),
    ]
    given, size = 0, film.width * film.height * 3
    with tempfile.TemporaryFile() as trouble:  # a pipe that nobody reads would fill up, and ffmpeg wait
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=trouble, start_new_session=True)
        assert process.stdout is not None
        try:
            while len(data := process.stdout.read(size)) == size:
                given += 1
                if given > begin:
                    yield np.frombuffer(data, np.uint8).reshape(film.height, film.width, 3)
        finally:
            process.stdout.close()
            process.kill()
            process.wait()
        said = _read(trouble)
    if not given:
        raise FilmError(f"{film.path}: {why(said, 'no frame of it can be read')}")
    if said:
        say(f"{film.path}: {why(said, 'is damaged')}; {given} frames of it are there")


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
    say: Say = silently,
) -> Iterator[Callable[[Frame], None]]:
    """Give a function that adds a frame to a new film, which is there once all of it is.

    Sizes of odd numbers of pixels are kept: in H.264 and H.265 their colours are then stored at full
    resolution, which some players do not show. Neither format can halve those, nor cut off single pixels.

    Args:
        path: of the film; an old one is replaced, or left as it is if anything goes wrong. A symbolic link
            stays, and the file that it points to is replaced.
        size: height and width in pixels.
        rate: frames per second.
        codec: of `codecs.CODECS`; None: by the suffix.
        quality: from 1 to 100; None: good.
        sound: the film whose sound, subtitles, chapters and titles it has, as they are where the file can
            hold them.
        aspect: of a pixel.
        say: told what the user should know.

    Raises:
        FilmError: the codec is unknown, the file cannot hold it, or it cannot be written.
    """
    check_output(path, codec)
    height, width = size
    codec = codecs.codec_for(path, codec)
    told = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    shape = f"setsar={aspect.numerator}/{aspect.denominator}"
    colours = ["-vf", shape]
    if codec != "ffv1":
        colours = ["-vf", f"scale=out_color_matrix=bt709:out_range=tv:{_EXACT},{shape},{told}"]
        colours += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    target = Path(os.path.realpath(path))
    silent, whole = (target.with_name(f".{secrets.token_hex(4)}.partial{path.suffix}") for _ in range(2))
    command = [
        *(ffmpeg(), "-hide_banner", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *("-s", f"{width}x{height}", "-r", str(rate), "-i", "pipe:0", *colours),
        *(*codecs.options(codec, quality, size), *quick(path), named(silent)),
    ]
    try:
        with tempfile.TemporaryFile() as trouble:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=trouble, start_new_session=True)
            assert process.stdin is not None
            pipe = process.stdin
            try:
                yield lambda frame: _written(pipe, frame, path, trouble)
                pipe.close()
                if process.wait():
                    raise FilmError(f"{path}: {why(_read(trouble), 'cannot be written')}")
            finally:
                process.kill()
                process.wait()
                with contextlib.suppress(OSError):  # what is left for it has nowhere to go
                    pipe.close()
        if sound is None:
            silent.replace(target)
        else:
            streams.joined(silent, sound, whole, path, say)
            whole.replace(target)
    except OSError as error:
        raise FilmError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        for file in (silent, whole):
            file.unlink(missing_ok=True)


def check_output(path: Path, codec: str | None) -> None:
    """Refuse a film that could not be written, before any work.

    Raises:
        FilmError: with what is allowed.
    """
    codecs.check(path, codec)


def _times(path: Path) -> list[Fraction]:
    """Return when the first frames of a film are shown, in order, as its file says, without decoding them."""
    command = [ffmpeg(), "-hide_banner", "-nostdin", "-v", "error", "-i", named(path), "-map", "0:V:0"]
    command += ["-c", "copy", "-f", "framecrc", "-flush_packets", "1", "pipe:1"]
    tick, times, nbytes = Fraction(0), list[Fraction](), 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if base := re.match(rb"#tb 0: (\d+)/(\d+)", line):
                tick = Fraction(int(base[1]), int(base[2]))
            if packet := re.match(rb"0, *-?\d+, *(-?\d+), *-?\d+, *(\d+),", line):
                times.append(int(packet[1]) * tick)
                nbytes += int(packet[2])
            if len(times) > _LOOKED_AT or nbytes > _READ:
                process.kill()
                return sorted(times)[:-_APART]  # of the last some are missing: they are not stored in order
    return sorted(times)


def _with_times(film: Film, times: list[Fraction]) -> Film:
    """Return a film with what the times of its frames tell of its rate, if they are told.

    They are rounded: to milliseconds in many a file.
    """
    if len(times) < 3 or times[0] == times[-1]:
        return film
    steps = sorted(later - earlier for earlier, later in itertools.pairwise(times))
    usual = steps[len(steps) // 2]
    is_variable = steps[-1] - steps[0] > max(Fraction(21, 10_000), usual / 10)
    rate = film.rate
    if rate > _FASTEST:
        rate = Fraction(len(steps), 1) / (times[-1] - times[0])
        rate = (rate if not is_variable or not usual else 1 / usual).limit_denominator(1001)
    return replace(film, rate=rate, is_variable=is_variable)


def _other_kind(name: str, said: str) -> str | None:
    """Return what a file is that is no film, though ffmpeg may make frames of it."""
    if name == "tty":
        return "is a text, not a film"
    if name.endswith("_pipe") or name == "image2":
        return PICTURE
    return "has sound, but no moving pictures" if "matches no streams" in said else None


def _to_rgb(film: Film) -> str:
    """Return the filters that make RGB of a film's colours, at its rate."""
    rate = f"fps={film.rate}," if film.is_resampled else ""
    if film.is_hdr and _can_map():
        told = "" if film.says_colours else "setparams=colorspace=bt2020nc:color_primaries=bt2020,"
        # To linear light, 100 candelas a square metre being white; what is brighter is pressed together.
        light = "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0"
        plain = "zscale=t=bt709:m=bt709:r=tv,format=yuv444p"
        return f"{rate}{told}{light},{plain},scale={_EXACT}:in_color_matrix=bt709"
    is_high = film.height >= _HIGH or film.width >= _WIDE
    matrix = ":in_color_matrix=bt709" if not film.says_colours and is_high else ""
    return f"{rate}scale={_EXACT}{matrix}"


def _can_map() -> bool:
    return {"zscale", "tonemap"} <= filters()


def _written(pipe: IO[bytes], frame: Frame, path: Path, trouble: IO[bytes]) -> None:
    try:
        pipe.write(np.ascontiguousarray(frame, np.uint8).data)
    except OSError:
        raise FilmError(f"{path}: {why(_read(trouble), 'cannot be written')}") from None


def _fraction(text: str) -> Fraction:
    numerator, denominator = map(int, text.split(":"))
    return Fraction(numerator, denominator) if denominator else Fraction(0)


def _read(trouble: IO[bytes]) -> str:
    trouble.seek(0)
    return trouble.read(100_000).decode("utf-8", "replace")
