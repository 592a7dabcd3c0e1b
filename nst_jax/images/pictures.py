"""What a picture is, as the other files of this room need it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Samples = NDArray[np.uint8 | np.uint16 | np.float32 | np.float64]
"""Values as a file stores them: whole numbers up to their largest, or floating point in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file.

    Attributes:
        rgb: (height, width, 3) float32 in [0, 1].
        alpha: (height, width) float32 in [0, 1], 1 where opaque; None if the file has no transparency.
    """

    rgb: FloatArray
    alpha: FloatArray | None = None


def to_unit(array: Samples) -> FloatArray:
    """Scale whole numbers to float32 in [0, 1]; clip floating-point values to it.

    Raises:
        ValueError: values that are not finite.
    """
    if array.dtype.kind == "u":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype.name).max)
    if not np.isfinite(array).all():
        raise ValueError("it holds values that are not numbers")
    return np.asarray(np.clip(array, 0, 1), np.float32)


def as_rgb(array: Samples) -> FloatArray:
    """Scale (height, width) grey or (height, width, 3) colours to float32 RGB."""
    unit = to_unit(array)
    return np.stack([unit] * 3, axis=-1) if unit.ndim == 2 else unit


def one_line(error: Exception) -> str:
    """Return an error's message on one line, or its kind if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
