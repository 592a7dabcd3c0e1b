"""The 3x3 convolutions of VGG, each with its bias and rectifier, by one of two engines.

``direct`` is XLA's own convolution. ``winograd`` (see `winograd`) needs less arithmetic and keeps less for
the gradient; on CPUs it is the faster one for all but narrow layers.

A layer is a dict with ``kernel`` ``(3, 3, in, out)`` and ``bias`` ``(out,)``, and whatever `prepare` adds:
copies of the kernel in another form. Gradients with respect to input, kernel and bias are those of the
convolution; that of a copy is zero, for the kernel's has it all.

Forward mode (``jax.jvp``, ``jax.jacfwd``) works with the direct engine on layers that are not prepared.
Everywhere else there are rules for reverse mode only, and JAX refuses to "apply forward-mode autodiff (jvp)
to a custom_vjp function".
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from nst_jax.networks import winograd
from nst_jax.networks.strips import instantiated

Engine = Literal["auto", "direct", "winograd"]
Padding = Literal["zero", "replicate", "wrap"]
"""What lies beyond the border: zeros, the nearest position repeated, or the other side, as on a torus."""
Layer = Mapping[str, Array]

NARROWEST = {"cpu": 32}
"""Fewest channels of input and output with which ``winograd`` is faster, by back end; on others it never is.

Measured by ``python benchmarks/convolutions.py``.
"""

PREPARED = ("transposed", "winograd")
"""What `prepare` may add to a layer."""

_MODES = {"replicate": "edge", "wrap": "wrap"}
"""NumPy's words."""


def unwrapped(padding: Padding) -> Padding:
    """Return the padding for images that are no tori, such as paintings and photographs to be measured."""
    return "replicate" if padding == "wrap" else padding


def engine_for(engine: Engine, kernel: Array) -> Engine:
    """Return the engine that computes a layer with such a kernel on the default device."""
    if kernel.dtype.itemsize < 4:  # Winograd's transforms would lose the few bits there are
        return "direct"
    if engine != "auto":
        return engine
    narrowest = NARROWEST.get(jax.default_backend())
    return "direct" if narrowest is None or min(kernel.shape[2:]) < narrowest else "winograd"


def prepare(layer: Layer, *, engine: Engine) -> dict[str, Array]:
    """Return a layer with what its engine would otherwise compute from the kernel at every evaluation."""
    kernel = layer["kernel"]
    if engine_for(engine, kernel) == "winograd":
        return {**layer, "winograd": winograd.transformed(kernel)}
    return {**layer, "transposed": transpose(kernel)}


def rectified(x: Array, layer: Layer, *, engine: Engine = "direct", padding: Padding = "zero") -> Array:
    """Return max(0, convolution + bias) of ``(height, width, in)``: ``(height, width, out)``.

    Args:
        x: features.
        layer: kernel and bias, perhaps prepared.
        engine: ``direct``, ``winograd``, or ``auto``: see `engine_for`.
        padding: what lies beyond the border.
    """
    if engine_for(engine, layer["kernel"]) == "winograd":
        weights = layer["bias"], layer["kernel"], layer.get("winograd")
        if padding == "replicate":
            return _rectified(_bordered(x, padding), *weights, False)[1:-1, 1:-1]
        return _rectified(x, *weights, padding == "wrap")
    y = convolved(x, layer, padding=padding)
    return jnp.where(y > 0, y, 0)  # unlike maximum, needs no array of zeros to compare with


def convolved(x: Array, layer: Layer, *, padding: Padding = "zero") -> Array:
    """Return convolution + bias, by the direct engine."""
    kernel, border = layer["kernel"], 1
    if padding != "zero":
        x, border = _bordered(x, padding), 0
    if "transposed" in layer:
        return _direct(x, kernel, layer["transposed"], border) + layer["bias"][None, None]
    return _plain(x, kernel, border) + layer["bias"][None, None]


def _bordered(x: Array, padding: Padding) -> Array:
    """Return features with what lies beyond their border, one position wide."""
    return jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode=_MODES[padding])


