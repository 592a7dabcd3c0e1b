import numpy as np
import pytest
from scipy import linalg

from nst_jax import images
from nst_jax.images import colour, pictures

XYZ_TO_LINEAR = np.linalg.inv(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


@pytest.mark.parametrize(
    ("xyz", "lab"),
    [
        ((0.950, 1.000, 1.089), (1.000, 0.000, 0.000)),
        ((1.000, 0.000, 0.000), (0.450, 1.236, -0.019)),
        ((0.000, 1.000, 0.000), (0.922, -0.671, 0.263)),
        ((0.000, 0.000, 1.000), (0.153, -1.415, -0.449)),
    ],
)
def test_the_table_of_oklabs_author(xyz, lab):
    np.testing.assert_allclose(colour.from_linear(XYZ_TO_LINEAR @ np.array(xyz)), lab, atol=1e-3)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 0, 0), (0.627955, 0.224863, 0.125846)),
        ((0, 255, 0), (0.866440, -0.233888, 0.179498)),
        ((0, 0, 255), (0.452014, -0.032457, -0.311528)),
        ((255, 255, 255), (1, 0, 0)),
        ((128, 128, 128), (0.599871, 0, 0)),
        ((102, 51, 153), (0.440272, 0.088177, -0.133864)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_the_values_of_another_program(rgb, lab):
    """ColorAide 4, which follows CSS Color 4."""
    np.testing.assert_allclose(colour.oklab(np.array(rgb) / 255), lab, atol=1e-6)


def test_there_and_back(random):
    corners = np.stack(np.meshgrid(*[[0.0, 0.02, 0.5, 1.0]] * 3), -1).reshape(-1, 3)
    rgb = np.concatenate([corners, random.uniform(size=(1000, 3))])
    np.testing.assert_allclose(colour.in_gamut(colour.oklab(rgb)), rgb, atol=1e-6)
    lab = colour.oklab(rgb)
    np.testing.assert_allclose(colour.from_linear(colour.linear(lab)), lab, atol=1e-6)


def test_what_cannot_be_shown_loses_chroma_and_no_more_than_it_must(random):
    lab = np.concatenate([random.uniform(size=(500, 1)), random.uniform(-0.4, 0.4, size=(500, 2))], 1)
    rgb = colour.in_gamut(lab)
    assert 0 <= rgb.min() <= rgb.max() <= 1
    found = colour.oklab(rgb)
    np.testing.assert_allclose(found[:, 0], lab[:, 0], atol=1e-5)
    np.testing.assert_allclose(found[:, 1] * lab[:, 2], found[:, 2] * lab[:, 1], atol=1e-5)  # the same hue
    share = np.linalg.norm(found[:, 1:], axis=1) / np.linalg.norm(lab[:, 1:], axis=1)
    assert share.max() < 1 + 1e-3
    paler = share < 0.999
    assert 0.2 < paler.mean() < 1
    more = colour.linear(found[paler] * [1, 1.01, 1.01] + [0, 1e-6, 1e-6])
    assert np.all(np.any((more < 0) | (more > 1), axis=-1))
    black_and_white = colour.in_gamut(np.array([[0, 0.1, 0.1], [1, 0.1, 0.1]]))
    np.testing.assert_allclose(black_and_white, [[0] * 3, [1] * 3], atol=1e-9)


def test_greys_have_the_lightness_that_they_are_made_of(random):
    light = np.float32(random.uniform(size=(7, 9, 1)))
    grey = colour.grey(light)
    assert (grey.shape, grey.dtype) == ((7, 9, 3), np.float32)
    assert np.all(grey == grey[:, :, :1])
    np.testing.assert_allclose(colour.lightness(grey), light, atol=1e-6)
    np.testing.assert_array_equal(colour.grey(light * 9 - 4), colour.grey(np.clip(light * 9 - 4, 0, 1)))


def test_lightness_of_one_picture_and_colours_of_another(random):
    ours = np.float32(random.uniform(0.3, 0.6, size=(20, 30, 3)))
    theirs = np.float32(np.clip(ours + random.uniform(-0.05, 0.05, size=ours.shape), 0, 1))
    found = colour.oklab(colour.recoloured(ours, theirs))
    np.testing.assert_allclose(found[..., :1], colour.oklab(ours)[..., :1], atol=1e-5)
    np.testing.assert_allclose(found[..., 1:], colour.oklab(theirs)[..., 1:], atol=1e-5)
    np.testing.assert_allclose(colour.recoloured(ours, ours), ours, atol=1e-5)
    large = images.resize(theirs, (40, 60))
    np.testing.assert_array_equal(
        colour.recoloured(ours, large), colour.recoloured(ours, images.resize(large, (20, 30)))
    )


def test_large_pictures_are_computed_in_strips(random, monkeypatch):
    ours, theirs = np.float32(random.uniform(size=(2, 33, 20, 3)))
    whole = colour.recoloured(ours, theirs), colour.matched(ours, theirs)
    for pixels in (1, 60, 200):
        monkeypatch.setattr(pictures, "AT_ONCE", pixels)
        np.testing.assert_array_equal(colour.recoloured(ours, theirs), whole[0])
        np.testing.assert_allclose(colour.matched(ours, theirs), whole[1], atol=1e-6)


# --- Means and covariances ------------------------------------------------------------------------


def mixed(random, shape):
    """Return a picture whose channels have to do with each other."""
    mixing = np.linalg.qr(random.normal(size=(3, 3)))[0] * random.uniform(0.03, 0.3, size=3)
    return np.float32(0.5 + random.normal(size=(*shape, 3)) @ mixing.T)


def of_numpy(picture, visible=None):
    weights = None if visible is None else visible.reshape(-1)
    values = np.float64(picture.reshape(-1, picture.shape[2]))
    return np.average(values, axis=0, weights=weights), np.cov(values.T, aweights=weights, ddof=0)


def test_mean_and_covariance_become_those_of_the_other(random):
    for _ in range(5):
        style, content = mixed(random, (40, 30)), mixed(random, (25, 60))
        for found, wanted in zip(of_numpy(colour.matched(style, content)), of_numpy(content), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5)
        np.testing.assert_allclose(colour.matched(style, style), style, atol=1e-5)


def test_only_what_is_visible_counts(random):
    style, content = mixed(random, (40, 30)), mixed(random, (25, 60))
    visible = np.float32(random.uniform(size=(40, 30, 1)) * (np.arange(30)[:, None] < 20))
    lime = np.where(visible > 0, style, np.float32([0.2, 1, 0]))
    found = colour.matched(lime, content, visible)
    for got, wanted in zip(of_numpy(found, visible), of_numpy(content), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_array_equal(
        found[visible[..., 0] > 0], colour.matched(style, content, visible)[visible[..., 0] > 0]
    )
    for got, wanted in zip(colour.moments(lime, visible), of_numpy(lime, visible), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_colours_are_moved_as_little_as_can_be(random):
    """Less than by the map of the paper; the distance is that of two normal distributions, in closed form."""
    style, content = mixed(random, (40, 30)), mixed(random, (25, 60))
    (mean, s), (wanted, c) = of_numpy(style), of_numpy(content)
    root = linalg.sqrtm(s).real
    least = np.sum((mean - wanted) ** 2) + np.trace(s + c - 2 * linalg.sqrtm(root @ c @ root).real)
    moved = lambda picture: np.mean(np.sum((np.float64(picture) - style) ** 2, -1))
    assert moved(colour.matched(style, content)) == pytest.approx(least, rel=1e-4)
    papers = (style - mean) @ (linalg.sqrtm(c).real @ np.linalg.inv(root)).T + wanted
    np.testing.assert_allclose(of_numpy(papers)[1], c, atol=1e-6)
    assert moved(papers) > 1.01 * least


def test_of_lightness_it_is_the_ratio_of_deviations(random):
    style, content = (np.float32(random.beta(*ab, size=(30, 30, 1))) for ab in ((2, 5), (4, 3)))
    wanted = (style - style.mean()) * content.std() / style.std() + content.mean()
    np.testing.assert_allclose(colour.matched(style, content), wanted, atol=1e-5)


def test_pictures_of_a_single_colour_are_no_trouble(random):
    flat, content = np.full((9, 9, 3), np.float32([0.1, 0.9, 0.3])), mixed(random, (20, 20))
    np.testing.assert_allclose(colour.matched(content, flat), np.full((20, 20, 3), flat[0, 0]), atol=1e-6)
    mean = content.reshape(-1, 3).mean(0)
    np.testing.assert_allclose(colour.matched(flat, content), np.full((9, 9, 3), mean), atol=1e-6)
    np.testing.assert_allclose(colour.matched(flat, flat), flat, atol=1e-6)


def test_the_noise_of_a_grey_painting_does_not_become_colours(random):
    """A painting that has no colours takes the shades that the other has where it is as light."""
    light = random.uniform(size=(60, 60, 1))
    content = np.float32(light * [0.9, 0.7, 0.2] + 0.1 * random.normal(size=(60, 60, 3)))
    grey = np.float32(np.repeat(random.uniform(size=(50, 50, 1)), 3, -1))
    noise = np.float32(random.normal(0, 1e-3, size=grey.shape))
    clean, noisy = colour.matched(grey, content), colour.matched(grey + noise, content)
    assert np.abs(noisy - clean).std() < 20 * noise.std()
    tint = clean.reshape(-1, 3)[np.argsort(grey[..., 0].ravel())]
    assert np.all(np.diff(tint, axis=0) > -1e-5)  # darker to lighter in every channel
    assert tint[-1, 0] - tint[0, 0] > 2 * (tint[-1, 2] - tint[0, 2])
