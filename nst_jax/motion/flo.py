"""Optical flow in files: Middlebury's ``.flo``, and how a folder of them is named.

A file has the float 202021.25, width and height as 32-bit integers, then u and v, to the right and down, of
each pixel, row by row, as 32-bit floats, all little-endian (Baker et al., "A database and evaluation
methodology for optical flow", 2011). Larger numbers than 1e9 stand for flow that is not known.

In a folder, ``backward_I_J.flo`` is the flow of frame I to the earlier frame J, which pictures are warped by,
and ``forward_J_I.flo`` that of J to I, as artistic-videos of Ruder et al. names them. Frames count from 1, as
ffmpeg's ``%04d`` does; numbers may have leading zeros. Only backward flow is needed: without the other, masks
know boundaries and the border but no disocclusion.
"""

import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from nst_jax import files
from nst_jax.errors import FlowError
from nst_jax.images import FloatArray

MAGIC = struct.pack("<f", 202021.25)
HEADER = struct.Struct("<4sii")

LARGEST = 99_999
"""Pixels of a side, as in Middlebury's own code."""

UNKNOWN = 1e9
"""What flow that is not known is read as: far beyond every frame, so that no mask has it."""

Steps = tuple[int, int]
"""The frame whose pixels a flow is of, and the one that it leads to."""

_NAME = re.compile(r"(backward|forward)_0*(\d+)_0*(\d+)\.flo")


def read(path: str | Path) -> FloatArray:
    """Read a ``.flo`` file as (height, width, 2): down, then to the right.

    What is not known or no number is `UNKNOWN` in both.

    Raises:
        FlowError: there is no such file, or it is damaged.
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            height, width = _shape(file.read(HEADER.size), size, path)
            values = np.frombuffer(file.read(8 * height * width), "<f4")
    except OSError as error:
        raise FlowError(f"{path}: cannot be read: {error.strerror or error}") from None
    found = values.reshape(height, width, 2)[:, :, ::-1].astype(np.float32)
    found[~(np.abs(found) < UNKNOWN).all(-1)] = UNKNOWN
    return found


def write(path: str | Path, flow: ArrayLike) -> None:
    """Write a flow, (height, width, 2), down, then to the right; the file appears whole or not at all.

    Raises:
        FlowError: an array that is no flow, or has values that are not numbers.
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    array = np.asarray(flow, np.float32)
    if array.ndim != 3 or array.shape[2] != 2 or not 1 <= min(array.shape) <= max(array.shape) <= LARGEST:
        raise FlowError(f"{path}: a flow has shape (height, width, 2); this one has {array.shape}")
    if not np.isfinite(array).all():
        raise FlowError(f"{path}: the flow holds values that are not numbers")
    height, width = array.shape[:2]
    data = HEADER.pack(MAGIC, width, height) + array[:, :, ::-1].astype("<f4").tobytes()
    files.write_atomically(Path(path), data)


def listed(folder: str | Path) -> dict[Steps, Path]:
    """Return the files of a folder by frames: those of (I, J), with I later than J, are backward.

    Other names are passed over.

    Raises:
        FlowError: the folder cannot be read or has no backward flow, one file's name leads the wrong way, or
            two files are of the same frames.
    """
    found: dict[Steps, Path] = {}
    try:
        paths = sorted(Path(folder).iterdir())
    except OSError as error:
        raise FlowError(f"{folder}: cannot be read: {error.strerror or error}") from None
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        steps = int(match[2]), int(match[3])
        if (steps[0] > steps[1]) != (match[1] == "backward") or steps[0] == steps[1]:
            raise FlowError(
                f"{path}: {match[1]} flow leads to {'an earlier' if match[1] == 'backward' else 'a later'}"
                f" frame, but this name leads from {steps[0]} to {steps[1]}"
            )
        if steps in found:
            raise FlowError(f"{path}: is of the same frames as {found[steps].name}; keep one of them")
        found[steps] = path
    if not any(source > target for source, target in found):
        raise FlowError(f"{folder}: has no backward flow; files are named like {name(2, 1)}")
    return found


def name(source: int, target: int) -> str:
    """Return the name of the file of the flow of one frame to another: ``backward_2_1.flo``."""
    return f"{'backward' if source > target else 'forward'}_{source}_{target}.flo"


def between(
    found: Mapping[Steps, Path], number: int, earlier: int | None = None
) -> tuple[FloatArray, FloatArray | None]:
    """Read the backward flow of a frame, and the forward flow to it, or None where there is no such file.

    Args:
        found: of `listed`.
        number: of the frame, from 2 on.
        earlier: the frame that it is warped from; None: the one before.

    Raises:
        FlowError: there is no backward flow of these frames, a file is damaged, or the two differ in size.
    """
    before = number - 1 if earlier is None else earlier
    if (number, before) not in found:
        folder = next(iter(found.values())).parent if found else Path()
        raise FlowError(
            f"{folder / name(number, before)}: is missing: the flow of frame {number} to {before}"
        )
    backward = read(found[number, before])
    if (before, number) not in found:
        return backward, None
    forward = read(found[before, number])
    if forward.shape != backward.shape:
        sizes = " and ".join(f"{each.shape[0]} x {each.shape[1]}" for each in (backward, forward))
        raise FlowError(
            f"{found[before, number]}: backward and forward flow must be of one size; these are {sizes}"
        )
    return backward, forward


def _shape(header: bytes, size: int, path: str | Path) -> tuple[int, int]:
    """Return the height and width that a header claims, if a file of this size can have them."""
    if len(header) < HEADER.size:
        raise FlowError(f"{path}: is no .flo file: it has {size} bytes, less than a header")
    magic, width, height = HEADER.unpack(header)
    if magic != MAGIC:
        raise FlowError(f"{path}: is no .flo file: it begins with {magic!r}, not with {MAGIC!r}")
    if not (1 <= width <= LARGEST and 1 <= height <= LARGEST):
        raise FlowError(f"{path}: is damaged: it claims {height} x {width} pixels")
    expected = HEADER.size + 8 * height * width
    if size != expected:
        raise FlowError(
            f"{path}: is damaged: {height} x {width} pixels take {expected} bytes, and it has {size}"
        )
    return height, width
