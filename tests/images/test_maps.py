"""Files are made by Pillow, pypng and NumPy; what the labels should be is known from how maps are painted."""

import numpy as np
import png
import pytest
from PIL import Image, ImageCms, ImageDraw

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.images import maps

RANDOM = np.random.default_rng(5)
BYTES = RANDOM.integers(0, 256, (5, 7, 4), dtype=np.uint8)
BLACK, WHITE, RED, GREEN, BLUE = (0, 0, 0), (255, 255, 255), (255, 51, 31), (0, 255, 0), (0, 0, 255)


def unit(array):
    return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)


def saved(path, array_or_image, **options):
    image = Image.fromarray(array_or_image) if isinstance(array_or_image, np.ndarray) else array_or_image
    image.save(path, **options)
    return path


def palette_image():
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    return image


def stripes(*colours, size=(40, 60), shares=None):
    """Return a map of upright stripes, of equal width unless told otherwise."""
    height, width = size
    edges = np.cumsum([0, *(shares or [1 / len(colours)] * len(colours))]) * width
    array = np.zeros((height, width, len(colours[0])), np.float32)
    for colour, start, stop in zip(colours, edges[:-1], edges[1:], strict=True):
        array[:, round(start) : round(stop)] = np.array(colour, np.float32) / 255
    return array


def labels_of(*encodings):
    """Return the index of each pixel's label, having checked that the channels are one-hot."""
    for encoding in encodings:
        assert encoding.dtype == np.float32
        assert set(np.unique(encoding)) <= {0, 1}
        np.testing.assert_array_equal(encoding.sum(-1), 1)
    return [encoding.argmax(-1) for encoding in encodings]


# Reading


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_channels_are_those_of_the_file(tmp_path, suffix, mode, channels):
    array = BYTES[..., :channels].squeeze().copy()
    found = images.read_map(saved(tmp_path / f"a{suffix}", array))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, unit(BYTES[..., :channels]))


def test_grey_with_alpha(tmp_path):
    found = images.read_map(saved(tmp_path / "a.png", Image.fromarray(BYTES[..., :2].copy(), "LA")))
    np.testing.assert_array_equal(found, unit(BYTES[..., :2]))


def test_one_bit(tmp_path):
    bits = RANDOM.random((5, 9)) < 0.5
    found = images.read_map(saved(tmp_path / "a.png", bits))
    np.testing.assert_array_equal(found, bits[..., None].astype(np.float32))


def test_palette(tmp_path):
    expected = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30]], np.uint8)
    for name in ("a.png", "a.gif"):
        found = images.read_map(saved(tmp_path / name, palette_image()))
        np.testing.assert_array_equal(found, unit(np.stack([expected, expected[::-1]])))


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\x80"])
def test_palette_with_transparency(tmp_path, transparency):
    found = images.read_map(saved(tmp_path / "a.png", palette_image(), transparency=transparency))
    last = 255 if transparency == 1 else 128
    expected = np.array([[255, 0, 0, 255], [0, 255, 0, 0], [10, 20, 30, last]], np.uint8)
    np.testing.assert_array_equal(found[0], unit(expected))


