"""VGG networks as a pure Flax module with named features.

Arrays: images at the edges are float32 RGB in [0, 1], shape ``(height, width, 3)``. The network's input
space, in which the optimiser works too, is the one that its `Architecture` states: for VGG-19 and VGG-16 BGR,
0 to 255, minus the mean of ImageNet. Features are ``(height, width, channels)``. Batch with ``jax.vmap``.

Parameters are a plain nested dict ``{"conv1_1": {"kernel": (3, 3, in, out), "bias": (out,)}, ...}``; they
carry the layer table themselves, so that a narrow network is just a dict of narrow arrays.

Reference: Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015).
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike
from numpy.typing import NDArray

from nst_jax.architecture import (
    VGG19,
    Architecture,
    Blocks,
    block_and_index,
    canonical_layers,
    layer_names,
    of_blocks,
)
from nst_jax.networks import convolution
from nst_jax.networks.convolution import Engine
from nst_jax.networks.convolution import Padding as Padding
from nst_jax.networks.pooling import Pool as Pool
from nst_jax.networks.pooling import pooled

Params = dict[str, dict[str, Array]]

FAINT = 0.05
"""Least mean activation that `divisors` lets a filter have, as a share of its layer's."""


def to_input(image: ArrayLike, architecture: Architecture = VGG19) -> Array:
    """Map RGB in [0, 1] to the network's input space: its order and scale of colours, its mean subtracted."""
    rgb = jnp.asarray(image)
    return _reordered(rgb, architecture) * architecture.scale - _mean(rgb, architecture)


def to_image(x: Array, architecture: Architecture = VGG19) -> Array:
    """Invert `to_input`, clipping to [0, 1]."""
    image = (x + _mean(x, architecture)) / architecture.scale
    return _reordered(jnp.clip(image, 0.0, 1.0), architecture)


def _mean(x: Array, architecture: Architecture) -> Array:
    return jnp.broadcast_to(jnp.asarray(architecture.mean, x.dtype), x.shape)


def _reordered(x: Array, architecture: Architecture) -> Array:
    return x[..., ::-1] if architecture.order == "BGR" else x


def blocks_of(params: Mapping[str, Mapping[str, Array]]) -> tuple[tuple[int, int], ...]:
    """Read the layer table off parameters."""
    table: dict[int, tuple[int, int]] = {}
    for name in sorted(params, key=block_and_index):
        block, index = block_and_index(name)
        table[block] = (index, params[name]["bias"].shape[-1])
    return tuple(table[block] for block in sorted(table))


def architecture_of(params: Mapping[str, Mapping[str, Array]]) -> Architecture:
    """Return the architecture that parameters are of, as their layer table tells."""
    return of_blocks(blocks_of(params))


class VGG(nn.Module):
    """The convolutions of a VGG network, as deep as the deepest layer asked for.

    Call it with an image in the network's input space; it returns the named features after their ReLU.
    ``pool1`` and so on are what a block hands on to the next. Pooling drops an odd last row or column, as in
    Keras and torch; Caffe would keep it. An image that wraps is no torus any more where it does, so that its
    sides should be multiples of the deepest layer's stride: features then move with the image.
    """

    blocks: tuple[tuple[int, int], ...] = VGG19.blocks
    layers: tuple[str, ...] = VGG19.layers
    pool: Pool = "avg"
    padding: Padding = "zero"
    engine: Engine = "direct"
    first: int = 1
    """Block to begin with: the input is then what the block before it hands on."""

    @nn.compact
    def __call__(self, x: Array, inside: Array | None = None) -> dict[str, Array]:
        """Return the features of ``x``, ``(height, width, 3)``, by name.

        Where the mask ``inside`` is false, features count as zero, as they do beyond the border of an image.
        """
        found: dict[str, Array] = {}
        for block, (convs, channels) in enumerate(self.blocks[self.first - 1 :], self.first):
            for index in range(1, convs + 1):
                name = f"conv{block}_{index}"
                # Nobody wants to see what is averaged.
                is_pooled = (
                    (index, self.pool) == (convs, "avg") and inside is None and name not in self.layers
                )
                x = _Convolution(channels, self.padding, self.engine, is_pooled, name=name)(x)
                x = x if inside is None else jnp.where(inside, x, 0)
                if name in self.layers:
                    found[name] = x
                if len(found) == len(set(self.layers)):
                    return found
            x = x if is_pooled else pooled(x, self.pool)
            if f"pool{block}" in self.layers:
                found[f"pool{block}"] = x
                if len(found) == len(set(self.layers)):
                    return found
        return found


class _Convolution(nn.Module):
    channels: int
    padding: Padding
    engine: Engine
    is_pooled: bool

    @nn.compact
    def __call__(self, x: Array) -> Array:
        known = [name for name in convolution.PREPARED if self.has_variable("params", name)]
        layer: dict[str, Array] = {name: self.get_variable("params", name) for name in known}
        if "halves" not in layer:
            shape = (3, 3, x.shape[-1], self.channels)
            layer["kernel"] = self.param("kernel", nn.initializers.he_normal(), shape)
        layer["bias"] = self.param("bias", nn.initializers.zeros_init(), (self.channels,))
        look = convolution.averaged if self.is_pooled else convolution.rectified
        return look(x, layer, engine=self.engine, padding=self.padding)


