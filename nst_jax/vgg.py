"""VGG-19 as a pure Flax module with named features.

Arrays: images at the edges are float32 RGB in [0, 1], shape ``(height, width, 3)``. The network's input
space, in which the optimiser works too, is BGR, 0 to 255, minus the mean of ImageNet (as in the papers).
Features are ``(height, width, channels)``. Batch with ``jax.vmap``.

Parameters are a plain nested dict ``{"conv1_1": {"kernel": (3, 3, in, out), "bias": (out,)}, ...}``; they
carry the layer table themselves, so a narrow network is only a dict with narrow arrays.

Reference: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015).
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from nst_jax import convolution
from nst_jax.convolution import Engine
from nst_jax.convolution import Padding as Padding
from nst_jax.layers import VGG19, Blocks, block_and_index, canonical_layers, layer_names

Params = dict[str, dict[str, Array]]
Pool = Literal["avg", "max"]

MEAN_BGR = (103.939, 116.779, 123.68)
"""Mean colour of the ImageNet training set that the original weights expect subtracted."""

FAINT = 0.05
"""Least mean activation that `normalise` divides by, as a share of the layer's."""


def to_input(image: ArrayLike) -> Array:
    """Map RGB in [0, 1] to the network's input space: BGR, 0 to 255, mean subtracted."""
    rgb = jnp.asarray(image)
    return rgb[..., ::-1] * 255.0 - jnp.asarray(MEAN_BGR, rgb.dtype)


def to_image(x: Array) -> Array:
    """Invert `to_input`, clipping to [0, 1]."""
    return jnp.clip((x + jnp.asarray(MEAN_BGR, x.dtype)) / 255.0, 0.0, 1.0)[..., ::-1]


def blocks_of(params: Mapping[str, Mapping[str, Array]]) -> tuple[tuple[int, int], ...]:
    """Read the layer table off parameters."""
    table: dict[int, tuple[int, int]] = {}
    for name in sorted(params, key=block_and_index):
        block, index = block_and_index(name)
        table[block] = (index, params[name]["kernel"].shape[-1])
    return tuple(table[block] for block in sorted(table))


class VGG(nn.Module):
    """The convolutions of a VGG network, as deep as the deepest layer asked for.

    Call it with an image in the network's input space; it returns the named features after their ReLU.
    ``pool1`` and so on are what a block hands on to the next. Pooling drops an odd last row or column, as in
    Keras and torch; Caffe would keep it.
    """

    blocks: tuple[tuple[int, int], ...] = VGG19
    layers: tuple[str, ...] = layer_names()
    pool: Pool = "avg"
    padding: Padding = "zero"
    engine: Engine = "direct"
    first: int = 1
    """Block to begin with: the input is then what the block before hands on."""

    @nn.compact
    def __call__(self, x: Array, inside: Array | None = None) -> dict[str, Array]:
        """Return the features of ``x``, ``(height, width, 3)``, by name.

        Where the mask ``inside`` is false, features count as zero, as they do beyond the border of an image.
        """
        found: dict[str, Array] = {}
        for block, (convs, channels) in enumerate(self.blocks[self.first - 1 :], self.first):
            for index in range(1, convs + 1):
                name = f"conv{block}_{index}"
                x = _Convolution(channels, self.padding, self.engine, name=name)(x)
                x = x if inside is None else jnp.where(inside, x, 0)
                if name in self.layers:
                    found[name] = x
                if len(found) == len(set(self.layers)):
                    return found
            x = pooled(x, self.pool)
            if f"pool{block}" in self.layers:
                found[f"pool{block}"] = x
                if len(found) == len(set(self.layers)):
                    return found
        return found


class _Convolution(nn.Module):
    channels: int
    padding: Padding
    engine: Engine

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (3, 3, x.shape[-1], self.channels)
        layer = {
            "kernel": self.param("kernel", nn.initializers.he_normal(), shape),
            "bias": self.param("bias", nn.initializers.zeros_init(), (self.channels,)),
        }
        known = [name for name in convolution.PREPARED if self.has_variable("params", name)]
        layer |= {name: self.get_variable("params", name) for name in known}
        return convolution.rectified(x, layer, engine=self.engine, padding=self.padding)


