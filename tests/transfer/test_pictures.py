from dataclasses import replace

import numpy as np
import pytest

from nst_jax.errors import ImageError, NstError, SettingError
from nst_jax.images import colour
from nst_jax.settings import Settings, Style
from nst_jax.transfer.pictures import (
    Pictures,
    Places,
    as_image,
    coloured,
    is_texture,
    placed,
    shown,
    sized,
    style_size,
    without,
)


def settings(**values):
    return Settings().with_values({key.replace("__", "."): value for key, value in values.items()})


@pytest.fixture
def picture(random):
    return np.float32(random.uniform(size=(24, 32, 3)))


def sizes(pictures, **values):
    found = sized(pictures, settings(**values))
    return [image.shape[:2] for image in (found.content, *found.style)]


@pytest.mark.parametrize(
    ("fit", "scale", "wanted"),
    [
        ("content", 1.0, (100, 200)),
        ("content", 0.5, (50, 100)),
        ("aspect", 1.0, (141, 141)),
        ("aspect", 2.0, (283, 283)),
        ("own", 1.0, (300, 300)),
    ],
)
def test_style_sizes(fit, scale, wanted):
    assert style_size((300, 300), (100, 200), scale, fit) == wanted
    assert style_size((2000, 1000), (8, 8), 0.5, "own") == (256, 128)


def test_images_given_as_bytes_or_floats(random):
    pixels = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_allclose(as_image(pixels, "content"), pixels / 255, rtol=1e-6)
    for wrong in (np.zeros((4, 5)), np.zeros((4, 5, 5)), np.zeros((0, 5, 3))):
        with pytest.raises(ImageError, match="content image has shape"):
            as_image(wrong, "content")
    for wrong in (np.full((4, 5, 3), 128.0), np.full((4, 5, 3), np.nan)):
        with pytest.raises(ImageError, match=r"\[0, 1\]"):
            as_image(wrong, "style")


def test_the_content_keeps_its_size_unless_it_is_bounded(picture):
    both = Pictures(picture, np.ones((40, 28, 3)))
    assert sizes(both) == [(24, 32), (24, 32)]
    assert sizes(both, size=16) == [(12, 16), (12, 16)]
    assert sizes(both, size=100) == [(24, 32), (24, 32)]
    assert sizes(both, style__scale=0.5) == [(24, 32), (12, 16)]
    np.testing.assert_array_equal(sized(both, settings()).content, picture)


@pytest.mark.parametrize(
    ("size", "enlarge", "wanted"),
    [
        (20, False, (10, 20)),
        (100, False, (30, 60)),
        (100, True, (50, 100)),
        ((90, 30), False, (30, 60)),
        ((90, 60), True, (45, 90)),
        ((120, 50), True, (50, 100)),
    ],
)
def test_a_content_fits_within_the_size_and_is_enlarged_if_it_shall(random, size, enlarge, wanted):
    content = np.float32(random.uniform(size=(30, 60, 3)))
    found = sized(Pictures(content, content), Settings(size=size, enlarge=enlarge))
    assert found.content.shape[:2] == wanted
    assert found.own_size == ((30, 60) if wanted > (30, 60) else None)
    assert np.shape(found.style[0])[:2] == wanted


def test_a_painting_may_stay_as_large_as_with_a_preview(random):
    content, style = np.float32(random.uniform(size=(30, 60, 3))), np.ones((8, 8, 3), np.float32)
    chosen = Settings(size=2048, enlarge=True, style=Style(scale_with="preview", scale=0.5))
    found = sized(Pictures(content, style), chosen)
    assert found.content.shape[:2] == (1024, 2048)
    assert np.shape(found.style[0])[:2] == (128, 256)


def test_the_style_is_cropped_before_it_is_resized(picture):
    found = sized(Pictures(picture, picture), settings(style__crop=(0.5, 0, 1, 1), style__fit="own"))
    content, (style,) = found.content, found.style
    np.testing.assert_array_equal(content, picture)
    np.testing.assert_allclose(style, picture[:, 16:], atol=1e-6)


@pytest.mark.parametrize(
    ("style", "size", "wanted"),
    [
        ((30, 60), None, (30, 60)),
        ((30, 60), 90, (45, 90)),
        ((1200, 600), None, (512, 256)),
        ((30, 60), (50, 70), (70, 50)),
    ],
)
def test_a_texture_has_the_size_asked_for_or_the_styles(style, size, wanted):
    pictures = Pictures(None, np.ones((*style, 3), np.float32))
    assert is_texture(pictures)
    found = sizes(pictures, size=size)
    assert found[0] == wanted
    assert found[1] == ((512, 256) if style[0] > 512 else style)  # seen at its own size


