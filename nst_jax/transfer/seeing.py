"""How an image is looked at: what of it is compared, and how much memory that may take.

What lies between an image and its loss is far larger than either: the first block of VGG-19 alone has 512
bytes a pixel, and the gradient wants all of it. Blocks can be computed again for the gradient instead, tile
by tile: then only what a unit of blocks hands on exists as a whole, 64, 32, 16 and 8 bytes a pixel after the
first to the fourth. Statistics and distances from the content add up over tiles, so that nothing else is
needed of them, and the result is the same but for the order of sums. Zero padding belongs to the border of
the image at every layer, so that in a tile what lies beyond it is made zero after each.

An image may also lie at the top left of a larger array, its canvas: with its extent what lies beyond is made
zero likewise, and counts for nothing. The extent is an argument: images of all sizes share a program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypedDict, Unpack, cast

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.architecture import block_and_index, canonical_layers
from nst_jax.losses.content import content_loss
from nst_jax.losses.gram import Gram, natively
from nst_jax.losses.terms import INPUT, AdditiveTerm
from nst_jax.losses.variation import Slices, total_variation, variation_of_part
from nst_jax.networks import tiles, vgg
from nst_jax.networks.convolution import Engine, Padding, may_be_native, unwrapped
from nst_jax.networks.tiles import Place, Tiling
from nst_jax.networks.vgg import Params, Pool
from nst_jax.typing import Tree

TILE_BYTES = 2**20
"""About so many bytes of a layer's features make a tile, times its breadth: see `Seeing`."""

BREADTH = 16
"""Of tiles, unless told otherwise: little is computed for two of them."""

_GRAM = Gram()


class Seeing(TypedDict, total=False):
    """How an image is looked at; all of it is static."""

    pool: Pool
    """Average, unless told otherwise, or maximum pooling."""
    padding: Padding
    """Zero, unless told otherwise, replicate or wrap."""
    engine: Engine
    """Of the convolutions, see `convolution`; direct, unless told otherwise."""
    recompute: tuple[int, ...]
    """Numbers of blocks, ascending. All blocks up to each of them make a unit, which keeps nothing for the
    gradient but what goes into it, and is computed once more for that: with (1, 2) the first two blocks, each
    by itself, with (2,) both together. It is computed in tiles, if the padding is zero and no features of it
    are wanted: then what is in it never exists as a whole."""
    breadth: int
    """A tile is at least so many times as wide as what it sees on either side: with less it takes less memory
    and more time. `BREADTH` unless told otherwise."""
    dtype: Any
    """Of the features, such as ``jnp.bfloat16``; None: that of the image. What is returned is of the image's
    type; the parameters should be of this one."""


SEEING = tuple(Seeing.__annotations__)
"""Their names."""


def seeing_style(seeing: Seeing) -> Seeing:
    """Return how a style image is looked at: as the picture, but for a picture that wraps.

    A painting is no torus: as one it would have a seam, which is none of its marks. Its borders are
    replicated then, for zeros would give it features of dark borders, and the picture has no borders. A
    content is looked at as the picture is: their features are compared place by place.
    """
    return {**seeing, "padding": unwrapped(seeing.get("padding", "zero"))}


def wraps(seeing: Seeing) -> bool:
    """Tell whether the picture is a torus."""
    return seeing.get("padding") == "wrap"


class Seen(NamedTuple):
    """What of an image is compared, by layer."""

    features: dict[str, Array]
    statistics: dict[str, Tree]
    """Of an additive term."""
    distances: dict[str, Array]
    """From the features of a content, `content_loss`."""