def prepared(
    params: Params, *, deepest: str, engine: Engine = "auto", dtype: DTypeLike | None = None
) -> Params:
    """Return the layers down to the deepest, with what their engines would otherwise compute every time.

    With a ``dtype``, as arrays of that type. Otherwise parameters are those given, and no copies of them.

    Raises:
        ConfigError: the network has no such layer.
    """
    architecture = architecture_of(params)
    (deepest,) = canonical_layers([deepest], architecture)
    names = architecture.layers[: architecture.layers.index(deepest) + 1]
    layers = {
        name: jax.tree.map(lambda a: a if dtype is None else a.astype(dtype), params[name]) for name in names
    }
    made = _made(layers, engine=engine)
    return {name: convolution.completed(layers[name], made[name]) for name in names}


@partial(jax.jit, static_argnames="engine")
def _made(layers: Params, *, engine: Engine) -> Params:
    return {name: convolution.made(layer, engine=engine) for name, layer in layers.items()}


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
        padding: what lies beyond the border of each convolution: zeros, the nearest position repeated, or the
            other side.
        engine: of the convolutions, see `convolution`, which also says what can be differentiated.

    Returns:
        For each layer, an array ``(height // stride, width // stride, channels)``.

    Raises:
        ConfigError: a layer that the network does not have.
    """
    architecture = architecture_of(params)
    names = canonical_layers(layers, architecture)
    network = VGG(blocks=architecture.blocks, layers=names, pool=pool, padding=padding, engine=engine)
    found = _applied(network, params, x)
    return {name: found[name] for name in names}


@partial(jax.jit, static_argnums=0)
def _applied(network: VGG, params: Params, x: Array) -> dict[str, Array]:
    return cast(dict[str, Array], network.apply({"params": params}, x))


@partial(jax.jit, static_argnames="blocks")
def random_params(key: Array, *, blocks: Blocks = VGG19.blocks) -> Params:
    """Return parameters drawn at random (He et al. 2015): a yardstick and for tests, not for pictures."""
    network = VGG(blocks=tuple(blocks), layers=layer_names(blocks)[-1:])
    image = jnp.zeros((2 ** len(blocks), 2 ** len(blocks), 3))
    variables = cast(dict[str, Params], network.init(key, image))
    return variables["params"]


def mean_activations(
    params: Params, images: Iterable[ArrayLike], *, pool: Pool = "avg", padding: Padding = "zero"
) -> dict[str, NDArray[np.float64]]:
    """Return each filter's mean activation over images and positions, for `normalise`.

    m_l[i] = sum_n sum_xy F_l[x, y, i](image n) / sum_n M_l(image n), where M_l(image n) is the number of
    positions of layer l: every position counts the same, whatever the size of its image.

    Args:
        params: parameters of the network.
        images: any number of images of any sizes, in input space; they are taken one at a time. Images of
            the same shape should come one after another, for each change of shape compiles anew.
        pool: the pooling that the network will be used with.
        padding: the padding that it will be used with.

    Returns:
        For each layer, an array ``(channels,)``.

    Raises:
        ValueError: no images, or all too small for the deepest layer.
    """
    names = layer_names(blocks_of(params))

    @jax.jit
    def rows(params: Params, x: Array) -> dict[str, Array]:
        found = features(params, x, layers=names, pool=pool, padding=padding)
        return {name: jnp.sum(found[name], 1) for name in names}

    sums = {name: np.zeros(params[name]["bias"].shape) for name in names}
    positions = dict.fromkeys(names, 0)
    shape: tuple[int, ...] = ()
    for image in images:
        x = jnp.asarray(image)
        if x.shape != shape:
            rows.clear_cache()  # type: ignore[attr-defined]  # or every shape's program would stay
            shape = x.shape
        with jax.default_matmul_precision("highest"):
            found = jax.device_get(rows(params, x))
        for name in names:  # a row is short enough to sum in single precision, a set of photographs is not
            sums[name] += found[name].sum(0, dtype=np.float64)
            block, _ = block_and_index(name)
            positions[name] += len(found[name]) * (x.shape[1] >> (block - 1))
    if not all(positions.values()):
        raise ValueError("mean activations need an image large enough for the deepest layer")
    return {name: sums[name] / positions[name] for name in names}


def divisors(means: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Return what `normalise` divides each filter by: its mean activation, unless it hardly fires.

    Differs from Gatys et al. (2016): a mean below `FAINT` of its layer's is raised to that. A filter that
    hardly fires on the photographs measured would otherwise drown all others on the first picture that it
    does fire on. In a layer that is silent altogether it is 1.
    """
    result = {}
    for name, given in means.items():
        mean = jnp.asarray(given)
        mean = jnp.maximum(mean, FAINT * jnp.mean(mean))
        result[name] = jnp.where(mean > 0, mean, 1.0)
    return result


def normalise(params: Params, means: Mapping[str, ArrayLike]) -> Params:
    """Scale the filters so that each has mean activation one, without changing what the network computes.

    Gatys et al. (2016), section 2: the network is rectified and pools linearly, so filter i of layer l may be
    divided by its mean activation m_i if the next layer's kernels are multiplied by it:
    K'_l[.., j, i] = K_l[.., j, i] m_{l-1}[j] / m_l[i] and b'_l[i] = b_l[i] / m_l[i]; see `divisors`.
    """
    result: Params = {}
    before: Array = jnp.ones(3)
    divided = divisors(means)
    for name in layer_names(blocks_of(params)):
        mean = divided[name]
        kernel = params[name]["kernel"] * before[None, None, :, None] / mean[None, None, None]
        result[name] = {"kernel": kernel, "bias": params[name]["bias"] / mean}
        before = mean
    return result
