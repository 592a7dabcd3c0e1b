"""Moving pictures in one file: GIF, animated WebP and APNG, read and written picture by picture.

Pillow reads one picture at a time, but writes none before it has all of them. So it encodes each alone here,
and what goes around them, which is little, is written by this file: one picture is in memory at a time.
"""

import contextlib
import io
import itertools
import struct
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nst_jax.errors import ImageError
from nst_jax.images.decoding import MAX_PIXELS, check_size, decoding
from nst_jax.images.profiles import is_srgb, to_srgb

Format = Literal["gif", "webp", "png"]
Levels = NDArray[np.uint8]

SUFFIXES: dict[str, Format] = {".gif": "gif", ".webp": "webp", ".png": "png", ".apng": "png"}
"""File endings that are written."""

TICKS = {"gif": Fraction(1, 100), "webp": Fraction(1, 1000), "png": Fraction(1, 1000)}
"""Seconds: how finely time is told; APNG has fractions, which are often milliseconds."""

_LONGEST = {"gif": 65535, "webp": 16383, "png": 2**31 - 1}
_UNTOLD = Fraction(1, 10)
"""Seconds that browsers show a picture for which no time is told, or in a GIF 10 ms."""

_GIF_LEAST = Fraction(2, 100)
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Timeline:
    """What is in an animation: its size, and the seconds that each picture is shown for.

    ``loops`` is how often all are shown; 0: without end.
    """

    width: int
    height: int
    durations: tuple[Fraction, ...]
    loops: int
    format: Format


def format_of(path: Path) -> Format | None:
    """Return what kind of animation a file is, by what is in it; None if it is none, or cannot be read.

    A GIF is one if it has a single picture, too.
    """
    try:
        with path.open("rb") as file:
            head = file.read(21)
            if head[:6] in (b"GIF87a", b"GIF89a"):
                return "gif"
            if head[:4] + head[8:16] == b"RIFFWEBPVP8X" and head[20] & 2:
                return "webp"
            return "png" if head[:8] == _PNG and _is_apng(file) else None
    except (OSError, IndexError):
        return None


def _is_apng(file: IO[bytes]) -> bool:
    """Tell whether the chunk of animations comes before the pixels."""
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
        if head[4:] == b"acTL":
            return True
        file.seek(int.from_bytes(head[:4]) + 4, io.SEEK_CUR)
    return False


def timeline(path: Path, *, max_pixels: int = MAX_PIXELS) -> Timeline:
    """Return what is in an animation, up to where it is damaged.

    Raises:
        ImageError: not even its first picture can be read.
    """
    found, loops, size = list[Fraction](), 0, (0, 0)
    format_ = format_of(path)
    if format_ is None:
        raise ImageError(f"{path}: is no animation")
    try:
        for image in _opened(path, max_pixels):
            told = Fraction(float(image.info.get("duration", 0)) / 1000).limit_denominator(65535)
            is_untold = not told or (format_ == "gif" and told < _GIF_LEAST)
            found.append(_UNTOLD if is_untold else told)
            loops, size = _loops(image, format_), image.size
    except ImageError:
        if not found:
            raise
    return Timeline(*size, tuple(found), loops, format_)


def _loops(image: Image.Image, format_: Format) -> int:
    """Return how often all is shown: a GIF tells how often it is repeated after that, or nothing: once."""
    told = image.info.get("loop")
    if format_ == "gif":
        return 1 if told is None else int(told) and int(told) + 1
    return int(told or 0)


def pictures(path: Path, *, max_pixels: int = MAX_PIXELS) -> Generator[tuple[Levels, bool], None, None]:
    """Give the pictures of an animation, and of each whether it is transparent in parts: white is behind.

    Raises:
        ImageError: where it is damaged.
    """
    plain: dict[bytes | None, bool] = {}
    for image in _opened(path, max_pixels):
        icc = image.info.get("icc_profile")
        if icc not in plain:
            plain[icc] = is_srgb(icc)
        if image.mode.startswith("I"):
            deep = np.clip(np.asarray(image), 0, 65535) // 257
            image = Image.fromarray(deep.astype(np.uint8))
        shown = image.convert("RGBA")
        opaque = shown.convert("RGB") if plain[icc] else to_srgb(shown.convert("RGB"), icc)
        alpha = shown.getchannel("A")
        is_transparent = alpha.getextrema() != (255, 255)
        if is_transparent:
            opaque = Image.composite(opaque, Image.new("RGB", image.size, "white"), alpha)
        yield np.asarray(opaque), is_transparent