def test_colour_named_as_transparent(tmp_path):
    grey, rgb = BYTES[..., 0].copy(), BYTES[..., :3].copy()
    grey[2, 3] = rgb[2, 3] = 77
    for array, key in ((grey, 77), (rgb, (77, 77, 77))):
        found = images.read_map(saved(tmp_path / "a.png", array, transparency=key))
        pixels = array.reshape(5, 7, -1)
        np.testing.assert_array_equal(found[..., :-1], unit(pixels))
        np.testing.assert_array_equal(found[..., -1], (pixels != 77).any(-1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits(tmp_path, suffix):
    grey = RANDOM.integers(0, 65536, (5, 7), dtype=np.uint16)
    image = Image.fromarray(grey)
    assert image.mode == "I;16"
    np.testing.assert_array_equal(
        images.read_map(saved(tmp_path / f"a{suffix}", image)), unit(grey)[..., None]
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits(tmp_path, channels):
    samples = RANDOM.integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    writer = png.Writer(7, 5, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16)
    with (tmp_path / "a.png").open("wb") as file:
        writer.write(file, samples.reshape(5, -1).tolist())
    np.testing.assert_array_equal(images.read_map(tmp_path / "a.png"), unit(samples))


def test_profile_is_ignored(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    path = saved(tmp_path / "a.png", BYTES[..., :3], icc_profile=swapped)
    np.testing.assert_array_equal(images.read_map(path), unit(BYTES[..., :3]))
    assert np.abs(images.read(path).rgb - unit(BYTES[..., :3])).max() > 0.5  # a picture is converted


@pytest.mark.parametrize(("orientation", "turn"), [(2, np.fliplr), (3, lambda a: a[::-1, ::-1]), (6, None)])
def test_orientation_is_applied(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = turn or (lambda a: np.rot90(a, -1))
    for suffix in (".png", ".tif"):
        found = images.read_map(saved(tmp_path / f"a{suffix}", BYTES, exif=exif))
        np.testing.assert_array_equal(found, turn(unit(BYTES)))


def test_array_of_five_channels(tmp_path):
    values = RANDOM.random((4, 6, 5)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(images.read_map(tmp_path / "a.npy"), values)
    np.save(tmp_path / "a.npy", np.asfortranarray(values.astype(np.float64)))
    np.testing.assert_array_equal(images.read_map(tmp_path / "a.npy"), values)


def test_array_types(tmp_path):
    for array, expected in (
        (BYTES[..., 0], unit(BYTES[..., :1])),
        (BYTES, unit(BYTES)),
        (BYTES > 99, (BYTES > 99).astype(np.float32)),
        (unit(BYTES).astype(np.float16), unit(BYTES).astype(np.float16).astype(np.float32)),
    ):
        np.save(tmp_path / "a.npy", array)
        found = images.read_map(tmp_path / "a.npy")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"a.npy: has the shape \(5,\), not \(height, width\) or \(height, width, channels\)"),
        (np.zeros((0, 5)), r"a.npy: has the shape \(0, 5\), not"),
        (np.zeros((2, 2), int), "a.npy: has values of type int64; allowed are uint8, bool and floating"),
        (np.array([[{}]]), "a.npy: has values of type object; allowed are"),
        (np.full((2, 2), 1.5), "a.npy: has values from 1.5 to 1.5, not within 0 and 1"),
        (np.full((2, 2), -0.5), "a.npy: has values from -0.5 to -0.5, not within 0 and 1"),
        (np.array([[0, np.nan]]), "a.npy: holds values that are not finite numbers"),
        (np.array([[0, np.inf]]), "a.npy: holds values that are not finite numbers"),
        (np.zeros((11, 10, 2), bool), "a.npy: has 10 x 11 = 110 pixels, more than the limit of 100"),
    ],
)
def test_arrays_that_are_no_maps(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ImageError, match=message):
        images.read_map(tmp_path / "a.npy", max_pixels=100)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        images.read_map(tmp_path / "none.png")
    (tmp_path / "a.txt").write_text("a map")
    with pytest.raises(ImageError, match=r"a\.txt: is not an image"):
        images.read_map(tmp_path / "a.txt")
    np.save(tmp_path / "a.npy", BYTES)
    for path in (tmp_path / "a.npy", saved(tmp_path / "a.png", RANDOM.integers(0, 9, (50, 50), np.uint8))):
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(ImageError, match=rf"{path.name}: is damaged or cut short"):
            images.read_map(path)
    with pytest.raises(ImageError, match="35 pixels, more than the limit of 34"):
        images.read_map(saved(tmp_path / "a.png", BYTES), max_pixels=34)


def test_values_of_a_float_image_are_checked(tmp_path):
    path = saved(tmp_path / "a.tif", np.full((2, 3), 0.25, np.float32))
    np.testing.assert_array_equal(images.read_map(path), np.full((2, 3, 1), 0.25))
    with pytest.raises(ImageError, match=r"a\.tif: has values from 2 to 2, not within 0 and 1"):
        images.read_map(saved(path, np.full((2, 3), 2, np.float32)))


# Resampling


def test_shrinking_averages_areas():
    values = RANDOM.random((6, 8, 5)).astype(np.float32)
    expected = values.reshape(3, 2, 2, 4, 5).mean((1, 3))
    np.testing.assert_allclose(images.resize_map(values, (3, 2)), expected, atol=1e-6)


def test_enlarging_takes_the_nearest():
    values = RANDOM.random((3, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(
        images.resize_map(values, (9, 8)), np.repeat(np.repeat(values, 3, axis=0), 2, axis=1)
    )
    found = images.resize_map(values, (5, 7))
    assert found.shape == (5, 7, 2)
    assert {tuple(v) for v in found.reshape(-1, 2)} == {tuple(v) for v in values.reshape(-1, 2)}


def test_sizes_of_maps():
    values = RANDOM.random((3, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(images.resize_map(values, (3, 4)), values)
    with pytest.raises(ImageError, match="cannot resize a map to 0 x 4: sizes start at 1"):
        images.resize_map(values, (0, 4))


# Shapes


@pytest.mark.parametrize("size", [(320, 512), (80, 128), (640, 1024), (5, 8), (43, 68), (80, 130), (2, 3)])
def test_aspect_ratios_that_fit(size):
    maps.check_shape(np.zeros((*size, 3)), (320, 512), "style")


@pytest.mark.parametrize("size", [(512, 320), (80, 132), (320, 524), (200, 300)])
def test_aspect_ratios_that_do_not_fit(size):
    message = (
        f"^the style map is {size[1]} x {size[0]} pixels, its image 512 x 320: "
        "both should have the same aspect ratio$"
    )
    with pytest.raises(ImageError, match=message):
        maps.check_shape(np.zeros((*size, 1)), (320, 512), "style")


# Channels as they are


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 9])
def test_channels_are_left_as_they_are(channels):
    content, style = RANDOM.random((20, 30, channels)), RANDOM.random((40, 20, channels))
    found = maps.encoded(content, style, kind="channels")
    np.testing.assert_array_equal(found[0], content.astype(np.float32))
    np.testing.assert_array_equal(found[1], style.astype(np.float32))
    assert found[0].dtype == found[1].dtype == np.float32


def test_soft_maps_of_the_same_range_are_not_warned_of():
    ramp = np.linspace(0, 1, 300, dtype=np.float32)
    content = np.stack([np.tile(ramp, (200, 1)), np.tile(1 - ramp, (200, 1))], axis=-1)
    assert maps.encoded(content, content[:, ::-1], kind="channels")[2] == []


@pytest.mark.parametrize("kind", ["channels", "colours"])
def test_counts_of_channels_must_agree(kind):
    for channels, words, remedy in ((1, "1 channel", ": save both as RGB"), (5, "5 channels", "")):
        message = f"the content map has {words}, the style map has 3; they should have equally many{remedy}"
        with pytest.raises(ImageError, match=f"^{message}$"):
            maps.encoded(np.zeros((4, 4, channels)), np.zeros((4, 4, 3)), kind=kind)


# Colours as labels


def test_labels_are_the_colours_of_the_style_map():
    content = stripes(BLUE, RED, BLACK, WHITE)
    style = stripes(WHITE, BLACK, RED, BLUE, size=(20, 100), shares=[0.4, 0.3, 0.2, 0.1])
    content_map, style_map, warnings = maps.encoded(content, style, kind="colours")
    assert warnings == []
    content_labels, style_labels = labels_of(content_map, style_map)
    np.testing.assert_array_equal(content_labels, np.tile(np.repeat([3, 2, 1, 0], 15), (40, 1)))
    np.testing.assert_array_equal(style_labels, np.tile(np.repeat([0, 1, 2, 3], [40, 30, 20, 10]), (20, 1)))


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9, 17])
def test_any_number_of_channels(channels):
    truth = RANDOM.integers(0, 3, (6, 8))
    colours = np.zeros((3, channels), np.float32)
    colours[1], colours[2, -1] = 1, 1 if channels > 1 else 0.5
    content_map, style_map, warnings = maps.encoded(colours[truth], colours[truth.T], kind="colours")
    assert content_map.shape == (6, 8, 3)
    assert warnings == []
    content_labels, style_labels = labels_of(content_map, style_map)
    np.testing.assert_array_equal(content_labels, style_labels.T)
    assert len({*zip(content_labels.ravel(), truth.ravel(), strict=True)}) == 3


def drawn(size, *, samples=8):
    """Return an anti-aliased drawing, as the mean of many samples per pixel, and the label of each pixel."""
    height, width = size
    fine = Image.new("P", (width * samples, height * samples), 0)
    pen = ImageDraw.Draw(fine)
    pen.ellipse([n * samples for n in (0.1 * width, 0.2 * height, 0.6 * width, 0.7 * height)], fill=1)
    pen.polygon(
        [(x * width * samples, y * height * samples) for x, y in ((0.5, 0.1), (0.97, 0.3), (0.6, 0.95))],
        fill=2,
    )
    pen.rectangle([n * samples for n in (0.7 * width, 0.7 * height, 0.9 * width, 0.9 * height)], fill=3)
    truth = np.asarray(fine)
    colours = np.array([WHITE, BLACK, GREEN, BLUE], np.uint8)
    smooth = colours[truth].reshape(height, samples, width, samples, 3).mean((1, 3)).round().astype(np.uint8)
    return smooth, truth[samples // 2 :: samples, samples // 2 :: samples]


def renamed(labels, truth):
    """Return labels in the numbers of the truth, each as the one it most often falls on."""
    names = [np.bincount(truth[labels == label]).argmax() for label in range(labels.max() + 1)]
    assert len(set(names)) == len(names)
    return np.array(names)[labels]


@pytest.mark.parametrize("size", [(160, 256), (40, 64)])
def test_anti_aliased_edges_are_no_labels(size):
    smooth, truth = drawn(size)
    assert len(np.unique(smooth.reshape(-1, 3), axis=0)) > 64
    content_map, style_map, warnings = maps.encoded(unit(smooth), unit(smooth[:, ::-1]), kind="colours")
    assert content_map.shape[2] == 4
    assert warnings == []
    for encoding, expected in ((content_map, truth), (style_map, truth[:, ::-1])):
        (labels,) = labels_of(encoding)
        assert (renamed(labels, expected) != expected).mean() < 0.04


@pytest.mark.parametrize("options", [{"quality": 75}, {"quality": 90}, {"quality": 95, "subsampling": 0}])
def test_jpeg_edges_are_no_labels(tmp_path, options):
    smooth, truth = drawn((160, 256))
    content = images.read_map(saved(tmp_path / "a.jpg", smooth, **options))
    for style in (content[:, ::-1], unit(smooth[:, ::-1])):
        content_map, style_map, warnings = maps.encoded(content, style, kind="colours")
        assert content_map.shape[2] == style_map.shape[2] == 4
        assert warnings == []
        (labels,) = labels_of(content_map)
        assert (renamed(labels, truth) != truth).mean() < 0.04


def test_grey_jpeg_has_few_levels_but_is_no_exact_map(tmp_path):
    truth = drawn((160, 256))[1] == 1
    path = saved(tmp_path / "a.jpg", (truth * 255).astype(np.uint8), quality=90)
    content_map, _, warnings = maps.encoded(images.read_map(path), images.read_map(path), kind="colours")
    (labels,) = labels_of(content_map)
    assert content_map.shape[2] == 2
    assert warnings == []
    assert (renamed(labels, truth) != truth).mean() < 0.01


def test_enlarged_maps_are_blurred_but_have_no_more_labels():
    image = Image.fromarray(drawn((40, 64))[0]).resize((256, 160), Image.Resampling.BILINEAR)
    found = maps.encoded(unit(np.asarray(image)), unit(drawn((160, 256))[0]), kind="colours")
    assert found[0].shape[2] == 4
    assert found[2] == []


def test_labels_may_be_as_near_as_two_greys():
    indices = RANDOM.integers(0, 5, (30, 40, 1)).astype(np.uint8)
    content_map, style_map, warnings = maps.encoded(
        unit(indices), unit(indices.swapaxes(0, 1)), kind="colours"
    )
    assert warnings == []
    content_labels, style_labels = labels_of(content_map, style_map)
    np.testing.assert_array_equal(content_labels, style_labels.T)
    assert content_map.shape[2] == 5


def test_a_label_of_slightly_another_colour_is_found():
    content_map, _, warnings = maps.encoded(
        stripes((250, 10, 5), (5, 0, 250)), stripes(BLUE, (255, 0, 0)), kind="colours"
    )
    assert warnings == []
    (labels,) = labels_of(content_map)
    np.testing.assert_array_equal(labels[0], np.repeat([1, 0], 30))


def test_a_small_label_counts_where_a_line_of_as_many_pixels_does_not():
    style = stripes(BLACK, WHITE, size=(100, 100))
    style[10:15, 60:65] = (1, 0, 0)
    assert maps.encoded(style, style, kind="colours")[0].shape[2] == 3
    style[10:15, 60:65] = 1
    style[50, 60:85] = (1, 0, 0)
    assert maps.encoded(style, style, kind="colours")[0].shape[2] == 2


def test_specks_are_no_labels():
    style = stripes(BLACK, WHITE, shares=[0.4, 0.6], size=(100, 100))
    style[50, 60:65] = (1, 0, 0)
    found = maps.encoded(stripes(BLACK, WHITE), style, kind="colours")
    assert found[1].shape[2] == 2


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        (GREEN, "#00ff00"),
        ((0, 128, 255, 64), "#0080ff40"),
        ((64,), "#404040"),
        ((255, 128), "(1.0, 0.5)"),
    ],
)
@pytest.mark.parametrize("kind", ["channels", "colours"])
def test_labels_that_the_style_lacks_are_warned_of(kind, colour, name):
    dark, light = (0,) * len(colour), (255,) * len(colour)
    content = stripes(colour, dark, light, shares=[0.12, 0.5, 0.38], size=(50, 100))
    content_map, style_map, warnings = maps.encoded(content, stripes(light, dark), kind=kind)
    assert warnings == [
        f"the content map has {name} on 12 % of its pixels, which the style map does not have"
    ]
    if kind == "colours":
        assert content_map.shape[2] == style_map.shape[2] == 3
        np.testing.assert_array_equal(content_map[:, :12, 2], 1)
        assert not style_map[..., 2].any()


def test_small_shares_and_many_colours_are_warned_of_in_few_words():
    content = stripes(BLACK, RED, shares=[0.996, 0.004], size=(50, 1000))
    (warning,) = maps.encoded(content, stripes(BLACK, WHITE), kind="colours")[2]
    assert "#ff331f on 0.4 % of its pixels" in warning
    greys = [(level,) for level in (0, 10, 30, 60, 90, 120, 150, 180, 210, 240)]
    warnings = maps.encoded(stripes(*greys), stripes((0,), (10,)), kind="colours")[2]
    assert len(warnings) == 8
    for level, words in ((255, "1 more colour on 9 %"), (225, "2 more colours on 17 %")):
        greys.append((level,))
        content = stripes(*greys, size=(20, 10 * len(greys)))
        warnings = maps.encoded(content, stripes((0,), (10,)), kind="colours")[2]
        assert len(warnings) == 9
        assert f"the content map has {words} of its pixels" in warnings[-1]


@pytest.mark.parametrize("kind", ["channels", "colours"])
def test_maps_of_one_colour_are_warned_of(kind):
    flat, striped = stripes(BLACK), stripes(BLACK, WHITE)
    text = "the {} map has one colour only: it guides nothing"
    assert maps.encoded(striped, flat, kind=kind)[2][-1] == text.format("style")
    assert maps.encoded(flat, striped, kind=kind)[2] == [text.format("content")]
    assert maps.encoded(flat, flat, kind=kind)[2] == [text.format("content"), text.format("style")]


def test_too_many_labels_are_refused():
    levels = np.arange(5, dtype=np.float32) / 4
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, 125, 3)
    many = np.repeat(np.repeat(colours, 4, axis=0), 4, axis=1)
    with pytest.raises(ImageError, match=r"^the maps have 125 colours between them, but at most 64 can be"):
        maps.encoded(many[:, :40], many, kind="colours")
    with pytest.raises(ImageError, match=r"^the maps have 120 colours"):
        maps.encoded(many[:, :240], many[:, 240:480], kind="colours")
