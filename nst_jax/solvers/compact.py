"""The inverse Hessian of L-BFGS in its compact form, which reads what is remembered twice a step.

Byrd, Nocedal & Schnabel, "Representations of quasi-Newton matrices and their use in limited memory methods"
(1994), theorem 2.2. With the steps s and gradient differences y of all pairs as columns of S and Y, oldest
first, R the upper triangle of S^T Y, and D its diagonal:

    H g = gamma g + S a - gamma Y b,    R b = S^T g,    R^T a = D b - gamma Y^T (g - Y b)

It is the two-loop recursion (Nocedal & Wright, "Numerical optimization" (2006), algorithm 7.4) in other
words, which goes through the memory pair by pair: of m pairs, 4 m small operations one after the other.
There each pair corrects what rounding did at those before it, here none does: numbers that differ by it drift
apart somewhat faster.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.lax import Precision
from jax.scipy.linalg import solve_triangular
from jax.typing import DTypeLike


class Products(NamedTuple):
    """The products of what is remembered, of m pairs each in its slot, and the gradient."""

    s_y: Array
    """s_i . y_j, ``(m, m)``, where pair j is not older than i; elsewhere it means nothing."""
    y_y: Array
    """y_i . y_j, ``(m, m)``."""
    s_g: Array
    """s_i . g, ``(m,)``."""
    y_g: Array
    """y_i . g, ``(m,)``."""


def none(history: int, dtype: DTypeLike) -> Products:
    """Return the products of no pairs."""
    square, line = jnp.zeros((history, history), dtype), jnp.zeros(history, dtype)
    return Products(square, square, line, line)


def times_gradient(
    products: Products,
    S: Array,
    Y: Array,
    g: Array,
    *,
    rho: Array,
    gamma: Array,
    first: Array,
    is_new: Array,
) -> tuple[Array, Products]:
    """Return H g, and the products that belong to it.

    Args:
        products: those of the call before.
        S: steps of all pairs, ``(m, ...)``.
        Y: differences of gradients, likewise.
        g: the gradient, ``(...)``.
        rho: 1 / (s . y) of each pair; 0: it does not count.
        gamma: s . y / y . y of the latest pair that counts; H is so much times the identity without pairs.
        first: slot of the oldest pair; the one before has the latest.
        is_new: whether there is a pair more than at the call before; its y is how g has changed since.
    """
    m, counts = len(rho), rho > 0
    D = jnp.where(counts, 1 / jnp.where(counts, rho, 1.0), 0.0)
    products = _renewed(products, _dot(S, g), _dot(Y, g), (first - 1) % m, D, gamma, is_new)
    slots = (first + jnp.arange(m)) % m  # oldest first
    counts = counts[slots]
    both = counts[:, None] & counts[None]
    s_y, y_y = (jnp.where(both, each[slots][:, slots], 0.0) for each in (products.s_y, products.y_y))
    s_g, y_g = (jnp.where(counts, each[slots], 0.0) for each in (products.s_g, products.y_g))
    R = jnp.triu(s_y) + jnp.diag(jnp.where(counts, 0.0, 1.0))  # of what does not count a and b are 0
    b = solve_triangular(R, s_g)
    a = solve_triangular(R, D[slots] * b - gamma * (y_g - _dot(y_y, b)), trans="T")
    order = (jnp.arange(m) - first) % m
    return gamma * g + _sum(a[order], S) - _sum(gamma * b[order], Y), products


def _renewed(
    products: Products, s_g: Array, y_g: Array, latest: Array, D: Array, gamma: Array, is_new: Array
) -> Products:
    """Return products with those of the gradient, and with those of the latest pair if it is new.

    They are differences of the gradient's (Byrd et al., section 3.2), which spares two passes; its own are
    known: s . y = D and y . y = D / gamma.
    """
    s_y = (s_g - products.s_g).at[latest].set(D[latest])
    y_y = (y_g - products.y_g).at[latest].set(D[latest] / gamma)
    with_pair = Products(
        s_y=products.s_y.at[:, latest].set(s_y),
        y_y=products.y_y.at[:, latest].set(y_y).at[latest].set(y_y),
        s_g=s_g,
        y_g=y_g,
    )
    without = products._replace(s_g=s_g, y_g=y_g)
    return Products(*(jnp.where(is_new, a, b) for a, b in zip(with_pair, without, strict=True)))


# In full precision: others, such as a program's own, are for features.


def _dot(vectors: Array, v: Array) -> Array:
    return jnp.tensordot(vectors, v, v.ndim, precision=Precision.HIGHEST)


def _sum(shares: Array, vectors: Array) -> Array:
    return jnp.tensordot(shares, vectors, 1, precision=Precision.HIGHEST)
