"""Patch losses: every patch of the image is drawn to the patch of the style that it is most like.

Li & Wand, "Combining Markov random fields and convolutional neural networks for image synthesis" (CVPR
2016); with semantic maps, Champandard, "Semantic style transfer and turning two-bit doodles into fine
artwork" (2016).

Features F of the image are ``(height, width, channels)`` at one layer, after their ReLU. A patch is what lies
in a window of k x k positions, all of it within the layer. Maps m are ``(height, width, labels)`` at the same
layer, with no labels at all where there is no map.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.terms import Guides, StyleTerm
from nst_jax.settings import GAMMA, Patch, Settings

_LAST = 2**31 - 1

AT_ONCE = 4
"""Rows of patches that choose without regard to each other where variety is wanted."""

_DEFAULT = Patch()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Source:
    """A style image at one layer."""

    features: Array
    map: Array
    """As in `PatchStyle`."""
    visible: Array | None = None
    """How much of each position can be seen, ``(height, width)``; None: all."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PatchStyle:
    """What the patches of one layer are compared with."""

    sources: tuple[Source, ...]
    """The style image, and perhaps turned or scaled copies of it."""
    map: Array
    """Of the picture to be made, ``(height, width, labels)``, scaled as those of the sources."""
    held: tuple[Array, Array] | None = None
    """Matches, from `nearest`, to go on with; None: they are found in every evaluation."""
    where: Array | None = None
    """How much each position of the picture counts, ``(height, width, 1)``; None: all alike."""


@dataclass(frozen=True)
class Patches(StyleTerm):
    """Each patch is like the patch of the style that it is most like: equation (4) of Champandard (2016)."""

    layers = ("conv3_1", "conv4_1")
    is_falling = False
    maps = "optional"
    is_smooth = False  # it jumps where a match changes

    size: int = _DEFAULT.size
    """k"""
    memory: int = _DEFAULT.memory
    """See `nearest`."""
    variety: float = _DEFAULT.variety
    """Likewise."""
    rematch: int = _DEFAULT.rematch
    """Evaluations with the same matches."""
    turns: tuple[tuple[float, float], ...] = ()
    """Degrees and scale of copies of the style whose patches may be taken too."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the term that settings describe."""
        patch = settings.patch
        turns = [(turn, scale) for turn in (0.0, *patch.rotations) for scale in (1.0, *patch.scales)]
        return cls(patch.size, patch.memory, patch.variety, patch.rematch, tuple(turns[1:]))

    @property
    def extent(self) -> int:
        """A patch."""
        return self.size

    @property
    def room(self) -> int:
        """Two patches side by side: of fewer, each would be most of the style, whatever the maps."""
        return 2 * self.size

    @property
    def copies(self) -> tuple[tuple[float, float], ...]:
        """See ``turns``."""
        return self.turns

    @property
    def renew_every(self) -> int:
        """See ``rematch``."""
        return self.rematch

    def targets(self, features: Sequence[Array], guides: Guides) -> PatchStyle:
        """Return the style's features with their maps, each map balanced against the features."""
        factor = balance(features[0], guides.style[0])
        all_seen: list[Array | None] = [None] * len(features)
        seen = [each[:, :, 0] for each in guides.visible] or all_seen
        sources = tuple(
            Source(F, guides.weight * (factor * map_), visible)
            for F, map_, visible in zip(features, guides.style, seen, strict=True)
        )
        style = PatchStyle(sources, guides.weight * (factor * guides.content), where=guides.where)
        if self.rematch == 1:
            return style
        none = jnp.zeros([n - self.size + 1 for n in guides.content.shape[:2]], jnp.int32)
        return replace(style, held=(none, none))  # until the first evaluation finds them

    def loss(self, F: Array, target: PatchStyle) -> Array:
        """Return `patch_loss`."""
        found: Array = patch_loss(F, target, size=self.size, memory=self.memory, variety=self.variety)
        return found

    def renewed(self, F: Array, target: PatchStyle) -> PatchStyle:
        """Return the target with the matches of now."""
        found = nearest(F, target, size=self.size, memory=self.memory, variety=self.variety)
        return replace(target, held=found)


def balance(features: Array, map_: Array) -> Array:
    """Return what a map is multiplied by, besides gamma, before it joins the features: |F| / (|m| `GAMMA`).

    |F| and |m| are the root mean squares over positions of the style image, of all channels together. So at
    gamma = 50 map and features have the same share in the normalised cross-correlation, in every layer and
    with every network. The paper chose its 50 "to equalize the value range" of its own maps (0 to 255) and
    its own network; the rule is the same here, and the number too. A map of nothing but zeros stays that.
    """
    energy = jnp.sum(jnp.square(map_)) / max(1, map_.shape[0] * map_.shape[1])
    of_features = jnp.sum(jnp.square(features)) / (features.shape[0] * features.shape[1])
    return jnp.where(energy > 0, jnp.sqrt(of_features / jnp.where(energy > 0, energy, 1.0)) / GAMMA, 0.0)