def test_sides_of_a_picture_that_wraps_are_multiples_of_16_unless_they_are_given(picture):
    wraps, style = {"network__padding": "wrap"}, np.ones((40, 60, 3), np.float32)
    texture = Pictures(None, style)
    assert sizes(texture, **wraps) == [(32, 48), (40, 60)]
    assert sizes(texture, size=100, **wraps) == [(64, 96), (40, 60)]
    assert sizes(texture, size=(70, 50), **wraps) == [(50, 70), (40, 60)]
    assert sizes(Pictures(None, style[:9]), **wraps)[0] == (16, 48)
    assert sizes(Pictures(None, style, np.ones((50, 30, 1)), np.ones((4, 6, 1))), **wraps)[0] == (48, 16)
    assert sizes(Pictures(picture, style), size=30, **wraps)[0] == (22, 30)


def test_a_doodle_has_the_size_of_its_map(picture):
    map_, style_map = np.ones((14, 12, 2)), np.ones((24, 32, 2))
    doodle = Pictures(None, picture, map_, style_map)
    assert not is_texture(doodle)
    assert sizes(doodle) == [(14, 12), (14, 12)]
    assert sizes(doodle, size=28) == [(28, 24), (28, 24)]
    assert sizes(Pictures(None, picture, np.ones((5, 4, 1)), np.ones((3, 4, 1)))) == [(5, 4), (5, 4)]


def test_without_a_style_the_content_stands_for_it(picture):
    found = sized(Pictures(picture, None), settings())
    content, (style,) = found.content, found.style
    assert content is style


@pytest.mark.parametrize(
    ("pictures", "size", "message"),
    [
        (Pictures(None, None), None, "content, style: there is neither; give at least one"),
        (Pictures(None, np.ones((4, 4, 3))), 10**5, "has more than max_pixels, 200000000: use at most 14142"),
        (Pictures(None, np.ones((4, 4, 3))), (10**5, 10**5), "a picture of 100000 x 100000 has more than"),
        (Pictures(None, np.ones((4, 4))), None, r"style image has shape \(4, 4\)"),
        (Pictures(np.ones((4, 8, 3)), None, np.ones((4, 4, 1))), None, "content map"),
        (Pictures(None, np.ones((4, 8, 3)), np.ones((4, 4, 1)), np.ones((9, 9, 1))), None, "style map"),
    ],
)
def test_pictures_that_cannot_be_used(pictures, size, message):
    with pytest.raises(NstError, match=message) as caught:
        sized(pictures, settings(size=size))
    assert isinstance(caught.value, ValueError)


def test_what_is_not_there_is_not_compared():
    whole = settings(init="content", seed=3)
    assert without(whole, content=True, style=True) == whole
    texture = without(whole, content=False, style=True)
    assert texture == settings(content__weight=0.0, content__layers=(), init="noise", seed=3)
    reconstruction = without(whole, content=True, style=False)
    assert reconstruction == settings(style__weight=0.0, style__layers=(), init="noise", seed=3)
    assert without(settings(init="style"), content=False, style=True).init == "style"
    with pytest.raises(SettingError, match="init: is style, and there is none"):
        without(settings(init="style"), content=True, style=False)


# --- Whose colours --------------------------------------------------------------------------------


@pytest.fixture
def two(random):
    """A bright content and a dark style, a third of it hidden, and hidden parts in lime."""
    style = np.float32(random.uniform(size=(20, 30, 4)) ** 2)
    style[:, :, 3] = 1
    style[:, 20:] = (0.2, 1, 0, 0)
    return Pictures(np.float32(random.uniform(0.4, 0.8, size=(24, 32, 3))), style)


def test_the_colours_of_the_style_are_left_as_they_are(two):
    assert coloured(two, settings()) is two


def test_in_the_contents_colours_a_run_is_of_greys(two):
    first = np.uint8(255 * two.content)
    found = coloured(replace(two, init=first), settings(colour="content"))
    assert found.colours is two.content
    for grey in (found.content, found.style[0][:, :, :3], found.init):
        assert np.ptp(grey, axis=-1).max() == 0
        assert grey.dtype == np.float32
    light, painted = colour.lightness(found.content), colour.lightness(found.style[0][:, :, :3])[:, :20]
    np.testing.assert_allclose(light, colour.lightness(two.content), atol=1e-5)
    np.testing.assert_allclose(colour.lightness(found.init), light, atol=0.01)
    assert painted.mean() == pytest.approx(light.mean(), abs=0.01)  # the hidden third does not count;
    assert painted.std() == pytest.approx(light.std(), abs=0.01)  # what would be too bright is cut off
    np.testing.assert_array_equal(found.style[0][:, :, 3], two.style[:, :, 3])
    for init in (None, "noise", {"content": 1.0}):
        assert coloured(replace(two, init=init), settings(colour="content")).init is init