@partial(jax.jit, static_argnames=("deepest", "engine", "padding", "dtype"))
def prepared(
    params: Params,
    *,
    deepest: str,
    engine: Engine = "auto",
    padding: Padding = "zero",
    dtype: Any = None,
) -> Params:
    """Return the layers down to the deepest, with what their engines would else compute every time anew.

    With a ``dtype``, as arrays of that type.
    """
    names = layer_names(blocks_of(params))
    names = names[: names.index(deepest) + 1]
    layers = {
        name: jax.tree.map(lambda a: a if dtype is None else a.astype(dtype), params[name]) for name in names
    }
    return {name: convolution.prepare(layers[name], engine=engine, padding=padding) for name in names}


def pooled(x: Array, kind: Pool) -> Array:
    """Return the mean or maximum over windows of 2 x 2: ``(height // 2, width // 2, channels)``."""
    # A reshape and a reduction over 2 x 2 windows: the gradient needs no scatter, which is faster on a CPU
    # and deterministic on a GPU.
    height, width, channels = x.shape
    height, width = height // 2, width // 2
    windows = x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, channels)
    return windows.max((1, 3)) if kind == "max" else windows.mean((1, 3))


def features(
    params: Params,
    x: Array,
    *,
    layers: Iterable[str],
    pool: Pool = "avg",
    padding: Padding = "zero",
    engine: Engine = "direct",
) -> dict[str, Array]:
    """Return the features of an image at the named layers, after their ReLU.

    Args:
        params: parameters of the network; they fix its widths and depth.
        x: image in the network's input space (see `to_input`), ``(height, width, 3)``.
        layers: names such as ``conv4_2`` (or ``relu4_2``); nothing deeper than the deepest is computed.
        pool: average (as in Gatys et al. 2016) or maximum pooling.
        padding: what lies beyond the border of each convolution: zeros, or the nearest pixel repeated.
        engine: of the convolutions, see `convolution`.

    Returns:
        For each layer, an array ``(height // stride, width // stride, channels)``.

    Raises:
        ConfigError: an unknown layer.
    """
    blocks = blocks_of(params)
    names = canonical_layers(layers, known=layer_names(blocks))
    network = VGG(blocks=blocks, layers=names, pool=pool, padding=padding, engine=engine)
    found = cast(dict[str, Array], network.apply({"params": params}, x))
    return {name: found[name] for name in names}


def random_params(key: Array, *, blocks: Blocks = VGG19) -> Params:
    """Return parameters drawn at random (He et al. 2015): for tests and as a yardstick, not for pictures."""
    network = VGG(blocks=tuple(blocks), layers=layer_names(blocks)[-1:])
    image = jnp.zeros((2 ** len(blocks), 2 ** len(blocks), 3))
    variables = cast(dict[str, Params], network.init(key, image))
    return variables["params"]


def mean_activations(
    params: Params, images: Iterable[Array], *, pool: Pool = "avg", padding: Padding = "zero"
) -> dict[str, Array]:
    """Return each filter's mean activation over images (in input space) and positions, for `normalise`."""
    names = layer_names(blocks_of(params))

    @jax.jit
    def means(params: Params, x: Array) -> dict[str, Array]:
        found = features(params, x, layers=names, pool=pool, padding=padding)
        return {name: jnp.mean(found[name], (0, 1)) for name in names}

    every = [means(params, x) for x in images]
    return {name: jnp.mean(jnp.stack([found[name] for found in every]), 0) for name in names}


def normalise(params: Params, means: Mapping[str, ArrayLike]) -> Params:
    """Scale the filters so that each has mean activation one, without changing what the network computes.

    Gatys et al. (2016), section 2: the network is rectified and pools linearly, so filter i of layer l may be
    divided by its mean activation m_i if the next layer's kernels are multiplied by it:
    K'_l[.., j, i] = K_l[.., j, i] m_{l-1}[j] / m_l[i] and b'_l[i] = b_l[i] / m_l[i].

    Differs from the paper: a mean below `FAINT` of its layer's is raised to that. A filter that hardly fires
    on the photographs measured would otherwise drown all others on the first picture that it does fire on.
    """
    result: Params = {}
    before: Array = jnp.ones(3)
    for name in layer_names(blocks_of(params)):
        mean = jnp.asarray(means[name])
        mean = jnp.maximum(mean, FAINT * jnp.mean(mean))
        mean = jnp.where(mean > 0, mean, 1.0)
        kernel = params[name]["kernel"] * before[:, None] / mean
        result[name] = {"kernel": kernel, "bias": params[name]["bias"] / mean}
        before = mean
    return result
