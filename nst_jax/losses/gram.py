"""The style as Gram matrices: Gatys, Ecker & Bethge (CVPR 2016), equations (3) to (6).

Features F are ``(height, width, channels)``, after their ReLU. With N channels and M = height * width
positions, F_ij of the paper is channel i at position j.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.terms import AdditiveTerm
from nst_jax.native import operations


@dataclass(frozen=True)
class Gram(AdditiveTerm):
    """Gram matrices per position are alike: equation (4)."""

    ignores_zeros = True

    def statistics(self, F: Array) -> Array:
        """Return `gram_matrix`."""
        return gram_matrix(F)

    def weighted(self, F: Array, share: Array) -> Array:
        """Return sum_k w_k F_ik F_jk / sum_k w_k for shares w."""
        return gram_matrix(F * jnp.sqrt(share / jnp.mean(share)).astype(F.dtype))

    def compare(self, statistics: Array, target: Array) -> Array:
        """Return `style_loss`."""
        return style_loss(statistics, target)

    def per_channel(self, target: Array) -> int:
        """Return N^2."""
        return target.size


def style_loss(G: Array, A: Array) -> Array:
    """Return the mean squared difference of two Gram matrices per position, S = sum_ij (G_ij - A_ij)^2 / N^2.

    With G and A from `gram_matrix`, equation (4) is S / 4: E = sum_ij (G_ij - A_ij)^2 / (4 N^2 M^2). The
    gradient is that of equation (6).

    Args:
        G: Gram matrix of the generated image, ``(channels, channels)``.
        A: Gram matrix of the style image, of the same shape.
    """
    return jnp.mean(jnp.square(G - A))


_is_native: ContextVar[bool] = ContextVar("native", default=False)


@contextmanager
def natively(is_native: bool) -> Iterator[None]:
    """Have `gram_matrix` use operations of our own where it can, or not: these have no forward mode."""
    before = _is_native.set(is_native)
    try:
        yield
    finally:
        _is_native.reset(before)


def gram_matrix(F: Array) -> Array:
    """Return the Gram matrix per position, G_ij / M with G_ij = sum_k F_ik F_jk, ``(channels, channels)``.

    Equation (3). Differs from the paper: divided here by the M positions, where the paper divides in equation
    (4), so that images of different sizes can be compared. Of float32 for features of a narrower type.
    """
    if _is_native.get() and operations.takes(F):
        return _own(positions(F)) / len(positions(F))
    return _by_xla(F)


@jax.custom_jvp
def _by_xla(F: Array) -> Array:
    flat = positions(F)  # one plain matrix product, on a CPU twice as fast as einsum
    return product(flat, flat) / len(flat)


@_by_xla.defjvp
def _by_xla_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # G is symmetric: its gradient is one matrix product in this form, two if left to the product rule; of the
    # features' own type, which it is to be of in the end.
    (F,), (change,) = primals, tangents
    G = _by_xla(F)
    half = jnp.matmul(positions(F).T, positions(change)).astype(G.dtype) / len(positions(F))
    return G, half + half.T


@jax.custom_vjp
def _own(F: Array) -> Array:
    return operations.gram(F)


_own.defvjp(lambda F: (_own(F), F), lambda F, g: (jnp.matmul(F, g + g.T),))


def positions(F: Array) -> Array:
    """Return features as a matrix, ``(positions, channels)``."""
    return F.reshape(-1, F.shape[-1])


def product(a: Array, b: Array) -> Array:
    """Return a^T b, added up in float32 at least."""
    return jnp.matmul(a.T, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))
