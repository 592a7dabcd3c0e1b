"""What a style term is.

A term says how the features of a picture, after their ReLU and at one layer, are compared with those of the
style. It is a frozen dataclass: its fields shape the compiled program. Most look at each layer by itself, and
give `targets` and `loss` of one; those that look at all layers together override `all_targets` and
`distances`. The rest of the program knows no term by name.

Features F are ``(height, width, channels)``; maps are ``(height, width, labels)`` at the same layer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, Self, TypeGuard

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.settings import Settings
from nst_jax.typing import Tree

INPUT = "input"
"""The name of the picture itself, in the network's input space, among its features."""

Features = Mapping[str, Array]
"""By layer."""


class Guides(NamedTuple):
    """Semantic maps at one layer; with no labels at all where there are none."""

    style: tuple[Array, ...]
    """Of the style, and of each copy of it."""
    content: Array
    """Of the picture to be made."""
    weight: Array | float
    """Gamma of Champandard (2016): how much maps count."""
    visible: tuple[Array, ...] = ()
    """How much of each position of the style, and of each copy of it, can be seen and counts, ``(height,
    width, 1)`` in [0, 1]; none: all."""
    query: Array | None = None
    """Features that the picture shall have, for a term with `StyleTerm.likeness`."""
    shares: tuple[Array | float, ...] = ()
    """Of each style, and of each copy as of what it is of; none: all alike."""
    where: Array | None = None
    """How much each position of the picture counts, ``(height, width, regions)`` in [0, 1], see `regions`; a
    term itself gets those of one region. None: all positions alike."""


@dataclass(frozen=True)
class StyleTerm:
    """A way to compare styles. Subclasses give `targets` and `loss`, or see `AdditiveTerm`."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Those looked at unless told otherwise."""
        return ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")

    @property
    def maps(self) -> Literal["none", "optional", "required"]:
        """Whether semantic maps guide it."""
        return "none"

    @property
    def levels(self) -> int:
        """Sizes of a run, from coarse to fine, unless told otherwise or some would be too small."""
        return 3

    @property
    def last(self) -> "tuple[StyleTerm, ...]":
        """Terms that a run goes on with at its last size, one after the other."""
        return ()

    @property
    def is_smooth(self) -> bool:
        """Whether its gradient is continuous, as line searches need it."""
        return True

    @property
    def is_joint(self) -> bool:
        """Whether it looks at all layers together."""
        return False

    @property
    def is_falling(self) -> bool:
        """Whether its layers count ever less with their depth, see `conventions.FALLOFF`."""
        return not self.is_joint

    @property
    def likeness(self) -> float | None:
        """How much of the content there is in the picture that a term asks for; the rest is the first image.

        None: the term does not ask for any.
        """
        return None

    @property
    def unit(self) -> float:
        """What its distance is multiplied by, so that a weight means about as much as with Gram matrices.

        That is, so that the photograph changes as much by default: `benchmarks/strength.py`.
        """
        return 1.0

    @property
    def smoothness(self) -> float:
        """How many times the total variation that a convention has against grain is needed."""
        return 1.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the term that settings describe."""
        return cls()

    @property
    def extent(self) -> int:
        """Positions in each direction without which there is nothing to compare.

        Features of a picture that wraps, and its map, come with one less of their first rows and columns once
        more at the end.
        """
        return 1

    @property
    def room(self) -> int:
        """Positions in each direction without which a coarse level is not worth while."""
        return 2

    @property
    def copies(self) -> tuple[tuple[float, float], ...]:
        """Degrees and scale of further copies of the style that its targets are made from."""
        return ()

    @property
    def renew_every(self) -> int:
        """Evaluations after which a target is `renewed`; 1: it never is."""
        return 1

    def targets(self, features: Sequence[Array], guides: Guides) -> Tree:
        """Return what a picture's features are compared with, as a pytree of arrays.

        Args:
            features: of the style, and of turned and scaled copies of it.
            guides: its semantic maps and the picture's.
        """
        raise NotImplementedError

    def loss(self, F: Array, target: Tree) -> Array:
        """Return how far features are from a target: a scalar."""
        raise NotImplementedError

    def renewed(self, F: Array, target: Tree) -> Tree:
        """Return a target of the same shapes for the next evaluations, given the picture's features now."""
        return target

    def per_channel(self, target: Tree) -> int:
        """Return what conventions that count style per channel divide by, such as N^2 of a Gram matrix."""
        return 1

    def condensed(self, F: Features) -> Features:
        """Return what of the features of a style is needed for `all_targets`."""
        return F

    def all_targets(self, features: Iterable[Features], guides: Mapping[str, Guides]) -> Tree:
        """Return the targets of all layers: a mapping of them by layer, or what has one as ``layers``.

        It is not compiled as a whole, so that what one picture or layer needs is free for the next.

        Args:
            features: as in `targets`, by layer, and `INPUT`: the pictures themselves; made as they are asked
                for.
            guides: by layer, and `INPUT`.
        """
        all_features = [dict(each) for each in features]
        found = {}
        for name in [name for name in all_features[0] if name != INPUT]:
            here = [each.pop(name) for each in all_features]
            found[name] = jax.block_until_ready(_targets(self, here, guides[name]))  # type: ignore[no-untyped-call]
        return found

    def distances(
        self, F: Features, targets: Tree, weights: Mapping[str, Array | float], *, per_channel: bool = False
    ) -> dict[str, Array]:
        """Return how far features are from all targets, weighted: each by layer, or by another name.

        Args:
            F: features by layer, and `INPUT`; of an `AdditiveTerm` its statistics.
            targets: from `all_targets`.
            weights: of the layers.
            per_channel: whether each layer's is divided by `per_channel`.
        """
        found = {}
        for name, target in targets.items():
            divisor = self.per_channel(target) if per_channel else 1
            found[name] = weights[name] * (self.unit / divisor) * self._distance(F[name], target)
        return found

    def _distance(self, F: Array, target: Tree) -> Array:
        return self.loss(F, target)

    def all_renewed(self, F: Features, targets: Tree) -> Tree:
        """Return what `renewed` does, of all layers."""
        return {name: self.renewed(F[name], target) for name, target in targets.items()}


