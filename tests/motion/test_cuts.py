import itertools

import numpy as np
import pytest

from nst_jax import images, samples
from nst_jax.errors import ImageError
from nst_jax.motion.cuts import flow_error, histogram_distance, is_cut
from nst_jax.motion.flow import flow

NAMES = [name for name in samples.names() if samples.CREDITS[name].kind != "map"]


@pytest.fixture(scope="module")
def wide():
    return {name: images.resize(samples.load(name), (100, 160)) for name in NAMES}


def shot(picture, top=25, left=40):
    return picture[top : top + 50, left : left + 80]


@pytest.mark.parametrize(("one", "other"), list(itertools.pairwise([*NAMES, NAMES[0]])))
def test_another_picture_is_a_cut(wide, one, other):
    before, after = images.resize(wide[one], (50, 80)), images.resize(wide[other], (50, 80))
    assert is_cut(before, after)
    assert is_cut(before, after, flow(before, after))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [(0, 4), (3, 0), (0, 16), (0, -16), (8, 8)])
def test_fast_motion_is_none(wide, name, shift):
    assert not is_cut(shot(wide[name]), shot(wide[name], 25 + shift[0], 40 + shift[1]))


@pytest.mark.parametrize("name", NAMES)
def test_flashes_are_none(wide, name):
    picture = shot(wide[name])
    for flash in (picture * 1.3, picture / 1.3, picture + 0.3):
        assert not is_cut(picture, np.clip(flash, 0, 1))
        assert not is_cut(np.clip(flash, 0, 1), picture)


@pytest.mark.parametrize("name", NAMES[::3])
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_slow_fades_are_none_from_the_first_step_to_the_last(wide, name, end):
    picture, shares = shot(wide[name]), [0, 0.04, 0.08, 0.5, 0.54, 0.96, 1]
    fade = [np.float32(end + (picture - end) * share) for share in shares]
    for step in (0, 1, 3, 5):
        assert not is_cut(fade[step], fade[step + 1])
        assert not is_cut(fade[step + 1], fade[step])


def test_a_dissolve_of_three_steps_is_none(wide):
    one, other = shot(wide["coffee"]), shot(wide["starry_swirls"])
    steps = [np.float32(one * (1 - share) + other * share) for share in (0, 1 / 3, 2 / 3, 1)]
    assert [is_cut(*pair) for pair in itertools.pairwise(steps)] == [False] * 3
    assert is_cut(steps[0], steps[-1])


def test_a_picture_after_black_is_a_cut_and_black_after_black_is_none(wide):
    picture, black = shot(wide["coffee"]), np.zeros((50, 80, 3), np.float32)
    assert is_cut(black, picture)
    assert not is_cut(black, black)
    assert not is_cut(black, np.ones_like(black))


def test_errors_of_equal_and_of_scaled_pictures_are_none(wide):
    picture = shot(wide["chelsea"])
    assert flow_error(picture, picture) == pytest.approx(0, abs=1e-5)
    assert histogram_distance(picture, picture) == 0
    assert flow_error(picture, picture * 0.7) < 0.02
    assert histogram_distance(picture, picture * 0.7) < 0.02


def test_histogram_distance_is_whole_of_colours_without_neighbours():
    red, blue = np.zeros((2, 8, 8, 3), np.float32)
    red[..., 0], blue[..., 2] = 1, 1
    assert histogram_distance(red, blue) == pytest.approx(1, abs=0.01)


def test_thresholds_are_arguments(wide):
    before, after = shot(wide["coffee"]), shot(wide["rocket"])
    assert is_cut(before, after)
    assert not is_cut(before, after, unlike=1.9)
    assert not is_cut(before, after, other_colours=1.0)


def test_tiny_and_grey():
    grey = np.linspace(0, 1, 16 * 16, dtype=np.float32).reshape(16, 16)
    assert not is_cut(grey, grey)
    assert not is_cut(grey, grey[:, ::-1])


def test_sizes_that_differ(wide):
    picture = shot(wide["coffee"])
    with pytest.raises(ImageError, match="of one size"):
        is_cut(picture, picture[1:])
    with pytest.raises(ImageError, match="does not belong"):
        flow_error(picture, picture, np.zeros((3, 4, 2)))
