"""What a picture is, as the other files of this room need it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Samples = NDArray[np.integer | np.floating]
"""Values as a file stores them: whole numbers from 0 to their largest, or floating point in [0, 1]."""

AT_ONCE = 2**18
"""Pixels that are computed at a time, where that takes more memory than what comes of them."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file.

    Attributes:
        rgb: (height, width, 3) float32 in [0, 1].
        alpha: (height, width) float32 in [0, 1], 1 where opaque; None if the file has no transparency.
        notes: what a user should know of how the file was read.
    """

    rgb: FloatArray
    alpha: FloatArray | None = None
    notes: tuple[str, ...] = ()


def strips(height: int, width: int) -> Iterator[slice]:
    """Give the rows of a picture, about `AT_ONCE` pixels at a time."""
    rows = max(1, AT_ONCE // width)
    yield from (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def in_strips(height: int, width: int, part: Callable[[slice], Picture]) -> Picture:
    """Return the picture of which a function makes some rows at a time; all have an alpha, or none."""
    rgb, alpha = np.empty((height, width, 3), np.float32), None
    for rows in strips(height, width):
        made = part(rows)
        rgb[rows] = made.rgb
        if made.alpha is not None:
            alpha = np.empty((height, width), np.float32) if alpha is None else alpha
            alpha[rows] = made.alpha
    return Picture(rgb, alpha)


def to_unit(array: Samples) -> FloatArray:
    """Scale whole numbers to float32 in [0, 1]; clip floating-point values, and negative ones, to it.

    Raises:
        ValueError: values that are not finite.
    """
    if array.dtype.kind in "ui":
        whole = np.maximum(array, 0) if array.dtype.kind == "i" else array
        return whole.astype(np.float32) / np.float32(np.iinfo(array.dtype.name).max)
    if not np.isfinite(array).all():
        raise ValueError("it holds values that are not numbers")
    return np.asarray(np.clip(array, 0, 1), np.float32)


def to_levels(unit: FloatArray) -> NDArray[np.uint8]:
    """Return values in [0, 1] as the nearest of 8 bits."""
    return np.rint(unit * 255).astype(np.uint8)


def as_rgb(array: Samples) -> FloatArray:
    """Scale (height, width) grey or (height, width, 3) colours to float32 RGB."""
    unit = to_unit(array)
    return np.stack([unit] * 3, axis=-1) if unit.ndim == 2 else unit


def notes_on(array: Samples) -> tuple[str, ...]:
    """Return what should be said of values of more than 8 bits: some are lost, or all are dark."""
    least, most = np.min(array), np.max(array)
    if array.dtype.kind == "f":
        clipped = f"has values from {least:g} to {most:g}; those outside 0 and 1 were clipped"
        return () if least >= 0 and most <= 1 else (clipped,)
    limit = np.iinfo(array.dtype.name).max
    notes = ["has values below 0, which were read as 0"] if least < 0 else []
    if most < limit / 256:
        notes.append(f"is all but black: its values reach {most} of {limit}")
    return tuple(notes)


def one_line(error: Exception) -> str:
    """Return an error's message on one line, or its kind if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