def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Give an image at each of its pictures in turn; of those that a PNG has, not the one that is no part."""
    with decoding(path, max_pixels):
        image = Image.open(path)
    with image:
        check_size(path, *image.size, max_pixels)
        for number in itertools.count(int(bool(image.info.get("default_image")))):
            with decoding(path, max_pixels):
                try:
                    image.seek(number)
                except EOFError:
                    return
                image.load()
            yield image


def delay(format_: Format, rate: Fraction) -> Fraction:
    """Return the seconds that a picture is shown for, as near to a rate as a format can tell them."""
    if format_ == "png":
        return (1 / rate).limit_denominator(65535)
    tick = TICKS[format_]
    least = 2 if format_ == "gif" else 1
    return max(least, min(round(1 / rate / tick), 65535)) * tick


@contextlib.contextmanager
def writing(
    file: IO[bytes],
    path: Path,
    size: tuple[int, int],
    seconds: Fraction,
    *,
    loops: int = 0,
    quality: int | None = None,
) -> Iterator[Callable[[Levels], None]]:
    """Give a function that adds a picture to an animation, which is whole afterwards.

    GIF has up to 256 colours for each picture, chosen for it and dithered. APNG loses nothing.

    Args:
        file: to write to; it can seek.
        path: its name, of which the suffix counts.
        size: height and width in pixels.
        seconds: from `delay`.
        loops: how often all is shown; 0: without end.
        quality: of WebP, from 1 to 100, at which it loses nothing; None: 90.

    Raises:
        ImageError: the size is more than the format holds, or no picture was added.
    """
    format_ = SUFFIXES[path.suffix.lower()]
    height, width = size
    if max(size) > _LONGEST[format_]:
        raise ImageError(
            f"{path}: holds at most {_LONGEST[format_]} pixels a side, and the frames have {width} x {height}"
        )
    begin, add, end = _WRITERS[format_]
    begin(file, (width, height), loops)
    count = 0

    def write(frame: Levels) -> None:
        nonlocal count
        add(file, Image.fromarray(np.ascontiguousarray(frame, np.uint8)), count, seconds, quality)
        count += 1

    yield write
    if not count:
        raise ImageError(f"{path}: has no frames")
    end(file, count, (width, height), loops)


def _begin_gif(file: IO[bytes], size: tuple[int, int], loops: int) -> None:
    file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0x70, 0, 0))
    if loops != 1:
        again = max(0, min(loops - 1, 65535))
        file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", again, 0))


def _add_gif(
    file: IO[bytes], image: Image.Image, number: int, seconds: Fraction, quality: int | None
) -> None:
    buffer = io.BytesIO()
    _with_palette(image).save(buffer, "GIF", optimize=False)
    data = buffer.getbuffer()
    bits = data[10] & 7  # of the palette, which is the whole file's there, and this picture's here
    palette = data[13 : 13 + 3 * 2 ** (bits + 1)]
    rest = data[13 + len(palette) : -1]
    file.write(b"!\xf9\x04" + struct.pack("<BHBB", 0x04, int(seconds * 100), 0, 0))
    file.write(rest[:9])
    file.write(bytes([rest[9] & 0x40 | 0x80 | bits]))
    file.write(palette)
    file.write(rest[10:])


def _with_palette(image: Image.Image) -> Image.Image:
    """Return an image with a palette of its own: exact if it has few colours, otherwise dithered."""
    if image.getcolors(256) is None:
        chosen = image.quantize(256, method=Image.Quantize.MEDIANCUT)
        return image.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG)
    pixels = np.asarray(image)
    colours, index = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    found = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8))
    found.putpalette(colours.astype(np.uint8).tobytes())
    return found


def _end_gif(file: IO[bytes], count: int, size: tuple[int, int], loops: int) -> None:
    file.write(b";")


def _begin_webp(file: IO[bytes], size: tuple[int, int], loops: int) -> None:
    file.seek(0)
    width, height = (struct.pack("<I", side - 1)[:3] for side in size)
    file.write(b"RIFF" + struct.pack("<I", 0) + b"WEBPVP8X" + struct.pack("<IB3x", 10, 2) + width + height)
    file.write(b"ANIM" + struct.pack("<IIH", 6, 0xFFFFFFFF, min(loops, 65535)))


def _add_webp(
    file: IO[bytes], image: Image.Image, number: int, seconds: Fraction, quality: int | None
) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=90 if quality is None else quality, lossless=quality == 100)
    pixels = buffer.getbuffer()[12:]
    around = [0, 0, image.width - 1, image.height - 1, int(seconds * 1000)]
    file.write(b"ANMF" + struct.pack("<I", 16 + len(pixels)))
    file.write(b"".join(struct.pack("<I", each)[:3] for each in around) + b"\2")
    file.write(pixels)


def _end_webp(file: IO[bytes], count: int, size: tuple[int, int], loops: int) -> None:
    nbytes = file.tell() - 8
    if nbytes >= 2**32:
        raise ImageError("WebP holds at most 4 GiB; use .png, or a film")
    file.seek(4)
    file.write(struct.pack("<I", nbytes))


def _begin_png(file: IO[bytes], size: tuple[int, int], loops: int, count: int = 0) -> None:
    file.seek(0)
    file.write(_PNG)
    PngImagePlugin.putchunk(file, b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    PngImagePlugin.putchunk(file, b"sRGB", b"\0")
    PngImagePlugin.putchunk(file, b"acTL", struct.pack(">II", count, loops))


def _add_png(
    file: IO[bytes], image: Image.Image, number: int, seconds: Fraction, quality: int | None
) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data, at, pixels = buffer.getvalue(), len(_PNG), list[bytes]()
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            pixels.append(data[at + 8 : at + 8 + length])
        at += 12 + length
    times = seconds.numerator, seconds.denominator
    control = struct.pack(">IIIIIHHBB", max(0, 2 * number - 1), image.width, image.height, 0, 0, *times, 0, 0)
    PngImagePlugin.putchunk(file, b"fcTL", control)
    if number:
        PngImagePlugin.putchunk(file, b"fdAT", struct.pack(">I", 2 * number), *pixels)
    else:
        PngImagePlugin.putchunk(file, b"IDAT", *pixels)


def _end_png(file: IO[bytes], count: int, size: tuple[int, int], loops: int) -> None:
    PngImagePlugin.putchunk(file, b"IEND")
    _begin_png(file, size, loops, count)  # now that it is known


_WRITERS = {
    "gif": (_begin_gif, _add_gif, _end_gif),
    "webp": (_begin_webp, _add_webp, _end_webp),
    "png": (_begin_png, _add_png, _end_png),
}
