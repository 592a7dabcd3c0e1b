"""The style as features copied from it: nearest neighbours of hypercolumns, held.

Kolkin, Kucera, Paris, Sykora, Shechtman & Shakhnarovich, "Neural neighbor style transfer" (2022). At each
size every place of the picture is given the style's features that are most like those it should have, and
then the picture follows them. Nothing is averaged, so that strokes are crisp.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Neighbours(StyleTerm):
    """Every place is like the place of the style that was most like it."""

    layers = (
        *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
        *("conv4_1", "conv4_2", "conv4_3"),
    )
    levels = 4
    maps = "optional"
    is_joint = True
    copies = ((90.0, 1.0), (180.0, 1.0), (-90.0, 1.0))
    likeness = 0.75
    unit = 80.0

    @property
    def room(self) -> int:
        """Four by four places of the deepest layer."""
        return 4

    def condensed(self, F: Features) -> Features:
        """Return features on the grid."""
        return {name: each if name == INPUT else on_grid(each, grid_of(F)) for name, each in F.items()}

    def all_targets(self, features: Sequence[Features], guides: Mapping[str, Guides]) -> Copied:
        """Return for each place of the query the style's features whose hypercolumn is most like its own.

        Both are centred, each by its own mean, and compared by their cosine. Maps are appended, times
        gamma / 50 of the same length as the hypercolumns.
        """
        grid = grid_of({INPUT: _query(guides[INPUT])})
        names = [name for name in features[0] if name != INPUT]
        asked = joined({name: _query(guides[name]) for name in names})
        asked = directions(asked - jnp.mean(asked, 0, keepdims=True))
        asked = _guided(asked, guides[INPUT].content, guides[INPUT].weight, grid)
        best = jnp.full(len(asked), -jnp.inf)
        found = {name: jnp.zeros((len(asked), features[0][name].shape[-1])) for name in names}
        middle = None
        for number, picture in enumerate(features):
            own = grid_of(picture)
            layers = {name: picture[name] for name in names}
            table = joined(layers)
            middle = jnp.mean(table, 0, keepdims=True) if middle is None else middle
            theirs = guides[INPUT].style[number]
            table = _guided(directions(table - middle), theirs, guides[INPUT].weight, own)
            hidden = jnp.zeros(len(table))
            if guides[INPUT].visible:
                seen = on_grid(guides[INPUT].visible[number], own).reshape(-1, 1)
                hidden = jnp.where(seen >= 0.5 * jnp.max(seen), 0.0, -10.0)[:, 0]
            index, likeness = nearest(asked, table, hidden)
            better = likeness > best
            best = jnp.where(better, likeness, best)
            for name, F in layers.items():
                copied = F.reshape(-1, F.shape[-1])[index]
                found[name] = jnp.where(better[:, None], copied, found[name])
        return Copied({name: F.reshape(*grid, -1) for name, F in found.items()})

    def distances(
        self, F: Features, targets: Copied, weights: Mapping[str, Array | float], *, per_channel: bool = False
    ) -> dict[str, Array]:
        """Return the mean of 1 - cosine of the hypercolumns and those copied.

        Layers count by their weights relative to one another, squared, besides 1 / channels.
        """
        products = lengths = wanted = jnp.zeros(())
        for name, R in targets.layers.items():
            share = jnp.square(weights[name] / R.shape[-1])
            here = on_grid(F[name], (R.shape[0], R.shape[1]))
            products += share * jnp.sum(here * R, -1)
            lengths += share * jnp.sum(jnp.square(here), -1)
            wanted += share * jnp.sum(jnp.square(R), -1)
        cosine = products * jax.lax.rsqrt(jnp.maximum(lengths * wanted, 1e-12))
        return {"hypercolumns": self.unit * sum(weights.values()) * jnp.mean(1 - cosine)}


def _query(guides: Guides) -> Array:
    assert guides.query is not None
    return guides.query


def _guided(x: Array, map_: Array, gamma: Array | float, grid: tuple[int, int]) -> Array:
    """Return unit vectors with a map as further channels."""
    if not map_.shape[-1]:
        return x
    labels = directions(on_grid(map_, grid).reshape(len(x), -1))
    return jnp.concatenate([x, labels * (gamma / GAMMA)], 1)
