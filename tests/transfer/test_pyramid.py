import numpy as np
import pytest
from problems import problem, settings, solve

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.transfer import pyramid
from nst_jax.transfer.pictures import Pictures
from nst_jax.transfer.problem import make_problem

PATCHES = {"style.kind": "patch", "style.layers": ("conv3_1",), "loss.convention": "champandard2016"}


@pytest.fixture
def pictures(random):
    return np.float32(random.uniform(size=(64, 96, 3))), np.float32(random.uniform(size=(48, 80, 3)))


def test_levels_halve_every_image_and_map(pictures, network, random):
    maps = np.float32(random.random((16, 24, 2))), np.float32(random.random((48, 80, 2)))
    levels = pyramid.levels(problem(pictures, network, PATCHES | {"pyramid.levels": 3}, maps=maps))
    assert [level.content.shape[:2] for level in levels] == [(16, 24), (32, 48), (64, 96)]
    assert [level.paintings[0].image.shape[:2] for level in levels] == [(16, 24), (32, 48), (64, 96)]
    assert [level.content_map.shape for level in levels] == [(16, 24, 2), (32, 48, 2), (64, 96, 2)]
    for level in levels:
        np.testing.assert_allclose(level.content, images.resize(pictures[0], level.content.shape[:2]))
        assert level.paintings[0].map.shape[:2] == level.paintings[0].image.shape[:2]
        assert level.levels == 1
    np.testing.assert_allclose(levels[0].content_map, maps[0])
    assert len(pyramid.levels(problem(pictures, network, PATCHES | {"pyramid.levels": 1}))) == 1


def test_sides_of_a_picture_that_wraps_fit_its_layers_at_every_level(network, random):
    style = np.float32(random.uniform(size=(40, 60, 3)))
    values = {"network.padding": "wrap", "style.layers": ("conv4_1",), "pyramid.levels": 3, "size": (80, 48)}
    levels = pyramid.levels(problem((None, style), network, values))
    assert [level.content.shape[:2] for level in levels] == [(16, 16), (24, 40), (48, 80)]
    assert [level.paintings[0].image.shape[:2] for level in levels] == [(10, 15), (20, 30), (40, 60)]
    image = np.float32(random.uniform(size=(24, 40, 3)))
    still, moved = (pyramid.grown(each, *levels[1:]) for each in (image, np.roll(image, (12, 8), (0, 1))))
    np.testing.assert_allclose(moved, np.roll(still, (24, 16), (0, 1)), atol=1e-5)


def test_smaller_levels_may_remember_more_unless_told(network):
    large = [np.zeros((1100, 900, 3), np.float32)] * 2
    coarse, fine = pyramid.levels(problem(large, network, {"pyramid.levels": 2, "solver.history": None}))
    assert coarse.program.solver.history > fine.program.solver.history
    coarse, fine = pyramid.levels(problem(large, network, {"pyramid.levels": 2, "solver.history": 7}))
    assert coarse.program.solver.history == fine.program.solver.history == 7


def test_the_detail_of_the_content_is_kept(pictures, network):
    values = PATCHES | {"pyramid.levels": 2}
    before, last = pyramid.levels(problem(pictures, network, values))
    np.testing.assert_allclose(pyramid.grown(before.content, before, last), last.content, atol=1e-6)
    texture = problem((None, pictures[0]), network, values)
    before, last = pyramid.levels(texture)
    np.testing.assert_allclose(
        pyramid.grown(before.paintings[0].image, before, last),
        images.resize(before.paintings[0].image, (64, 96)),
    )


def test_levels_that_are_too_small_are_named(pictures, network):
    values = PATCHES | {"pyramid.levels": 4, "content.layers": ("conv1_1",)}
    with pytest.raises(ImageError, match=r"^level 1 of 4: the content image has 3 x 2 positions at conv3_1"):
        pyramid.levels(problem(pictures, network, values))


def test_a_run_goes_through_its_levels(pair, network):
    seen, shapes = [], []

    def watch(look):
        seen.append(look)
        shapes.append(look.pictures().shape)

    values = PATCHES | {"style.layers": ("conv1_2",), "content.layers": ("conv1_1",), "pyramid.levels": 3}
    posed = problem(pair, network, values | {"solver.evaluations": 5})
    result = solve(posed, watch, stops=2)
    assert (result.evaluations, result.status, result.image.shape) == (15, "finished", (24, 32, 3))
    assert [look.level for look in seen] == sorted(look.level for look in seen)
    assert {(look.level, look.before) for look in seen} == {(1, 0), (2, 5), (3, 10)}
    assert {(look.levels, look.budget) for look in seen} == {(3, 5)}
    done = [look.before + int(look.evaluations[0]) for look in seen]
    assert done == sorted(done)
    assert {2, 4, 6, 8, 10, 12, 14} <= set(done)
    assert set(shapes) == {(1, 6, 8, 3), (1, 12, 16, 3), (1, 24, 32, 3)}
    early = solve(posed, lambda look: True)
    assert (early.status, early.image.shape) == ("interrupted", (24, 32, 3))


def test_levels_are_for_every_kind_of_run(pair, network):
    single = solve(problem(pair, network, {"solver.evaluations": 6}))
    several = solve(problem(pair, network, {"solver.evaluations": 3, "pyramid.levels": 2}))
    assert several.evaluations == 6
    assert several.image.shape == single.image.shape
    assert not np.array_equal(several.image, single.image)


def large(pictures, network, size, values=None, **changes):
    chosen = settings({"pyramid.levels": None, "size": size, "enlarge": True} | (values or {}), **changes)
    return make_problem(Pictures(*pictures), chosen, network)


def test_a_large_picture_begins_where_its_style_is_defined_and_later_sizes_have_fewer_evaluations(
    pictures, network, monkeypatch
):
    monkeypatch.setattr("nst_jax.transfer.problem.LONGEST", 24)
    monkeypatch.setattr(pyramid, "AMPLE", 48)
    posed = large(pictures, network, 192)
    found = pyramid.levels(posed)
    assert [level.content.shape[1] for level in found] == [24, 48, 96, 192]
    assert [level.evaluations for level in found] == [12, 12, 6, 6]
    assert pyramid.budget(posed) == 36
    assert pyramid.shares(large(pictures, network, 192, {"pyramid.later": 1.0})) == [1.0] * 4
    assert solve(posed).evaluations == 36


def test_an_enlarged_photograph_is_compared_with_at_its_own_size(pictures, network):
    """At smaller sizes as ever; and what is like the photograph but for the enlarging has no distance."""
    posed = large(pictures, network, 192, {"pyramid.levels": 3})
    assert posed.content_size == (64, 96)
    assert [level.content_size for level in pyramid.levels(posed)] == [None, None, (64, 96)]
    found = solve(
        large(pictures, network, 192, {"pyramid.levels": 1, "style.weight": 0.0, "style.layers": ()})
    )
    assert found.image.shape == (128, 192, 3)
    assert found.terms["content/conv2_2"] < 1e-6


def test_a_painting_as_large_as_with_a_preview_grows_up_to_that(pictures, network, monkeypatch):
    for module in ("pyramid", "pictures"):
        monkeypatch.setattr(f"nst_jax.transfer.{module}.LONGEST", 48)
    values = {"style.scale_with": "preview", "pyramid.levels": 4}
    found = pyramid.levels(large(pictures, network, 192, values))
    assert [level.content.shape[1] for level in found] == [24, 48, 96, 192]
    assert [level.paintings[0].image.shape[1] for level in found] == [24, 48, 48, 48]
