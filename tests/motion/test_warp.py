import numpy as np
import pytest

from nst_jax.errors import ImageError
from nst_jax.motion.warp import chained, positions, warped


def bilinear(image, flow):
    """Return what `warped` does, pixel by pixel."""
    height, width = image.shape[:2]
    found = np.zeros(image.shape)
    for i in range(height):
        for j in range(width):
            y = min(max(i + float(flow[i, j, 0]), 0), height - 1)
            x = min(max(j + float(flow[i, j, 1]), 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            a, b = y - top, x - left
            upper = (1 - b) * image[top, left] + b * image[top, right]
            lower = (1 - b) * image[bottom, left] + b * image[bottom, right]
            found[i, j] = (1 - a) * upper + a * lower
    return found


@pytest.fixture
def image(random):
    return np.float32(random.uniform(size=(9, 13, 3)))


def constant(image, shift):
    return np.broadcast_to(np.float32(shift), (*image.shape[:2], 2))


def test_no_flow_changes_nothing(image):
    np.testing.assert_array_equal(warped(image, constant(image, (0, 0))), image)


@pytest.mark.parametrize("shift", [(1, 0), (0, -2), (3, 4), (-5, 1)])
def test_whole_pixels_are_exact(image, shift):
    flow = constant(image, shift)
    rows = np.clip(np.arange(9) + shift[0], 0, 8)
    columns = np.clip(np.arange(13) + shift[1], 0, 12)
    np.testing.assert_array_equal(warped(image, flow), image[rows][:, columns])
    rolled = np.roll(image, (-shift[0], -shift[1]), (0, 1))
    np.testing.assert_array_equal(warped(image, flow, wrap=True), rolled)


def test_half_a_pixel_wraps_to_the_other_side(image):
    found = warped(image, constant(image, (0, 0.5)), wrap=True)
    np.testing.assert_allclose(found[:, -1], (image[:, -1] + image[:, 0]) / 2, atol=1e-6)


def test_it_is_bilinear(random, image):
    flow = np.float32(random.normal(scale=3, size=(9, 13, 2)))
    found = warped(image, flow)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, bilinear(image, flow), atol=1e-6)
    np.testing.assert_array_equal(warped(image[..., 1], flow), found[..., 1])


def test_it_is_linear_in_the_image(random, image):
    flow = np.float32(random.normal(scale=2, size=(9, 13, 2)))
    other = np.float32(random.uniform(size=image.shape))
    both = warped(2 * image - 3 * other, flow)
    np.testing.assert_allclose(both, 2 * warped(image, flow) - 3 * warped(other, flow), atol=1e-5)


@pytest.mark.parametrize("wrap", [False, True])
def test_one_pixel(wrap):
    image = np.float32([[[0.25, 0.5, 0.75]]])
    np.testing.assert_array_equal(warped(image, np.float32([[[3, -7]]]), wrap=wrap), image)


def test_flows_that_follow_each_other_warp_as_one_after_the_other(random, image):
    first = np.float32(random.integers(-2, 3, size=(9, 13, 2)))
    second = np.float32(random.integers(-2, 3, size=(9, 13, 2)))
    one_by_one = warped(warped(image, second), first)
    rows, columns = positions(first)
    inside = (rows >= 0) & (rows <= 8) & (columns >= 0) & (columns <= 12)
    np.testing.assert_array_equal(warped(image, chained(first, second))[inside], one_by_one[inside])


def test_shapes_that_do_not_fit(image):
    with pytest.raises(ImageError, match=r"9 x 12 pixels .* \(9, 13, 3\)"):
        warped(image, np.zeros((9, 12, 2)))
    with pytest.raises(ImageError, match=r"this one has \(9, 13, 3\)"):
        warped(image, image)
