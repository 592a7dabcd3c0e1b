"""Winograd's minimal filtering F(4x4, 3x3): a 3x3 convolution with a quarter of the multiplications.

Lavin & Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016), section 4. Each tile of 4 x 4
results Y of a channel comes from the 6 x 6 inputs d that it sees:

    Y = A^T [sum over input channels of (G g G^T) * (B^T d B)] A,

with * elementwise, so that 36 multiplications do the work of 144, and the sums over channels are 36 matrix
products. The transforms of the kernels g do not depend on the image: `transformed` computes them once.

Differs from the paper: the interpolation points are 0, 1, -1, 2, 1/2 and infinity where it has -2 for 1/2.
With p also 1/p is a point, so the transform of a kernel turned round is that of the kernel in another order
(`TURNED`), and the gradient, a convolution with turned kernels, needs no transforms of its own. The matrices
follow from the points (Toom & Cook; appendix of the paper), scaled for that order to be all there is to it.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nst_jax.networks import strips
from nst_jax.networks.strips import Padding

TILE = 4
"""Rows and columns of results that come from one tile of `TILE` + 2 inputs."""

STRIP_BYTES = 16 * 2**20
"""Of the transformed inputs of one strip. Measured: less costs time in loops, more costs memory."""

TURNED = (5, 1, 2, 4, 3, 0)
"""Where each point's inverse is among the points."""

_G = (
    (1, 0, 0),
    (1, 1, 1),
    (1 / 9, -1 / 9, 1 / 9),
    (2 / 9, 4 / 9, 8 / 9),
    (8 / 9, 4 / 9, 2 / 9),
    (0, 0, 1),
)


def transformed(kernel: Array) -> Array:
    """Return G g G^T of kernels ``(3, 3, in, out)``: ``(36, in, out)``."""
    both = jnp.asarray(np.kron(_G, _G), kernel.dtype)  # rows and columns at once: a single matrix product
    U = jnp.matmul(both, kernel.reshape(9, -1), precision="highest")
    return U.reshape(36, *kernel.shape[2:])


def convolve(
    x: Array, U: Array, *, gate: Array | None = None, turned: bool = False, padding: Padding = "zero"
) -> Array:
    """Return the convolution of ``(height, width, in)``: ``(height, width, out)``.

    Args:
        x: input.
        U: `transformed` kernels, ``(36, in, out)``.
        gate: where false, the input counts as zero; of x's shape.
        turned: convolve with the kernels turned round, from ``out`` to ``in``: what carries gradients back.
        padding: what lies beyond the border.
    """

    def f(strip: Array, *gates: Array) -> tuple[Array]:
        for gate in gates:
            strip = jnp.where(gate, strip, 0)
        return (_strip(strip, U, turned, padding),)

    inputs = (x,) if gate is None else (x, gate)
    outputs = [(U.shape[1 if turned else 2], x.dtype)]
    return strips.mapped(f, inputs, rows=_rows(x, U), outputs=outputs, padding=padding)[0]


def rectified(x: Array, U: Array, bias: Array, *, padding: Padding = "zero") -> tuple[Array, Array]:
    """Return max(0, convolution + bias), and a mask of where it is positive."""

    def f(strip: Array) -> tuple[Array, Array]:
        y = _strip(strip, U, False, padding) + bias[None, None]
        return jnp.where(y > 0, y, 0), y > 0

    rows, channels = _rows(x, U), U.shape[-1]
    y, positive = strips.mapped(
        f, (x,), rows=rows, outputs=[(channels, x.dtype), (channels, bool)], padding=padding
    )
    return y, positive


def _rows(x: Array, U: Array) -> int:
    """Return the rows of a strip: equal strips, of about `STRIP_BYTES` when transformed."""
    height, width = x.shape[:2]
    down, across = -(-height // TILE), -(-width // TILE)
    nbytes = down * across * 36 * max(U.shape[1:]) * x.dtype.itemsize
    return TILE * -(-down // max(1, round(nbytes / STRIP_BYTES)))


@partial(jax.jit, static_argnames=("turned", "padding"), inline=True)  # traced once for all layers of a shape
def _strip(x: Array, U: Array, turned: bool, padding: Padding) -> Array:
    """Return the convolution of ``(rows + 2, width, in)``, which holds its border above and below."""
    rows, width = x.shape[0] - 2, x.shape[1]
    down, across = -(-rows // TILE), -(-width // TILE)
    side = 1
    if padding != "zero":
        x, side = strips.bordered(x, 0, 1, padding), 0
    x = jnp.pad(x, ((0, TILE * down - rows), (side, TILE * across + side - width), (0, 0)))
    order = TURNED if turned else tuple(range(6))
    # One product B^T d B after the other, rows before columns: twice as fast as both at once.
    d = _stack(_input_transform([x[i : i + TILE * down - 3 : TILE] for i in range(6)]), order, 0)
    d = _stack(_input_transform([d[:, :, j : j + TILE * across - 3 : TILE] for j in range(6)]), order, 1)
    V = d.reshape(36, down * across, -1)
    M = jax.lax.dot_general(V, U, (((2,), (2 if turned else 1,)), ((0,), (0,))))
    M = M.reshape(6, 6, down, across, -1)
    # One product after the other, again; here XLA must be told, or it compiles for three times as long.
    Y = jnp.stack(_output_transform([M[i] for i in order]), 1)
    Y = jax.lax.optimization_barrier(Y)  # type: ignore[no-untyped-call]
    Y = jnp.stack(_output_transform([Y[j] for j in order]), 3)
    return Y.swapaxes(0, 1).reshape(TILE * down, TILE * across, -1)[:rows, :width]


def _stack(parts: Sequence[Array], order: Sequence[int], axis: int) -> Array:
    return jnp.stack([parts[i] for i in order], axis)


def _input_transform(d: Sequence[Array]) -> list[Array]:
    """Return B^T d, with common terms computed once."""
    back, ahead = d[1] - d[3], d[4] - d[2]
    return [
        d[0] - d[4] - 2.5 * back,
        1.5 * (d[2] + d[3]) - (d[1] + d[4]),
        d[4] - d[1] - 3.5 * (d[3] - d[2]),
        back + 2 * ahead,
        2 * back + ahead,
        d[5] - d[1] - 2.5 * ahead,
    ]


def _output_transform(m: Sequence[Array]) -> list[Array]:
    """Return A^T m, likewise."""
    even, odd = m[1] + m[2], m[1] - m[2]
    return [
        m[0] + even + 0.25 * m[3] + 2 * m[4],
        odd + 0.5 * m[3] + m[4],
        even + m[3] + 0.5 * m[4],
        odd + 2 * m[3] + 0.25 * m[4] + m[5],
    ]
