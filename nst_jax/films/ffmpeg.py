"""Films through ffmpeg: what is in a file, its frames, and a new file with the sound of the old.

Frames are uint8 RGB, shape ``(height, width, 3)``, upright, at a constant rate. One is in memory at a time.
"""

import contextlib
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import FilmError, printable

Frame = NDArray[np.uint8]

CODECS = {
    "h264": ["-c:v", "libx264", "-preset", "medium", "-crf", "16"],
    "h265": ["-c:v", "libx265", "-preset", "medium", "-crf", "18", "-tag:v", "hvc1"],
    "ffv1": ["-c:v", "ffv1", "-level", "3"],
}
"""How each kind of film is encoded: the first plays everywhere, the last loses nothing."""

SUFFIXES = {
    "h264": (".mp4", ".mov", ".mkv", ".m4v"),
    "h265": (".mp4", ".mov", ".mkv", ".m4v"),
    "ffv1": (".mkv",),
}
"""What files each may be in."""

_HDR = ("smpte2084", "arib-std-b67")
_EXACT = "flags=accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"
_HIGH, _WIDE = 720, 1280
"""Films from so many lines or columns on are in the colours of BT.709 if they do not say otherwise."""


@dataclass(frozen=True)
class Film:
    """What is in a film.

    Attributes:
        width: in pixels, as it is shown: upright.
        height: likewise.
        rate: frames per second.
        seconds: its length; None if that is not known.
        has_sound: whether there is any.
        bits: per channel.
        is_hdr: whether its colours are those of PQ or HLG; taken for a plain screen's, they look flat.
        is_variable: whether the rate changes; frames are then repeated or left out to keep it.
        aspect: of a pixel, width by height.
        says_colours: whether it says how its colours are meant.
    """

    path: Path
    width: int
    height: int
    rate: Fraction
    seconds: float | None
    has_sound: bool
    bits: int = 8
    is_hdr: bool = False
    is_variable: bool = False
    aspect: Fraction = Fraction(1)
    says_colours: bool = True

    @property
    def frames(self) -> int | None:
        """About how many frames there are."""
        return None if self.seconds is None else max(1, round(self.seconds * self.rate))


def probe(path: Path) -> Film:
    """Return what is in a film.

    Raises:
        FilmError: there is no such file, it is no film, or there is no ffmpeg.
    """
    if not path.is_file():
        raise FilmError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    # The header of this format has the size as it is shown, and the exact rate.
    header = ["-pix_fmt", "yuv444p", "-f", "yuv4mpegpipe", "pipe:1"]
    command = ["-i", _name(path), "-map", "0:V:0", "-frames:v", "1", *header]
    done = subprocess.run([ffmpeg(), "-hide_banner", "-nostdin", *command], capture_output=True, check=False)
    said = done.stderr.decode("utf-8", "replace")
    found = re.match(rb"YUV4MPEG2 ([^\n]*)\n", done.stdout)
    # Only what ffmpeg says itself stands so far left: a title may hold anything.
    line = re.search(r"^  Stream #0.*?: Video: (?!.*\(attached pic\))(.*)", said, re.MULTILINE)
    kind = re.search(r"^Input #0, (\S+), from ", said, re.MULTILINE)
    if kind and (name := _other_kind(kind[1], said)):
        raise FilmError(f"{path}: {name}")
    if found is None or line is None:
        raise FilmError(f"{path}: {_why(said, 'is no film that ffmpeg can read')}")
    fields = {field[:1]: field[1:] for field in found[1].decode().split() if not field.startswith("X")}
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    hours, minutes, seconds = map(float, duration.groups()) if duration else (0.0, 0.0, 0.0)
    rates = re.search(r"([\d.]+k?) fps, ([\d.]+k?) tbr", line[1])
    bits = re.search(r"\b(?:yuva?|gbra?|gray|y)\w*?p?(9|10|12|14|16)[lb]e", line[1])
    return Film(
        path=path,
        width=int(fields["W"]),
        height=int(fields["H"]),
        rate=_fraction(fields["F"]),
        seconds=3600 * hours + 60 * minutes + seconds if duration else None,
        has_sound=bool(re.search(r"^  Stream #0.*?: Audio:", said, re.MULTILINE)),
        bits=int(bits[1]) if bits else 8,
        is_hdr=any(name in line[1] for name in _HDR),
        is_variable=bool(rates and rates[1] != rates[2]),
        aspect=_fraction(fields.get("A", "1:1")) or Fraction(1),
        says_colours=bool(re.search(r"bt709|bt470|smpte170m|smpte240m|bt2020|gbr", line[1])),
    )


