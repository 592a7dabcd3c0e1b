"""The content as how its parts are like one another, whatever they look like.

Kolkin, Salavon & Shakhnarovich, "Style transfer by relaxed optimal transport and self-similarity" (CVPR
2019), equation (8).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from nst_jax.losses.hypercolumns import directions

SIDE = 32
"""At most so many cells in each direction are compared."""


def self_distances(F: Array) -> Array:
    """Return 1 - cosine of all pairs of cells, each column divided by its sum, ``(cells, cells)``.

    Cells are averages over a grid of at most `SIDE` x `SIDE`. Differs from the paper, which samples 1024
    positions of the hypercolumns of all layers together; here every position counts, at each layer by itself.

    Args:
        F: features, ``(height, width, channels)``.
    """
    height, width = F.shape[:2]
    rows, columns = (jnp.asarray(_cells(n), F.dtype) for n in (height, width))
    cells = jnp.einsum("ah,hwc,bw->abc", rows, F, columns).reshape(-1, F.shape[-1])
    units = directions(cells)
    distances = jnp.maximum(1 - units @ units.T, 0)
    return distances / jnp.maximum(jnp.sum(distances, 0, keepdims=True), 1e-6)


def self_similarity_loss(D: Array, target: Array) -> Array:
    """Return sum_ij |D_ij - T_ij| / n for n cells: n times the mean, since entries are 1 / n on average.

    It does not change when all features are multiplied by a positive number.

    Args:
        D: `self_distances` of the generated image.
        target: T, those of the content image.
    """
    return jnp.sum(jnp.abs(D - target)) / len(D)


def _cells(length: int) -> NDArray[np.float64]:
    """Return the shares of positions in each cell, ``(cells, length)``: an average for each."""
    count = min(SIDE, length)
    edges = np.linspace(0, length, count + 1)
    at = np.arange(length)
    overlap = np.minimum(at + 1, edges[1:, None]) - np.maximum(at, edges[:-1, None])
    overlap = np.maximum(overlap, 0)
    shares: NDArray[np.float64] = overlap / overlap.sum(1, keepdims=True)
    return shares
