"""The built-in network: VGG-19's layers, with filters taken from photographs instead of trained.

Layer by layer, 3x3 patches of the activations below are drawn from a few photographs and whitened; groups
of similar whitened patches become the filters, each with a threshold. The last layer of each block is not
built from patches: it blurs every channel before it is pooled. Nothing is learned from labels and nothing is
downloaded: the photographs are the samples that come with the package.

Arrays: photographs are float32 RGB in [0, 1], shape ``(height, width, 3)``. The result is a parameter dict as
in `vgg`, for images in VGG-19's input space. Every filter has the same mean activation over the photographs,
as VGG-19's have in Gatys et al. (2016), section 2.

What the choices are worth in the eyes of VGG-19 is measured by benchmarks/builtin_quality.py; the results are
in docs/builtin_network.md.

Reference: Coates & Ng, "The importance of encoding versus training with sparse coding and vector
quantization" (2011); for the groups, Coates & Ng, "Learning feature representations with k-means" (2012); for
the blur, Zhang, "Making convolutional networks shift-invariant again" (2019).
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nst_jax import files, images, samples
from nst_jax.architecture import VGG19, Blocks, block_and_index, layer_names
from nst_jax.errors import OutputError
from nst_jax.networks import convolution, vgg
from nst_jax.pretrained import files as weights

RECIPE = "dictionary-3"
"""Version of the recipe: it changes whenever the same photographs would give other filters."""

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
"""The sample photographs that `load` builds from, and over which `network` measures activations."""

SIDE = 384
"""Pixels of their middle squares that `load` builds from: so few that patches see edges, not grain."""

PATCHES = 5000
"""Number of patches that a layer is built from."""

DIRECTIONS = 64
"""Largest number of directions kept of the channels below."""

COMPONENTS = 384
"""Largest number of principal components kept of the patches."""

RIDGE = 0.2
"""What is added to the components' variances before whitening, in units of their mean.

With much less, rare fine detail outweighs the strokes, and the pictures fill with noise.
"""

ROUNDS = 4
"""Rounds of k-means that turn drawn patches into filters."""

QUANTILE = 0.25
"""Share of patches on which a filter stays silent."""

ACTIVATION = 0.6
"""Mean activation of every filter over the photographs.

It is the mean that is fixed, not the mean square, so that a filter that fires rarely but strongly, at a
corner or a curl, counts more in the Gram matrices than one that is always half on. Scaling all activations by
c scales the content term by c^2 and the style term by c^4: with this value, the ratio of weights that suits
VGG-19 normalised to mean activation one suits this network too.
"""

BLUR = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16
"""What the last layer of a block does to each channel.

Pooling halves the resolution. Without a blur before it, frequencies too high for the coarser grid fold over,
and the optimiser hides hatching in them that deeper layers mistake for strokes.
"""


class Record(NamedTuple):
    """Which network this is: the version of its recipe and a SHA-256 over its arrays."""

    recipe: str
    digest: str


def build(
    photos: Sequence[np.ndarray],
    *,
    blocks: Blocks = VGG19.blocks,
    seed: int = 0,
    pool: vgg.Pool = "avg",
) -> vgg.Params:
    """Build the network from photographs.

    Each filter is a unit vector u of whitened patch space: for a patch p with mean m, covariance
    V diag(s) V^T and ridge r, it answers ``u . (s + r)^(-1/2) V^T (p - m)``, less the `QUANTILE` of that
    response over the patches, rectified, and scaled to mean activation `ACTIVATION` over the photographs.
    The last layer of a block is `BLUR` on each channel, likewise scaled, unless it is the only one.

    Args:
        photos: photographs, float RGB in [0, 1], each ``(height, width, 3)`` and large enough that the
            deepest layer still has 3x3 positions (``3 * 2 ** (len(blocks) - 1)`` pixels).
        blocks: the layer table: for each block, its convolutions and their channels.
        seed: seed of the draws.
        pool: the pooling that the network will be used with.

    Returns:
        Parameters as in `vgg`; the same for the same arguments.
    """
    generator = np.random.default_rng(seed)
    maps = [vgg.to_input(jnp.asarray(photo, jnp.float32)) for photo in photos]
    params: vgg.Params = {}
    for name in layer_names(blocks):
        block, index = block_and_index(name)
        depth, channels = blocks[block - 1]
        if index == 1 and block > 1:
            maps = [vgg.pooled(x, pool) for x in maps]
        if index == depth > 1:
            kernel, bias = _blur(channels)
        else:
            kernel, bias = _filters(_draw_patches(maps, generator), channels, generator)
        maps, mean = _responses(maps, kernel, bias)
        # A filter that never fires is left as it is, silent.
        scale = ACTIVATION / np.where(mean > 0, mean, np.float32(ACTIVATION))
        maps = [_scaled(x, scale) for x in maps]
        params[name] = {"kernel": jnp.asarray(kernel * scale), "bias": jnp.asarray(bias * scale)}
    return params


def photographs(side: int) -> list[images.FloatArray]:
    """Return the middle squares of the sample photographs, ``side`` pixels wide."""
    return [images.middle_square(samples.load(name), side) for name in PHOTOS]


def load(*, blocks: Blocks = VGG19.blocks, pool: vgg.Pool = "avg") -> tuple[vgg.Params, Record]:
    """Return the built-in network and its record, built on first use and then read from the cache folder.

    A damaged cache file is built anew; if the cache folder cannot be written, so is the network every time.
    """
    path = _cache_path(blocks, pool)
    cached = _read(path, blocks)
    if cached is not None:
        return cached
    params = build(photographs(SIDE), blocks=blocks, pool=pool)
    record = Record(RECIPE, weights.digest(params))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, _packed(params, record))
    except (OSError, OutputError):
        pass
    return params, record


def _draw_patches(maps: Sequence[Array], generator: np.random.Generator) -> np.ndarray:
    """Draw 3x3 patches inside the maps, as many from each: ``(patches, 9, channels)``."""
    each = -(-PATCHES // len(maps))
    drawn = []
    for x in maps:
        grid = np.asarray(x)
        height, width = grid.shape[0] - 2, grid.shape[1] - 2
        positions = generator.choice(height * width, min(each, height * width), replace=False)
        rows, columns = np.divmod(positions, width)
        window = np.arange(3)
        patches = grid[rows[:, None, None] + window[:, None], columns[:, None, None] + window]
        drawn.append(patches.reshape(len(positions), 9, -1))
    return np.concatenate(drawn)


def _filters(
    patches: np.ndarray, channels: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a layer's kernel ``(3, 3, in, channels)`` and bias, before they are scaled to `ACTIVATION`."""
    mean, basis = _whitening(patches)
    white = (patches - mean).reshape(len(patches), -1) @ basis
    directions = _group(white, channels, generator)
    responses = white @ directions.T
    kernel = basis @ directions.T
    bias = -(mean.ravel() @ kernel) - np.quantile(responses, QUANTILE, axis=0).astype(np.float32)
    return kernel.reshape(3, 3, -1, channels), bias


