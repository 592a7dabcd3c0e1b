"""The style as features copied from it: nearest neighbours of hypercolumns, held.

Kolkin, Kucera, Paris, Sykora, Shechtman & Shakhnarovich, "Neural neighbor style transfer" (2022). At each
size every place of the picture is given the style's features that are most like those it should have, and
then the picture follows them. At last each layer is matched by itself, twice, which brings the painting's
colours and fine strokes where whole hypercolumns had few to choose from. Nothing is averaged, so that
strokes are crisp.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.hypercolumns import directions, grid_of, joined, nearest, on_grid
from nst_jax.losses.terms import INPUT, Features, Guides, StyleTerm
from nst_jax.settings import GAMMA


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Copied:
    """The style's features at every place of the picture."""

    layers: dict[str, Array]
    """By layer, all on one grid, ``(height / 4, width / 4, channels)``."""
    share: Array | None
    """How much each place counts, ``(height / 4, width / 4)``; None: all alike."""


@dataclass(frozen=True)
class Neighbours(StyleTerm):
    """Every place is like the place of the style that was most like it.

    Args:
        by_layer: each layer has a place of its own, found with the picture as it is: the paper's last pass,
            which finds others in every step; here they are held.
    """

    by_layer: bool = False

    layers = (
        *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
        *("conv4_1", "conv4_2", "conv4_3"),
    )
    levels = 4
    maps = "optional"
    is_joint = True
    copies = ((90.0, 1.0), (180.0, 1.0), (-90.0, 1.0))
    unit = 10.0
    smoothness = 4.0

    @property
    def likeness(self) -> float:
        """Three quarters, as in the paper; in the last pass nothing."""
        return 0.0 if self.by_layer else 0.75

    @property
    def last(self) -> tuple[StyleTerm, ...]:
        """The last pass, with places found twice."""
        return () if self.by_layer else (replace(self, by_layer=True),) * 2

    @property
    def room(self) -> int:
        """Four by four places of the deepest layer."""
        return 4

    def condensed(self, F: Features) -> Features:
        """Return features on the grid."""
        return {name: each if name == INPUT else on_grid(each, grid_of(F)) for name, each in F.items()}

    def all_targets(self, features: Iterable[Features], guides: Mapping[str, Guides]) -> Copied:
        """Return for each place of the query the style's features whose hypercolumn is most like its own.

        Both are centred, each by its own mean, and compared by their cosine. Maps are appended, times
        gamma / 50 of the same length as the hypercolumns. Of the style and its copies one at a time is
        searched. By layer the same is done with each layer alone.
        """
        names = [name for name in guides if name != INPUT]
        searches = [
            _Search(guides, some) for some in ([[name] for name in names] if self.by_layer else [names])
        ]
        for picture in features:
            for search in searches:
                search.look(picture)
            del picture  # before the next is made
        found = {name: F for search in searches for name, F in search.found.items()}
        grid = grid_of({INPUT: _query(guides[INPUT])})
        there = guides[INPUT].where
        share = None if there is None else on_grid(there, grid)[:, :, 0]
        return Copied({name: F.reshape(*grid, -1) for name, F in found.items()}, share)

    def distances(
        self, F: Features, targets: Copied, weights: Mapping[str, Array | float], *, per_channel: bool = False
    ) -> dict[str, Array]:
        """Return sum_p s_p |h_p - r_p|^2 / sum_p s_p |r|^2, of hypercolumns h and those copied, r, by shares.

        |r|^2 is the mean over places. Layers count by their weights relative to one another, squared, besides
        1 / channels. Differs from the paper, which compares by the cosine: that leaves brightness open,
        and total variation takes contrast away.
        """
        apart = lengths = jnp.zeros(())
        for name, R in targets.layers.items():
            share = jnp.square(weights[name] / R.shape[-1])
            here = on_grid(F[name], (R.shape[0], R.shape[1]))
            apart += share * jnp.sum(jnp.square(here - R), -1)
            lengths += share * jnp.mean(jnp.sum(jnp.square(R), -1))
        where = targets.share
        mean = jnp.mean(apart) if where is None else jnp.sum(where * apart) / jnp.sum(where)
        return {"hypercolumns": self.unit * sum(weights.values()) * mean / jnp.maximum(lengths, 1e-12)}


