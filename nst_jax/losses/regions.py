"""Style here more than there: positions count by shares, and each region may have a style of its own.

Gatys et al., "Controlling perceptual factors in neural style transfer" (CVPR 2017), section 4, weigh the
features of a Gram matrix by guidance channels; here any term's positions are weighed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.losses.summed import Sum
from nst_jax.losses.terms import INPUT, AdditiveTerm, Features, Guides, StyleTerm, is_even
from nst_jax.typing import Tree


def by_regions(term: StyleTerm, count: int) -> "Regions":
    """Return a term by the shares of positions in so many regions, see `Guides.where`."""
    weighed = _weighed(term)
    return AdditiveRegions(weighed, count) if isinstance(weighed, AdditiveTerm) else Regions(weighed, count)


def _weighed(term: StyleTerm) -> StyleTerm:
    if is_even(term):
        return Weighed(term)
    if isinstance(term, Sum):
        return Sum(tuple((_weighed(one), weight) for one, weight in term.terms))
    return term


def _said(name: str) -> Any:
    return property(lambda self: getattr(self.term, name))


@dataclass(frozen=True)
class _Wrapped(StyleTerm):
    """Says of itself what another term says."""

    term: StyleTerm

    layers = _said("layers")
    maps = _said("maps")
    levels = _said("levels")
    last = property(lambda self: tuple(replace(self, term=term) for term in self.term.last))
    is_smooth = _said("is_smooth")
    is_joint = _said("is_joint")
    is_falling = _said("is_falling")
    likeness = _said("likeness")
    unit = _said("unit")
    smoothness = _said("smoothness")
    extent = _said("extent")
    room = _said("room")
    copies = _said("copies")
    renew_every = _said("renew_every")


class _Placed(NamedTuple):
    """An additive term's target, and what counts towards it."""

    target: Tree
    share: Array
    """``(height, width, 1)``"""


@dataclass(frozen=True)
class Weighed(_Wrapped, AdditiveTerm):
    """An additive term whose statistics of the picture are averages by shares."""

    is_guided = True

    term: AdditiveTerm

    def targets(self, features: Sequence[Array], guides: Guides) -> _Placed:
        """Return the term's target, and the shares."""
        assert guides.where is not None
        return _Placed(self.term.targets(features, guides), guides.where)

    def guide(self, target: _Placed) -> Array:
        """Return the shares."""
        return target.share

    def guided(self, F: Array, guide: Array) -> Tree:
        """Return `AdditiveTerm.shared`."""
        return self.term.shared(F, guide)

    def compare(self, statistics: Tree, target: _Placed) -> Array:
        """Compare averages by shares with the target."""
        mean = jnp.mean(target.share)
        return self.term.compare(jax.tree.map(lambda s: s / mean, statistics), target.target)

    def per_channel(self, target: _Placed) -> int:
        """Return what the term does."""
        return self.term.per_channel(target.target)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Regional:
    """The targets of each region."""

    targets: tuple[Tree, ...]
    extents: tuple[Array, ...]
    """Mean shares of the regions in the picture."""

    @property
    def layers(self) -> Mapping[str, Tree]:
        """By layer, of the first region."""
        first = self.targets[0]
        found: Mapping[str, Tree] = first if isinstance(first, Mapping) else first.layers
        return found


@dataclass(frozen=True)
class Regions(_Wrapped):
    """Each region is compared with its own style, or the only one with all of them."""

    count: int

    def condensed(self, F: Features) -> Features:
        """Return what the term does."""
        return self.term.condensed(F)

    def all_targets(self, features: Iterable[Features], guides: Mapping[str, Guides]) -> Regional:
        """Return the targets of each region, of the styles in turn."""
        pictures = iter(features)
        every = len(guides[INPUT].style)
        each = every // self.count
        found, extents = [], []
        for number in range(self.count):
            part = slice(number * each, (number + 1) * each)
            here = {name: _of_region(of, number, part) for name, of in guides.items()}
            found.append(self.term.all_targets(_some(pictures, each), here))
            extents.append(jnp.mean(_where(here[INPUT])))
        return Regional(tuple(found), tuple(extents))

    def distances(
        self,
        F: Features,
        targets: Regional,
        weights: Mapping[str, Array | float],
        *,
        per_channel: bool = False,
    ) -> dict[str, Array]:
        """Return sum_r e_r d_r of the regions' distances d, where e_r are their mean shares.

        With equal shares s of all positions that is s times the distance.
        """
        found: dict[str, Array] = {}
        for number, (target, extent) in enumerate(zip(targets.targets, targets.extents, strict=True)):
            here = self.term.distances(self.seen(F, number), target, weights, per_channel=per_channel)
            found = {name: found.get(name, 0.0) + extent * distance for name, distance in here.items()}
        return found

    def seen(self, F: Features, number: int) -> Features:
        """Return what a region's term is given: features of the whole picture."""
        return F

    def all_renewed(self, F: Features, targets: Regional) -> Regional:
        """Return what the term does, region by region."""
        renewed = tuple(self.term.all_renewed(F, target) for target in targets.targets)
        return Regional(renewed, targets.extents)


@dataclass(frozen=True)
class AdditiveRegions(Regions, AdditiveTerm):
    """Regions of an additive term."""

    is_guided = True

    term: AdditiveTerm

    def guides(self, targets: Regional) -> dict[str, Array]:
        """Return those of all regions, side by side."""
        every = [self.term.guides(target) for target in targets.targets]
        return {name: jnp.concatenate([each[name] for each in every], -1) for name in every[0]}

    def guided(self, F: Array, guide: Array) -> tuple[Tree, ...]:
        """Return the averages of each region."""
        return tuple(self.term.guided(F, part) for part in jnp.split(guide, self.count, -1))

    def seen(self, F: Features, number: int) -> Features:
        """Return the averages of a region, of those of all."""
        return {name: each[number] for name, each in F.items()}


def _some(pictures: Iterator[Features], number: int) -> Iterator[Features]:
    return (next(pictures) for _ in range(number))


def _where(guides: Guides) -> Array:
    assert guides.where is not None
    return guides.where


def _of_region(guides: Guides, number: int, part: slice) -> Guides:
    return guides._replace(
        style=guides.style[part],
        visible=guides.visible[part],
        shares=guides.shares[part],
        where=_where(guides)[:, :, number : number + 1],
    )
