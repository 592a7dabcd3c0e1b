"""Winograd's convolutions as an operation of our own for CPUs: ``winograd.cc``, compiled where it is to run.

Where that cannot be compiled, see `compiled`, `is_there` is false, and XLA computes the same with the
operations of `winograd`: results agree to 1e-4, but take more time and memory.
"""

import ctypes
import threading

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nst_jax.errors import ConfigError
from nst_jax.networks import compiled
from nst_jax.networks.strips import Padding

CHANNELS = 16
"""Of input and output, of which it takes multiples."""

_TARGET = "nst_jax_convolve"
_PADDINGS = {"zero": 0, "replicate": 1, "wrap": 2}

_once = threading.Lock()
_found: list[bool] = []
"""Whether it is there, once that is known."""


def is_there() -> bool:
    """Tell whether this machine has it; the first to ask compiles it."""
    with _once:
        if not _found:
            _found.append(jax.default_backend() == "cpu" and _load())
    return _found[0]


def check() -> None:
    """Raise ConfigError if it is not there."""
    if not is_there():
        what = "is for CPUs, and for where a C++ compiler (c++, or $CXX) can compile it; use auto"
        raise ConfigError(f"network.engine: native {what}")


def takes(kernel: Array) -> bool:
    """Tell whether it computes convolutions with such kernels, if it is there."""
    return kernel.dtype == np.float32 and not any(n % CHANNELS for n in kernel.shape[2:])


def rectified(x: Array, kernel: Array, bias: Array, *, padding: Padding = "zero") -> tuple[Array, Array]:
    """Return max(0, convolution + bias), and a mask of where it is positive; see `winograd.rectified`."""
    return _call(x, kernel, bias=bias, gate=None, turned=False, padding=padding)


def convolve(
    x: Array, kernel: Array, *, gate: Array | None = None, turned: bool = False, padding: Padding = "zero"
) -> Array:
    """Return the convolution, see `winograd.convolve`."""
    return _call(x, kernel, bias=None, gate=gate, turned=turned, padding=padding)[0]


def _call(
    x: Array, kernel: Array, *, bias: Array | None, gate: Array | None, turned: bool, padding: Padding
) -> tuple[Array, Array]:
    shape = (*x.shape[:2], kernel.shape[2 if turned else 3])
    mask = shape if bias is not None else (0,)
    kinds = jax.ShapeDtypeStruct(shape, np.float32), jax.ShapeDtypeStruct(mask, bool)  # type: ignore[no-untyped-call]
    call = jax.ffi.ffi_call(_TARGET, kinds, vmap_method="sequential")
    gates = jnp.zeros(0, bool) if gate is None else gate
    biases = jnp.zeros(0, np.float32) if bias is None else bias
    y, positive = call(x, gates, kernel, biases, turned=turned, padding=np.int64(_PADDINGS[padding]))
    return y, positive


def _load() -> bool:
    path = compiled.library()
    if path is None:
        return False
    try:
        handler = ctypes.CDLL(str(path)).NstJaxConvolve
    except (OSError, AttributeError):  # a folder from which nothing may be run, another C library, ...
        return False
    jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(handler), platform="cpu")  # type: ignore[no-untyped-call]
    return True
