"""The 3x3 convolutions of VGG, each with its bias and rectifier, by one of three engines.

``direct`` is XLA's own convolution. ``winograd`` (see `winograd`) needs less arithmetic and keeps less for
the gradient; on CPUs it is the faster one for all but narrow layers. ``native`` is the same in C++, where a
compiler has been found (see `nst_jax.native`), in larger tiles where that is faster: faster again, and it
wants little but kernel and bias; where a processor has matrix units, it multiplies by these and transforms
nothing.

A layer is a dict with ``kernel`` ``(3, 3, in, out)`` and ``bias`` ``(out,)``, and whatever `prepare` adds:
copies of the kernel in another form. Gradients with respect to input, kernel and bias are those of the
convolution; that of a copy is zero, for the kernel's has it all. What is prepared as ``halves`` (see
`nst_jax.native.operations`) is instead of the kernel, and has no gradient: all engines are native then.

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

from nst_jax.native import library, operations
from nst_jax.networks import winograd
from nst_jax.networks.pooling import pooled, unpooled
from nst_jax.networks.strips import Padding as Padding
from nst_jax.networks.strips import bordered, instantiated

Engine = Literal["auto", "direct", "winograd", "native"]
Layer = Mapping[str, Array]

NARROWEST = {"cpu": 32}
"""Fewest channels of input and output with which ``winograd`` is faster, by back end; on others it never is.

Measured by ``python benchmarks/convolutions.py``.
"""

PREPARED = ("transposed", "winograd", "grouped", "halves")
"""What `prepare` may make of a kernel: it as the engines direct, winograd and native want it."""


def unwrapped(padding: Padding) -> Padding:
    """Return the padding for images that are no tori, such as paintings and photographs to be measured."""
    return "replicate" if padding == "wrap" else padding


def engine_for(engine: Engine, kernel: Array) -> Engine:
    """Return the engine that computes a layer with such a kernel on the default device.

    Raises:
        ConfigError: ``native`` is asked for, and is not there.
    """
    if operations.are_halves(kernel):
        return "native"
    if kernel.dtype.itemsize < 4:  # Winograd's transforms would lose the few bits there are
        return "direct"
    if engine == "native":
        operations.check()
        return "native" if operations.takes(kernel) else "winograd"
    if engine != "auto":
        return engine
    narrowest = NARROWEST.get(jax.default_backend())
    if narrowest is None:
        return "direct"
    is_wide = min(kernel.shape[2:]) >= narrowest
    is_wanted = is_wide or operations.is_of_colours(kernel)
    if is_wanted and operations.takes(kernel) and library.is_there():
        return "native"
    return "winograd" if is_wide else "direct"


def may_be_native(engine: Engine) -> bool:
    """Tell whether an engine computes what it can by operations of our own."""
    return engine in ("auto", "native") and library.is_there()


def quick(engine: Engine) -> Engine:
    """Return an engine that computes about the same and compiles quickly, for what is computed once."""
    return engine if may_be_native(engine) else "direct"


def prepare(layer: Layer, *, engine: Engine) -> dict[str, Array]:
    """Return a layer with what its engine would otherwise compute from the kernel at every evaluation."""
    return completed(layer, made(layer, engine=engine))


def made(layer: Layer, *, engine: Engine) -> dict[str, Array]:
    """Return a layer's kernel as its engine wants it, by name."""
    kernel = layer["kernel"]
    match engine_for(engine, kernel):
        case "native" if operations.takes_halves(kernel):
            return {"halves": operations.halves(kernel, transpose(kernel))}
        case "native":
            return {"grouped": operations.grouped(kernel)}
        case "winograd":
            return {"winograd": winograd.transformed(kernel)}
    return {"transposed": transpose(kernel)}


def completed(layer: Layer, form: Layer) -> dict[str, Array]:
    """Return a layer with what is `made` of its kernel, besides it or, if these are halves, in its place."""
    return {name: layer[name] for name in layer if name == "bias" or "halves" not in form} | dict(form)


def _kernel_of(layer: Layer) -> Array:
    return layer["halves"] if "halves" in layer else layer["kernel"]


def rectified(x: Array, layer: Layer, *, engine: Engine = "direct", padding: Padding = "zero") -> Array:
    """Return max(0, convolution + bias) of ``(height, width, in)``: ``(height, width, out)``.

    Args:
        x: features.
        layer: kernel and bias, perhaps prepared.
        engine: ``direct``, ``winograd``, ``native``, or ``auto``: see `engine_for`.
        padding: what lies beyond the border.
    """
    engine = engine_for(engine, _kernel_of(layer))
    if engine != "direct":
        return _rectified(x, *_weights(layer, engine), padding, engine)[0]
    return _positive(convolved(x, layer, padding=padding))


