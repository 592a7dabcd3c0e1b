"""Several style terms as one: their weighted sum, at the layers of the first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jax import Array

from nst_jax.losses.terms import AdditiveTerm, Guides, StyleTerm, is_even
from nst_jax.typing import Tree

Weighted = tuple[StyleTerm, float]


def summed(terms: Sequence[Weighted]) -> StyleTerm:
    """Return the sum of terms with their weights; none may look at all layers together."""
    if all(is_even(term) for term, _ in terms):
        return AdditiveSum(tuple(terms))
    return Sum(tuple(terms))


@dataclass(frozen=True)
class _Summed:
    """What sums have in common."""

    terms: tuple[Weighted, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """Those of the first."""
        return self.terms[0][0].layers

    @property
    def is_falling(self) -> bool:
        """What the first says, whose layers they are."""
        return self.terms[0][0].is_falling

    @property
    def maps(self) -> Literal["none", "optional", "required"]:
        """What the strictest says."""
        found = {term.maps for term, _ in self.terms}
        return "required" if "required" in found else "optional" if "optional" in found else "none"

    @property
    def levels(self) -> int:
        """The most that one wants."""
        return max(term.levels for term, _ in self.terms)

    @property
    def is_smooth(self) -> bool:
        """Whether all are."""
        return all(term.is_smooth for term, _ in self.terms)

    @property
    def extent(self) -> int:
        """The most that one needs."""
        return max(term.extent for term, _ in self.terms)

    @property
    def room(self) -> int:
        """Likewise."""
        return max(term.room for term, _ in self.terms)

    @property
    def copies(self) -> tuple[tuple[float, float], ...]:
        """All that any wants."""
        return tuple(dict.fromkeys(turn for term, _ in self.terms for turn in term.copies))

    @property
    def renew_every(self) -> int:
        """As often as the one that wants it most often."""
        return min((term.renew_every for term, _ in self.terms if term.renew_every > 1), default=1)

    def per_channel(self, target: tuple[Tree, ...]) -> int:
        """Return that of the first."""
        return self.terms[0][0].per_channel(target[0])


@dataclass(frozen=True)
class Sum(_Summed, StyleTerm):
    """A sum of terms of which some are not additive."""

    def targets(self, features: Sequence[Array], guides: Guides) -> tuple[Tree, ...]:
        """Return those of each; of averages those of the styles alone, without copies."""
        step = 1 + len(self.copies)
        few = guides._replace(
            style=guides.style[::step], visible=guides.visible[::step], shares=guides.shares[::step]
        )
        return tuple(
            term.targets(features, guides) if term.copies else term.targets(features[::step], few)
            for term, _ in self.terms
        )

    def loss(self, F: Array, target: tuple[Tree, ...]) -> Array:
        """Return sum_t w_t u_t loss_t, with the unit u_t of each."""
        pairs = zip(self.terms, target, strict=True)
        parts = [weight * term.unit * term.loss(F, each) for (term, weight), each in pairs]
        return jnp.asarray(sum(parts))

    def renewed(self, F: Array, target: tuple[Tree, ...]) -> tuple[Tree, ...]:
        """Return those of each, renewed if it ever is."""
        pairs = zip(self.terms, target, strict=True)
        return tuple(term.renewed(F, each) if term.renew_every > 1 else each for (term, _), each in pairs)


@dataclass(frozen=True)
class AdditiveSum(_Summed, AdditiveTerm):
    """A sum of additive terms, which is one."""

    @property
    def ignores_zeros(self) -> bool:
        """Whether all do."""
        return all(term.ignores_zeros for term in self._additive)

    def statistics(self, F: Array) -> tuple[Tree, ...]:
        """Return those of each."""
        return tuple(term.statistics(F) for term in self._additive)

    def weighted(self, F: Array, share: Array) -> tuple[Tree, ...]:
        """Return those of each where positions count by their shares."""
        return tuple(term.weighted(F, share) for term in self._additive)

    def target_of(self, statistics: tuple[Tree, ...]) -> tuple[Tree, ...]:
        """Return those of each."""
        return tuple(term.target_of(each) for term, each in zip(self._additive, statistics, strict=True))

    def compare(self, statistics: tuple[Tree, ...], target: tuple[Tree, ...]) -> Array:
        """Return sum_t w_t u_t compare_t, with the unit u_t of each."""
        parts = [
            weight * term.unit * term.compare(one, other)
            for term, (_, weight), one, other in zip(
                self._additive, self.terms, statistics, target, strict=True
            )
        ]
        return jnp.asarray(sum(parts))

    @property
    def _additive(self) -> tuple[AdditiveTerm, ...]:
        return tuple(term for term, _ in self.terms if isinstance(term, AdditiveTerm))
