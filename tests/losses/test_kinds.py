import itertools
from dataclasses import dataclass

import pytest

from nst_jax.errors import SettingError
from nst_jax.losses.gram import Gram
from nst_jax.losses.guided import GuidedGram
from nst_jax.losses.histogram import Histogram
from nst_jax.losses.kinds import style_layers, style_term
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


def layers_of(**values):
    return style_layers(Settings().with_values({f"style.{name}": value for name, value in values.items()}))


def test_layers_fall_where_the_term_chose_them_and_averages_are_compared():
    falling = [share / next_ for share, next_ in itertools.pairwise(layers_of().values())]
    assert falling == pytest.approx([1.7] * 4)
    assert sum(layers_of(kind="w2").values()) == pytest.approx(1)
    assert layers_of(terms=[{"kind": "sliced", "weight": 1}]) == layers_of()
    for kind in ("strotss", "nnst", "patch"):
        assert len(set(layers_of(kind=kind).values())) == 1
    assert layers_of(layers=["conv1_1", "conv3_1"]) == ("conv1_1", "conv3_1")
    other = Settings().with_values({"loss.convention": "literal"})
    assert set(style_layers(other).values()) == {0.2}


@pytest.mark.parametrize("kind", ["strotss", "nnst"])
def test_terms_that_see_all_layers_stand_alone(kind):
    terms = [{"kind": "gram", "weight": 1}, {"kind": kind, "weight": 1}]
    with pytest.raises(SettingError, match=f"{kind} looks at all layers .*; can be summed: gram, moments"):
        style_term(Settings(style=Style(terms=terms)))