def test_a_style_is_matched_by_what_can_be_seen_of_it(two):
    found = coloured(two, settings(colour="matched"))
    assert (found.content is two.content, found.colours, found.style[0].dtype) == (True, None, np.float32)
    seen, content = (picture.reshape(-1, 3) for picture in (found.style[0][:, :20, :3], two.content))
    np.testing.assert_allclose(seen.mean(0), content.mean(0), atol=0.01)
    np.testing.assert_allclose(np.cov(seen.T), np.cov(content.T), atol=0.002)
    np.testing.assert_array_equal(found.style[0][:, :, 3], two.style[:, :, 3])
    assert 0 <= found.style[0].min() <= found.style[0].max() <= 1
    opaque = coloured(replace(two, style=two.style[:, :20, :3]), settings(colour="matched"))
    np.testing.assert_allclose(opaque.style[0], found.style[0][:, :20, :3], atol=1e-6)


@pytest.mark.parametrize("kind", ["content", "matched"])
@pytest.mark.parametrize("flat", ["content", "style"])
def test_a_picture_of_a_single_colour_is_no_trouble(two, kind, flat):
    found = coloured(replace(two, **{flat: np.full((9, 9, 3), 0.3, np.float32)}), settings(colour=kind))
    assert np.isfinite(found.style).all()
    assert np.isfinite(found.content).all()


def test_an_image_is_shown_as_it_is_or_in_other_colours(picture):
    assert shown(picture, None, picture[::-1], None) is picture
    found = shown(picture, picture[::-1], picture, None)
    np.testing.assert_array_equal(found, colour.recoloured(picture, picture[::-1]))


@pytest.mark.parametrize("is_coloured", [False, True])
def test_what_is_left_alone_is_shown_as_photographed(picture, is_coloured):
    keep = np.float32(np.linspace(0, 1, picture.shape[1]))[None, :, None] * np.ones_like(picture[:, :, :1])
    photograph = picture[::-1]
    colours, grey = (photograph, 0 * photograph) if is_coloured else (None, photograph)
    found, painted = shown(picture, colours, grey, keep), shown(picture, colours, grey, None)
    np.testing.assert_array_equal(found[:, -1], photograph[:, -1])
    np.testing.assert_array_equal(found[:, 0], painted[:, 0])
    np.testing.assert_allclose(found, keep * photograph + (1 - keep) * painted, atol=1e-6)


def test_where_something_is_painted(picture):
    half = np.zeros((8, 12))
    half[:, 6:] = 1
    content = np.zeros((4, 6, 3), np.float32)
    assert placed(Places(), content) == (None, None)
    where, keep = placed(Places(keep=half), content)
    np.testing.assert_allclose(keep + where, 1)
    assert where.shape == (4, 6, 1)
    np.testing.assert_array_equal(where[:, [0, -1], 0], [[1, 0]] * 4)
    regions = np.stack([half, 1 - half], -1)
    where, keep = placed(Places(keep=0.25 * np.ones((2, 3)), strength=half, regions=regions), content)
    assert keep.shape == (4, 6, 1)
    np.testing.assert_array_equal(where[:, [0, -1]], [[[0, 0], [0.75, 0]]] * 4)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (Places(keep=np.ones((4, 6))), "leave nothing of the picture to be styled"),
        (Places(strength=np.zeros((4, 6))), "leave nothing of the picture to be styled"),
        (Places(keep=np.ones((6, 4))), "the content.keep map is 4 x 6 pixels, its image 6 x 4"),
        (Places(strength=np.ones((9, 9))), "the style.strength_map map is 9 x 9"),
    ],
)
def test_masks_that_cannot_be(places, message):
    with pytest.raises(NstError, match=message):
        placed(places, np.zeros((4, 6, 3), np.float32))


@pytest.mark.parametrize("kind", ["content", "matched"])
def test_the_colours_of_a_content_need_one(kind):
    with pytest.raises(SettingError, match=f"^colour: {kind} needs a content, and there is none"):
        without(settings(colour=kind), content=False, style=True)
    assert without(settings(colour=kind), content=True, style=False).colour == kind