def averaged(x: Array, layer: Layer, *, engine: Engine = "direct", padding: Padding = "zero") -> Array:
    """Return the means of `rectified` over windows of 2 x 2, ``(height // 2, width // 2, out)``."""
    kernel = _kernel_of(layer)
    if engine_for(engine, kernel) == "native" and not operations.is_of_colours(kernel):
        return _rectified(x, *_weights(layer, "native"), padding, "pooled")[0]
    return pooled(rectified(x, layer, engine=engine, padding=padding), "avg")


def _weights(layer: Layer, engine: Engine) -> tuple[Array, Array, Array | None]:
    """Return bias, kernel, and the kernel as an engine wants it, if it is prepared."""
    return layer["bias"], _kernel_of(layer), layer.get("grouped" if engine == "native" else "winograd")


@jax.custom_jvp
def _positive(x: Array) -> Array:
    """Return max(0, x)."""
    positive: Array = jax.lax.platform_dependent(x, cuda=_greatest, rocm=_greatest, default=_chosen)
    return positive


def _greatest(x: Array) -> Array:
    return jnp.maximum(x, 0)  # as cuDNN's convolutions can do at once


def _chosen(x: Array) -> Array:
    return jnp.where(x > 0, x, 0)  # on a CPU fewer arrays are kept than with a maximum


@_positive.defjvp
def _positive_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # The result is asked, so that nothing before it is kept; on a TPU it is the other way round. For "> 0"
    # XLA would ask what was before it everywhere.
    y = _positive(*primals)
    positive = jax.lax.platform_dependent(*primals, y, tpu=lambda x, y: x > 0, default=lambda x, y: y != 0)
    return y, jnp.where(positive, tangents[0], 0)


def convolved(x: Array, layer: Layer, *, padding: Padding = "zero") -> Array:
    """Return convolution + bias, by the direct engine."""
    kernel, border = layer["kernel"], 1
    if padding != "zero":
        x, border = bordered(x, 1, 1, padding), 0
    if "transposed" in layer:
        return _direct(x, kernel, layer["transposed"], border) + layer["bias"][None, None]
    return _plain(x, kernel, border) + layer["bias"][None, None]


def transpose(kernel: Array) -> Array:
    """Return the kernel that carries gradients back to the input: turned round, with in and out exchanged."""
    return kernel[::-1, ::-1].transpose(0, 1, 3, 2)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _direct(x: Array, kernel: Array, transposed: Array, border: int) -> Array:
    return _plain(x, kernel, border)


def _plain(x: Array, kernel: Array, rows: int, columns: int | None = None) -> Array:
    """Return the convolution of features with so many zeros around them."""
    columns = rows if columns is None else columns
    padding, layout = ((rows, rows), (columns, columns)), ("NHWC", "HWIO", "NHWC")
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
# convolution with the kernels turned round, and wraps if the convolution does; where that repeats the
# border, what comes to the repetitions is added there. It is linear, and has a gradient of its own, for those
# who need a second. The input is kept only where the gradient of kernel or bias is wanted. What is "pooled"
# is native, of the means over windows of 2 x 2: features and gradients in full size are nowhere then.

_How = Literal["winograd", "native", "pooled"]


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _rectified(
    x: Array, bias: Array, kernel: Array, U: Array | None, padding: Padding, how: _How
) -> tuple[Array, Array]:
    """Return the rectified convolution, and where it is positive."""
    U = _prepared(kernel, U, x, how)
    if how != "winograd":
        return operations.rectified(x, U, bias, padding=padding, is_pooled=how == "pooled")
    return winograd.rectified(x, U, bias, padding=padding)


_Saved = tuple[Array | None, Array | None, Array, Array | None]
"""Input if the kernel's gradient is wanted, gate, kernel, and what is prepared of it."""


def _rectified_forward(
    x: CustomVJPPrimal,
    bias: CustomVJPPrimal,
    kernel: CustomVJPPrimal,
    U: CustomVJPPrimal | None,
    padding: Padding,
    how: _How,
) -> tuple[tuple[Array, Array], _Saved]:
    known = U.value if U else None
    # By the rule itself, for those who want the gradient of this.
    y, positive = _rectified(x.value, bias.value, kernel.value, known, padding, how)
    kept = x.value if kernel.perturbed or bias.perturbed else None
    return (y, positive), (kept, positive, kernel.value, known)


def _rectified_backward(
    padding: Padding, how: _How, saved: _Saved, cotangents: tuple[Array | SymbolicZero, object]
) -> tuple[Array, Array | None, Array | None, None]:
    x, positive, kernel, U = saved
    assert positive is not None
    g = instantiated(cotangents[0])
    to_input = _convolved(g, positive, kernel, U, True, padding, how)
    if x is None:
        return to_input, None, None, None
    g = unpooled(g, positive.shape) if how == "pooled" else g
    gated = jnp.where(positive, g, 0)
    to_kernel = None if operations.are_halves(kernel) else _to_kernel(x, kernel, gated, False, padding)
    return to_input, gated.sum((0, 1)), to_kernel, None


