import hashlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from nst_jax import config
from nst_jax.errors import ConfigError, ImageError, NstError
from nst_jax.runs import inputs
from nst_jax.settings import LONGEST


@pytest.fixture
def folder(tmp_path, monkeypatch, random):
    """A photograph with alpha, a painting and a first image, written by Pillow; nothing is quite hidden."""
    monkeypatch.chdir(tmp_path)
    for name, shape in (("photo.png", (30, 40, 4)), ("art.png", (25, 20, 3)), ("first.png", (9, 7, 3))):
        Image.fromarray(random.integers(1, 256, shape, dtype=np.uint8)).save(name)
    return tmp_path


def settings(**changes):
    return config.load(base={"content": "photo.png", "style": "art.png", "size": 20} | changes)


def pixels(name):
    return np.float32(np.asarray(Image.open(name)) / 255)


def resized(channel, size):
    image = Image.fromarray(channel).resize(size, Image.Resampling.LANCZOS)
    return np.clip(np.asarray(image), 0, 1)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array, np.float32).tobytes()).hexdigest()


def test_pictures_have_the_size_of_the_result(folder):
    found, photo = inputs.Reader().read(settings()), pixels("photo.png")
    wanted = np.stack([resized(photo[..., c], (20, 15)) for c in range(4)], axis=-1)
    np.testing.assert_allclose(found.pictures.content, wanted[..., :3], atol=1e-6)
    np.testing.assert_allclose(found.alpha, wanted[..., 3], atol=1e-6)
    art = pixels("art.png")
    wanted = np.stack([resized(art[..., c], (20, 15)) for c in range(3)], axis=-1)
    np.testing.assert_allclose(found.pictures.style[0], wanted, atol=1e-6)
    assert found.pictures.init is None  # as the settings say


def test_a_small_content_stays_as_it_is(folder):
    found = inputs.Reader().read(settings(size=500))
    np.testing.assert_allclose(found.pictures.content, pixels("photo.png")[..., :3], atol=1e-6)
    np.testing.assert_allclose(found.alpha, pixels("photo.png")[..., 3], atol=1e-6)


def test_digests_are_of_the_pixels_as_read(folder):
    own = {"image": "art.png", "fit": "own"}
    whole, small = (
        inputs.Reader().read(settings(size=size, init="first.png", style=own)) for size in (500, 20)
    )
    assert whole.digests == small.digests
    assert whole.digests == {
        "content": sha256(pixels("photo.png")),
        "style": sha256(whole.pictures.style[0]),
        "init": sha256(whole.pictures.init),
    }
    Image.fromarray(np.asarray(Image.open("art.png"))).save("same.tif")
    assert inputs.Reader().read(settings(style="same.tif")).digests["style"] == whole.digests["style"]


def test_samples_by_name(folder):
    found = inputs.Reader().read(settings(content="sample:coffee"))
    assert found.pictures.content.shape == (13, 20, 3)
    assert found.digests["content"] == sha256(np.float32(skimage.data.coffee()) / np.float32(255))


def test_a_first_image_is_read_from_its_file(folder):
    found = inputs.Reader().read(settings(init="first.png"))
    np.testing.assert_allclose(found.pictures.init, pixels("first.png"), atol=1e-6)
    blend = {"content": 0.5, "noise": 0.5}
    assert inputs.Reader().read(settings(init=blend)).pictures.init is None
    assert set(inputs.Reader().read(settings(init="noise")).digests) == {"content", "style"}


@pytest.mark.parametrize("name", ["content", "style"])
def test_no_picture_given(folder, name):
    with pytest.raises(ConfigError, match=rf"^{name}\.image: no {name} image given: use --{name} FILE"):
        inputs.Reader().read(settings(**{name: {}}))


@pytest.mark.parametrize("name", ["content", "style", "init"])
def test_a_picture_that_is_not_there(folder, name):
    with pytest.raises(ImageError, match=r"gone\.png"):
        inputs.Reader().read(settings(**{name: "gone.png"}))


