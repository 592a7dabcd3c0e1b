import numpy as np
import pytest
from painters import paintings

from nst_jax import samples


@pytest.fixture(scope="module", params=paintings.PAINTINGS)
def painted(request):
    np.random.seed(99)  # which should not matter
    return request.param, paintings.PAINTINGS[request.param]()


def test_painting_is_a_picture(painted):
    _, rgb = painted
    assert rgb.shape == (paintings.HEIGHT, paintings.WIDTH, 3)
    assert rgb.dtype == np.float32
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_the_file_holds_the_painting(painted):
    """But for a few strokes, whose place hangs on the last bit of a sine."""
    name, rgb = painted
    assert (np.abs(samples.load(name) - rgb).max(axis=-1) > 0.51 / 255).mean() < 1e-3


def test_painting_has_contrast_detail_and_no_blank_part(painted):
    _, rgb = painted
    assert rgb.std() > 0.15
    blocks = rgb.reshape(8, paintings.HEIGHT // 8, 8, paintings.WIDTH // 8, 3)
    assert blocks.std(axis=(1, 3)).max(axis=-1).min() > 0.01
    assert len(np.unique((rgb * 15).astype(int).reshape(-1, 3), axis=0)) > 300


def test_colours_are_those_of_the_scene():
    night = samples.load("starry_swirls")
    sky = night[:300, 200:]
    assert sky[..., 2].mean() > sky[..., 0].mean() + 0.1  # blue
    moon = night[40:90, 550:600].mean((0, 1))
    assert moon[0] > 0.7 > 0.6 > moon[2]  # yellow
    assert night[480:, 60:150].mean() < 0.25  # the cypress is dark
    sunset = samples.load("burning_sky")
    assert sunset[:180, :, 0].mean() > sunset[:180, :, 2].mean() + 0.4  # red over
    assert sunset[250:400, 400:, 2].mean() > sunset[250:400, 400:, 0].mean() + 0.1  # blue
    glass = samples.load("stained_glass")
    middle, corner = glass[160:280, 300:420].mean((0, 1)), glass[:120, :120].mean((0, 1))
    assert middle[0] > middle[2]
    assert corner[2] > corner[0]


def test_voronoi_cells_against_all_distances():
    sites = np.random.default_rng(2).random((30, 2)).astype(np.float32)
    nearest, border = paintings._voronoi(sites)
    for row, column in ((0, 0), (100, 333), (511, 639)):
        place = np.array([column, row]) / paintings.HEIGHT
        distances = np.linalg.norm(sites - place, axis=1)
        first, second = np.argsort(distances)[:2]
        middle, across = (sites[first] + sites[second]) / 2, sites[second] - sites[first]
        assert nearest[row, column] == first
        expected = np.dot(middle - place, across) / np.linalg.norm(across)
        np.testing.assert_allclose(border[row, column], expected, atol=1e-5)
