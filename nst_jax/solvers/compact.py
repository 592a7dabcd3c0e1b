"""The inverse Hessian of L-BFGS in its compact form, which reads what is remembered twice a step.

Byrd, Nocedal & Schnabel, "Representations of quasi-Newton matrices and their use in limited memory methods"
(1994), theorem 2.2. With the steps s and gradient differences y of all pairs as columns of S and Y, oldest
first, R the upper triangle of S^T Y, and D its diagonal:

    H g = gamma g + S a - gamma Y b,    R b = S^T g,    R^T a = D b - gamma Y^T (g - Y b)

It is the two-loop recursion (Nocedal & Wright, "Numerical optimization" (2006), algorithm 7.4) in other
words, which goes through the memory pair by pair: of m pairs, 4 m small operations one after the other.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.lax import Precision
from jax.scipy.linalg import solve_triangular
from jax.typing import DTypeLike


class Products(NamedTuple):
    """The products of what is remembered, of m pairs each in its slot."""

    s_y: Array
    """s_i . y_j, ``(m, m)``, where pair j is not older than i; elsewhere it means nothing."""
    y_y: Array
    """y_i . y_j, ``(m, m)``."""


def none(history: int, dtype: DTypeLike) -> Products:
    """Return the products of no pairs."""
    nothing = jnp.zeros((history, history), dtype)
    return Products(nothing, nothing)


def times_gradient(
    products: Products, S: Array, Y: Array, g: Array, *, rho: Array, gamma: Array, first: Array
) -> tuple[Array, Products]:
    """Return H g, and the products with those of the latest pair.

    Args:
        products: without those of the latest pair.
        S: steps of all pairs, ``(m, ...)``.
        Y: differences of gradients, likewise.
        g: the gradient, ``(...)``.
        rho: 1 / (s . y) of each pair; 0: it does not count.
        gamma: H is so much times the identity where nothing is remembered.
        first: slot of the oldest pair; the one before has the latest.
    """
    m = len(rho)
    latest = (first - 1) % m
    column = _dot(Y, Y[latest])
    products = Products(
        s_y=products.s_y.at[:, latest].set(_dot(S, Y[latest])),
        y_y=products.y_y.at[:, latest].set(column).at[latest].set(column),
    )
    slots = (first + jnp.arange(m)) % m
    counts = rho[slots] > 0
    both = counts[:, None] & counts[None]
    s_y, y_y = (jnp.where(both, each[slots][:, slots], 0.0) for each in (products.s_y, products.y_y))
    s_g, y_g = (jnp.where(counts, _dot(each, g)[slots], 0.0) for each in (S, Y))
    R = jnp.triu(s_y) + jnp.diag(jnp.where(counts, 0.0, 1.0))  # of what does not count a and b are 0
    b = solve_triangular(R, s_g)
    a = solve_triangular(R, jnp.diagonal(s_y) * b - gamma * (y_g - _dot(y_y, b)), trans="T")
    order = (jnp.arange(m) - first) % m
    return gamma * g + _sum(a[order], S) - _sum(gamma * b[order], Y), products


# In full precision: others, such as a program's own, are for features.


def _dot(vectors: Array, v: Array) -> Array:
    return jnp.tensordot(vectors, v, v.ndim, precision=Precision.HIGHEST)


def _sum(shares: Array, vectors: Array) -> Array:
    return jnp.tensordot(shares, vectors, 1, precision=Precision.HIGHEST)
