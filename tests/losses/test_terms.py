from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.losses.gram import Gram
from nst_jax.losses.guided import GuidedGram
from nst_jax.losses.histogram import Histogram
from nst_jax.losses.moments import Moments
from nst_jax.losses.patches import Patches
from nst_jax.losses.sliced import Sliced
from nst_jax.losses.terms import AdditiveTerm, Guides, StyleTerm
from nst_jax.losses.wasserstein import Wasserstein

TERMS = [Gram(), Moments(), Wasserstein(), Sliced(), Histogram(), Patches(size=2), GuidedGram()]


@dataclass(frozen=True)
class Mean(AdditiveTerm):
    """Means of channels are alike."""

    power: int = 2

    def statistics(self, F):
        return {"mean": jnp.mean(F, (0, 1))}

    def compare(self, statistics, target):
        return jnp.sum(jnp.abs(statistics["mean"] - target["mean"]) ** self.power)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: type(term).__name__)
def test_every_term_is_a_pure_function_and_zero_of_the_style_itself(term, random):
    F, S = np.float32(np.maximum(random.normal(size=(2, 5, 6, 4)), 0))
    guides = Guides((np.ones((5, 6, 1), np.float32),), np.ones((5, 6, 1), np.float32), 1.0)
    unused = jax.jit(term.targets)([S], guides)
    target = jax.jit(term.renewed)(F, unused)
    loss = jax.jit(term.loss)
    value, slope = jax.value_and_grad(loss)(F, target)
    assert value > 0
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(loss(S, term.renewed(S, unused)), 0, atol=1e-5)
    np.testing.assert_allclose(loss(F, target), value, rtol=1e-5)
    many = jnp.stack([F, S, 2 * F])
    singly = [loss(each, target) for each in many]
    np.testing.assert_allclose(jax.vmap(loss, (0, None))(many, target), singly, rtol=1e-5, atol=1e-6)
    assert hash(term) == hash(type(term)(**term.__dict__))


def test_the_loss_of_an_additive_term_is_that_of_its_statistics(random):
    F, S = np.float32(random.normal(size=(2, 4, 5, 3)))
    term = Mean()
    target = term.targets([S], Guides((S[..., :0],), F[..., :0], 0.0))
    np.testing.assert_allclose(target["mean"], S.mean((0, 1)), rtol=1e-5)
    wanted = np.sum((F.mean((0, 1)) - S.mean((0, 1))) ** 2)
    np.testing.assert_allclose(term.loss(F, target), wanted, rtol=1e-4)


def test_statistics_of_parts_add_up_to_those_of_the_whole(random):
    F = np.float32(random.normal(size=(6, 5, 3)))
    for term in (Gram(), Mean()):
        upper, lower = term.statistics(F[:2]), term.statistics(F[2:])
        joined = jax.tree.map(lambda a, b: (2 * a + 4 * b) / 6, upper, lower)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), joined, term.statistics(F))


def test_what_a_term_need_not_say():
    term = StyleTerm()
    assert (term.extent, term.room, term.copies, term.renew_every) == (1, 2, (), 1)
    assert term.renewed(None, "target") == "target"
    assert term.per_channel(None) == 1
    for call in (lambda: term.targets([], None), lambda: term.loss(None, None)):
        with pytest.raises(NotImplementedError):
            call()