@partial(jax.jit, static_argnames=("layers", "term", "term_layers", "variation", *SEEING), inline=True)
def seen(
    params: Params,
    x: Array,
    *,
    layers: tuple[str, ...] = (),
    content: Mapping[str, Array] | None = None,
    term: AdditiveTerm = _GRAM,
    term_layers: tuple[str, ...] = (),
    guides: Mapping[str, Array] | None = None,
    variation: bool = False,
    extent: Array | None = None,
    **seeing: Unpack[Seeing],
) -> Seen:
    """Return what of an image is compared.

    Args:
        params: parameters of the network, best from `vgg.prepared`.
        x: image in the network's input space, ``(height, width, 3)``.
        layers: those whose features are wanted.
        content: features that those of the image are compared with, place by place, by layer.
        term: whose statistics.
        term_layers: those whose statistics are wanted.
        guides: what counts of each position for the term, by layer; none of a term that is not guided.
        variation: whether the image's `total_variation` is wanted, as a distance called `INPUT`.
        extent: height and width of the image, ``(2,)``, if ``x`` is a canvas that has it at its top left. For
            zero padding, a term that `AdditiveTerm.ignores_zeros` and is not guided, and ``content`` seen so.
        seeing: see `Seeing`.

    Raises:
        TypeError: a gradient with respect to parameters, ``content`` or ``guides`` is asked for, of what is
            in tiles.
    """
    image, dtype, kind = x, seeing.get("dtype"), x.dtype
    x = x if dtype is None else x.astype(dtype)
    pool, padding = seeing.get("pool", "avg"), seeing.get("padding", "zero")
    engine, recompute = seeing.get("engine", "direct"), seeing.get("recompute", ())
    breadth = seeing.get("breadth", BREADTH)
    known = vgg.architecture_of(params)
    P, G = dict(content or {}), dict(guides or {})
    wanted, summed, compared = (canonical_layers(names, known) for names in (layers, term_layers, P))
    every = dict.fromkeys((*wanted, *summed, *compared))
    deepest = max((block_and_index(name)[0] for name in every), default=0)
    network = vgg.VGG(vgg.blocks_of(params), pool=pool, padding=padding, engine=engine)
    found = Seen({}, {}, {})
    smooth = variation and dtype is None
    for numbers, is_twice in _units(recompute, deepest):
        names = tuple(name for name in every if block_and_index(name)[0] in numbers)
        size, goes_on = (x.shape[0], x.shape[1]), numbers[-1] < deepest
        unit = _Unit(
            network, numbers, names, wanted, summed, term, size, goes_on, smooth and 1 in numbers, breadth
        )
        here, guiding = ({name: some[name] for name in names if name in some} for some in (P, G))
        given = params, here, guiding, None if extent is None else extent // 2 ** (numbers[0] - 1)
        tiling = unit.tiling
        whole = padding != "zero" or tiling.count == 1 or not {*wanted}.isdisjoint(names)
        if not is_twice:
            x, more = unit(given, x)
        elif whole:
            x, more = jax.checkpoint(unit)(given, x)
        else:
            x, more = tiles.recomputed(unit, given, x, tiling)
            more = unit.averaged(more, given[3])
        found = Seen(*(a | b for a, b in zip(found, more, strict=True)))
    if variation and INPUT not in found.distances:
        found.distances[INPUT] = _variation(image, extent, wrap=padding == "wrap")
    F = {name: found.features[name].astype(kind) for name in wanted}
    S = jax.tree.map(lambda leaf: leaf.astype(kind), found.statistics)
    return Seen(F, S, found.distances)


def _units(recompute: Sequence[int], deepest: int) -> list[tuple[range, bool]]:
    """Return blocks that are computed together, and whether they are computed twice."""
    found, first = [], 1
    for last in recompute:
        if first <= deepest:
            found.append((range(first, min(last, deepest) + 1), True))
        first = last + 1
    return [*found, *((range(number, number + 1), False) for number in range(first, deepest + 1))]


def _variation(image: Array, extent: Array | None, *, wrap: bool) -> Array:
    if extent is None:
        return total_variation(image, wrap=wrap)
    every = slice(0, image.shape[0]), slice(0, image.shape[1])
    return variation_of_part(image, every, tiles.exists((0, 0), image.shape[:2], extent))


