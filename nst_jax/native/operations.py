"""Winograd's convolutions and Gram matrices as operations of our own for CPUs, in C++.

Where they cannot be compiled, see `library`, XLA computes the same by its own operations: results agree to
1e-4, but take more time and memory. No operation here has a derivative: who calls them has rules for that.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nst_jax.errors import ConfigError
from nst_jax.native import library

CHANNELS, COLOURS = 16, 3
"""They take multiples of so many channels, and of a picture's to begin with."""

_PADDINGS = {"zero": 0, "replicate": 1, "wrap": 2}


def check() -> None:
    """Raise ConfigError if they are not there."""
    if not library.is_there():
        what = "is for CPUs, and for where a C++ compiler (c++, or $CXX) can compile it; use auto"
        raise ConfigError(f"network.engine: native {what}")


def takes(x: Array) -> bool:
    """Tell whether kernels, features or Gram matrices are of a type and of channels that these compute."""
    channels = x.shape[3:] if is_of_colours(x) else x.shape[2:]
    return x.dtype == np.float32 and not any(n % CHANNELS for n in channels)


def is_of_colours(kernel: Array) -> bool:
    """Tell whether a kernel is that of a picture's convolution."""
    return kernel.ndim == 4 and kernel.shape[2] == COLOURS


def grouped(kernel: Array) -> Array:
    """Return a kernel as what is not turned wants it: ``(out // n, 3, 3, in, n)``, n = `CHANNELS`.

    What is read together lies together then. A picture's is small, and stays as it is.
    """
    if is_of_colours(kernel):
        return kernel
    *taps, out = kernel.shape
    return kernel.reshape(*taps, out // CHANNELS, CHANNELS).transpose(3, 0, 1, 2, 4)


def rectified(
    x: Array, kernel: Array, bias: Array, *, padding: str = "zero", is_pooled: bool = False
) -> tuple[Array, Array]:
    """Return max(0, convolution + bias), and a mask of where it is positive; see `networks.winograd`.

    The kernel is `grouped`. If it is pooled, the former are means over windows of 2 x 2, see
    `networks.pooling`.
    """
    return _call(x, kernel, bias=bias, padding=padding, is_pooled=is_pooled)


def convolve(
    x: Array,
    kernel: Array,
    *,
    gate: Array | None = None,
    turned: bool = False,
    padding: str = "zero",
    is_pooled: bool = False,
) -> Array:
    """Return the convolution, likewise.

    Turned, what carries gradients back, by the kernel as it is; and pooled, those of the means.
    """
    return _call(x, kernel, gate=gate, turned=turned, padding=padding, is_pooled=is_pooled)[0]


def _call(
    x: Array,
    kernel: Array,
    *,
    bias: Array | None = None,
    gate: Array | None = None,
    turned: bool = False,
    padding: str,
    is_pooled: bool,
) -> tuple[Array, Array]:
    height, width = (gate if is_pooled and gate is not None else x).shape[:2]
    is_halved, channels = is_pooled and not turned, kernel.shape[2]
    if not turned:
        channels = kernel.shape[3] if is_of_colours(kernel) else CHANNELS * kernel.shape[0]
    shape = (height // 2, width // 2, channels) if is_halved else (height, width, channels)
    mask = (0,) if bias is None else (height, width, channels)
    kinds = jax.ShapeDtypeStruct(shape, np.float32), jax.ShapeDtypeStruct(mask, bool)  # type: ignore[no-untyped-call]
    call = jax.ffi.ffi_call("nst_jax_convolve", kinds, vmap_method="sequential")
    gates = jnp.zeros(0, bool) if gate is None else gate
    biases = jnp.zeros(0, np.float32) if bias is None else bias
    how = {"turned": turned, "pooled": is_pooled, "padding": np.int64(_PADDINGS[padding])}
    y, positive = call(x, gates, kernel, biases, **how)
    return y, positive


def gram(F: Array) -> Array:
    """Return F^T F of ``(positions, channels)``."""
    kind = jax.ShapeDtypeStruct((F.shape[1], F.shape[1]), np.float32)  # type: ignore[no-untyped-call]
    found: Array = jax.ffi.ffi_call("nst_jax_gram", kind, vmap_method="sequential")(F)
    return found
