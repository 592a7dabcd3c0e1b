from dataclasses import replace

import numpy as np
import pytest
from problems import Moments, network_of, problem, settings

from nst_jax.errors import ImageError, NstError
from nst_jax.losses.gram import Gram
from nst_jax.losses.patches import Patches
from nst_jax.losses.regions import by_regions
from nst_jax.settings import Settings, Style
from nst_jax.transfer import problem as problems
from nst_jax.transfer.pictures import Pictures, Places, without
from nst_jax.transfer.problem import history_for, make_problem, recompute_for, weights_of

PATCHES = {"style.kind": "patch", "style.layers": ("conv2_1",), "loss.convention": "champandard2016"}


def test_history_is_bounded_by_memory():
    assert history_for(384 * 512 * 12) == 50
    assert 20 < history_for(1000 * 1000 * 12) <= problems.HISTORY_BYTES / (2 * 1000 * 1000 * 12)
    assert history_for(10**12) == 20
    assert history_for(1, "lbfgsb") == 20


def test_only_large_images_on_a_cpu_are_computed_in_part_twice(monkeypatch):
    assert recompute_for("auto", 512 * 512) == ()
    assert recompute_for("auto", 1024 * 768) == (1,)
    assert recompute_for("fast", 4096 * 4096) == ()
    assert recompute_for("low", 64 * 64) == (1, 2)
    monkeypatch.setattr(problems.jax, "default_backend", lambda: "gpu")
    assert recompute_for("auto", 4096 * 4096) == ()


def test_settings_become_terms_weights_and_a_program(pair, narrow):
    found = make_problem(Pictures(*pair), Settings(), network_of(narrow))
    assert (found.term, found.levels, found.deepest) == (Gram(), 1, "conv5_1")
    assert (found.init, found.seed, found.evaluations) == ("content", 0, 150)
    assert found.open[:3] == ("history", "recompute", "history_on")
    assert tuple(found.weights.style_layers) == Gram().layers
    assert (found.weights.convention, found.weights.style) == ("gatys2016", 1e3)
    values = {"solver.history": 7, "memory": "low", "seed": 3, "network.normalised": False} | PATCHES
    other = make_problem(Pictures(*pair, init=pair[1]), Settings().with_values(values), network_of(narrow))
    assert (other.term, other.open, other.seed) == (Patches(), ("history_on",), 3)
    assert (other.program.solver.history, other.program.recompute) == (7, (1, 2))
    assert other.init is pair[1]
    assert tuple(other.weights.style_layers) == ("conv2_1",)


@pytest.mark.parametrize("is_there", [True, False])
def test_only_engines_that_want_memory_of_their_own_are_given_up_for_it(pair, narrow, monkeypatch, is_there):
    monkeypatch.setattr(problems.library, "is_there", lambda: is_there)
    found = make_problem(Pictures(*pair), Settings(), network_of(narrow))
    assert ("engine" in found.open) == (not is_there)


def test_strength_takes_the_place_of_the_contents_weight(pair, narrow):
    def weight(**values):
        return problem(pair, network_of(narrow), values).weights.content

    usual = weight(**{"content.weight": None})
    assert weight(**{"style.strength": 0.5, "content.weight": 3.0}) == pytest.approx(usual)
    assert weight(**{"style.strength": 0.2}) == pytest.approx(4 * usual)
    assert weight(**{"style.strength": 0.8}) == pytest.approx(usual / 4)
    assert (weight(**{"style.strength": 0}), weight(**{"style.strength": 1})) == (
        pytest.approx(99 * usual, 0.02),
        0,
    )
    nothing = without(Settings().with_values({"style.strength": 0.0}), content=False, style=True)
    assert not weights_of(nothing).content_layers


def test_what_does_not_shape_the_program_is_not_in_it(pair, narrow):
    one, other = (
        problem(pair, network_of(narrow), values)
        for values in ({}, {"solver.evaluations": 99, "network.normalised": True, "style.weight": 2.0})
    )
    assert one.program == other.program
    assert problem(pair, network_of(narrow), {"network.pool": "max"}).program != one.program


def test_of_l_bfgs_b_the_history_is_not_open(pair, narrow):
    for history, wanted in ((None, 20), (7, 7)):
        values = {"solver.kind": "lbfgsb", "solver.history": history}
        found = problem(pair, network_of(narrow), values)
        assert found.program.solver.history == wanted
        assert "history" not in found.open


@pytest.mark.parametrize(
    ("content", "size", "layer", "message"),
    [
        (
            (42, 64, 3),
            64,
            "conv5_1",
            "multiples of 16 for layer conv5_1.* 64 x 42: crop the content to 64x32",
        ),
        (
            (43, 64, 3),
            None,
            "conv3_1",
            "multiples of 4 for layer conv3_1.* 64 x 43: crop the content to 64x40",
        ),
        (None, (50, 20), "conv4_1", "multiples of 8 .* 50 x 20: use size 48x24, or use shallower layers$"),
        (None, (63, 5), "conv4_1", "content image is 63 x 5 pixels .* needs at least 8"),
    ],
)
def test_sides_that_pooling_would_cut_cannot_wrap(narrow, content, size, layer, message):
    pair = None if content is None else np.ones(content), np.ones((64, 64, 3))
    values = {"network.padding": "wrap", "size": size} | {"style.layers": (layer,), "content.layers": ()}
    with pytest.raises(ImageError, match=message):
        problem(pair, network_of(narrow), values)


