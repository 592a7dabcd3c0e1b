"""Arrays to image files."""

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray
from PIL import Image, PngImagePlugin

from nst_jax.errors import ImageError, did_you_mean
from nst_jax.files import write_atomically
from nst_jax.images.pictures import one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""File endings that `write` knows."""

_DEEP_SUFFIXES = (".png", ".tif", ".tiff")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_Levels = NDArray[np.uint8 | np.uint16]


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
    data = encode(path, rgb, alpha=alpha, bits=bits, quality=quality, text=text)
    write_atomically(Path(path), data)


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
    suffix = check_suffix(path, bits=bits)
    if not 1 <= quality <= 100:
        raise ImageError(f"{path}: quality {quality}; allowed: 1 to 100")
    colours, opacity = _checked(path, rgb, alpha)
    if opacity is not None and suffix in (".jpg", ".jpeg"):
        colours, opacity = colours * opacity + (1 - opacity), None
    unit = colours if opacity is None else np.concatenate([colours, opacity], axis=-1)
    samples = _rounded(unit, bits)
    try:
        if suffix == ".png":
            return _png_bytes(samples, text or {})
        if suffix in (".tif", ".tiff"):
            return _tiff_bytes(samples)
        return _lossy_bytes(samples, suffix, quality)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be encoded: {one_line(error)}") from None


def _checked(
    path: str | Path, rgb: ArrayLike, alpha: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return colours (height, width, 3) and alpha (height, width, 1), or say what is wrong with them."""
    colours = np.asarray(rgb, np.float64)
    if colours.ndim != 3 or colours.shape[2] != 3 or colours.size == 0:
        raise ImageError(f"{path}: a picture has shape (height, width, 3); this one has {colours.shape}")
    opacity = None if alpha is None else np.asarray(alpha, np.float64)
    if opacity is not None and opacity.shape != colours.shape[:2]:
        raise ImageError(f"{path}: alpha of shape {opacity.shape} does not fit a picture of {colours.shape}")
    for array in (colours, opacity):
        if array is not None and not np.isfinite(array).all():
            raise ImageError(f"{path}: the picture holds values that are not numbers")
    return colours, None if opacity is None else opacity[:, :, None]


def _rounded(unit: NDArray[np.float64], bits: int) -> _Levels:
    """Quantise [0, 1] to whole numbers, halves up."""
    levels = np.floor(np.clip(unit, 0, 1) * (2**bits - 1) + 0.5)
    return np.asarray(levels, np.uint8) if bits == 8 else np.asarray(levels, np.uint16)


def _png_bytes(samples: _Levels, text: Mapping[str, str]) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add(b"sRGB", b"\0")
    for keyword, value in text.items():
        if not 1 <= len(keyword) <= 79 or not keyword.isprintable():
            raise ValueError(f"text keyword {keyword!r} must have 1 to 79 printable characters")
        if "\0" in value:
            raise ValueError(f"text '{keyword}' holds a null character")
        info.add_text(keyword, value)  # as tEXt, which every reader knows, if it is Latin; else as iTXt
    if samples.dtype == np.uint16:
        return _deep_png_bytes(samples, info)
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _deep_png_bytes(samples: _Levels, info: PngImagePlugin.PngInfo) -> bytes:
    """Encode 16-bit PNG, which Pillow cannot; each row goes through the filter 'Sub', which has number 1."""
    height, width, channels = samples.shape
    rows, pixel = samples.astype(">u2").reshape(height, -1).view(np.uint8), 2 * channels
    lines = np.insert(rows, 0, 1, axis=1)
    lines[:, 1 + pixel :] -= rows[:, :-pixel]
    header = struct.pack(">IIBBBBB", width, height, 16, 6 if channels == 4 else 2, 0, 0, 0)
    buffer = io.BytesIO(_PNG_SIGNATURE)
    buffer.seek(0, io.SEEK_END)
    PngImagePlugin.putchunk(buffer, b"IHDR", header)
    for name, body, _ in info.chunks:
        PngImagePlugin.putchunk(buffer, name, body)
    PngImagePlugin.putchunk(buffer, b"IDAT", zlib.compress(lines.tobytes()))
    PngImagePlugin.putchunk(buffer, b"IEND")
    return buffer.getvalue()


def _tiff_bytes(samples: _Levels) -> bytes:
    buffer = io.BytesIO()
    extra = ["unassalpha"] if samples.shape[2] == 4 else None
    tifffile.imwrite(
        buffer,
        samples,
        photometric="rgb",
        extrasamples=extra,
        compression="zlib",
        metadata=None,
        software=False,
    )
    return buffer.getvalue()


def _lossy_bytes(samples: _Levels, suffix: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    if suffix == ".webp":
        Image.fromarray(samples).save(buffer, "WEBP", quality=quality)
    else:
        Image.fromarray(samples).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