_rectified.defvjp(_rectified_forward, _rectified_backward, symbolic_zeros=True)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5, 6))
def _convolved(
    x: Array,
    gate: Array | None,
    kernel: Array,
    U: Array | None,
    turned: bool,
    padding: Padding,
    how: _How,
) -> Array:
    """Return the convolution, or ``turned`` what carries gradients back through it."""
    is_folded = turned and padding == "replicate" and not operations.are_halves(kernel)
    beyond: Padding = "zero" if is_folded else padding
    if how != "winograd":
        given = kernel if turned else _prepared(kernel, U, x, how)
        is_pooled = how == "pooled"
        y = operations.convolve(x, given, gate=gate, turned=turned, padding=beyond, is_pooled=is_pooled)
    else:
        given = _prepared(kernel, U, x, how)
        y = winograd.convolve(x, given, gate=gate, turned=turned, padding=beyond)
    return _folded(y, x, gate, kernel, how) if is_folded else y


def _folded(y: Array, g: Array, gate: Array | None, kernel: Array, how: _How) -> Array:
    """Add to the border of a gradient what comes to the positions beyond it, which repeat it.

    One row or column of kernels reaches from there to ``g``.
    """

    def beyond(edge: tuple[slice | int, slice | int], taps: Array) -> Array:
        """Return what comes to a line from one before its first position to one after its last."""
        line = unpooled(g, (*y.shape[:2], g.shape[2]))[edge] if how == "pooled" else g[edge]
        line = line if gate is None else jnp.where(gate[edge], line, 0)
        each = jnp.split(line @ taps.reshape(-1, taps.shape[2]).T, 3, 1)
        shifted = [jnp.pad(part, ((tap, 2 - tap), (0, 0))) for tap, part in enumerate(each)]
        return shifted[0] + shifted[1] + shifted[2]

    every, first, last = slice(None), slice(1), slice(-1, None)
    for edge, row, tap in ((0, first, 0), (-1, last, 2)):
        line = beyond((edge, every), kernel[tap])[None]
        y = _plus(y, line[:, 1:-1], row, every)
        y = _plus(y, line[:, :1], row, first)
        y = _plus(y, line[:, -1:], row, last)
        y = _plus(y, beyond((every, edge), kernel[:, tap])[1:-1, None], every, row)
    return y


def _plus(y: Array, part: Array, rows: slice, columns: slice) -> Array:
    """Return an array with a part added, in place if that may be."""
    begin = *(range(n)[s].start for n, s in zip(y.shape, (rows, columns), strict=False)), 0
    sum_: Array = jax.lax.dynamic_update_slice(y, y[rows, columns] + part, begin)
    return sum_


def _convolved_forward(
    x: CustomVJPPrimal,
    gate: CustomVJPPrimal | None,
    kernel: CustomVJPPrimal,
    U: CustomVJPPrimal | None,
    turned: bool,
    padding: Padding,
    how: _How,
) -> tuple[Array, _Saved]:
    known, mask = U.value if U else None, gate.value if gate else None
    y = _convolved(x.value, mask, kernel.value, known, turned, padding, how)
    return y, (x.value if kernel.perturbed else None, mask, kernel.value, known)


def _convolved_backward(
    turned: bool, padding: Padding, how: _How, saved: _Saved, g: Array | SymbolicZero
) -> tuple[Array, None, Array | None, None]:
    x, gate, kernel, U = saved
    g = instantiated(g)
    to_input = _convolved(g, None, kernel, U, not turned, padding, "native" if how == "pooled" else how)
    if gate is not None:
        to_input = jnp.where(gate, to_input, 0)
    if how == "pooled":
        assert gate is not None
        to_input, x = pooled(to_input, "avg"), None if x is None else unpooled(x, gate.shape)
    if x is None:
        return to_input, None, None, None
    x = x if gate is None else jnp.where(gate, x, 0)
    return to_input, None, _to_kernel(x, kernel, g, turned, padding), None


_convolved.defvjp(_convolved_forward, _convolved_backward, symbolic_zeros=True)


def _to_kernel(x: Array, kernel: Array, g: Array, turned: bool, padding: Padding) -> Array:
    """Return the gradient of <g, convolution of x> with respect to the kernel, by the direct engine."""
    if turned and padding == "replicate":  # <g, carried back x> = <convolution of g, x>
        x, g, turned = g, x, False
    x, border = (x, 1) if padding == "zero" else (bordered(x, 1, 1, padding), 0)
    convolution = lambda kernel: _plain(x, transpose(kernel) if turned else kernel, border)
    gradient: Array = jax.linear_transpose(convolution, kernel)(g)[0]
    return gradient


def _prepared(kernel: Array, U: Array | None, x: Array, how: _How) -> Array:
    if U is not None:
        return U
    if operations.are_halves(kernel):
        return kernel
    # Not before they are needed: transforms are together four times as large as the network.
    kernel, _ = jax.lax.optimization_barrier((kernel, x))  # type: ignore[no-untyped-call]
    found: Array = winograd.transformed(kernel) if how == "winograd" else operations.grouped(kernel)
    return found
