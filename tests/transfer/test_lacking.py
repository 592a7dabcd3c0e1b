import numpy as np
import pytest

from nst_jax import stylize, stylize_grid
from nst_jax.errors import NstError
from nst_jax.losses import formulas as losses
from nst_jax.networks import vgg
from nst_jax.transfer import lacking
from nst_jax.transfer import problem as tasks


@pytest.fixture
def picture(random):
    return np.float32(random.uniform(size=(24, 32, 3)) ** 2)


def features(encoder, image, layer):
    return vgg.features(encoder.params, vgg.to_input(image), layers=[layer])[layer]


def test_what_stands_for_a_picture_has_its_size(picture):
    canvas, style = lacking.completed(None, picture)
    assert canvas.shape == picture.shape
    assert style is picture
    assert lacking.completed(None, picture, size=(5, 9))[0].shape == (5, 9, 3)
    assert lacking.completed(None, picture, content_map=np.ones((7, 6, 2)))[0].shape == (7, 6, 3)
    assert lacking.completed(None, np.ones((100, 1024, 3)))[0].shape == (50, 512, 3)
    content, style = lacking.completed(picture, None)
    assert content is style is picture


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ({"content": None, "style": None}, "neither a content image nor a style image"),
        ({"content": np.ones((4, 4, 3)), "style": None, "size": (2, 2)}, "size (2, 2) is for a picture"),
        ({"content": None, "style": np.ones((4, 4))}, "not (4, 4)"),
    ],
)  # fmt: skip
def test_what_cannot_be_completed(given, phrase):
    with pytest.raises(NstError) as caught:
        lacking.completed(**given)
    assert phrase in str(caught.value)


def test_options_follow_from_what_is_missing():
    assert lacking.changes(content=True, style=True, init="content") == {}
    texture = lacking.changes(content=False, style=True, init="content")
    assert texture == {"content_weight": 0.0, "content_layers": (), "init": "noise"}
    found = lacking.changes(content=True, style=False, init="noise")
    assert found == {"style_weight": 0.0, "style_layers": ()}
    with pytest.raises(NstError, match="no style image"):
        lacking.changes(content=True, style=False, init="style")


@pytest.mark.parametrize(
    ("style", "longest", "size"),
    [((30, 60), None, (30, 60)), ((30, 60), 90, (45, 90)), ((1200, 600), None, (512, 256))],
)  # fmt: skip
def test_the_size_of_a_texture(style, longest, size):
    assert lacking.texture_size(style, longest) == size


def test_a_content_is_found_again_from_a_shallow_layer(picture, encoder):
    found = stylize(picture, None, encoder=encoder, content_layers=["conv1_2"], evaluations=150)
    assert found.image.shape == picture.shape
    assert set(found.terms) == {"content/conv1_2", "total_variation"}
    assert found.loss < 0.02 * found.initial_loss
    grey = np.full_like(picture, 0.5)
    wanted, got, before = (features(encoder, image, "conv1_2") for image in (picture, found.image, grey))
    assert np.mean((got - wanted) ** 2) < 0.05 * np.mean((before - wanted) ** 2)


@pytest.mark.parametrize("size", [None, (20, 48)])
def test_a_texture_has_the_styles_gram_matrices_at_any_size(picture, encoder, size):
    found = stylize(None, picture, size=size, encoder=encoder, style_layers=["conv1_1"], evaluations=200)
    assert found.image.shape == (*(size or picture.shape[:2]), 3)
    assert set(found.terms) == {"style/conv1_1", "total_variation"}
    ours, theirs = (losses.gram_matrix(features(encoder, i, "conv1_1")) for i in (found.image, picture))
    np.testing.assert_allclose(ours, theirs, rtol=0.2)  # the picture is clipped


def test_a_texture_sees_its_style_at_its_own_size(picture, encoder):
    task = tasks.fitted(
        *lacking.completed(None, picture, size=(50, 60)), fit=lacking.fit_of(None, texture=True)
    )
    assert task[1].shape == picture.shape
    assert lacking.fit_of(None, texture=False) == "content"
    assert lacking.fit_of("aspect", texture=True) == "aspect"
    assert tasks.style_size((2000, 1000), (8, 8), 0.5, "own") == (256, 128)


def test_a_grid_of_reconstructions_is_that_of_single_ones(picture, encoder):
    layers = [("conv1_2",), ("conv2_2",)]
    common = {"encoder": encoder, "evaluations": 8}
    grid = stylize_grid(picture, None, {"content_layers": layers}, mode="threads", **common)
    for (names,), found in grid.items():
        alone = stylize(picture, None, content_layers=names, **common)
        np.testing.assert_array_equal(found.image, alone.image)
    sizes = stylize_grid(None, picture, {"size": [(16, 20), (24, 16)]}, **common)
    assert [found.image.shape[:2] for found in sizes.values()] == [(16, 20), (24, 16)]