@pytest.mark.parametrize(("limit", "wrong"), [(62, "first"), (499, "art"), (1199, "photo")])
def test_pictures_of_too_many_pixels(folder, limit, wrong):
    names = {"content": "first.png", "style": "first.png", "init": "first.png"}
    place = {"first": "init", "art": "style", "photo": "content"}[wrong]
    with pytest.raises(ImageError, match=rf"{wrong}\.png.*max_pixels"):
        inputs.Reader().read(settings(**names | {place: f"{wrong}.png", "max_pixels": limit}))
    if limit > 63:
        inputs.Reader().read(settings(**names | {place: f"{wrong}.png", "max_pixels": limit + 1}))


def test_names_are_those_of_the_pictures(folder):
    assert inputs.names_of(settings(init="b.png")) == {
        "content": "photo.png",
        "style": "art.png",
        "init": "b.png",
    }
    assert "init" not in inputs.names_of(settings(init={"content": 1, "noise": 1}))


def test_what_is_not_there_counts_for_nothing(folder):
    both = inputs.as_posed(settings())
    assert both == settings()
    assert inputs.as_posed(config.load(base={"content": "a.png", "style": "b.png"})).size == LONGEST
    texture = inputs.as_posed(config.load(base={"style": "b.png", "content": {"weight": 0}}))
    assert (texture.size, texture.content.weight, texture.content.layers) == (None, 0.0, ())
    found = inputs.as_posed(config.load(base={"content": "a.png", "style": {"weight": 0}}))
    assert (found.style.weight, found.style.layers) == (0.0, ())


@pytest.mark.parametrize(
    ("convention", "given", "wanted"),
    [
        ("gatys2016", None, True),
        ("gatys2016", False, False),
        ("johnson", None, False),
        ("johnson", True, True),
    ],
)
def test_the_network_is_the_conventions_unless_told_otherwise(monkeypatch, convention, given, wanted):
    monkeypatch.setattr(
        "nst_jax.pretrained.network.load_network",
        lambda name, **options: SimpleNamespace(name=name, note="as it is", **options),
    )
    network = {"pool": "max", "padding": "replicate", "normalised": given}
    chosen = config.load(base={"weights": "my.h5", "loss": {"convention": convention}, "network": network})
    said: list[str] = []
    found = inputs.network(chosen, print, say=said.append, notes=("", "and more"))
    assert said == ["as it is", "and more"]
    assert vars(found) == {
        "name": "my.h5",
        "note": "as it is",
        "normalised": wanted,
        "pool": "max",
        "padding": "replicate",
        "progress": print,
    }


def test_mistakes_need_not_wait_for_jax():
    code = "import sys, nst_jax.runs.inputs; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Semantic maps --------------------------------------------------------------------------------


