import numpy as np
import pytest
import skimage.io
import skimage.transform
from image_files import RGB8, unit

from nst_jax import images
from nst_jax.errors import ImageError


def test_fit_bounds_the_longer_side_and_never_enlarges():
    assert images.fit(400, 600, 512) == (341, 512)
    assert images.fit(600, 400, 512) == (512, 341)
    assert images.fit(400, 600, 600) == images.fit(400, 600, 5000) == (400, 600)
    assert images.fit(1, 10_000, 100) == (1, 100)
    for sizes in ((0, 5, 10), (5, 5, 0), (5, 5, -3)):
        with pytest.raises(ImageError, match="sizes start at 1"):
            images.fit(*sizes)


def test_fit_always_reaches_the_bound():
    for longest in range(1, 300):
        assert max(images.fit(733, 977, longest)) == longest


def test_resize_to_the_same_size_changes_nothing():
    np.testing.assert_array_equal(images.resize(unit(RGB8), (5, 7)), unit(RGB8))


@pytest.mark.parametrize("size", [(3, 4), (50, 70), (1, 1), (5, 70)])
@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 4), (5, 7, 1), (5, 7)])
def test_resize_keeps_a_constant(size, shape):
    resized = images.resize(np.full(shape, 0.3, np.float32), size)
    assert resized.shape == (*size, *shape[2:])
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, 0.3, atol=1e-6)


def test_resize_keeps_the_mean_and_the_range():
    noise = np.random.default_rng(5).random((120, 90, 3), dtype=np.float32)
    small = images.resize(noise, (40, 30))
    np.testing.assert_allclose(small.mean((0, 1)), noise.mean((0, 1)), atol=0.004)
    assert small.std() < noise.std() / 2  # averaged, not picked
    edge = images.resize(np.repeat([[0.0, 1.0]], 8, axis=1).repeat(16, axis=0), (64, 64))
    assert edge.min() == 0
    assert edge.max() == 1


def test_resize_follows_the_lanczos_formula_along_a_row():
    row = np.random.default_rng(6).random(24)

    def window(x):
        return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)

    for width in (8, 60):
        scale = max(1.0, 24 / width)
        centres = (np.arange(width) + 0.5) * 24 / width
        kernel = window((np.arange(24) + 0.5 - centres[:, None]) / scale)
        expected = np.clip(kernel @ row / kernel.sum(1), 0, 1)
        resized = images.resize(np.tile(row, (5, 1)), (5, width))
        np.testing.assert_allclose(resized[2], expected, atol=1e-6)


def test_resize_is_near_another_implementation():
    smooth = skimage.transform.resize(np.random.default_rng(8).random((6, 8, 3)), (120, 160), order=3)
    expected = skimage.transform.resize(smooth, (60, 80), order=3, anti_aliasing=True)
    assert np.abs(images.resize(smooth, (60, 80)) - np.clip(expected, 0, 1))[4:-4, 4:-4].max() < 0.02


@pytest.mark.parametrize("size", [(24, 32), (36, 48), (6, 8), (12, 48)])
def test_a_torus_is_resized_alike_wherever_it_begins(random, size):
    picture = np.float32(random.uniform(size=(12, 16, 3)))
    wanted = images.resize(np.tile(picture, (3, 3, 1)), (3 * size[0], 3 * size[1]))
    found = images.resize(picture, size, wrap=True)
    np.testing.assert_allclose(found, wanted[size[0] : 2 * size[0], size[1] : 2 * size[1]], atol=1e-5)
    moved = images.resize(np.roll(picture, (6, 4), (0, 1)), size, wrap=True)
    np.testing.assert_allclose(moved, np.roll(found, (size[0] // 2, size[1] // 4), (0, 1)), atol=1e-5)
    np.testing.assert_array_equal(images.resize(picture, (12, 16), wrap=True), picture)


def test_resize_to_nothing_is_refused():
    with pytest.raises(ImageError, match="0 x 4"):
        images.resize(unit(RGB8), (0, 4))


# --- Turned copies --------------------------------------------------------------------------------


def test_turning_by_right_angles_moves_pixels_only(random):
    square = np.float32(random.uniform(size=(12, 12, 3)))
    np.testing.assert_allclose(images.turned(square, 90, 1), np.rot90(square), atol=1e-5)
    np.testing.assert_allclose(images.turned(square, 0, 1), square)
    assert images.turned(square[..., :0], 90, 1).shape == (12, 12, 0)


@pytest.mark.parametrize("degrees", [-30, 7.5, 45])
def test_nothing_comes_in_from_beyond_the_border(degrees):
    white = images.turned(np.ones((60, 90, 3), np.float32), degrees, 1)
    np.testing.assert_allclose(white, 1)
    assert white.shape[1] / white.shape[0] == pytest.approx(1.5, abs=0.1)
    assert images.turned(np.ones((60, 90, 3), np.float32), degrees, 0.5).shape[0] == round(len(white) / 2)


def test_turning_is_anticlockwise_as_in_scipy(random):
    from scipy import ndimage

    smooth = np.float32(ndimage.gaussian_filter(random.uniform(size=(64, 64)), 4))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    wanted = ndimage.rotate(smooth, 20, reshape=False, order=3)
    found = images.turned(smooth[..., None], 20, 1)[..., 0]
    top = (64 - len(found)) // 2
    np.testing.assert_allclose(found, wanted[top : top + len(found), top : top + len(found)], atol=0.02)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (None, slice(0, 10), slice(0, 20)),
        ((0, 0, 1, 1), slice(0, 10), slice(0, 20)),
        ((0.25, 0.5, 0.75, 1), slice(5, 10), slice(5, 15)),
        ((0, 0, 0.001, 0.001), slice(0, 1), slice(0, 1)),
        ((0.999, 0.999, 1, 1), slice(9, 10), slice(19, 20)),
    ],
)
def test_crop_takes_shares_of_a_picture_and_never_nothing(random, box, rows, columns):
    picture = np.float32(random.uniform(size=(10, 20, 3)))
    np.testing.assert_array_equal(images.crop(picture, box), picture[rows, columns])


def test_bounded_is_resized_to_what_fits(random):
    picture = np.float32(random.uniform(size=(10, 20, 3)))
    np.testing.assert_array_equal(images.bounded(picture, 8), images.resize(picture, (4, 8)))
    np.testing.assert_array_equal(images.bounded(picture[..., 0], 30), picture[..., 0])
