import jax
import numpy as np
import pytest

from nst_jax.losses.gram import Gram
from nst_jax.losses.guided import GuidedGram
from nst_jax.losses.moments import Moments
from nst_jax.losses.patches import Patches
from nst_jax.losses.sliced import Sliced
from nst_jax.losses.summed import AdditiveSum, Sum, summed
from nst_jax.losses.terms import AdditiveTerm, Guides
from nst_jax.losses.wasserstein import Wasserstein

GUIDES = Guides((np.zeros((6, 5, 0), np.float32),), np.zeros((6, 5, 0), np.float32), 1.0)


@pytest.fixture
def pair(random):
    return np.float32(np.maximum(random.normal(size=(2, 6, 5, 4)), 0))


@pytest.mark.parametrize("others", [(Moments(), Wasserstein()), (Sliced(), Patches(size=2))])
def test_it_is_the_weighted_sum(pair, others):
    F, A = pair
    terms = [(term, weight) for term, weight in zip((Gram(), *others), (1.0, 0.5, 3.0), strict=True)]
    whole = summed(terms)
    target = whole.renewed(F, whole.targets([A], GUIDES))
    singly = []
    for term, weight in terms:
        own = term.targets([A], GUIDES)
        own = term.renewed(F, own) if term.renew_every > 1 else own
        singly.append(weight * term.unit * term.loss(F, own))
    np.testing.assert_allclose(whole.loss(F, target), sum(singly), rtol=1e-5)
    assert np.isfinite(jax.grad(whole.loss)(F, target)).all()
    assert hash(whole) == hash(summed(terms))


def test_additive_terms_add_up_to_one(pair, random):
    F, A = pair
    whole = summed([(Gram(), 1.0), (Wasserstein(), 2.0)])
    assert isinstance(whole, AdditiveTerm)
    upper, lower = whole.statistics(F[:2]), whole.statistics(F[2:])
    joined = jax.tree.map(lambda a, b: (a + 2 * b) / 3, upper, lower)
    target = whole.targets([A], GUIDES)
    np.testing.assert_allclose(whole.compare(joined, target), whole.loss(F, target), rtol=1e-3)
    share = np.float32(random.uniform(size=(6, 5, 1)))
    for term, found in zip((Gram(), Wasserstein()), whole.weighted(F, share), strict=True):
        jax.tree.map(np.testing.assert_array_equal, found, term.weighted(F, share))


def test_it_wants_what_its_terms_want():
    whole = summed([(Gram(), 1.0), (Patches(size=5, rematch=5, turns=((90.0, 1.0),)), 1.0), (Sliced(), 1.0)])
    assert isinstance(whole, Sum)
    assert (whole.layers, whole.maps, whole.levels) == (Gram().layers, "optional", 3)
    assert (whole.extent, whole.room, whole.copies) == (5, 10, ((90.0, 1.0),))
    assert (whole.is_smooth, whole.renew_every) == (False, 5)
    assert summed([(GuidedGram(), 1.0), (Gram(), 1.0)]).maps == "required"
    plain = summed([(Gram(), 1.0)])
    assert isinstance(plain, AdditiveSum)
    assert (plain.maps, plain.levels, plain.renew_every, plain.per_channel((np.ones((3, 3)),))) == (
        "none",
        3,
        1,
        9,
    )
