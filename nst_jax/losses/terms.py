"""What a style term is.

A term says how the features of a picture, after their ReLU and at one layer, are compared with those of the
style. It is a frozen dataclass: its fields shape the compiled program. `objective` weighs the layers and adds
them up; terms know nothing of weights, and the rest of the program knows no term by name.

Features F are ``(height, width, channels)``; maps are ``(height, width, labels)`` at the same layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.settings import STYLE_KINDS, Settings
from nst_jax.typing import Tree


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


@dataclass(frozen=True)
class StyleTerm:
    """A way to compare styles. Subclasses give `targets` and `loss`, or see `AdditiveTerm`."""

    layers: ClassVar[tuple[str, ...]] = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
    """Those looked at unless told otherwise."""
    maps: ClassVar[Literal["none", "optional", "required"]] = "none"
    """Whether semantic maps guide it."""
    levels: ClassVar[int] = 1
    """Sizes of a run, from coarse to fine, unless told otherwise."""
    is_smooth: ClassVar[bool] = True
    """Whether its gradient is continuous, as line searches need it."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the term that settings describe."""
        return cls()

    @property
    def extent(self) -> int:
        """Positions in each direction without which there is nothing to compare."""
        return 1

    @property
    def room(self) -> int:
        """Positions in each direction without which a coarse level is not worth while."""
        return 1

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


@dataclass(frozen=True)
class AdditiveTerm(StyleTerm):
    """A term of averages over positions, so that a picture may be looked at a part at a time.

    Those of a whole are the averages of those of its parts, each part counting by its positions: strips of
    rows are made so.
    """

    def statistics(self, F: Array) -> Tree:
        """Return averages over the positions of features."""
        raise NotImplementedError

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

    def compare(self, statistics: Tree, target: Tree) -> Array:
        """Return how far statistics are from those of the style: a scalar."""
        raise NotImplementedError

    def targets(self, features: Sequence[Array], guides: Guides) -> Tree:
        """Return the statistics of the style."""
        F = features[0]
        return self.weighted(F, guides.visible[0]) if guides.visible else self.statistics(F)

    def loss(self, F: Array, target: Tree) -> Array:
        """Compare the statistics of features."""
        return self.compare(self.statistics(F), target)


def style_term(settings: Settings) -> StyleTerm:
    """Return the term of ``style.kind``: a registered one by its name, or the one given."""
    if isinstance(settings.style.kind, StyleTerm):
        return settings.style.kind
    module, _, name = STYLE_KINDS[settings.style.kind].partition(":")
    term: StyleTerm = getattr(import_module(module), name).of(settings)
    return term
