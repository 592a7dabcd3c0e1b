"""Arrays in weights files, known by their headers and not read yet.

A header may claim any size. So shapes are compared with those of the network first, and only then read.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DENSE = ("classifier.", "fc", "predictions", "dense")


@dataclass(frozen=True, eq=False)
class Stored:
    """An array in a file that is open.

    Attributes:
        shape: what it will have.
        read: returns it, in single precision.
    """

    shape: tuple[int, ...]
    read: Callable[[], NDArray[np.float32]]


Layers = dict[str, dict[str, Stored]]
"""By layer and part, of which there should be a ``kernel`` ``(height, width, in, out)`` and a ``bias``."""


def stored(
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    read: Callable[[], ArrayLike],
    *,
    torch: bool = False,
) -> Stored:
    """Return an array as its header describes it; a ValueError if it is not of floating point.

    Args:
        shape: in the file.
        dtype: in the file.
        read: returns it as it is in the file.
        torch: a kernel is ``(out, in, height, width)`` there.
    """
    _check_floating(dtype)
    axes = (2, 3, 1, 0) if torch and len(shape) == 4 else tuple(range(len(shape)))
    turned = tuple(int(shape[axis]) for axis in axes)
    return Stored(turned, lambda: np.ascontiguousarray(float32(read()).transpose(axes)))


def float32(array: ArrayLike) -> NDArray[np.float32]:
    """Return a floating-point array in single precision; of any other kind a ValueError."""
    array = np.asarray(array)
    _check_floating(array.dtype)
    if array.dtype.kind == "V":  # bfloat16 is the upper half of single precision
        upper = np.array(array, order="C").view(np.uint16).astype(np.uint32)
        return (upper << np.uint32(16)).view(np.float32)
    with np.errstate(all="ignore"):  # a double out of range becomes infinite, which is refused later
        return array.astype(np.float32, copy=False)


def _check_floating(dtype: np.dtype[np.generic]) -> None:
    # NumPy has no bfloat16: HDF5 and npz hold two bytes of no type in its place, safetensors gives another's.
    bfloat16 = dtype.kind == "V" and dtype.itemsize == 2 and dtype.fields is None and dtype.subdtype is None
    if dtype.kind != "f" and not bfloat16:
        raise ValueError(f"it holds {str(dtype)[:40]} values where there should be floating-point ones")


def is_dense(layer: str) -> bool:
    """Tell whether a layer is a fully connected one, by its name: they are left out."""
    return layer.startswith(_DENSE)


def layer_name(name: str) -> str:
    """Return what a layer is called here: ``conv1_2`` for Keras' ``block1_conv2``."""
    found = re.fullmatch(r"block(\d+)_conv(\d+)", name)
    return f"conv{found[1]}_{found[2]}" if found else name
