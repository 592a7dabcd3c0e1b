"""Pooling over windows of 2 x 2, between the blocks of VGG."""

from typing import Literal

import jax.numpy as jnp
from jax import Array

Pool = Literal["avg", "max"]


def pooled(x: Array, kind: Pool) -> Array:
    """Return the mean or maximum over windows of 2 x 2: ``(height // 2, width // 2, channels)``."""
    # A reshape and a reduction over 2 x 2 windows: the gradient needs no scatter, which is faster on a CPU
    # and deterministic on a GPU.
    height, width, channels = x.shape
    height, width = height // 2, width // 2
    windows = x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
    return windows.max((1, 3)) if kind == "max" else windows.mean((1, 3))


def unpooled(g: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of means over windows with respect to what they are of, which has such a shape."""
    every = jnp.repeat(jnp.repeat(g, 2, 0), 2, 1) / 4
    return jnp.pad(every, [(0, n - m) for n, m in zip(shape, every.shape, strict=True)])