@pytest.fixture
def mapped(folder):
    """Maps beside the pictures: two colours, that of the content at a quarter of its size."""
    for name, shape in (("photo_sem.png", (10, 8)), ("art_sem.png", (20, 25))):
        colours = np.zeros((shape[1], shape[0], 3), np.uint8)
        colours[: shape[1] // 2] = (255, 0, 0)
        Image.fromarray(colours).save(name)
    return folder


def patched(**changes):
    return settings(style={"image": "art.png", "kind": "patch"}, **changes)


def test_maps_are_found_beside_the_pictures(mapped):
    names = inputs.names_of(patched())
    assert (names["content_map"], names["style_map"]) == ("photo_sem.png", "art_sem.png")
    found = inputs.Reader().read(patched())
    assert found.pictures.content_map.shape == (8, 10, 3)
    np.testing.assert_array_equal(found.pictures.style_map, pixels("art_sem.png"))
    assert found.digests["content_map"] == sha256(pixels("photo_sem.png"))
    assert found.notes == ()
    labels = inputs.Reader().read(patched(semantic={"map": "colours"})).pictures.content_map
    np.testing.assert_array_equal(labels.sum(-1), 1)
    assert labels.shape == (8, 10, 2)


def test_no_maps_where_there_are_none_or_none_are_wanted(mapped):
    Image.open("art.png").save("other.png")
    other = {"image": "other.png", "kind": "patch"}
    for chosen in (
        settings(),
        patched(content={"image": "photo.png", "map": "none"}),
        settings(style=other),
    ):
        found = inputs.Reader().read(chosen)
        assert (found.pictures.content_map, found.pictures.style_map) == (None, None)
        assert len(found.notes) == (chosen.style.kind == "patch")


def test_a_doodle_has_the_size_of_its_map_or_the_one_given(mapped):
    doodle = {"content": {"image": None, "map": "photo_sem.png"}}
    found = inputs.Reader().read(patched(**doodle, size=None))
    assert found.pictures.content.shape == (8, 10, 3)
    assert found.pictures.init is None
    assert inputs.Reader().read(patched(**doodle, size=40)).pictures.content.shape == (32, 40, 3)
    assert inputs.Reader().read(patched(**doodle, init="first.png")).pictures.init.shape == (9, 7, 3)
    posed = inputs.as_posed(patched(**doodle))
    assert (posed.content.weight, posed.content.layers) == (0.0, ())


@pytest.mark.parametrize(
    ("changes", "kind", "phrase"),
    [
        ({"content": {"image": "photo.png", "map": "no.png"}}, ImageError, "no.png: no such file"),
        ({"content": {"image": "photo.png", "map": "tall.png"}}, ImageError, "aspect ratio"),
        ({"content": {"image": "photo.png", "map": "grey.png"}}, ImageError, "1 channel"),
        ({"style": {"image": "art.png", "map": "art_sem.png"}}, ConfigError, "style.kind is gram"),
        ({"style": {"kind": "patch", "image": "art.png", "map": "none"},
          "content": {"image": "photo.png", "map": "photo_sem.png"}}, ConfigError, "none of the style"),
        ({"style": {"kind": "guided_gram", "image": "art.png", "map": "none"}}, ConfigError, "needs maps"),
        ({"content": {"map": "photo_sem.png", "weight": 3.0}}, ConfigError, "no content image to"),
        ({"content": {}}, ConfigError, "--content-map FILE for a doodle"),
    ],
)  # fmt: skip
def test_maps_that_cannot_be_used(mapped, changes, kind, phrase):
    Image.fromarray(np.zeros((10, 8, 3), np.uint8)).save("tall.png")
    Image.fromarray(np.zeros((8, 10), np.uint8)).save("grey.png")
    with pytest.raises(kind) as caught:
        inputs.Reader().read(settings(**{"style": {"image": "art.png", "kind": "patch"}} | changes))
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


def test_colours_that_the_style_lacks_are_said(mapped):
    colours = np.zeros((8, 10, 3), np.uint8)
    colours[:2] = (0, 255, 0)
    Image.fromarray(colours).save("photo_sem.png")
    (note,) = inputs.Reader().read(patched()).notes
    assert "#00ff00" in note
    assert "25 %" in note


# --- Runs that lack a picture ---------------------------------------------------------------------


def lone(**changes):
    return config.load(base=changes)


def test_a_texture_has_the_size_of_its_style_or_the_one_given(folder):
    texture = {"style": "art.png", "content": {"weight": 0}}
    found = inputs.Reader().read(lone(**texture))
    assert found.pictures.content.shape == (25, 20, 3)
    assert found.pictures.init is None
    assert set(found.digests) == {"style"}
    assert inputs.Reader().read(lone(**texture, size=50)).pictures.content.shape == (50, 40, 3)
    assert inputs.Reader().read(lone(**texture, size="30x40")).pictures.content.shape == (40, 30, 3)
    assert found.pictures.style[0].shape == (25, 20, 3)
    wraps = inputs.Reader().read(lone(**texture, size=50, network={"padding": "wrap"}))
    assert wraps.pictures.content.shape == (48, 32, 3)


def test_a_content_alone_stands_for_its_style(folder):
    found = inputs.Reader().read(lone(content="photo.png", style={"weight": 0}, size=20))
    assert found.pictures.style[0] is found.pictures.content
    assert found.pictures.init is None


def test_the_style_is_cropped(mapped):
    box = [0.5, 0.0, 1.0, 0.4]
    style = {"image": "art.png", "kind": "patch", "crop": box, "fit": "own"}
    found = inputs.Reader().read(settings(style=style))
    np.testing.assert_array_equal(found.pictures.style[0], pixels("art.png")[:10, 10:])
    np.testing.assert_array_equal(found.pictures.style_map, pixels("art_sem.png"))  # the problem crops it


def mask(name, *rows, mode="L"):
    Image.fromarray(np.uint8(np.repeat(np.repeat(rows, 15, 0), 20, 1))).convert(mode).save(name)


def test_masks_are_read_at_the_size_of_the_result(folder):
    mask("keep.png", [0, 255], [0, 255])
    mask("strength.png", [51, 255], [51, 51], mode="RGB")
    found = inputs.Reader().read(
        settings(content={"image": "photo.png", "keep": "keep.png"}, style=["art.png"], size=20).with_values(
            {"style.strength_map": "strength.png"}
        )
    )
    places = found.pictures.places
    assert places.keep.shape == places.strength.shape == (15, 20, 1)
    np.testing.assert_allclose(places.keep[[0, 0], [0, -1], 0], [0, 1])
    np.testing.assert_allclose(places.strength[[0, 0, -1], [0, -1, -1], 0], [0.2, 1, 0.2], atol=1e-3)
    assert places.regions is None
    assert {"keep", "strength"} <= set(found.digests)


def test_each_colour_of_a_map_has_a_style_the_darkest_first(folder):
    mask("map.png", [[0, 0, 90], [250, 200, 250]], [[250, 200, 250], [250, 200, 250]], mode="RGB")
    found = inputs.Reader().read(settings(style={"image": ["art.png", "first.png"], "regions": "map.png"}))
    regions = found.pictures.places.regions
    assert regions.shape == (15, 20, 2)
    np.testing.assert_array_equal(regions[0, 0], [1, 0])
    np.testing.assert_array_equal(regions[[-1, 0], [0, -1]], [[0, 1]] * 2)
    assert found.notes[-2:] == ("regions: #00005a gets art.png", "regions: #fac8fa gets first.png")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"style": {"image": ["art.png", "first.png"], "regions": "one.png"}},
            "main colours: 1 .#ffffff., styles: 2; give one",
        ),
        (
            {"style": {"image": "art.png", "regions": "two.png"}},
            "main colours: 2 .#000000, #ffffff., styles: 1; give one",
        ),
        (
            {"style": {"image": ["art.png", "first.png"], "regions": "two.png", "shares": [1, 2]}},
            "style.shares: with style.regions each style has its own place",
        ),
        (
            {"content": {"keep": "two.png", "weight": 0}},
            "content.keep: is of the photograph, and there is none",
        ),
        ({"content": {"image": "photo.png", "keep": "tall.png"}}, "the content.keep map is 20 x 30 pixels"),
        ({"content": {"image": "photo.png", "keep": "gone.png"}}, "gone.png: no such file"),
    ],
)
def test_masks_that_cannot_be_used(folder, changes, message):
    mask("one.png", [255, 255], [255, 255])
    mask("two.png", [255, 0], [255, 0])
    mask("tall.png", [255], [0])
    with pytest.raises(NstError, match=message):
        inputs.Reader().read(settings(**changes))


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"style": "art.png"}, "--content-weight 0 for a texture"),
        ({"content": "photo.png"}, "--style-weight 0 for a reconstruction of the content"),
        ({"content": {"weight": 0}, "style": {"weight": 0}}, "there is neither"),
        ({"content": "photo.png", "style": {"weight": 0}, "init": "style"}, "init: is style, and"),
    ],
)
def test_pictures_that_are_missed(folder, changes, phrase):
    with pytest.raises(NstError) as caught:
        inputs.Reader().read(lone(**changes))
    assert phrase in str(caught.value)


def test_works_are_read_as_their_stand_ins(folder):
    found = inputs.Reader().read(lone(content="work:neckarfront", style="art.png", size=20))
    assert found.pictures.content.shape == (13, 20, 3)
    (note,) = found.notes
    assert "sample:coffee stands in for work:neckarfront" in note