def test_too_small_an_image_names_size_and_layer(narrow):
    small, large = np.zeros((15, 40, 3), np.float32), np.zeros((40, 40, 3), np.float32)
    deep = {"content.layers": ("conv4_2",), "style.layers": ("conv5_1",)}
    with pytest.raises(ImageError, match=r"content image is 40 x 15 pixels.*conv5_1 needs at least 16"):
        problem((small, large), network_of(narrow), deep)
    with pytest.raises(ImageError, match="style image is 10 x 10"):
        problem((large[:20, :20], large), network_of(narrow), deep | {"style.scale": 0.5})
    assert problem((small, small), network_of(narrow)).levels == 1


@pytest.mark.parametrize(
    "values",
    [
        {"content.weight": 0.0, "style.weight": 0.0},
        {"content.layers": {"conv4_2": 0.0}, "style.layers": ()},
    ],
)
def test_all_weights_zero(pair, narrow, values):
    with pytest.raises(NstError, match="weights: all are zero: give "):
        problem(pair, network_of(narrow), values)


def test_styles_of_regions_are_as_many_as_these(pair, narrow):
    regions = np.zeros((24, 32, 2))
    regions[:12, :, 0] = regions[12:, :, 1] = 1
    content, style = pair
    posed = lambda places, *styles: make_problem(
        Pictures(content, styles, places=places), settings(), network_of(narrow)
    )
    found = posed(Places(regions=regions), style, style)
    assert found.term == by_regions(Gram(), 2)
    assert found.where.shape == (*found.content.shape[:2], 2)
    with pytest.raises(NstError, match=r"style.regions: regions: 2, styles: 3; give one for each"):
        posed(Places(regions=regions), style, style, style)
    last = np.zeros((24, 32))
    last[:, -1] = 1  # which pooling drops, or leaves too little of
    deep = settings({"style.layers": ("conv3_1",)})
    with pytest.raises(NstError, match="nothing of the picture is left to be styled"):
        make_problem(
            Pictures(content[:, :31], style, places=Places(strength=last[:, 1:])), deep, network_of(narrow)
        )


@pytest.mark.parametrize(
    ("values", "content", "style", "message"),
    [
        ({}, (24, 32, 1), (40, 28, 1), "patch or guided_gram"),
        (PATCHES, (24, 32, 1), None, "one of the content but none of the style"),
        ({"style.kind": "guided_gram"}, None, None, "style.kind guided_gram needs them"),
        (PATCHES, (24, 32, 1), (40, 28, 3), "the content map has 1 channel, the style map has 3"),
        (PATCHES | {"patch.size": 9, "style.layers": ("conv3_1",)}, None, None, "less than a patch of 9 x 9"),
        (PATCHES | {"solver.kind": "lbfgsb"}, None, None, "line search fails where a style.kind changes"),
    ],
)
def test_maps_and_patches_that_cannot_be(pair, narrow, values, content, style, message):
    maps = [None if shape is None else np.ones(shape) for shape in (content, style)]
    with pytest.raises(NstError, match=message):
        problem(pair, network_of(narrow), values | {"pyramid.levels": 1}, maps=maps)


def test_maps_are_not_for_a_term_of_ones_own_that_does_not_know_them(pair, narrow):
    maps = np.ones((24, 32, 1)), np.ones((40, 28, 1))
    with pytest.raises(NstError, match="maps: guide"):
        problem(pair, network_of(narrow), {"style.kind": Moments()}, maps=maps)


def test_a_term_of_ones_own_is_asked_for_its_layers(pair, narrow):
    found = make_problem(Pictures(*pair), Settings(style=Style(kind=Moments())), network_of(narrow))
    assert tuple(found.weights.style_layers) == Moments().layers
    assert found.term == Moments()


def test_there_are_three_levels_unless_told_or_without_a_style(narrow):
    large = np.zeros((96, 100, 3), np.float32), np.zeros((120, 100, 3), np.float32)
    values = PATCHES | {"style.layers": ("conv3_1",), "content.layers": ("conv4_2",), "pyramid.levels": None}
    assert problem(large, network_of(narrow), values).levels == 3
    assert problem(large, network_of(narrow), values | {"style.kind": "gram"}).levels == 3
    assert problem(large, network_of(narrow), values | {"style.kind": "nnst"}).levels == 3
    assert problem(large, network_of(narrow), values | {"pyramid.levels": 2}).levels == 2
    assert problem((large[0], None), network_of(narrow), values | {"style.kind": "gram"}).levels == 1


def test_levels_that_would_be_too_small_are_not_there(random, narrow):
    small = [np.float32(random.uniform(size=(size, 60, 3))) for size in (50, 60)]
    values = PATCHES | {"style.layers": ("conv3_1",), "content.layers": ("conv4_2",), "pyramid.levels": None}

    def levels(height=60, **changes):
        cut = [image[:height] for image in small]
        return problem(cut, network_of(narrow), values | changes).levels

    assert levels() == 2  # 25 rows: 6 at conv3_1, two patches one above the other
    assert levels(47) == 1
    assert levels(20) == 1
    assert levels(**{"style.layers": ("conv4_1",)}) == 1
    assert levels(**{"pyramid.levels": 3}) == 3  # as asked for


def test_a_problem_is_data(pair, narrow):
    found = problem(pair, network_of(narrow))
    again = replace(found, seed=5)
    assert again.program == found.program
    assert again.seed == 5
