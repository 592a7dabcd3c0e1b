"""What a network is recognised by: two numbers for each filter, which rounding hardly moves.

A digest tells copies apart that compute the same: in half precision, or with kernels rounded to 256 levels.
Here a filter is known by its bias, and by the sum of its kernel's weights with signs drawn at random. The
sums of two kernels differ like the kernels themselves: for n filters of relative distance e, the root mean
square of the differences is e of that of the sums, give or take a part in sqrt(2n).

bfloat16 moves kernels by 0.2% of their norm, 8 bits for each layer by 14% at most; another network by 140%.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

Fingerprint = Mapping[str, Mapping[str, list[float]]]
"""By layer, of ``kernel`` and ``bias``: the largest absolute value, then all in levels of 1/127 of it."""

_LEVELS = 127
_FAR = 0.25
"""Relative distance of kernels from which on they are others."""
_LOUD = 0.05
"""Relative change in their scale from which on they are others: rounding has none."""
_MOVED = 1.5
"""Levels by which biases may be off: half of one in the fingerprint, and as much in a copy of 8 bits."""


def of(params: Mapping[str, Mapping[str, ArrayLike]]) -> dict[str, dict[str, list[float]]]:
    """Return the fingerprint of parameters as in `vgg`, to be stored."""
    return {
        name: {part: _rounded(values) for part, values in _values(layer).items()}
        for name, layer in params.items()
    }


def matches(fingerprint: Fingerprint, params: Mapping[str, Mapping[str, ArrayLike]]) -> bool:
    """Tell whether parameters are those of a fingerprint, or nearly so."""
    return fingerprint.keys() == params.keys() and all(
        _near(fingerprint[name], _values(layer)) for name, layer in params.items()
    )


def _near(stored: Mapping[str, list[float]], found: Mapping[str, NDArray[np.float64]]) -> bool:
    if any(len(stored[part]) != 1 + values.size for part, values in found.items()):
        return False
    step = {part: stored[part][0] / _LEVELS for part in found}
    known = {part: step[part] * np.asarray(stored[part][1:]) for part in found}
    off = {part: found[part] - known[part] for part in found}
    power = np.square(known["kernel"]).sum()
    return bool(
        np.abs(off["bias"]).max() <= _MOVED * step["bias"]
        and np.square(off["kernel"]).sum() <= _FAR**2 * power
        and abs((off["kernel"] * known["kernel"]).sum()) <= _LOUD * power
    )


def _values(layer: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    kernel = np.asarray(layer["kernel"])
    kernel = kernel.reshape(-1, kernel.shape[-1])
    # Of NumPy's generators only the bits stay the same from version to version.
    bits = np.random.PCG64(0).random_raw(len(kernel)) & np.uint64(1)
    signs = 2 * bits.astype(kernel.dtype) - 1
    sums = np.asarray(signs @ kernel, np.float64)
    return {"kernel": sums, "bias": np.asarray(layer["bias"], np.float64)}


def _rounded(values: NDArray[np.float64]) -> list[float]:
    largest = float(f"{np.abs(values).max():.6g}")
    levels = np.rint(values * (_LEVELS / largest)) if largest else np.zeros_like(values)
    return [largest, *(int(level) for level in levels)]
