import sys

import numpy as np
import pytest
from scipy import ndimage

from nst_jax import images, samples
from nst_jax.errors import ConfigError, ImageError
from nst_jax.motion import flow as motion
from nst_jax.motion.masks import consistent
from nst_jax.motion.warp import warped

HEIGHT, WIDTH = 73, 98


@pytest.fixture(scope="module")
def pictures():
    """A sample and a smooth random texture, with a margin of 20 pixels."""
    random = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(random.normal(size=(HEIGHT + 40, WIDTH + 40, 3)), (2, 2, 0))
    texture = np.float32(np.clip(0.5 + 0.2 * noise / noise.std(), 0, 1))
    return {"coffee": images.resize(samples.load("coffee"), texture.shape[:2]), "texture": texture}


def frames(picture, matrix, shift):
    """Return two frames, and the true flow of the second back to the first: (A - 1)(p - c) + t."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    away = np.stack([rows - (HEIGHT - 1) / 2, columns - (WIDTH - 1) / 2], -1)
    true = away @ (np.asarray(matrix) - np.eye(2)).T + shift
    places = rows + 20 + true[..., 0], columns + 20 + true[..., 1]
    moved = [ndimage.map_coordinates(picture[..., each], places, order=3) for each in range(3)]
    before = picture[20 : 20 + HEIGHT, 20 : 20 + WIDTH]
    return before, np.float32(np.clip(np.stack(moved, -1), 0, 1)), true


def error(found, true, border=4):
    """Return the mean endpoint error where the first frame shows what is there."""
    height, width = true.shape[:2]
    places = np.moveaxis(true, -1, 0) + np.mgrid[:height, :width]
    ends = np.array([height, width])[:, None, None] - 1 - border
    seen = ((places >= border) & (places <= ends)).all(0)
    return np.linalg.norm(found - true, axis=-1)[seen].mean()


TURN = [[np.cos(0.04), -np.sin(0.04)], [np.sin(0.04), np.cos(0.04)]]
MOTIONS = {
    "whole": (np.eye(2), (2, -3), 0.12),
    "part": (np.eye(2), (-0.4, 1.7), 0.12),
    "far": (np.eye(2), (5.3, 6.1), 0.3),
    "turn": (TURN, (0, 0), 0.25),
    "zoom": (np.eye(2) / 1.05, (0, 0), 0.25),
}


@pytest.mark.parametrize("name", ["coffee", "texture"])
@pytest.mark.parametrize("kind", MOTIONS)
def test_known_motion(pictures, name, kind):
    matrix, shift, bound = MOTIONS[kind]
    before, after, true = frames(pictures[name], matrix, shift)
    found = motion.flow(before, after)
    assert found.dtype == np.float32
    assert found.shape == (HEIGHT, WIDTH, 2)
    assert error(found, true) < bound
    inner = slice(10, -10), slice(10, -10)
    difference = np.abs(warped(before, found) - after)[inner].mean()
    assert difference < 0.5 * np.abs(before - after)[inner].mean()


def test_flow_at_a_reduced_size_is_in_pixels_of_the_full_one(pictures):
    before, after, true = frames(pictures["texture"], np.eye(2), (2, -3))
    assert error(motion.flow(before, after, longest=49), true) < 0.4


@pytest.mark.parametrize("gain", [0.7, 1.3])
def test_exposure_is_no_motion(pictures, gain):
    before, after, true = frames(pictures["coffee"] * 0.7, np.eye(2), (1.3, -2))
    assert error(motion.flow(before, after * np.float32(gain)), true) < 0.2


def test_equal_pictures_have_none(pictures):
    before = pictures["coffee"]
    found = motion.flow(before, before)
    assert (found == 0).all()
    assert (consistent(found, found) == 1).all()


def test_what_stands_still_is_not_moved_by_a_thing_that_moves(pictures):
    before, after = pictures["coffee"][:60, :90].copy(), pictures["coffee"][:60, :90].copy()
    thing = pictures["texture"][:20, :20]
    before[20:40, 20:40], after[20:40, 23:43] = thing, thing
    found = motion.flow(before, after)
    far = np.ones((60, 90), bool)
    far[8:52, 8:56] = False
    assert (found[far] == 0).all()
    assert np.abs(found[25:35, 28:38] - (0, -3)).max() < 0.5


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (1, 1), (2, 40), (33, 5)])
def test_tiny_and_odd_sizes(random, size):
    before, after = np.float32(random.uniform(size=(2, *size, 3)))
    found = motion.flow(before, after)
    assert found.shape == (*size, 2)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("values", [(0, 0), (0.5, 0.5), (0, 1), (1, 0)])
def test_constant_pictures_have_none(values):
    before, after = (np.full((24, 31, 3), value, np.float32) for value in values)
    np.testing.assert_allclose(motion.flow(before, after), 0, atol=0.01)


def test_grey_pictures_are_those_with_three_equal_channels(pictures):
    before, after, _ = frames(pictures["texture"], np.eye(2), (1, 1))
    grey = [motion.grey(each) for each in (before, after)]
    three = [np.stack([each] * 3, -1) for each in grey]
    np.testing.assert_allclose(motion.flow(*grey), motion.flow(*three), atol=0.02)


def test_scaled_flow_is_multiplied_and_linear_between_the_middles_of_pixels():
    flow = np.float32([[[1, 2], [3, 2]]])
    found = motion.scaled(flow, (2, 4))
    assert found.shape == (2, 4, 2)
    for row in found:
        np.testing.assert_allclose(row[:, 0], [2, 3, 5, 6])
        np.testing.assert_allclose(row[:, 1], 4)
    np.testing.assert_array_equal(motion.scaled(flow, (1, 2)), flow)
    back = motion.scaled(np.full((20, 30, 2), 6, np.float32), (10, 10))
    np.testing.assert_allclose(back, np.broadcast_to(np.float32([3, 2]), (10, 10, 2)))


def test_flow_of_opencv(pictures):
    pytest.importorskip("cv2")
    before, after, true = frames(pictures["texture"], np.eye(2), (2, -3))
    assert error(motion.flow(before, after, method="dis"), true) < 0.4
    assert motion.flow(before[:5, :40], after[:5, :40], method="dis").shape == (5, 40, 2)


@pytest.mark.parametrize(
    ("method", "module", "extra"),
    [("tvl1", "skimage.registration", "video"), ("dis", "cv2", "dis")],
)
def test_a_library_that_is_missing_is_named(monkeypatch, method, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    picture = np.zeros((20, 20, 3), np.float32)
    with pytest.raises(ConfigError, match=rf"pip install 'nst_jax\[{extra}\]'"):
        motion.flow(picture, picture, method=method)


def test_mistakes():
    picture = np.zeros((20, 20, 3), np.float32)
    with pytest.raises(ConfigError, match=r"'tvl2'.*did you mean 'tvl1'"):
        motion.flow(picture, picture, method="tvl2")
    with pytest.raises(ConfigError, match="at 8 pixels: at least 16"):
        motion.flow(picture, picture, longest=8)
    with pytest.raises(ImageError, match=r"\(20, 20, 3\) and \(20, 19, 3\)"):
        motion.flow(picture, picture[:, 1:])
    with pytest.raises(ImageError, match=r"this one has \(20, 20, 4\)"):
        motion.flow(np.zeros((20, 20, 4)), np.zeros((20, 20, 4)))
    with pytest.raises(ImageError, match="not numbers"):
        motion.flow(picture, picture * np.nan)
    with pytest.raises(ImageError, match="cannot be scaled"):
        motion.scaled(np.zeros((3, 3)), (6, 6))