def transpose(kernel: Array) -> Array:
    """Return the kernel that carries gradients back to the input: turned round, with in and out exchanged."""
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


# Winograd. The rectified convolution keeps one byte per feature for its gradient, which is a gated
# convolution with the kernels turned round, and wraps if the convolution does. That is linear, and has a
# gradient of its own, for those who need a second. The input is kept only where the gradient of kernel or
# bias is wanted.


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _rectified(x: Array, bias: Array, kernel: Array, U: Array | None, wrap: bool) -> Array:
    return winograd.rectified(x, _transformed(kernel, U, x), bias, wrap=wrap)[0]


_Saved = tuple[Array | None, Array | None, Array, Array | None]
"""Input if the kernel's gradient is wanted, gate, kernel, and its transform."""


def _rectified_forward(
    x: CustomVJPPrimal, bias: CustomVJPPrimal, kernel: CustomVJPPrimal, U: CustomVJPPrimal | None, wrap: bool
) -> tuple[Array, _Saved]:
    known = U.value if U else None
    transforms = _transformed(kernel.value, known, x.value)
    y, positive = winograd.rectified(x.value, transforms, bias.value, wrap=wrap)
    return y, (x.value if kernel.perturbed or bias.perturbed else None, positive, kernel.value, known)


def _rectified_backward(
    wrap: bool, saved: _Saved, g: Array | SymbolicZero
) -> tuple[Array, Array | None, Array | None, None]:
    x, positive, kernel, U = saved
    assert positive is not None
    g = instantiated(g)
    to_input = _convolved(g, positive, kernel, U, True, wrap)
    if x is None:
        return to_input, None, None, None
    gated = jnp.where(positive, g, 0)
    return to_input, gated.sum((0, 1)), _to_kernel(x, kernel, gated, False, wrap), None


_rectified.defvjp(_rectified_forward, _rectified_backward, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _convolved(
    x: Array, gate: Array | None, kernel: Array, U: Array | None, turned: bool, wrap: bool
) -> Array:
    return winograd.convolve(x, _transformed(kernel, U, x), gate=gate, turned=turned, wrap=wrap)


def _convolved_forward(
    x: CustomVJPPrimal,
    gate: CustomVJPPrimal | None,
    kernel: CustomVJPPrimal,
    U: CustomVJPPrimal | None,
    turned: bool,
    wrap: bool,
) -> tuple[Array, _Saved]:
    known, mask = U.value if U else None, gate.value if gate else None
    y = _convolved(x.value, mask, kernel.value, known, turned, wrap)
    return y, (x.value if kernel.perturbed else None, mask, kernel.value, known)


def _convolved_backward(
    turned: bool, wrap: bool, saved: _Saved, g: Array | SymbolicZero
) -> tuple[Array, None, Array | None, None]:
    x, gate, kernel, U = saved
    g = instantiated(g)
    to_input = _convolved(g, None, kernel, U, not turned, wrap)
    if gate is not None:
        to_input = jnp.where(gate, to_input, 0)
    if x is None:
        return to_input, None, None, None
    x = x if gate is None else jnp.where(gate, x, 0)
    return to_input, None, _to_kernel(x, kernel, g, turned, wrap), None


_convolved.defvjp(_convolved_forward, _convolved_backward, symbolic_zeros=True)


def _to_kernel(x: Array, kernel: Array, g: Array, turned: bool, wrap: bool) -> Array:
    """Return the gradient of <g, convolution of x> with respect to the kernel, by the direct engine."""
    x, border = (_bordered(x, "wrap"), 0) if wrap else (x, 1)
    convolution = lambda kernel: _plain(x, transpose(kernel) if turned else kernel, border)
    gradient: Array = jax.linear_transpose(convolution, kernel)(g)[0]
    return gradient


def _transformed(kernel: Array, U: Array | None, x: Array) -> Array:
    if U is not None:
        return U
    # Not before they are needed: together they are four times as large as the network.
    kernel, _ = jax.lax.optimization_barrier((kernel, x))  # type: ignore[no-untyped-call]
    transforms: Array = winograd.transformed(kernel)
    return transforms
