"""Convolutions and Gram matrices as operations of our own for CPUs, in C++.

Where a processor has matrix units, a convolution is a sum over nine shifts by these, and else Winograd's.
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

HALVES = 32
"""And of so many to multiply halves, see `halves`."""

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


def takes_halves(kernel: Array) -> bool:
    """Tell whether this machine multiplies a kernel, one that it `takes`, as `halves`."""
    is_wide = not any(n % HALVES for n in kernel.shape[2:])
    return is_wide and not is_of_colours(kernel) and library.takes_halves()


def halves(kernel: Array, transposed: Array) -> Array:
    """Return a kernel and what carries gradients back as sums of two in bfloat16, high and low.

    ``(2, in * out / 512, 9, 2, 16, 16)``: the kernel, and then the other. In 32 bits are two inputs. A block
    is 16 pairs of inputs and 16 outputs, of high ones and of low ones; blocks are sorted by outputs, inputs
    and taps.
    """
    return jnp.stack([_halves(kernel), _halves(transposed)])


def _halves(kernel: Array) -> Array:
    *_, inputs, outputs = kernel.shape
    high = jax.lax.reduce_precision(kernel, exponent_bits=8, mantissa_bits=7)
    both = jnp.stack([high, kernel - high]).astype(jnp.bfloat16)
    pairs = HALVES // 2
    blocks = both.reshape(2, 9, inputs // HALVES, pairs, 2, outputs // CHANNELS, CHANNELS)
    blocks = jax.lax.bitcast_convert_type(blocks.transpose(5, 2, 1, 0, 3, 6, 4), jnp.uint32)
    return blocks.reshape(-1, 9, 2, pairs, CHANNELS)


def are_halves(kernel: Array) -> bool:
    """Tell whether these are `halves`."""
    return kernel.dtype == np.uint32


def rectified(
    x: Array, kernel: Array, bias: Array, *, padding: str = "zero", is_pooled: bool = False
) -> tuple[Array, Array]:
    """Return max(0, convolution + bias), and a mask of where it is positive; see `networks.winograd`.

    The kernel is `grouped`, or `halves`. If it is pooled, the former are means over windows of 2 x 2, see
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

    Turned, what carries gradients back, by `halves` or the kernel as it is; and pooled, those of the means.
    Where the border was repeated, gradients of the repetitions are part of it with `halves` only.
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
    if are_halves(kernel):
        channels = kernel.shape[1] * HALVES * CHANNELS // x.shape[2]
    elif not turned:
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