def _whitening(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean patch ``(9, in)`` and the basis ``(9 in, components)`` in which patches are white.

    Wide layers first keep their leading directions of channel space: the whole decomposition of a
    4608-dimensional covariance would take longer than all the rest.
    """
    mean = patches.mean(0)
    centred = patches - mean
    across = _principal(centred[:, 4])[1][:, :DIRECTIONS].astype(np.float32)
    inside = (centred @ across).reshape(len(patches), -1)
    variance, vectors = _principal(inside)
    variance, vectors = variance[:COMPONENTS], vectors[:, :COMPONENTS]
    ridge = RIDGE * variance.mean() + 1e-12
    scaled = (vectors * (variance + ridge) ** -0.5).astype(np.float32).reshape(9, across.shape[1], -1)
    return mean, np.einsum("cd,pdk->pck", across, scaled).reshape(-1, scaled.shape[-1])


def _principal(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variances, largest first, and directions (columns) of centred rows."""
    variance, vectors = np.linalg.eigh(rows.T @ rows / np.float32(len(rows)))
    return np.maximum(variance[::-1], 0.0), vectors[:, ::-1]


def _group(white: np.ndarray, channels: int, generator: np.random.Generator) -> np.ndarray:
    """Return unit vectors ``(channels, components)``: drawn patches, moved by rounds of spherical k-means.

    A patch counts by its length, in the draw as in the means: much contrast says more than little.
    """
    lengths = np.linalg.norm(white, axis=1).astype(np.float64) + 1e-6
    units = _normalised(white)
    shares = lengths / lengths.sum()
    chosen = generator.choice(len(units), channels, replace=len(units) < channels, p=shares)
    directions = units[chosen]
    for _ in range(ROUNDS):
        nearest = (units @ directions.T).argmax(1)
        order = np.argsort(nearest, kind="stable")
        filled, starts = np.unique(nearest[order], return_index=True)
        directions[filled] = _normalised(np.add.reduceat(white[order], starts))
    return directions


def _normalised(rows: np.ndarray) -> np.ndarray:
    units: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return units


def _blur(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel and bias that blur each channel."""
    return BLUR[..., None, None] * np.eye(channels, dtype=np.float32), np.zeros(channels, np.float32)


def _responses(maps: Sequence[Array], kernel: np.ndarray, bias: np.ndarray) -> tuple[list[Array], np.ndarray]:
    """Return what a layer makes of the maps, and the mean of each channel, every map counting the same."""
    layer = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    found = [_rectified(x, layer) for x in maps]
    return [x for x, _ in found], np.mean([np.asarray(mean) for _, mean in found], 0)


@jax.jit
def _rectified(x: Array, layer: dict[str, Array]) -> tuple[Array, Array]:
    y = convolution.rectified(x, layer)
    return y, jnp.mean(y, (0, 1))


@partial(jax.jit, donate_argnums=0)
def _scaled(x: Array, scale: np.ndarray) -> Array:
    return x * scale[None, None]


def _cache_path(blocks: Blocks, pool: vgg.Pool) -> Path:
    asked = hashlib.sha256(repr((RECIPE, tuple(map(tuple, blocks)), pool)).encode()).hexdigest()
    return files.cache_folder() / "dictionary" / f"{RECIPE}-{asked[:12]}.npz"


def _packed(params: vgg.Params, record: Record) -> bytes:
    arrays = {f"{name}/{part}": np.asarray(a) for name, layer in params.items() for part, a in layer.items()}
    buffer = io.BytesIO()
    np.savez(buffer, record=np.asarray(record), **arrays)  # type: ignore[arg-type]  # its stub is too narrow
    return buffer.getvalue()


def _read(path: Path, blocks: Blocks) -> tuple[vgg.Params, Record] | None:
    """Read a cache file, or return None if it is missing or not what was written."""
    try:
        # From memory: NumPy leaves the file open when it is damaged.
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            record = Record(*map(str, stored["record"]))
            params: vgg.Params = {
                name: {part: jnp.asarray(stored[f"{name}/{part}"]) for part in ("kernel", "bias")}
                for name in layer_names(blocks)
            }
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return (params, record) if weights.digest(params) == record.digest else None
