import jax
import numpy as np
import pytest

from nst_jax.losses.gram import Gram
from nst_jax.losses.guided import GuidedGram
from nst_jax.losses.histogram import Histogram
from nst_jax.losses.moments import Moments
from nst_jax.losses.neighbours import Neighbours
from nst_jax.losses.patches import Patches
from nst_jax.losses.regions import Regions, by_regions
from nst_jax.losses.sliced import Sliced
from nst_jax.losses.strotss import RelaxedTransport
from nst_jax.losses.summed import summed
from nst_jax.losses.terms import INPUT, AdditiveTerm, Guides
from nst_jax.losses.wasserstein import Wasserstein
from nst_jax.settings import STYLE_KINDS

LAYERS = {INPUT: (16, 16, 3), "conv1_1": (16, 16, 4), "conv3_1": (4, 4, 6)}
WEIGHTS = {"conv1_1": 0.5, "conv3_1": 2.0}
MAPS = np.ones((16, 16, 1), np.float32)

TERMS = {
    "gram": Gram(),
    "moments": Moments(),
    "w2": Wasserstein(),
    "sliced": Sliced(),
    "histogram": Histogram(),
    "strotss": RelaxedTransport(),
    "nnst": Neighbours(),
    "patch": Patches(size=2),
    "guided_gram": GuidedGram(),
    "sum": summed([(Gram(), 1.0), (Sliced(), 2.0)]),
}


def compared(term, F, target):
    """The distance; an additive term is given averages, with what counts of each position if it is guided."""
    if isinstance(term, AdditiveTerm):
        guides = term.guides(target)
        F = {n: term.guided(F[n], guides[n]) if guides else term.statistics(F[n]) for n in WEIGHTS}
    return sum(term.distances(F, target, WEIGHTS).values())


def features(random):
    return {name: np.float32(random.uniform(0.1, 1, shape)) for name, shape in LAYERS.items()}


def pooled(mask, name):
    size = LAYERS[name][0]
    return np.float32(mask.reshape(size, 16 // size, size, 16 // size, -1).mean((1, 3)))


def guides(where, term, query, styles=1):
    """Of a map of one label, where the term wants one."""
    label = MAPS if term.maps == "required" else MAPS[:, :, :0]
    found = {}
    for name in LAYERS:
        asked = None if term.likeness is None else term.condensed(query)[name]
        there = None if where is None else pooled(where, name)
        found[name] = Guides((pooled(label, name),) * styles, pooled(label, name), 1.0, (), asked, (), there)
    return found


def distance(term, F, style, where):
    target = term.all_targets([term.condensed(each) for each in style], guides(where, term, F, len(style)))
    if term.renew_every > 1:
        target = term.all_renewed(F, target)
    return compared(term, F, target)


def test_every_kind_is_tried():
    assert set(TERMS) == {*STYLE_KINDS, "sum"}


@pytest.mark.parametrize("name", TERMS)
def test_equal_shares_scale_the_distance(random, name):
    term, F, style = TERMS[name], features(random), features(random)
    where = np.full((16, 16, 1), 0.25)
    found = distance(by_regions(term, 1), F, [style], where)
    plain = distance(term, F, [style], None)
    np.testing.assert_allclose(found, 0.25 * plain, rtol=0.05 if name == "strotss" else 1e-3)


@pytest.mark.parametrize("name", TERMS)
def test_places_without_a_share_do_not_count(random, name):
    term, F, style = by_regions(TERMS[name], 1), features(random), features(random)
    where = np.zeros((16, 16, 1))
    where[:8] = 1
    gradient = jax.grad(lambda F: distance(term, F, [style], where))(F)
    for layer in WEIGHTS:
        rows = LAYERS[layer][0]
        assert np.isfinite(gradient[layer]).all()
        assert np.any(gradient[layer][: rows // 2])
        below = rows // 2 + (name in ("strotss", "nnst", "patch"))  # which look between positions
        np.testing.assert_allclose(gradient[layer][below:], 0, atol=1e-7)


@pytest.mark.parametrize("name", ["gram", "moments", "w2", "sliced", "histogram", "sum"])
def test_half_a_picture_is_compared_as_if_it_were_all(random, name):
    """By kinds that look at no neighbours."""
    term, F, style = TERMS[name], features(random), features(random)
    where = np.zeros((16, 16, 1))
    where[:, 8:] = 1
    found = distance(by_regions(term, 1), F, [style], where)
    half = {layer: each[:, each.shape[1] // 2 :] for layer, each in F.items()}
    target = term.all_targets([style], guides(None, term, F))
    np.testing.assert_allclose(found, 0.5 * compared(term, half, target), rtol=2e-3)


@pytest.mark.parametrize("name", ["gram", "sliced", "patch", "nnst", "strotss"])
def test_each_region_has_its_own_style(random, name):
    term, F, one, other = TERMS[name], features(random), features(random), features(random)
    where = np.zeros((16, 16, 2))
    where[:8, :, 0] = where[8:, :, 1] = 1
    found = distance(by_regions(term, 2), F, [one, other], where)
    alone = [
        distance(by_regions(term, 1), F, [style], where[:, :, i : i + 1])
        for i, style in enumerate((one, other))
    ]
    np.testing.assert_allclose(found, sum(alone), rtol=1e-4)
    swapped = distance(by_regions(term, 2), F, [other, one], where)
    assert abs(swapped - found) > 1e-4 * abs(found)


def test_it_says_of_itself_what_its_term_says():
    for term in TERMS.values():
        whole = by_regions(term, 1)
        assert isinstance(whole, Regions)
        assert isinstance(whole, AdditiveTerm) == isinstance(term, AdditiveTerm)
        for name in ("layers", "maps", "levels", "is_smooth", "is_joint", "likeness", "unit"):
            assert getattr(whole, name) == getattr(term, name)
        for name in ("extent", "room", "copies", "renew_every"):
            assert getattr(whole, name) == getattr(term, name)
        assert hash(whole) == hash(by_regions(term, 1))


def test_several_styles_in_one_region_are_averaged(random):
    F, one, other = features(random), features(random), features(random)
    where = np.full((16, 16, 1), 1.0)
    term = by_regions(Gram(), 1)
    given = {
        name: each._replace(style=each.style * 2, shares=(0.25, 0.75))
        for name, each in guides(where, term, F).items()
    }
    found = compared(term, F, term.all_targets([one, other], given))
    wanted = 0.0
    for name, weight in WEIGHTS.items():
        G, A, B = (np.einsum("hwi,hwj->ij", x[name], x[name]) / x[name][..., 0].size for x in (F, one, other))
        wanted += weight * np.mean((G - 0.25 * A - 0.75 * B) ** 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