def mean_of(trees: Sequence[Tree], shares: Sequence[Array | float]) -> Tree:
    """Return the mean of trees of arrays by shares, whatever these add up to."""
    if len(trees) == 1:
        return trees[0]
    total = sum(shares)
    return jax.tree.map(
        lambda *leaves: sum(share * leaf for share, leaf in zip(shares, leaves, strict=True)) / total, *trees
    )


@partial(jax.jit, static_argnames="term")
def _targets(term: StyleTerm, features: Sequence[Array], guides: Guides) -> Tree:
    return term.targets(features, guides)


@dataclass(frozen=True)
class AdditiveTerm(StyleTerm):
    """A term of averages over positions, so that a picture may be looked at a part at a time.

    Those of a whole are the averages of those of its parts, each part counting by its positions: `seeing`
    makes tiles so.
    """

    @property
    def is_guided(self) -> bool:
        """Whether positions of the picture count as its targets say: `guided` are its averages, then."""
        return False

    @property
    def ignores_zeros(self) -> bool:
        """Whether a position without any features adds nothing to its statistics, but to their count.

        So that a picture may lie on a canvas, see `seeing`.
        """
        return False

    def statistics(self, F: Array) -> Tree:
        """Return averages over the positions of features."""
        raise NotImplementedError

    def guided(self, F: Array, guide: Array) -> Tree:
        """Return averages over the positions of features, with what counts of each of them.

        Args:
            F: features.
            guide: that of a target, or a part of it, ``(height, width, guides)``.
        """
        raise NotImplementedError

    def guide(self, target: Tree) -> Array | None:
        """Return what counts of each position of the picture, as a target says; None: all alike."""
        return None

    def guides(self, targets: Tree) -> dict[str, Array]:
        """Return those of all targets, by layer; none if it is not guided."""
        every = {name: self.guide(target) for name, target in targets.items()}
        return {name: guide for name, guide in every.items() if guide is not None}

    def weighted(self, F: Array, share: Array) -> Tree:
        """Return what `statistics` does where positions count by their shares, ``(height, width, 1)``.

        That is sum_k w_k s_k / sum_k w_k for shares w and the statistics s of single positions: right for
        any term of averages, though slow. It is for styles that are partly transparent.
        """
        flat, w = F.reshape(-1, 1, 1, F.shape[-1]), share.reshape(-1) / jnp.sum(share)

        def add(total: Tree, position: tuple[Array, Array]) -> tuple[Tree, None]:
            f, weight = position
            return jax.tree.map(lambda s, one: s + weight * one, total, self.statistics(f)), None

        none = jax.tree.map(jnp.zeros_like, jax.eval_shape(self.statistics, flat[0]))
        total, _ = jax.lax.scan(add, none, (flat, w))
        return total

    def shared(self, F: Array, share: Array) -> Tree:
        """Return mean_k w_k s_k for shares w, which is zero where none counts."""
        mean = jnp.mean(share)
        safe = jnp.where(mean > 0, share, 1.0)
        return jax.tree.map(lambda s: mean * s, self.weighted(F, safe))

    def averages(self, F: Array, share: Array | None) -> Tree:
        """Return `weighted` statistics, or without shares those of all positions alike."""
        return self.statistics(F) if share is None else self.weighted(F, share)

    def target_of(self, statistics: Tree) -> Tree:
        """Return what to compare with, given the statistics of the style."""
        return statistics

    def compare(self, statistics: Tree, target: Tree) -> Array:
        """Return how far statistics are from the style's target: a scalar."""
        raise NotImplementedError

    def targets(self, features: Sequence[Array], guides: Guides) -> Tree:
        """Return `target_of` the statistics of the style: of several, their mean by shares."""
        seen: Sequence[Array | None] = guides.visible or (None,) * len(features)
        shares = guides.shares or (1.0,) * len(features)
        found = [self.averages(F, share) for F, share in zip(features, seen, strict=True)]
        return self.target_of(mean_of(found, shares))

    def loss(self, F: Array, target: Tree) -> Array:
        """Compare the statistics of features."""
        guide = self.guide(target)
        return self.compare(self.statistics(F) if guide is None else self.guided(F, guide), target)

    def _distance(self, F: Tree, target: Tree) -> Array:
        return self.compare(F, target)


def is_even(term: StyleTerm) -> TypeGuard[AdditiveTerm]:
    """Tell whether a term is of averages to which all positions of the picture count alike."""
    return isinstance(term, AdditiveTerm) and not term.is_guided
