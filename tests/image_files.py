"""Small pictures, and files of them made by Pillow or by hand."""

import struct
import zlib

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(7)
RGB8 = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA8 = RANDOM.integers(0, 256, (5, 7, 4), dtype=np.uint8)
RGBA16 = RANDOM.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
SMOOTH = (np.indices((40, 60)).sum(0) * 2.5).astype(np.uint8)


def unit(array):
    return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)


def grey_as_rgb(array):
    return np.repeat(unit(array)[..., None], 3, axis=2)


def save(path, array_or_image, **options):
    image = Image.fromarray(array_or_image) if isinstance(array_or_image, np.ndarray) else array_or_image
    image.save(path, **options)
    return path


def png_chunk(name, body=b""):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_png_chunk(data, name, body):
    """Insert a chunk after the header, which ends at byte 33."""
    return data[:33] + png_chunk(name, body) + data[33:]
