import numpy as np
import pytest
from scipy import ndimage

from nst_jax.errors import ImageError
from nst_jax.images import filled


def disc(height, width, hidden):
    """Return an alpha that is 0, or 1, in a disc in the middle."""
    y, x = np.mgrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2
    return np.float32(~inside if hidden else inside)


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("shape", [(31, 40), (64, 64), (5, 90), (2, 7)])
def test_hidden_colours_have_no_influence_and_the_others_stay(shape, hidden, random):
    alpha = disc(*shape, hidden)
    rgb = np.float32(random.uniform(size=(*shape, 3)))
    lime = np.where(alpha[:, :, None] > 0, rgb, np.float32([0.2, 1, 0]))
    found = filled(rgb, alpha, "style")
    np.testing.assert_array_equal(found, filled(lime, alpha, "style"))
    np.testing.assert_array_equal(found[alpha > 0], rgb[alpha > 0])
    assert found.dtype == np.float32
    assert found.min() >= rgb[alpha > 0].min() - 1e-6
    assert found.max() <= rgb[alpha > 0].max() + 1e-6


def test_a_hole_takes_the_colours_around_it():
    rgb = np.zeros((40, 60, 3), np.float32)
    rgb[:, :, 0] = np.linspace(0, 1, 60)
    alpha = disc(40, 60, hidden=True)
    found = filled(np.where(alpha[:, :, None] > 0, rgb, 0), alpha, "content")
    assert np.abs(found - rgb).max() < 0.25  # a ramp goes on, not exactly
    steps = np.abs(np.diff(ndimage.uniform_filter(found[:, :, 0], 3), axis=1))
    assert steps.max() < 0.15  # no seam


def test_faint_pixels_keep_their_colours_and_count_little_for_others():
    rgb = np.float32([[[1, 0, 0], [0, 0, 0], [0, 0, 1]]])
    alpha = np.float32([[0.01, 0, 1]])
    found = filled(rgb, alpha, "style")
    np.testing.assert_array_equal(found[0, [0, 2]], rgb[0, [0, 2]])
    assert found[0, 1, 2] > 0.6


def test_a_picture_of_nothing_is_refused():
    with pytest.raises(ImageError, match="the style image is transparent everywhere"):
        filled(np.zeros((3, 4, 3), np.float32), np.zeros((3, 4), np.float32), "style")
