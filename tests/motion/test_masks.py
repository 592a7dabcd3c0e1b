import numpy as np
import pytest
from scipy import ndimage

from nst_jax.errors import ImageError
from nst_jax.motion import masks
from nst_jax.motion.flow import flow
from nst_jax.motion.warp import warped


def plain(forward, backward, unit=1.0):
    """Return the mask by loops over the formulas of Ruder et al. (2016)."""
    height, width = backward.shape[:2]
    carried = np.asarray(warped(forward, backward), float)
    back = np.asarray(backward, float)
    found = np.ones((height, width))
    for i in range(height):
        for j in range(width):
            w, v = carried[i, j] / unit, back[i, j] / unit
            if sum((w + v) ** 2) > 0.01 * (sum(w**2) + sum(v**2)) + 0.5:
                found[i, j] = 0
            up, down = max(i - 1, 0), min(i + 1, height - 1)
            left, right = max(j - 1, 0), min(j + 1, width - 1)
            slope = sum(((back[down, j] - back[up, j]) / (down - up)) ** 2)
            slope += sum(((back[i, right] - back[i, left]) / (right - left)) ** 2)
            if slope > 0.01 * sum(v**2) + 0.002:
                found[i, j] = 0
            if not (0 <= i + back[i, j, 0] <= height - 1 and 0 <= j + back[i, j, 1] <= width - 1):
                found[i, j] = 0
    return found


@pytest.mark.parametrize("unit", [1.0, 2.5])
def test_formulas(random, unit):
    """Slopes and errors of all sizes about the thresholds."""
    size = 24, 31
    backward = np.float32(random.normal(size=(*size, 2)) * random.uniform(0, 0.06, size=(*size, 1)) + (1, -2))
    forward = np.float32(-backward + random.normal(scale=0.6, size=(*size, 2)))
    expected = plain(forward, backward, unit)
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_array_equal(masks.consistent(forward, backward, unit=unit), expected)


def test_a_whole_shift_can_be_trusted_within_the_frame():
    backward = np.broadcast_to(np.float32([2, -3]), (20, 30, 2))
    expected = np.ones((20, 30))
    expected[-2:], expected[:, :3] = 0, 0
    for forward in (-backward, None):
        found = masks.consistent(forward, backward)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_one_row_has_no_slope_across():
    flow = np.zeros((1, 8, 2), np.float32)
    np.testing.assert_array_equal(masks.consistent(flow, flow), 1)


def square_flows(shift=5):
    """Return true flows of a square that moves right, what it uncovers, and where it is."""
    backward, forward = np.zeros((2, 60, 80, 2), np.float32)
    before, after = np.zeros((2, 60, 80), bool)
    before[20:40, 25:45], after[20:40, 25 + shift : 45 + shift] = True, True
    forward[before], backward[after] = (0, shift), (0, -shift)
    return forward, backward, before & ~after, after


def near(mask, distance=1):
    padded = np.pad(mask, distance)
    shifts = range(-distance, distance + 1)
    return np.any([np.roll(padded, (i, j), (0, 1)) for i in shifts for j in shifts], 0)[
        distance:-distance, distance:-distance
    ]


def test_true_flow_is_mistrusted_just_where_background_appears_and_at_the_edge():
    forward, backward, uncovered, square = square_flows()
    found = masks.consistent(forward, backward) == 0
    edge = near(square) & near(~square)
    assert found[uncovered].all()
    assert not found[~uncovered & ~edge].any()


def test_estimated_flow_finds_what_a_moving_square_uncovers(random):
    noise = ndimage.gaussian_filter(random.normal(size=(2, 60, 80, 3)), (0, 1.5, 1.5, 0))
    background, thing = np.float32(np.clip(0.5 + 0.2 * noise / noise.std(), 0, 1))
    _, _, uncovered, square = square_flows()
    before, after = background.copy(), background.copy()
    before[20:40, 25:45], after[20:40, 30:50] = thing[:20, :20], thing[:20, :20]
    backward, forward = flow(before, after), flow(after, before)
    found = masks.consistent(forward, backward) == 0
    edge = near(square, 5) & near(~square, 5)
    assert found[uncovered].mean() > 0.95
    assert (uncovered | edge)[found].mean() > 0.8
    assert found.mean() < 0.15


def test_long_term_masks_are_without_what_nearer_frames_have(random):
    near_, middle, far = np.float32(random.integers(0, 2, size=(3, 8, 9)))
    found = masks.minus_nearer([near_, middle, far])
    for i in range(8):
        for j in range(9):
            a, b, c = near_[i, j], middle[i, j], far[i, j]
            assert [each[i, j] for each in found] == [a, max(b - a, 0), max(c - a - b, 0)]
    assert sum(found).max() == 1
    assert all(each.dtype == np.float32 for each in found)
    assert masks.minus_nearer([]) == []


def test_masks_of_parts():
    found = masks.minus_nearer([[[0.3]], [[0.5]], [[1.0]]])
    np.testing.assert_allclose(np.ravel(found), [0.3, 0.2, 0.2], atol=1e-6)


def test_sizes_that_differ():
    with pytest.raises(ImageError, match="8 x 9, 8 x 8"):
        masks.minus_nearer([np.ones((8, 9)), np.ones((8, 8))])
    with pytest.raises(ImageError, match="must be of one size"):
        masks.consistent(np.zeros((8, 9, 2)), np.zeros((8, 8, 2)))
