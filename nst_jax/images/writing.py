"""Arrays to image files."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import tifffile
from numpy.typing import ArrayLike
from PIL import Image

from nst_jax.errors import ImageError, did_you_mean
from nst_jax.files import replacing
from nst_jax.images import png
from nst_jax.images.levels import Levels, Whole, levels_of
from nst_jax.images.pictures import one_line

LARGE = 100_000_000
"""Above so many pixels PNG and TIFF are written part by part; TIFF has tiles and offsets of 64 bits then."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""File endings that `write` knows."""

_DEEP_SUFFIXES = (".png", ".tif", ".tiff")
_JPEG = (".jpg", ".jpeg")
_LONGEST = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}
"""Pixels of the longer side, where a format or its library bounds them."""

_TILE = 512
_WAITING = 2**22
"""Bytes of tiles that wait to be packed, on several threads."""


def check_suffix(path: str | Path, *, bits: int = 8) -> str:
    """Return the lower-case suffix of ``path``, if a picture with ``bits`` per channel can be written there.

    Raises:
        ImageError: the suffix is unknown, or its format has no room for ``bits``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        given = f"'{suffix}' is not an image format" if suffix else "the name has no ending"
        hint = did_you_mean(suffix, SUFFIXES)
        raise ImageError(f"{path}: {given} that can be written{hint}; allowed: {', '.join(SUFFIXES)}")
    if bits not in (8, 16):
        raise ImageError(f"{path}: {bits} bits per channel; allowed: 8, 16")
    if bits == 16 and suffix not in _DEEP_SUFFIXES:
        raise ImageError(f"{path}: {suffix} holds 8 bits per channel; for 16 use {', '.join(_DEEP_SUFFIXES)}")
    return suffix


def check_sides(path: str | Path, size: tuple[int, int]) -> None:
    """Refuse a size, (height, width), that the format of ``path`` cannot hold: better before the work.

    Raises:
        ImageError: it cannot; the message names the formats that can.
    """
    suffix, longest, (height, width) = check_suffix(path), max(size), size
    if longest > _LONGEST.get(suffix, longest):
        others = ", ".join(each for each in SUFFIXES if longest <= _LONGEST.get(each, longest))
        raise ImageError(
            f"{path}: {suffix} holds at most {_LONGEST[suffix]} pixels a side, and the picture has "
            f"{width} x {height}; use {others}"
        )


def write(
    path: str | Path,
    rgb: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    bits: int = 8,
    quality: int = 95,
    text: Mapping[str, str] | None = None,
) -> None:
    """Write a picture in the format that the suffix of ``path`` names, whole or not at all.

    Besides the picture there is in memory what its encoder needs: its levels, in whole numbers, or of what is
    written part by part some megabytes.

    Args:
        path: the file; an old one is replaced.
        rgb: (height, width, 3) in [0, 1]; clipped, then rounded, halves up.
        alpha: (height, width) in [0, 1], stored beside the colours; JPEG, which cannot, gets white behind.
        bits: per channel, 8 or 16; 16 in PNG and TIFF only.
        quality: 1 to 100, of JPEG and WebP.
        text: texts by keyword, stored in PNG and left out of other formats.

    Raises:
        ImageError: the picture cannot be stored in that format.
        OutputError: the file cannot be written.
    """
    levels = _checked(path, rgb, alpha, bits, quality)
    with replacing(Path(path)) as file:
        _save(file, levels, quality, text or {})


def encode(
    path: str | Path,
    rgb: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    bits: int = 8,
    quality: int = 95,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes that `write` would write to ``path``, a name of which only the suffix counts.

    Raises:
        ImageError: the picture cannot be stored in that format.
    """
    buffer = io.BytesIO()
    _save(buffer, _checked(path, rgb, alpha, bits, quality), quality, text or {})
    return buffer.getvalue()


def _checked(path: str | Path, rgb: ArrayLike, alpha: ArrayLike | None, bits: int, quality: int) -> Levels:
    suffix = check_suffix(path, bits=bits)
    if not 1 <= quality <= 100:
        raise ImageError(f"{path}: quality {quality}; allowed: 1 to 100")
    levels = levels_of(path, rgb, alpha, bits=bits, on_white=suffix in _JPEG)
    check_sides(path, levels.shape[:2])
    return levels


def _save(file: IO[bytes], levels: Levels, quality: int, text: Mapping[str, str]) -> None:
    suffix = Path(levels.path).suffix.lower()
    is_large = levels.shape[0] * levels.shape[1] > LARGE
    try:
        if suffix == ".png" and (is_large or levels.bits == 16):
            png.stream(file, levels, text)
        elif suffix == ".png":
            _image(levels).save(file, "PNG", pnginfo=png.info(text))
        elif suffix in (".tif", ".tiff"):
            _save_tiff(file, levels, is_large)
        else:
            file.write(_lossy(levels, suffix, quality))
    except ImageError:
        raise
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:  # the file's trouble, not the encoder's
            raise
        raise ImageError(f"{levels.path}: cannot be encoded: {one_line(error)}") from None


def _image(levels: Levels) -> Image.Image:
    height, width, channels = levels.shape
    image, top = Image.new("RGBA" if channels == 4 else "RGB", (width, height)), 0
    for band in levels.bands():
        image.paste(Image.fromarray(band), (0, top))
        top += len(band)
    return image


def _lossy(levels: Levels, suffix: str, quality: int) -> memoryview:
    """Encode JPEG or WebP, in memory: of a file with a number Pillow does not notice that a disk is full."""
    buffer = io.BytesIO()
    if suffix == ".webp":
        _image(levels).save(buffer, "WEBP", quality=quality)
    else:
        _image(levels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getbuffer()


def _save_tiff(file: IO[bytes], levels: Levels, is_large: bool) -> None:
    tifffile.imwrite(
        file,
        _tiles(levels) if is_large else levels.whole(),
        bigtiff=is_large,
        shape=levels.shape,
        dtype=levels.dtype,
        tile=(_TILE, _TILE) if is_large else None,
        photometric="rgb",
        extrasamples=["unassalpha"] if levels.shape[2] == 4 else None,
        compression="zlib",
        metadata=None,
        software=False,
        buffersize=_WAITING,
    )


def _tiles(levels: Levels) -> Iterator[Whole]:
    """Give squares row by row; the last of each row and column are cut off."""
    height, width, _ = levels.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            yield levels.part(slice(top, top + _TILE), slice(left, left + _TILE))