def frames(
    film: Film, say: Callable[[str], object] = lambda line: None, *, begin: int = 0
) -> Generator[Frame, None, None]:
    """Give the frames of a film one after another; whoever stops early stops ffmpeg as well.

    Args:
        film: from `probe`.
        say: told what the user should know.
        begin: the number of the first one to give; those before are read and left out.

    Raises:
        FilmError: nothing can be read of it.
    """
    if film.is_hdr:
        say(f"{film.path}: is in HDR; its colours are taken for those of a plain screen, and look flat")
    elif film.bits > 8:
        say(f"{film.path}: has {film.bits} bits per channel; 8 are used")
    if film.is_variable:
        say(f"{film.path}: its rate changes; {float(film.rate):g} frames per second are taken")
    command = [
        *(ffmpeg(), "-hide_banner", "-nostdin", "-v", "error", "-i", _name(film.path), "-map", "0:V:0"),
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
        raise FilmError(f"{film.path}: {_why(said, 'no frame of it can be read')}")
    if said:
        say(f"{film.path}: {_why(said, 'is damaged')}; {given} frames of it are there")


@contextlib.contextmanager
def writing(
    path: Path,
    size: tuple[int, int],
    rate: Fraction,
    *,
    codec: str = "h264",
    sound: Path | None = None,
    aspect: Fraction = Fraction(1),
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[Callable[[Frame], None]]:
    """Give a function that adds a frame to a new film, which is there once all of it is.

    Sizes of odd numbers of pixels are kept: their colours are then stored at full resolution, which some
    players do not show.

    Args:
        path: of the film; an old one is replaced, or left as it is if anything goes wrong.
        size: height and width in pixels.
        rate: frames per second.
        codec: of `CODECS`.
        sound: the film whose sound it has: copied as it is, or if the file cannot hold that, as AAC.
        aspect: of a pixel.
        say: told what the user should know.

    Raises:
        FilmError: the codec is unknown, the file cannot hold it, or it cannot be written.
    """
    check_output(path, codec)
    height, width = size
    chroma = "yuv420p" if height % 2 == width % 2 == 0 and codec != "ffv1" else "yuv444p"
    colours = (
        ["-pix_fmt", "bgr0"]
        if codec == "ffv1"
        else [
            *(
                "-vf",
                f"scale=out_color_matrix=bt709:out_range=tv:{_EXACT},setsar={aspect.numerator}/{aspect.denominator}",
            ),
            *("-pix_fmt", chroma, "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        ]
    )
    silent, whole = (path.with_name(f".{secrets.token_hex(4)}.partial{path.suffix}") for _ in range(2))
    command = [
        *(ffmpeg(), "-hide_banner", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"),
        *(
            "-s",
            f"{width}x{height}",
            "-r",
            str(rate),
            "-i",
            "pipe:0",
            *colours,
            *CODECS[codec],
            *_quick(path),
        ),
        _name(silent),
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
                    raise FilmError(f"{path}: {_why(_read(trouble), 'cannot be written')}")
            finally:
                process.kill()
                process.wait()
                with contextlib.suppress(OSError):  # what is left for it has nowhere to go
                    pipe.close()
        if sound is None:
            silent.replace(path)
        else:
            _with_sound(silent, sound, whole, path, say)
            whole.replace(path)
    except OSError as error:
        raise FilmError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        for file in (silent, whole):
            file.unlink(missing_ok=True)


def check_output(path: Path, codec: str) -> None:
    """Refuse a film that could not be written, before any work.

    Raises:
        FilmError: with what is allowed.
    """
    if codec not in CODECS:
        raise FilmError(f"{codec}: is no codec; allowed: {', '.join(CODECS)}")
    if path.suffix.lower() not in SUFFIXES[codec]:
        allowed = ", ".join(SUFFIXES[codec])
        raise FilmError(f"{path}: {codec} is not for {path.suffix or 'no suffix'}; use {allowed}")


def ffmpeg() -> str:
    """Return the program: the system's, or that of imageio-ffmpeg.

    Raises:
        FilmError: there is neither.
    """
    if found := shutil.which("ffmpeg"):
        return found
    with contextlib.suppress(ImportError, RuntimeError):
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    raise FilmError("there is no ffmpeg: install it, or its package with pip install 'nst_jax[video]'")


def _other_kind(name: str, said: str) -> str | None:
    """Return what a file is that is no film, though ffmpeg may make frames of it."""
    if name == "tty":
        return "is a text, not a film"
    if name.endswith("_pipe") or name == "image2":
        return "is a picture, not a film"
    return "has sound, but no moving pictures" if "matches no streams" in said else None


def _to_rgb(film: Film) -> str:
    is_high = film.height >= _HIGH or film.width >= _WIDE
    matrix = ":in_color_matrix=bt709" if not film.says_colours and is_high else ""
    return f"scale={_EXACT}{matrix}"


def _with_sound(silent: Path, sound: Path, whole: Path, path: Path, say: Callable[[str], object]) -> None:
    """Put a film and the sound of another together."""
    both = ["-i", _name(silent), "-i", _name(sound), "-map", "0:v", "-map", "1:a?", "-c:v", "copy"]
    said = ""
    for codec in (["copy"], ["aac", "-b:a", "256k"]):
        command = [ffmpeg(), "-hide_banner", "-nostdin", "-v", "error", "-y", *both, "-c:a", *codec]
        done = subprocess.run([*command, *_quick(path), _name(whole)], capture_output=True, check=False)
        if not done.returncode:
            return
        said = done.stderr.decode("utf-8", "replace")
        say(f"{path}: cannot hold the sound of {sound} as it is, so that is encoded as AAC")
    raise FilmError(f"{path}: {_why(said, 'its sound cannot be written')}")


def _written(pipe: IO[bytes], frame: Frame, path: Path, trouble: IO[bytes]) -> None:
    try:
        pipe.write(np.ascontiguousarray(frame, np.uint8).data)
    except OSError:
        raise FilmError(f"{path}: {_why(_read(trouble), 'cannot be written')}") from None


def _quick(path: Path) -> list[str]:
    """Let a film play before it is loaded."""
    return ["-movflags", "+faststart"] if path.suffix.lower() in (".mp4", ".mov", ".m4v") else []


def _name(path: Path) -> str:
    """Return a path as ffmpeg takes it for that of a file, whatever it looks like."""
    return f"file:{path}"


def _fraction(text: str) -> Fraction:
    numerator, denominator = map(int, text.split(":"))
    return Fraction(numerator, denominator) if denominator else Fraction(0)


def _read(trouble: IO[bytes]) -> str:
    trouble.seek(0)
    return trouble.read(100_000).decode("utf-8", "replace")


def _why(said: str, otherwise: str) -> str:
    """Return what ffmpeg says of a failure in one sentence, without the file's name."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return otherwise
    last = re.sub(r"^(\[[^\]]*\] )+|^file:.*?: (?=[A-Z])", "", lines[-1])
    return f"{otherwise} ({printable(last[:160])})" if last != "Conversion failed!" else otherwise