_Known = tuple[Features, Array]
"""The best features of each place, ``(places, channels)`` by layer, and how like they are."""


class _Search:
    """For what is most like some layers of the query, one picture after another."""

    def __init__(self, guides: Mapping[str, Guides], names: Sequence[str]) -> None:
        self.names, self.of_input = (*names, INPUT), guides[INPUT]
        self.asked = _asked({name: guides[name] for name in self.names})
        self.middle: Array | None = None
        self.known: _Known | None = None
        self.looked = 0

    def look(self, picture: Features) -> None:
        """Take what one more picture has that is more like it."""
        number, self.looked = self.looked, self.looked + 1
        some = {name: picture[name] for name in self.names}
        if self.middle is None:
            self.middle = _middle(some)
        map_, visible = self.of_input.style[number], self.of_input.visible[number : number + 1]
        self.known = _searched(
            self.known, self.asked, some, self.middle, (map_, self.of_input.weight), visible
        )
        jax.block_until_ready(self.known)  # type: ignore[no-untyped-call]  # before the next is looked at

    @property
    def found(self) -> Features:
        """The best features of each place."""
        assert self.known is not None
        return self.known[0]


def _query(guides: Guides) -> Array:
    assert guides.query is not None
    return guides.query


@jax.jit
def _asked(guides: Mapping[str, Guides]) -> Array:
    """Return unit vectors that are to be found, ``(places, channels)``, maps among them."""
    asked = joined({name: _query(each) for name, each in guides.items() if name != INPUT})
    asked = directions(asked - jnp.mean(asked, 0, keepdims=True))
    of_input = guides[INPUT]
    return _guided(asked, _labels(of_input.content, grid_of({INPUT: _query(of_input)})), of_input.weight)


@jax.jit
def _middle(picture: Features) -> Array:
    """Return the mean hypercolumn of a picture, ``(1, channels)``."""
    means = {name: jnp.mean(F, (0, 1), keepdims=True) for name, F in picture.items() if name != INPUT}
    return joined(means)


@partial(jax.jit, donate_argnames="known")
def _searched(
    known: _Known | None,
    asked: Array,
    picture: Features,
    middle: Array,
    map_: tuple[Array, Array | float],
    visible: Sequence[Array],
) -> _Known:
    """Return the best of what was known and what one more picture has."""
    grid = grid_of(picture)
    tables = {name: F.reshape(-1, F.shape[-1]) for name, F in picture.items() if name != INPUT}
    labels, gamma = _labels(map_[0], grid), map_[1]
    hidden = jnp.zeros(grid[0] * grid[1])
    if visible:
        seen = on_grid(visible[0], grid).reshape(-1)
        hidden = jnp.where(seen >= 0.5 * jnp.max(seen), 0.0, -10.0)

    def rows(first: Array, number: int) -> tuple[Array, Array]:
        some = {name: jax.lax.dynamic_slice_in_dim(F, first, number) for name, F in tables.items()}
        here = jax.lax.dynamic_slice_in_dim(labels, first, number)
        table = _guided(directions(joined(some) - middle), here, gamma)
        return table, jax.lax.dynamic_slice_in_dim(hidden, first, number)

    index, likeness = nearest(asked, rows, len(hidden))
    found = {name: F[index] for name, F in tables.items()}
    if known is None:
        return found, likeness
    better = likeness > known[1]
    best = {name: jnp.where(better[:, None], F, known[0][name]) for name, F in found.items()}
    return best, jnp.where(better, likeness, known[1])


def _labels(map_: Array, grid: tuple[int, int]) -> Array:
    """Return a map on the grid as unit vectors, ``(places, labels)``."""
    if not map_.shape[-1]:
        return jnp.zeros((grid[0] * grid[1], 0))
    return directions(on_grid(map_, grid).reshape(-1, map_.shape[-1]))


def _guided(x: Array, labels: Array, gamma: Array | float) -> Array:
    """Return unit vectors with labels as further channels."""
    return jnp.concatenate([x, labels * (gamma / GAMMA)], 1) if labels.shape[-1] else x
