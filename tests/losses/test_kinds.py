from dataclasses import dataclass

import pytest

from nst_jax.errors import SettingError
from nst_jax.losses.gram import Gram
from nst_jax.losses.guided import GuidedGram
from nst_jax.losses.histogram import Histogram
from nst_jax.losses.kinds import style_term
from nst_jax.losses.moments import Moments
from nst_jax.losses.neighbours import Neighbours
from nst_jax.losses.patches import Patches
from nst_jax.losses.sliced import Sliced
from nst_jax.losses.strotss import RelaxedTransport
from nst_jax.losses.summed import Sum
from nst_jax.losses.terms import StyleTerm
from nst_jax.losses.wasserstein import Wasserstein
from nst_jax.settings import GUIDED_KINDS, STYLE_KINDS, Settings, Style


@dataclass(frozen=True)
class Own(StyleTerm):
    """A term that has no name."""

    power: int = 2


def test_every_kind_has_its_term():
    kinds = {kind: type(style_term(Settings(style=Style(kind=kind)))) for kind in STYLE_KINDS}
    assert kinds == {
        "gram": Gram,
        "moments": Moments,
        "w2": Wasserstein,
        "sliced": Sliced,
        "histogram": Histogram,
        "strotss": RelaxedTransport,
        "nnst": Neighbours,
        "patch": Patches,
        "guided_gram": GuidedGram,
    }


def test_a_term_that_is_given_is_taken_as_it_is():
    assert style_term(Settings(style=Style(kind=Own(3)))) == Own(3)


def test_settings_name_the_terms():
    terms = [{"kind": "gram", "weight": 1}, {"kind": "sliced", "weight": 0.1}]
    found = style_term(Settings(style=Style(terms=terms)))
    assert found == Sum(((Gram(), 1.0), (Sliced(), 0.1)))


def test_it_is_known_before_which_kinds_maps_guide():
    terms = {kind: style_term(Settings(style=Style(kind=kind))) for kind in STYLE_KINDS}
    assert {kind for kind, term in terms.items() if term.maps != "none"} == set(GUIDED_KINDS)


@pytest.mark.parametrize("kind", ["strotss", "nnst"])
def test_terms_that_see_all_layers_stand_alone(kind):
    terms = [{"kind": "gram", "weight": 1}, {"kind": kind, "weight": 1}]
    with pytest.raises(SettingError, match=f"{kind} looks at all layers .*; can be summed: gram, moments"):
        style_term(Settings(style=Style(terms=terms)))
