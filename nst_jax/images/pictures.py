"""What a picture is, as the other modules of the package need it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as read from a file.

    Attributes:
        rgb: (height, width, 3) float32 in [0, 1].
        alpha: (height, width) float32 in [0, 1], 1 where opaque; None if the file has no transparency.
    """

    rgb: FloatArray
    alpha: FloatArray | None = None


def to_unit(array: NDArray[Any]) -> FloatArray:
    """Scale whole numbers to float32 in [0, 1]; clip floating-point values to it.

    Raises:
        ValueError: values that are not numbers.
    """
    if array.dtype.kind == "u":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    if not np.isfinite(array).all():
        raise ValueError("it holds values that are not numbers")
    clipped: FloatArray = np.clip(array, 0, 1).astype(np.float32)
    return clipped


def one_line(error: Exception) -> str:
    """Return an error's message on one line, or its kind if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
