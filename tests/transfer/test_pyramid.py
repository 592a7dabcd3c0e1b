from inspect import signature

import numpy as np
import pytest

from nst_jax import Encoder, images, stylize
from nst_jax.errors import ImageError
from nst_jax.transfer import problem as tasks
from nst_jax.transfer import pyramid

OPTIONS = {"style_kind": "patch", "style_layers": ("conv3_1",), "convention": "champandard2016"}


@pytest.fixture
def pictures(random):
    return np.float32(random.uniform(size=(64, 96, 3))), np.float32(random.uniform(size=(48, 80, 3)))


def task(pictures, narrow, **changes):
    given = {name: p.default for name, p in signature(stylize).parameters.items() if p.default is not p.empty}
    known = signature(tasks.prepare).parameters
    options = {name: value for name, value in given.items() if name in known} | OPTIONS | changes
    return tasks.prepare(*pictures, params=narrow, **options)


def test_levels_halve_every_image_and_map(pictures, narrow, random):
    maps = {
        "content_map": np.float32(random.random((16, 24, 2))),
        "style_map": np.float32(random.random((48, 80, 2))),
    }
    levels = pyramid.levels(task(pictures, narrow, levels=3, **maps))
    assert [level.content.shape[:2] for level in levels] == [(16, 24), (32, 48), (64, 96)]
    assert [level.style.shape[:2] for level in levels] == [(12, 20), (24, 40), (48, 80)]
    assert [level.content_map.shape for level in levels] == [(16, 24, 2), (32, 48, 2), (64, 96, 2)]
    for level in levels:
        np.testing.assert_allclose(level.content, images.resize(pictures[0], level.content.shape[:2]))
        assert level.style_map.shape[:2] == level.style.shape[:2]
    np.testing.assert_allclose(levels[0].content_map, maps["content_map"])
    assert len(pyramid.levels(task(pictures, narrow, levels=1))) == 1


def test_patches_have_three_levels_unless_told_and_gram_matrices_one(pictures, narrow):
    large = [np.zeros((96, 100, 3), np.float32), np.zeros((120, 100, 3), np.float32)]
    assert task(large, narrow).levels == 3
    assert task(large, narrow, style_kind="gram").levels == 1


def test_levels_that_would_be_too_small_are_not_there_unless_asked_for(random, narrow):
    small = [np.float32(random.uniform(size=(size, 60, 3))) for size in (50, 60)]
    assert task(small, narrow).levels == 2  # 25 rows: 6 at conv3_1, two patches one above the other
    assert task([image[:47] for image in small], narrow).levels == 1
    assert task(small, narrow, content_layers=("conv4_2",), style_layers=("conv4_1",)).levels == 1
    tiny = task([image[:20] for image in small], narrow)
    assert (tiny.levels, len(pyramid.levels(tiny))) == (1, 1)
    asked = task(small, narrow, levels=3)
    assert len(pyramid.levels(asked)) == 3


def test_the_detail_of_the_content_is_kept(pictures, narrow):
    before, last = pyramid.levels(task(pictures, narrow, levels=2))
    np.testing.assert_allclose(pyramid.grown(before.content, before, last), last.content, atol=1e-6)
    doodle = task(pictures, narrow, levels=2, content_layers=(), content_weight=0.0)
    before, last = pyramid.levels(doodle)
    np.testing.assert_allclose(
        pyramid.grown(before.content, before, last), images.resize(before.content, (64, 96))
    )


def test_levels_that_are_too_small_are_named(pictures, narrow):
    with pytest.raises(ImageError, match=r"^level 1 of 4: the content image has 3 x 2 positions at conv3_1"):
        stylize(
            *pictures,
            encoder=Encoder(narrow, "narrow", "", "", ""),
            levels=4,
            content_layers=("conv1_1",),
            **OPTIONS,
        )


def test_a_run_goes_through_its_levels(pictures, encoder):
    seen, shapes = [], set()

    def watch(progress):
        seen.append(progress)
        shapes.add(progress.picture().shape)

    options = OPTIONS | {"levels": 3, "stops": 2, "callback": watch}
    result = stylize(*pictures, encoder=encoder, evaluations=5, **options)
    assert (result.evaluations, result.status, result.image.shape) == (15, "finished", (64, 96, 3))
    assert [p.level for p in seen] == sorted(p.level for p in seen)
    assert {p.level for p in seen} == {1, 2, 3}
    assert {p.levels for p in seen} == {3}
    assert {p.budget for p in seen} == {15}
    assert [p.evaluations for p in seen] == sorted(p.evaluations for p in seen)
    assert {2, 4, 6, 8, 10, 12, 14} <= {p.evaluations for p in seen}
    assert shapes == {(16, 24, 3), (32, 48, 3), (64, 96, 3)}


def test_an_interrupted_run_has_its_full_size(pictures, encoder):
    result = stylize(*pictures, encoder=encoder, evaluations=5, callback=lambda p: True, **OPTIONS)
    assert (result.status, result.image.shape) == ("interrupted", (64, 96, 3))


def test_levels_are_for_every_kind_of_run(pictures, encoder):
    single = stylize(*pictures, encoder=encoder, evaluations=6)
    several = stylize(*pictures, encoder=encoder, evaluations=3, levels=2)
    assert several.evaluations == 6
    assert several.image.shape == single.image.shape
    assert not np.array_equal(several.image, single.image)
