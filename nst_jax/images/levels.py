"""Pictures in whole numbers, as files store them, computed part by part: the whole is nowhere in float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nst_jax.errors import ImageError
from nst_jax.images.pictures import strips

Whole = NDArray[np.uint8 | np.uint16]
"""Levels from 0 to the largest, ``(height, width, 3)``, or 4 with alpha."""


@dataclass(frozen=True, eq=False)
class Levels:
    """A picture to be stored.

    Attributes:
        path: of the file, for messages.
        rgb: (height, width, 3) in [0, 1]; clipped, then rounded, halves up.
        alpha: (height, width), likewise; None: all is opaque.
        bits: per channel, 8 or 16.
        on_white: whether the picture is put on white, so that it needs no alpha.
    """

    path: str | Path
    rgb: NDArray[np.generic]
    alpha: NDArray[np.generic] | None
    bits: int
    on_white: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what is stored."""
        height, width = self.rgb.shape[:2]
        return height, width, 3 if self.alpha is None or self.on_white else 4

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """What holds a level."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    def part(self, rows: slice, columns: slice = slice(None)) -> Whole:
        """Return the levels of some rows and columns.

        Raises:
            ImageError: values there that are not numbers.
        """
        unit = self._numbers(self.rgb[rows, columns])
        if self.alpha is not None:
            opacity = self._numbers(self.alpha[rows, columns])[:, :, None]
            unit = (
                unit * opacity + (1 - opacity) if self.on_white else np.concatenate([unit, opacity], axis=-1)
            )
        np.clip(unit, 0, 1, out=unit)
        unit *= 2**self.bits - 1
        unit += 0.5
        levels: Whole = np.floor(unit, out=unit).astype(self.dtype)
        return levels

    def bands(self) -> Iterator[Whole]:
        """Give all rows, some at a time."""
        yield from map(self.part, strips(*self.shape[:2]))

    def whole(self) -> Whole:
        """Return all levels."""
        found = np.empty(self.shape, self.dtype)
        for rows in strips(*self.shape[:2]):
            found[rows] = self.part(rows)
        return found

    def _numbers(self, part: NDArray[np.generic]) -> NDArray[np.float64]:
        numbers = np.array(part, np.float64)
        if not np.isfinite(numbers).all():
            raise ImageError(f"{self.path}: the picture holds values that are not numbers")
        return numbers


def levels_of(
    path: str | Path, rgb: ArrayLike, alpha: ArrayLike | None, *, bits: int, on_white: bool
) -> Levels:
    """Return what is to be stored of a picture; see `Levels`.

    Raises:
        ImageError: arrays of another shape.
    """
    colours, opacity = np.asarray(rgb), None if alpha is None else np.asarray(alpha)
    if colours.ndim != 3 or colours.shape[2] != 3 or colours.size == 0:
        raise ImageError(f"{path}: a picture has shape (height, width, 3); this one has {colours.shape}")
    if opacity is not None and opacity.shape != colours.shape[:2]:
        raise ImageError(f"{path}: alpha of shape {opacity.shape} does not fit a picture of {colours.shape}")
    return Levels(path, colours, opacity, bits, on_white)