def joined(features: Array, map_: Array) -> Array:
    """Return features and map, times gamma already, as channels of one array: s of equation (2)."""
    features = jnp.asarray(features)
    return jnp.concatenate([features, map_.astype(features.dtype)], -1)


@partial(jax.jit, static_argnames=("size", "memory", "variety"), inline=True)
def nearest(
    F: Array,
    style: PatchStyle,
    *,
    size: int = _DEFAULT.size,
    memory: int = _DEFAULT.memory,
    variety: float = _DEFAULT.variety,
) -> tuple[Array, Array]:
    """Return for each patch of F where its nearest patch of the style begins, by equation (3).

    That is the patch of the largest normalised cross-correlation, NN(i) = arg max_j <s_i, s_j> / (|s_i|
    |s_j|), with s from `joined`; the first of several equal ones. The paper prints "arg min", which would be
    the least alike; its code takes the maximum. No gradient flows through the choice. Of a style that is
    partly transparent, patches are chosen whose least visible position is at least half as visible as the
    best patch's.

    With variety v > 0, what has been chosen often counts less, against repetition: `AT_ONCE` rows of patches
    choose at a time, and each correlation is multiplied by 1 - v n_j / (n_j + n), where n_j is how often
    patch j has been chosen before, and n how often each would have been if all had been equally often.

    Args:
        F: features of the image, ``(height, width, channels)``.
        style: what to search.
        size: k.
        memory: of the scores that exist at a time; there are as many as pairs of patches.
        variety: v, from 0 to 1.

    Returns:
        Indexes ``(height - k + 1, width - k + 1)`` of first positions in the table of all positions of all
        sources, one row after the other, and how many positions apart the rows of that source are.
    """
    F = jax.lax.stop_gradient(F)
    pairs = [
        tuple(joined(*pair) for pair in ((F, style.map), (source.features, source.map)))
        for source in style.sources
    ]
    lengths = [_lengths(s, size, source.visible) for (_, s), source in zip(pairs, style.sources, strict=True)]
    shapes = [s.shape[:2] for _, s in pairs]
    height, width = (n - size + 1 for n in F.shape[:2])
    widest = max(columns for _, columns in shapes)
    rows = max(1, memory // (4 * size * widest * F.shape[1]) - size + 1)  # that one row of s fits with
    rows = min(rows, height, AT_ONCE if variety else height)
    if rows == height and not variety:
        return _search(pairs, lengths, size, memory)
    count = sum(length.size for length in lengths)

    def body(index: Array, known: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        chosen, *found = known
        first = jnp.minimum(rows * index, height - rows)
        evenly = jnp.maximum(1.0, jnp.sum(chosen)) / count
        longer, before = [], 0
        for shape, length in zip(shapes, lengths, strict=True):
            n = chosen[before : before + shape[0] * shape[1]].reshape(shape)
            n = n[: length.shape[0], : length.shape[1]]
            longer.append(length / (1 - variety * n / (n + evenly)))
            before += shape[0] * shape[1]
        some = [(jax.lax.dynamic_slice_in_dim(x, first, rows + size - 1), s) for x, s in pairs]
        new = _search(some, longer, size, memory)
        begins, apart = (
            jax.lax.dynamic_update_slice_in_dim(all_, part, first, 0)
            for all_, part in zip(found, new, strict=True)
        )
        return chosen.at[new[0]].add(1.0), begins, apart

    none = jnp.zeros(sum(rows * columns for rows, columns in shapes), jnp.float32)
    empty = jnp.zeros((height, width), jnp.int32)
    _, begins, apart = jax.lax.fori_loop(0, -(-height // rows), body, (none, empty, empty))
    return begins, apart


def _search(
    pairs: Sequence[tuple[Array, ...]], lengths: Sequence[Array], size: int, memory: int
) -> tuple[Array, Array]:
    """Return what `nearest` does, given the image's and each source's s, and lengths to divide by."""
    x = pairs[0][0]
    shape = (x.shape[0] - size + 1, x.shape[1] - size + 1)
    best = jnp.full(shape, -jnp.inf, jnp.float32)
    begins, apart = jnp.zeros(shape, jnp.int32), jnp.ones(shape, jnp.int32)
    before = 0
    for (x, s), length in zip(pairs, lengths, strict=True):
        height, width = s.shape[:2]
        score, found = _nearest_in(x, s, length, size, memory)
        better = score > best
        best, begins = jnp.where(better, score, best), jnp.where(better, before + found, begins)
        apart = jnp.where(better, width, apart)
        before += height * width
    return begins, apart


def _lengths(s: Array, size: int, visible: Array | None = None) -> Array:
    """Return |s_j| of each patch; 1 for one of nothing, infinity for one that is hidden."""
    energy = _windowed(jnp.sum(jnp.square(s.astype(jnp.float32)), -1), size)
    lengths = jnp.sqrt(jnp.where(energy > 0, energy, 1.0))
    if visible is None:
        return lengths
    least = _windowed(visible, size, jnp.minimum)
    return jnp.where(least >= 0.5 * jnp.max(least), lengths, jnp.inf)


def _nearest_in(x: Array, s: Array, length: Array, size: int, memory: int) -> tuple[Array, Array]:
    """Return the score but for |s_i|, and the first position, of the best patch of ``s`` for each of ``x``.

    A patch's product is the sum of the products of its positions, and positions are in k^2 patches: so those
    are multiplied, once each, and the products added up along the windows. Rows of s are taken a block at a
    time. Positions of x are the last axes, over which the search for the maximum runs in vector registers.
    """
    height, width = (n - size + 1 for n in x.shape[:2])
    rows, columns = (n - size + 1 for n in s.shape[:2])
    row_bytes = 4 * s.shape[1] * x.shape[0] * x.shape[1]
    block = int(min(rows, max(1, memory // row_bytes - size + 1)))

    def body(index: Array, known: tuple[Array, Array]) -> tuple[Array, Array]:
        first = jnp.minimum(block * index, rows - block)
        some = jax.lax.dynamic_slice_in_dim(s, first, block + size - 1)
        products = jnp.einsum("abc,hwc->abhw", some, x, preferred_element_type=jnp.float32)
        zero = jnp.zeros((), jnp.float32)
        down = sum((products[d : d + block, :, d : d + height] for d in range(size)), zero)
        across = sum((down[:, d : d + columns, :, d : d + width] for d in range(size)), zero)
        score = across / jax.lax.dynamic_slice_in_dim(length, first, block)[:, :, None, None]
        score = jax.lax.optimization_barrier(score)  # type: ignore[no-untyped-call]  # used twice
        high = jnp.max(score, (0, 1))
        place = (first + jnp.arange(block))[:, None] * s.shape[1] + jnp.arange(columns)[None]
        where = jnp.min(jnp.where(score == high[None, None], place[:, :, None, None], _LAST), (0, 1))
        better = high > known[0]
        return jnp.where(better, high, known[0]), jnp.where(better, where, known[1])

    begin = jnp.full((height, width), -jnp.inf, jnp.float32), jnp.zeros((height, width), jnp.int32)
    found: tuple[Array, Array] = jax.lax.fori_loop(0, -(-rows // block), body, begin)
    return found


def _windowed(x: Array, size: int, join: Callable[[Array, Array], Array] = jnp.add) -> Array:
    """Return what windows of the first two axes hold, joined: their sums."""
    height, width = (n - size + 1 for n in x.shape[:2])
    x = reduce(join, (x[d : d + height] for d in range(size)))
    return reduce(join, (x[:, d : d + width] for d in range(size)))


@partial(jax.jit, static_argnames=("size", "memory", "variety"), inline=True)
def patch_loss(
    F: Array,
    style: PatchStyle,
    *,
    size: int = _DEFAULT.size,
    memory: int = _DEFAULT.memory,
    variety: float = _DEFAULT.variety,
) -> Array:
    """Return the mean squared difference of the image's patches and their nearest style patches.

    S = sum_i |Psi_i(F) - Psi_NN(i)(F_s)|^2 / (patches * k^2 * channels), or a mean where positions count by
    their shares. Equation (4) of Champandard (2016) is the sum; the mean, as in his code, makes the weight
    independent of the picture's size. The channels of the map choose the patch and do not count here. With
    the matches held, the gradient is that of a quadratic; it jumps where a match changes.

    Args:
        F: features of the image, ``(height, width, channels)``.
        style: what they are compared with.
        size: k.
        memory: see `nearest`.
        variety: likewise.
    """
    begins, apart = style.held or nearest(F, style, size=size, memory=memory, variety=variety)
    height, width = begins.shape
    share = None if style.where is None else _windowed(style.where, size) / size**2
    table = jnp.concatenate([source.features.reshape(-1, F.shape[-1]) for source in style.sources])

    # Gathered anew for the gradient: k^2 times the features would have to be kept.
    def part(F: Array, down: int, across: int) -> Array:
        wanted = table[begins + down * apart + across]
        squares = jnp.square(F[down : down + height, across : across + width] - wanted)
        return jnp.sum(squares if share is None else share * squares)

    parts = [
        jax.checkpoint(part, static_argnums=(1, 2))(F, down, across)
        for down in range(size)
        for across in range(size)
    ]
    count = height * width if share is None else jnp.sum(share)
    return sum(parts, jnp.zeros(())) / (count * size**2 * F.shape[-1])