def positions(extent: Array, stride: int = 1) -> Array:
    """Return how many positions at a stride an image of some extent has."""
    sides = (extent // stride).astype(float)
    return sides[0] * sides[1]


def numbers_in(x: Array, extent: Array | None, stride: int = 1) -> Array | int:
    """Return how many numbers of features, or of an image, are its own and not its canvas's."""
    return x.size if extent is None else x.shape[2] * positions(extent, stride)


Given = tuple[Params, dict[str, Array], dict[str, Array], Array | None]


@dataclass(frozen=True)
class _Unit:
    """Some blocks of the network, one after the other, and what is wanted of them."""

    network: vgg.VGG
    """All of it."""
    numbers: range
    layers: tuple[str, ...]
    wanted: tuple[str, ...]
    summed: tuple[str, ...]
    term: AdditiveTerm
    size: tuple[int, int]
    """Height and width of what goes in."""
    is_handed_on: bool
    """Whether there is a block after the last."""
    is_smoothed: bool
    """Whether, of a tile, the total variation of what goes in is wanted."""
    breadth: int
    """Of tiles, see `Seeing`."""

    @property
    def pool(self) -> int:
        """Rows or columns of what goes in for one of what comes out."""
        return int(2 ** (len(self.numbers) - (not self.is_handed_on)))

    @property
    def halo(self) -> int:
        """Positions on every side that what comes out of a tile sees; so many that pooling finds pairs."""
        *before, last = self.numbers
        seen = self.network.blocks[last - 1][0]
        if not self.is_handed_on:
            seen = max(block_and_index(name)[1] for name in self.layers if block_and_index(name)[0] == last)
        for number in reversed(before):
            seen = 2 * seen + self.network.blocks[number - 1][0]
        return -(-seen // self.pool) * self.pool

    @property
    def tiling(self) -> Tiling:
        """Strips of rows, or tiles where strips would be too low for what they see."""
        height, width = self.size
        positions = self.breadth * TILE_BYTES // (4 * self.network.blocks[self.numbers[0] - 1][1])
        rows, columns, least = positions // width, width, self.breadth * self.halo
        if rows < least and width > least:
            rows = columns = max(least, int(positions**0.5))
        rows, columns = (-(-max(side, least) // self.pool) * self.pool for side in (rows, columns))
        tile = rows if rows < height else height, columns if columns < width else width
        halo = self.halo * (rows < height), self.halo * (columns < width)
        return Tiling(self.size, tile, halo, self.pool)

    def __call__(self, given: Given, x: Array, place: Place | None = None) -> tuple[Array, Seen]:
        """Return what comes out, and what is compared.

        Args:
            given: parameters of the network, features P of the content, guides G, and the image's extent
                there.
            x: what goes in.
            place: of a tile. Then what comes out is the tile's own part, and what is compared is not averaged
                but added up over that.
        """
        params, P, G, extent = given
        found, here = Seen({}, {}, {}), _Tile(self.tiling, place) if place else None
        if here and self.is_smoothed:
            found.distances[INPUT] = variation_of_part(x, here.slices(x, 1), here.exists(1, x, extent))
        for number in self.numbers:
            stride = 2 ** (number - self.numbers[0])
            names = [name for name in self.layers if block_and_index(name)[0] == number]
            goes_on = number < self.numbers[-1] or self.is_handed_on
            inside = here.exists(stride, x, extent) if here else _inside(stride, x, extent)
            if inside is not None:
                x = jnp.where(inside, x, 0)  # an odd last row, pooled with zeros, is no row
            layers = (*names, *([f"pool{number}"] if goes_on else []))
            network = self.network.clone(layers=layers, first=number)
            F = cast(dict[str, Array], network.apply({"params": params}, x, inside))
            # Computed once: XLA on a CPU would do so for the Gram matrix and for the next layer.
            F = jax.lax.optimization_barrier(F)  # type: ignore[no-untyped-call]
            x = F.get(f"pool{number}", x)
            for name in names:
                own = here.own(F[name], stride) if here else F[name]
                count = own.shape[0] * own.shape[1] if here else _of_its_own(own, extent, stride)
                if name in self.wanted:
                    found.features[name] = own
                if name in self.summed:
                    averages = self.term.statistics
                    if name in G:
                        guide = here.of_image(G[name], stride, own.shape[:2]) if here else G[name]
                        averages = partial(self.term.guided, guide=guide)
                    with natively(may_be_native(self.network.engine)):
                        found.statistics[name] = _times(averages(own), count)
                if name in P:
                    there = here.of_image(P[name], stride, own.shape[:2]) if here else P[name]
                    found.distances[name] = _times(content_loss(own.astype(there.dtype), there), count)
        if here:
            x = here.own(x, self.pool)
            x = x if self.is_handed_on else x[:, :, :0]
        return x, found

    def averaged(self, sums: Seen, extent: Array | None) -> Seen:
        """Return the averages over all positions, of sums over them."""

        def average(name: str, total: Tree) -> Tree:
            if name == INPUT:  # a sum it is
                return total
            stride = 2 ** (block_and_index(name)[0] - self.numbers[0])
            if extent is not None:
                return _times(total, 1 / positions(extent, stride))
            return _times(total, 1 / ((self.size[0] // stride) * (self.size[1] // stride)))

        return Seen(*({name: average(name, total) for name, total in each.items()} for each in sums))


class _Tile(NamedTuple):
    """One of a unit's tiles, with layers of some stride."""

    tiling: Tiling
    place: Place

    def exists(self, stride: int, x: Array, extent: Array | None) -> Array:
        """Tell which of its positions the image has, which may have an extent of its own."""
        row, column = (first // stride for first in self.place)
        if extent is not None:
            return tiles.exists((row, column), x.shape[:2], extent // stride)
        height, width = (side // stride for side in self.tiling.size)
        return tiles.exists((row, column), x.shape[:2], (height, width))

    def own(self, x: Array, stride: int) -> Array:
        """Return its own part, without what it sees around it."""
        return x[self.slices(x, stride)]

    def slices(self, x: Array, stride: int) -> Slices:
        """Return where its own part is."""
        down, across = (halo // stride for halo in self.tiling.halo)
        return slice(down, x.shape[0] - down), slice(across, x.shape[1] - across)

    def of_image(self, x: Array, stride: int, size: tuple[int, ...]) -> Array:
        """Return what an array of the whole image has at its own part."""
        row, column = (first + halo for first, halo in zip(self.place, self.tiling.halo, strict=True))
        return tiles.window(x, (row // stride, column // stride), (size[0], size[1]))


def _inside(stride: int, x: Array, extent: Array | None) -> Array | None:
    """Tell which positions of a canvas belong to its image; None: all."""
    return None if extent is None else tiles.exists((0, 0), x.shape[:2], extent // stride)


def _of_its_own(F: Array, extent: Array | None, stride: int) -> Array | int:
    """Return what makes an average over a canvas, zero beyond its image, one over the image."""
    return 1 if extent is None else F.shape[0] * F.shape[1] / positions(extent, stride)


def _times(tree: Tree, factor: Array | float) -> Tree:
    is_one = isinstance(factor, int | float) and factor == 1
    return tree if is_one else jax.tree.map(lambda leaf: leaf * factor, tree)
