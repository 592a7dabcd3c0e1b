"""Files are made by Pillow, tifffile, pypng or by hand, not by our own writing."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import png
import pytest
import tifffile
from image_files import (
    RANDOM,
    RGB8,
    RGBA8,
    RGBA16,
    SMOOTH,
    grey_as_rgb,
    png_chunk,
    save,
    unit,
    with_png_chunk,
)
from PIL import Image, ImageCms

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.images import pictures


@pytest.fixture(autouse=True, params=["at once", "row by row"])
def _in_strips(request, monkeypatch):
    if request.param == "row by row":
        monkeypatch.setattr(pictures, "AT_ONCE", 1)


def test_the_size_is_known_of_the_header(tmp_path, random):
    """Of every kind of file, whichever way up, what a size is told to be is what is read."""
    tall = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    files = [save(tmp_path / f"plain.{kind}", tall) for kind in ("png", "jpg", "webp", "tif", "bmp", "gif")]
    for orientation in (1, 3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("png", "jpg", "webp", "tif"):
            files.append(save(tmp_path / f"{orientation}.{kind}", tall, exif=exif))
    tifffile.imwrite(tmp_path / "float.tif", tall / np.float32(255), photometric="rgb")
    tags = [(274, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "lying.tif", tall * np.uint16(257), photometric="rgb", extratags=tags)
    tifffile.imwrite(
        tmp_path / "planes.tif", np.moveaxis(tall, -1, 0), photometric="rgb", planarconfig="separate"
    )
    files += [tmp_path / f"{name}.tif" for name in ("float", "lying", "planes")]
    for file in files:
        assert images.size_of(file) == images.read(file).rgb.shape[:2], file
    assert images.size_of(tmp_path / "6.jpg") == (7, 5)
    with pytest.raises(ImageError, match="more than the limit of 34"):
        images.size_of(tmp_path / "plain.png", max_pixels=34)
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageError, match=r"text\.jpg: is not an image"):
        images.size_of(tmp_path / "text.jpg")


def test_the_usual_endings_are_those_of_kinds_that_are_read():
    Image.init()
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    assert set(images.READABLE) - known <= {".heic", ".heif"}
    assert set(images.SUFFIXES) <= set(images.READABLE)


def png16(path, array, *, interlace=False, **options):
    channels = array.shape[2]
    writer = png.Writer(
        array.shape[1],
        array.shape[0],
        greyscale=channels < 3,
        alpha=channels in (2, 4),
        bitdepth=16,
        interlace=interlace,
        **options,
    )
    with path.open("wb") as file:
        writer.write(file, array.reshape(array.shape[0], -1).tolist())
    return path


def swapped_profile():
    """Hand-made matrix profile: red and green primaries of sRGB change places, linear tone curves."""

    def s15(*values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = struct.pack(">4sII", b"curv", 0, 1) + struct.pack(">H", 256) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78
    tags = {
        b"desc": text + b"\0" * (-len(text) % 4),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": s15(0.9642, 1.0, 0.8249),
        b"rXYZ": s15(0.3851, 0.7169, 0.0971),
        b"gXYZ": s15(0.4361, 0.2225, 0.0139),
        b"bXYZ": s15(0.1431, 0.0606, 0.7141),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + body


def srgb_curve(linear):
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


# Kinds of file


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".ppm"])
def test_lossless_8_bit_is_exact(tmp_path, suffix):
    picture = images.read(save(tmp_path / f"a{suffix}", RGB8))
    np.testing.assert_array_equal(picture.rgb, unit(RGB8))
    assert picture.rgb.dtype == np.float32
    assert picture.alpha is None


@pytest.mark.parametrize(
    "options", [{"format": "PNG"}, {"format": "TIFF"}, {"format": "WEBP", "lossless": True, "exact": True}]
)
def test_alpha_is_kept_beside_the_colours(tmp_path, options):
    picture = images.read(save(tmp_path / "a", RGBA8, **options))
    np.testing.assert_array_equal(picture.rgb, unit(RGBA8[..., :3]))
    np.testing.assert_array_equal(picture.alpha, unit(RGBA8[..., 3]))


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_are_near(tmp_path, suffix):
    colour = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1)
    picture = images.read(save(tmp_path / f"a{suffix}", colour, quality=95))
    assert np.abs(picture.rgb - unit(colour)).max() < 12 / 255


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_grey_becomes_rgb(tmp_path, suffix):
    picture = images.read(save(tmp_path / f"a{suffix}", SMOOTH))
    assert np.abs(picture.rgb - grey_as_rgb(SMOOTH)).max() <= (3 / 255 if suffix == ".jpg" else 0)


def test_one_bit(tmp_path):
    bits = RANDOM.random((5, 9)) < 0.5
    for suffix in (".png", ".tif"):
        picture = images.read(save(tmp_path / f"a{suffix}", bits))
        np.testing.assert_array_equal(picture.rgb[..., 1], bits.astype(np.float32))


def test_grey_with_alpha(tmp_path):
    picture = images.read(save(tmp_path / "a.png", Image.fromarray(RGBA8[..., :2].copy(), "LA")))
    np.testing.assert_array_equal(picture.rgb, grey_as_rgb(RGBA8[..., 0]))
    np.testing.assert_array_equal(picture.alpha, unit(RGBA8[..., 1]))


def palette_image():
    image = Image.fromarray(np.array([[0, 1, 2], [2, 1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    return image


def test_palette(tmp_path):
    for name in ("a.png", "a.gif", "a.tif"):
        picture = images.read(save(tmp_path / name, palette_image()))
        np.testing.assert_allclose(picture.rgb[0] * 255, [[255, 0, 0], [0, 255, 0], [10, 20, 30]], atol=1e-4)


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\x80"])
def test_palette_with_transparency(tmp_path, transparency):
    picture = images.read(save(tmp_path / "a.png", palette_image(), transparency=transparency))
    expected = [255, 0, 255 if transparency == 1 else 128]
    np.testing.assert_allclose(picture.alpha[0] * 255, expected)
    np.testing.assert_allclose(picture.rgb[0, 2] * 255, [10, 20, 30], atol=1e-4)


def test_8_bit_colour_named_as_transparent(tmp_path):
    picture = images.read(save(tmp_path / "a.png", RGB8, transparency=tuple(int(v) for v in RGB8[2, 3])))
    expected = np.ones((5, 7))
    expected[2, 3] = 0
    np.testing.assert_array_equal(picture.alpha, expected)
    np.testing.assert_array_equal(picture.rgb, unit(RGB8))


def test_cmyk_as_ink(tmp_path):
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[..., 0] = 255  # full cyan
    for name in ("a.jpg", "a.tif"):  # Pillow writes JPEG as Adobe does, inverted
        picture = images.read(save(tmp_path / name, Image.fromarray(ink, "CMYK")))
        np.testing.assert_allclose(picture.rgb[8, 8], [0, 1, 1], atol=0.02)


def test_lab(tmp_path):
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[..., 0] = 255
    picture = images.read(save(tmp_path / "a.tif", Image.fromarray(lab, "LAB")))
    np.testing.assert_allclose(picture.rgb, 1, atol=0.01)


# 16 bits and floating point


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_is_exact(tmp_path, channels, interlace):
    samples = RGBA16[..., :channels] if channels != 2 else RGBA16[..., 2:]
    picture = images.read(png16(tmp_path / "a.png", samples, interlace=interlace))
    colours = samples[..., : 3 if channels > 2 else 1]
    np.testing.assert_array_equal(picture.rgb, np.broadcast_to(unit(colours), (5, 7, 3)))
    if channels in (2, 4):
        np.testing.assert_array_equal(picture.alpha, unit(samples[..., -1]))
    else:
        assert picture.alpha is None


@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_16_bits_with_a_transparent_colour(tmp_path, channels):
    samples = RGBA16[..., :channels].copy()
    samples[0, 0] = samples[2, 3] ^ 1  # differs in the last bit only, so it is opaque
    key = tuple(int(v) for v in samples[2, 3])
    path = png16(tmp_path / "a.png", samples, transparent=key if channels == 3 else key[0])
    expected = np.ones((5, 7))
    expected[2, 3] = 0
    np.testing.assert_array_equal(images.read(path).alpha, expected)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib", "predictor": True},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"planarconfig": "separate"},
        {"tile": (16, 16)},
    ],
)
@pytest.mark.parametrize("alpha", [False, True])
def test_tiff_of_16_bits_is_exact(tmp_path, options, alpha):
    samples = RGBA16 if alpha else RGBA16[..., :3]
    stored = np.moveaxis(samples, -1, 0) if "planarconfig" in options else samples
    extra = ["unassalpha"] if alpha else None
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=extra, **options)
    picture = images.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.rgb, unit(RGBA16[..., :3]))
    if alpha:
        np.testing.assert_array_equal(picture.alpha, unit(RGBA16[..., 3]))
    else:
        assert picture.alpha is None


def test_grey_tiff_of_16_bits_both_ways_up(tmp_path):
    grey = RGBA16[..., 0]
    for photometric, expected in (("minisblack", unit(grey)), ("miniswhite", 1 - unit(grey))):
        tifffile.imwrite(tmp_path / "a.tif", grey, photometric=photometric)
        np.testing.assert_array_equal(images.read(tmp_path / "a.tif").rgb[..., 2], expected)


def test_tiff_alpha_that_was_multiplied_in_is_divided_out(tmp_path):
    stored = np.full((4, 4, 4), 30000, np.uint16)
    stored[..., 3] = 60000
    stored[0, 0] = 0
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["assocalpha"])
    picture = images.read(tmp_path / "a.tif")
    np.testing.assert_allclose(picture.rgb[1:], 0.5, atol=1e-6)
    assert not picture.rgb[0, 0].any()
    np.testing.assert_allclose(picture.alpha[1:], 60000 / 65535, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_tiff_is_clipped(tmp_path, dtype):
    values = RANDOM.uniform(-0.5, 1.5, (5, 7, 3)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb")
    np.testing.assert_array_equal(
        images.read(tmp_path / "a.tif").rgb, np.clip(values, 0, 1).astype(np.float32)
    )


def test_floating_point_tiff_with_nan_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 7), np.nan, np.float32))
    with pytest.raises(ImageError, match=r"a\.tif"):
        images.read(tmp_path / "a.tif")


def test_tiff_of_16_bits_in_a_packing_only_pillow_knows(tmp_path):
    grey = Image.fromarray(RGBA16[..., 0].copy())
    save(tmp_path / "a.tif", grey, compression="tiff_lzw")
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").rgb[..., 0], unit(RGBA16[..., 0]))


def test_netpbm_of_16_bits(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 7 5 65535\n" + RGBA16[..., 0].astype(">u2").tobytes())
    np.testing.assert_array_equal(images.read(tmp_path / "a.pgm").rgb[..., 0], unit(RGBA16[..., 0]))


# Orientation and colour profiles

UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.fliplr(np.rot90(a, -1)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.fliplr(np.rot90(a, 1)),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(tmp_path, orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    picture = images.read(save(tmp_path / "a", RGBA8, format=form, exif=exif, **options))
    np.testing.assert_array_equal(picture.rgb, UPRIGHT[orientation](unit(RGBA8[..., :3])))
    np.testing.assert_array_equal(picture.alpha, UPRIGHT[orientation](unit(RGBA8[..., 3])))


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_orientation_is_applied_to_jpeg_and_16_bits(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg = images.read(save(tmp_path / "a.jpg", SMOOTH, exif=exif)).rgb[..., 0]
    assert np.abs(jpeg - UPRIGHT[orientation](unit(SMOOTH))).max() < 0.02
    tifffile.imwrite(
        tmp_path / "a.tif", RGBA16[..., :3], photometric="rgb", extratags=[(274, 3, 1, orientation, True)]
    )
    deep = UPRIGHT[orientation](unit(RGBA16[..., :3]))
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").rgb, deep)
    data = png16(tmp_path / "a.png", RGBA16[..., :3]).read_bytes()
    (tmp_path / "a.png").write_bytes(with_png_chunk(data, b"eXIf", exif.tobytes()[6:]))
    np.testing.assert_array_equal(images.read(tmp_path / "a.png").rgb, deep)


def test_broken_exif_does_not_matter(tmp_path):
    path = save(tmp_path / "a.jpg", SMOOTH, exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert images.read(path).rgb.shape == (40, 60, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_profile_is_converted(tmp_path, suffix):
    profile = swapped_profile()
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    options = {".webp": {"lossless": True}, ".jpg": {"quality": 100, "subsampling": 0}}.get(suffix, {})
    picture = images.read(save(tmp_path / f"a{suffix}", flat, icc_profile=profile, **options))
    expected = srgb_curve(np.array([100, 200, 50]) / 255)
    np.testing.assert_allclose(picture.rgb, np.broadcast_to(expected, flat.shape), atol=2.5 / 255)


def test_profile_is_converted_under_alpha_and_16_bits(tmp_path):
    expected = srgb_curve(np.array([100, 200, 50]) / 255)
    flat = np.full((4, 4, 4), (200, 100, 50, 77), np.uint8)
    picture = images.read(save(tmp_path / "a.png", flat, icc_profile=swapped_profile()))
    np.testing.assert_allclose(picture.rgb[0, 0], expected, atol=2.5 / 255)
    np.testing.assert_array_equal(picture.alpha, unit(flat[..., 3]))
    deep = flat.astype(np.uint16) * 257
    data = png16(tmp_path / "deep.png", deep).read_bytes()
    body = b"x\0\0" + zlib.compress(swapped_profile())
    (tmp_path / "deep.png").write_bytes(with_png_chunk(data, b"iCCP", body))
    tag = (34675, 7, len(swapped_profile()), swapped_profile(), True)
    tifffile.imwrite(tmp_path / "deep.tif", deep[..., :3], photometric="rgb", extratags=[tag])
    for name in ("deep.png", "deep.tif"):
        np.testing.assert_allclose(images.read(tmp_path / name).rgb[0, 0], expected, atol=2.5 / 255)


def test_srgb_profile_changes_no_bit(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = images.read(save(tmp_path / "a.png", RGB8, icc_profile=profile))
    np.testing.assert_array_equal(picture.rgb, unit(RGB8))
    tag = (34675, 7, len(profile), profile, True)
    tifffile.imwrite(tmp_path / "a.tif", RGBA16[..., :3], photometric="rgb", extratags=[tag])
    np.testing.assert_array_equal(images.read(tmp_path / "a.tif").rgb, unit(RGBA16[..., :3]))


@pytest.mark.parametrize("profile", [b"nonsense", swapped_profile()[:200]])
def test_broken_profile_is_ignored(tmp_path, profile):
    picture = images.read(save(tmp_path / "a.png", RGB8, icc_profile=profile))
    np.testing.assert_array_equal(picture.rgb, unit(RGB8))


def test_profile_of_another_colour_space_is_ignored(tmp_path):
    picture = images.read(save(tmp_path / "a.png", SMOOTH, icc_profile=swapped_profile()))
    np.testing.assert_array_equal(picture.rgb, grey_as_rgb(SMOOTH))


# Files that cannot be used


def png_header(width, height):
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


@pytest.mark.parametrize("size", [(20_000, 15_000), (60_000, 60_000)])
def test_bomb_is_refused_from_its_header(tmp_path, size):
    data = png_header(*size) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND")
    (tmp_path / "bomb.png").write_bytes(data)
    for reader in (images.read, images.read_text):
        with pytest.raises(
            ImageError, match=rf"bomb.png: has .*{size[0] * size[1]} pixels.*200000000.*max_pixels"
        ):
            reader(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_limit_is_exact_and_can_be_raised(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", np.zeros((31, 37, 3), np.uint8))
    with pytest.raises(ImageError, match="1147 pixels, more than the limit of 1146"):
        images.read(path, max_pixels=1146)
    assert images.read(path, max_pixels=1147).rgb.shape == (31, 37, 3)


def test_limit_holds_for_16_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RGBA16[..., :3], photometric="rgb")
    png16(tmp_path / "a.png", RGBA16)
    for name in ("a.tif", "a.png"):
        with pytest.raises(ImageError, match="35 pixels, more than the limit of 34"):
            images.read(tmp_path / name, max_pixels=34)


def test_limit_of_pillow_is_neither_obeyed_nor_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(save(tmp_path / "a.png", RGB8))
    assert images.read(tmp_path / "a.png").rgb.shape == (5, 7, 3)
    assert Image.MAX_IMAGE_PIXELS == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b"hello, I am a text\n" * 40, "is not an image"),
        (b"II*\0", "a.png"),
    ],
)
def test_file_that_is_no_image(tmp_path, content, message):
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    for reader in (images.read, images.read_text):
        with pytest.raises(ImageError, match=message) as caught:
            reader(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_folder_unreadable_file_and_impossible_name(tmp_path):
    with pytest.raises(ImageError, match="is a folder"):
        images.read(tmp_path)
    with pytest.raises(ImageError, match="cannot be read"):
        images.read("a\0b.png")
    save(tmp_path / "a.png", RGB8).chmod(0)
    if not os.access(tmp_path / "a.png", os.R_OK):  # the superuser may read anything
        with pytest.raises(ImageError, match="Permission denied"):
            images.read(tmp_path / "a.png")


def sample_files():
    colour = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1)
    noisy = RANDOM.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(colour).save(buffer, form)
        yield form, buffer.getvalue()
    yield "PNG of 16 bits", images.encode("a.png", noisy / 65535, bits=16)
    for name, options in (("plain", {}), ("packed", {"compression": "zlib"})):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, noisy, photometric="rgb", **options)
        yield f"TIFF of 16 bits, {name}", buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "data"), list(sample_files()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_truncated_file_is_refused_wherever_it_ends(tmp_path, capfd, caplog, form, data):
    path = tmp_path / "cut"
    path.write_bytes(data)
    whole = images.read(path).rgb
    for end in sorted({*range(1, 60), *np.linspace(60, len(data) - 1, 40).astype(int)}):
        path.write_bytes(data[:end])
        with contextlib.suppress(ImageError):
            rgb = images.read(path).rgb
            # Some formats end with what a picture can do without.
            np.testing.assert_array_equal(rgb, whole, err_msg=f"{form} cut at {end} of {len(data)}")
            assert end > 0.8 * len(data)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(
    ("form", "data"), list(sample_files()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_damaged_file_is_read_or_refused(tmp_path, form, data):
    path = tmp_path / "damaged"
    random = np.random.default_rng(len(data))
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(0, min(len(data), 400), 3):
            damaged[place] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            rgb = images.read(path, max_pixels=10_000_000).rgb
        except ImageError:
            continue
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3


# A zoo


def by_pillow(form, array=RGB8, **options):
    buffer = io.BytesIO()
    (Image.fromarray(array) if isinstance(array, np.ndarray) else array).save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_of_few_bits(tmp_path, bits, interlace):
    """The transparent grey is any of those that there are, as is that of a palette."""
    levels = RANDOM.integers(0, 2**bits, (5, 7))
    colours = RANDOM.integers(0, 256, (2**bits, 4))
    path = tmp_path / "a.png"
    options = {"width": 7, "height": 5, "bitdepth": bits, "interlace": interlace}

    def written(**more):
        with path.open("wb") as file:
            png.Writer(**options, **more).write(file, levels.tolist())
        return images.read(path)

    for key in (None, *np.unique(levels)[:4].tolist()):
        picture = written(greyscale=True, transparent=key)
        np.testing.assert_allclose(picture.rgb[..., 1], levels / (2**bits - 1), atol=1e-6)
        if key is None:
            assert picture.alpha is None
        else:
            np.testing.assert_array_equal(picture.alpha, levels != key)
            np.testing.assert_array_equal(images.read_map(path)[..., 1], levels != key)
    for channels in (3, 4):
        picture = written(palette=[tuple(colour) for colour in colours[:, :channels].tolist()])
        np.testing.assert_allclose(picture.rgb * 255, colours[levels][..., :3], atol=1e-4)
        if channels == 4:
            np.testing.assert_allclose(picture.alpha * 255, colours[levels][..., 3], atol=1e-4)


LOSSLESS = {
    **{
        form: by_pillow(form) for form in ("BMP", "DIB", "PPM", "TGA", "JPEG2000", "SGI", "PCX", "QOI", "DDS")
    },
    "packed TGA": by_pillow("TGA", compression="tga_rle"),
    "ICO": by_pillow("ICO", sizes=[(7, 5)]),
    "WebP": by_pillow("WEBP", lossless=True),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_files_of_other_kinds(tmp_path, name):
    (tmp_path / "a").write_bytes(LOSSLESS[name])
    np.testing.assert_array_equal(images.read(tmp_path / "a").rgb, unit(RGB8))


COLOURS = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1)
LOSSY = {
    "AVIF": by_pillow("AVIF", COLOURS, quality=95, subsampling="4:4:4"),
    "JPEG 2000": by_pillow("JPEG2000", COLOURS, quality_mode="dB", quality_layers=[45]),
    "progressive JPEG": by_pillow("JPEG", COLOURS, quality=95, progressive=True),
    "JPEG with its tables restarted": by_pillow("JPEG", COLOURS, quality=95, restart_marker_blocks=2),
}


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_files_of_other_kinds(tmp_path, name):
    (tmp_path / "a").write_bytes(LOSSY[name])
    np.testing.assert_allclose(images.read(tmp_path / "a").rgb, unit(COLOURS), atol=0.05)


def test_content_counts_and_not_the_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(by_pillow("PNG"))
    np.testing.assert_array_equal(images.read(tmp_path / "a.jpg").rgb, unit(RGB8))
    (tmp_path / "a.png").write_bytes(by_pillow("JPEG", COLOURS, quality=95))
    np.testing.assert_allclose(images.read(tmp_path / "a.png").rgb, unit(COLOURS), atol=0.05)


def test_cmyk_jpeg_in_both_colour_models(tmp_path):
    """Pillow writes inverted inks, as Adobe does; with another number in Adobe's segment they are YCCK."""
    ink = np.dstack([COLOURS, SMOOTH.T.reshape(40, 60) // 4])
    data = by_pillow("JPEG", Image.fromarray(ink, "CMYK"), quality=98, subsampling=0)
    (tmp_path / "a.jpg").write_bytes(data)
    expected = (1 - unit(ink[..., :3])) * (1 - unit(ink[..., 3:]))
    np.testing.assert_allclose(images.read(tmp_path / "a.jpg").rgb, expected, atol=0.1)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    (tmp_path / "a.jpg").write_bytes(data[:at] + b"\2" + data[at + 1 :])
    stored = Image.open(io.BytesIO(data))
    planes = 255 - np.asarray(stored)
    inks = np.asarray(Image.fromarray(planes[..., :3], "YCbCr").convert("RGB")) / 255
    expected = (1 - inks) * planes[..., 3:] / 255
    np.testing.assert_allclose(images.read(tmp_path / "a.jpg").rgb, expected, atol=0.02)


def test_gif_with_transparency(tmp_path):
    picture = images.read(save(tmp_path / "a.gif", palette_image(), transparency=1))
    np.testing.assert_array_equal(picture.alpha, [[1, 0, 1], [1, 0, 1]])
    np.testing.assert_allclose(picture.rgb[1, 0] * 255, [10, 20, 30], atol=1e-4)


def test_orientation_of_avif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = images.read(save(tmp_path / "a.avif", COLOURS, exif=exif, quality=95, subsampling="4:4:4"))
    np.testing.assert_allclose(picture.rgb, UPRIGHT[6](unit(COLOURS)), atol=0.05)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_first_frame_is_used_and_the_others_are_told_of(tmp_path, form):
    flat = [Image.new("RGB", (16, 16), (value, value, value)) for value in (255, 0, 128)]
    path = save(tmp_path / "a", flat[0], format=form, save_all=True, append_images=flat[1:])
    picture = images.read(path)
    np.testing.assert_allclose(picture.rgb, 1, atol=0.02)
    name = "pages" if form == "TIFF" else "frames"
    assert picture.notes == (f"{path}: has 3 {name}; the first is used",)


def test_whole_files_have_no_notes(tmp_path):
    for suffix in (".png", ".jpg", ".webp", ".tif", ".gif", ".avif", ".ico"):
        assert images.read(save(tmp_path / f"a{suffix}", RGB8)).notes == ()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_sizes_are_those_of_what_is_read(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (5, 9)).save(tmp_path / name, exif=exif)
    assert images.size_of(tmp_path / name) == images.read(tmp_path / name).rgb.shape[:2] == (5, 9)
    with pytest.raises(ImageError, match="more than the limit of 10"):
        images.size_of(tmp_path / name, max_pixels=10)
    with pytest.raises(ImageError, match="no such file"):
        images.size_of(tmp_path / "nowhere.png")
