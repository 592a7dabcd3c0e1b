"""Small pictures, and files of them made by Pillow or by hand."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RANDOM = np.random.default_rng(7)
RGB8 = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
RGBA8 = RANDOM.integers(0, 256, (5, 7, 4), dtype=np.uint8)
RGBA16 = RANDOM.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
SMOOTH = (np.indices((40, 60)).sum(0) * 2.5).astype(np.uint8)


PEAK = r"""
import re, sys
from pathlib import Path
import numpy as np
from nst_jax import images
from nst_jax.images import writing

def peak():
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])

file = Path(sys.argv[1])
"""


def peak_of(prepare, work, file):
    """Return by how many bytes Python code raises the memory of a process of its own, Pillow's included."""
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is measured as Linux tells it")
    code = f"{PEAK}\n{prepare}\nbefore = peak()\n{work}\nprint(peak() - before)"
    found = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    return int(found.stdout)


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
