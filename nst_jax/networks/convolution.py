"""The 3x3 convolutions of VGG, each with its bias and rectifier, by one of two engines.

``direct`` is XLA's own convolution. ``winograd`` (see `winograd`) needs less arithmetic, and is for CPUs:
there it is the faster one for all but narrow layers, and keeps less for the gradient.

A layer is a dict: ``kernel`` ``(3, 3, in, out)`` and ``bias`` ``(out,)``, and what `prepare` adds to them.
Kernels are constants to the Winograd engine: gradients reach its input, and nothing else.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.networks import winograd

Engine = Literal["auto", "direct", "winograd"]
Padding = Literal["zero", "replicate"]
Layer = Mapping[str, Array]

NARROWEST = {"cpu": 32}
"""Least channels, of input and output, from which Winograd's way is faster, by back end; nowhere else.

From ``python benchmarks/convolutions.py``."""


PREPARED = ("transposed", "winograd")
"""What `prepare` may add to a layer."""


def engine_for(engine: Engine, kernel: Array, padding: Padding = "zero") -> Engine:
    """Return the engine that a layer with such a kernel is computed with on the default device."""
    if padding != "zero" or kernel.dtype.itemsize < 4:  # its transforms would lose what few bits there are
        return "direct"
    if engine != "auto":
        return engine
    narrowest = NARROWEST.get(jax.default_backend())
    return "direct" if narrowest is None or min(kernel.shape[2:]) < narrowest else "winograd"


def prepare(layer: Layer, *, engine: Engine, padding: Padding = "zero") -> dict[str, Array]:
    """Return a layer with what its engine would otherwise compute from the kernel in every evaluation."""
    kernel = layer["kernel"]
    if engine_for(engine, kernel, padding) == "winograd":
        return {**layer, "winograd": winograd.transformed(kernel)}
    return {**layer, "transposed": transpose(kernel)}


def rectified(x: Array, layer: Layer, *, engine: Engine = "direct", padding: Padding = "zero") -> Array:
    """Return max(0, convolution + bias) of ``(height, width, in)``: ``(height, width, out)``.

    Args:
        x: features.
        layer: kernel and bias, see above.
        engine: ``direct``, ``winograd``, or ``auto``: see `engine_for`.
        padding: what lies beyond the border: zeros, or the nearest position repeated (``direct`` only).
    """
    if engine_for(engine, layer["kernel"], padding) == "winograd":
        return _rectified(x, dict(layer))
    y = convolved(x, layer, padding=padding)
    return jnp.where(y > 0, y, 0)  # unlike maximum, needs no array of zeros to compare with


def convolved(x: Array, layer: Layer, *, padding: Padding = "zero") -> Array:
    """Return convolution + bias, by XLA's engine; differentiable in everything."""
    kernel, border = layer["kernel"], 1
    if padding == "replicate":
        x, border = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge"), 0
    transposed = layer["transposed"] if "transposed" in layer else transpose(kernel)
    return _direct(x, kernel, transposed, border) + layer["bias"]


def transpose(kernel: Array) -> Array:
    """Return the kernel that carries the gradient back to the input: turned, with in and out exchanged."""
    return kernel[::-1, ::-1].transpose(0, 1, 3, 2)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _direct(x: Array, kernel: Array, transposed: Array, border: int) -> Array:
    return _plain(x, kernel, border)


def _plain(x: Array, kernel: Array, border: int) -> Array:
    padding, layout = ((border, border), (border, border)), ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], kernel, (1, 1), padding, dimension_numbers=layout)[0]


def _direct_forward(
    x: Array, kernel: Array, transposed: Array, border: int
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _plain(x, kernel, border), (x, kernel, transposed)


def _direct_backward(border: int, saved: tuple[Array, Array, Array], y: Array) -> tuple[Array, Array, Array]:
    x, kernel, transposed = saved
    to_kernel = jax.linear_transpose(lambda kernel: _plain(x, kernel, border), kernel)
    return _plain(y, transposed, 2 - border), to_kernel(y)[0], jnp.zeros_like(transposed)


_direct.defvjp(_direct_forward, _direct_backward)


# Winograd: the rectified convolution keeps one byte a feature for its gradient, which is a gated convolution
# with the transposed kernels. That is linear, and has a gradient of its own, for those who need a second.


@jax.custom_vjp
def _rectified(x: Array, layer: dict[str, Array]) -> Array:
    return _rectified_forward(x, layer)[0]


def _rectified_forward(x: Array, layer: dict[str, Array]) -> tuple[Array, tuple[Array, dict[str, Array]]]:
    y, positive = winograd.rectified(x, _kernels(layer, x), layer["bias"])
    return y, (positive, layer)


def _rectified_backward(saved: tuple[Array, dict[str, Array]], g: Array) -> tuple[Array, None]:
    return _gated(g, *saved), None


_rectified.defvjp(_rectified_forward, _rectified_backward)


@jax.custom_vjp
def _gated(g: Array, gate: Array, layer: dict[str, Array]) -> Array:
    return winograd.convolve(g, _kernels(layer, g), gate=gate, turned=True)


def _gated_backward(saved: tuple[Array, dict[str, Array]], h: Array) -> tuple[Array, None, None]:
    gate, layer = saved
    return jnp.where(gate, _linear(h, layer), 0), None, None


_gated.defvjp(lambda g, gate, layer: (_gated(g, gate, layer), (gate, layer)), _gated_backward)


@jax.custom_vjp
def _linear(x: Array, layer: dict[str, Array]) -> Array:
    return winograd.convolve(x, _kernels(layer, x))


def _linear_backward(layer: dict[str, Array], g: Array) -> tuple[Array, None]:
    return _gated(g, jnp.ones(g.shape, bool), layer), None


_linear.defvjp(lambda x, layer: (_linear(x, layer), layer), _linear_backward)


def _kernels(layer: dict[str, Array], x: Array) -> Array:
    if "winograd" in layer:
        return layer["winograd"]
    # Not before they are needed: together they are four times as large as the network.
    kernel, _ = jax.lax.optimization_barrier((layer["kernel"], x))  # type: ignore[no-untyped-call]
    U: Array = winograd.transformed(kernel)
    return U
