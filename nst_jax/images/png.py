"""PNG files written row by row, of 8 or 16 bits: Pillow needs the whole picture, and has no deep colour."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

from nst_jax.images.levels import Levels, Whole

_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_CHUNK = 2**20
"""Bytes of a piece of the packed rows, or a few more."""


def stream(file: IO[bytes], levels: Levels, text: Mapping[str, str]) -> None:
    """Write a picture with its texts, some rows at a time.

    Raises:
        ValueError: a text that PNG cannot hold.
    """
    height, width, channels = levels.shape
    chunks = info(text).chunks
    header = struct.pack(">IIBBBBB", width, height, levels.bits, 6 if channels == 4 else 2, 0, 0, 0)
    file.write(_SIGNATURE)
    PngImagePlugin.putchunk(file, b"IHDR", header)
    for name, body, _ in chunks:
        PngImagePlugin.putchunk(file, name, body)
    for piece in _packed(levels):
        PngImagePlugin.putchunk(file, b"IDAT", piece)
    PngImagePlugin.putchunk(file, b"IEND")


def info(text: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """Return what stands before the pixels: that they are sRGB, and texts by keyword.

    Raises:
        ValueError: a text that PNG cannot hold.
    """
    found = PngImagePlugin.PngInfo()
    found.add(b"sRGB", b"\0")
    for keyword, value in text.items():
        if not 1 <= len(keyword) <= 79 or not keyword.isprintable():
            raise ValueError(f"text keyword {keyword!r} must have 1 to 79 printable characters")
        if "\0" in value:
            raise ValueError(f"text '{keyword}' holds a null character")
        found.add_text(keyword, value)  # as tEXt, which every reader knows, if it is Latin; else as iTXt
    return found


def _packed(levels: Levels) -> Iterator[bytes]:
    compressor, packed = zlib.compressobj(), bytearray()
    for band in levels.bands():
        packed += compressor.compress(_filtered(band).tobytes())
        if len(packed) >= _CHUNK:
            yield bytes(packed)
            packed.clear()
    yield bytes(packed + compressor.flush())


def _filtered(band: Whole) -> NDArray[np.uint8]:
    """Return rows as PNG has them, each through the filter 'Sub', which has number 1 and no memory."""
    rows = band.astype(band.dtype.newbyteorder(">")).reshape(len(band), -1).view(np.uint8)
    pixel = band.shape[2] * band.dtype.itemsize
    lines = np.insert(rows, 0, 1, axis=1)
    lines[:, 1 + pixel :] -= rows[:, :-pixel]
    return lines
