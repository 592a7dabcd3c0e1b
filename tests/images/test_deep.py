"""TIFF and PPM by tifffile, Pillow or by hand; the truth comes from NumPy and LittleCMS."""

import io
import struct

import numpy as np
import pytest
import tifffile
from image_files import RGB8, RGBA8, RGBA16, SMOOTH, unit
from PIL import Image, ImageCms

from nst_jax import images
from nst_jax.errors import ImageError

RANDOM = np.random.default_rng(11)
COLOURS = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1)
PLAIN = 0x0100
"""LittleCMS then computes, and does not look up in a coarse table."""


def read(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    return images.read(tmp_path / "a")


def tiff(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **({"photometric": "rgb" if array.ndim == 3 else "minisblack"} | options))
    return buffer.getvalue()


def by_hand(bits, pixels):
    """Return a grey TIFF of the given bits per pixel, which need not be whole bytes."""
    height, width = pixels.shape
    rows = np.unpackbits(pixels.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 16 - bits :]
    strip = np.packbits(rows.reshape(height, -1), axis=-1).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8 + 2 + 9 * 12 + 4, 277: 1, 278: height}
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in (tags | {279: len(strip)}).items()
    )
    return b"II*\0\x08\0\0\0\x09\0" + entries + b"\0\0\0\0" + strip


def notes(picture):
    return [note.partition(": ")[2] for note in picture.notes]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["u2", "u4", "u8", "i1", "i2", "i4", "i8"])
def test_whole_numbers_fill_their_range(tmp_path, dtype, channels, order):
    limits = np.iinfo(dtype)
    values = RANDOM.integers(limits.min, limits.max, (5, 7, channels), dtype=dtype, endpoint=True).squeeze()
    picture = read(tmp_path, tiff(values, byteorder=order))
    expected = np.clip(values / limits.max, 0, 1).reshape(5, 7, channels)
    np.testing.assert_allclose(picture.rgb, np.broadcast_to(expected, (5, 7, 3)), atol=1e-6)
    assert notes(picture) == (["has values below 0, which were read as 0"] if dtype[0] == "i" else [])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_packing_that_only_pillow_knows(tmp_path, dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = (RANDOM.random((5, 7)) * top).astype(dtype)
    data = io.BytesIO()
    Image.fromarray(values).save(data, "TIFF", compression="tiff_lzw")
    np.testing.assert_allclose(read(tmp_path, data.getvalue()).rgb[..., 1], values / top, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point(tmp_path, dtype):
    values = RANDOM.random((5, 7, 3)).astype(dtype)
    picture = read(tmp_path, tiff(values))
    np.testing.assert_array_equal(picture.rgb, values.astype(np.float32))
    assert picture.notes == ()
    assert notes(read(tmp_path, tiff(np.array([[-0.5, 2]], dtype)))) == [
        "has values from -0.5 to 2; those outside 0 and 1 were clipped"
    ]


def test_range_that_is_hardly_used_is_told(tmp_path):
    told = notes(read(tmp_path, tiff(np.full((5, 7), 255, np.uint16))))
    assert told == ["is all but black: its values reach 255 of 65535"]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12])
def test_few_and_odd_bits(tmp_path, bits):
    values = RANDOM.integers(0, 2**bits, (5, 9))
    picture = read(tmp_path, by_hand(bits, values))
    np.testing.assert_allclose(picture.rgb[..., 0], values / (2**bits - 1), atol=1e-5)


LAYOUTS = {
    "tiles": {"tile": (16, 16)},
    "planes": {"planarconfig": "separate"},
    "zlib": {"compression": "zlib"},
    "big": {"bigtiff": True},
    "predictor": {"compression": "zlib", "predictor": True},
    "big end first": {"byteorder": ">"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_layouts(tmp_path, layout, dtype):
    values = RANDOM.integers(0, np.iinfo(dtype).max, (24, 32, 3), dtype=dtype)
    stored = np.moveaxis(values, -1, 0).copy() if layout == "planes" else values
    np.testing.assert_array_equal(read(tmp_path, tiff(stored, **LAYOUTS[layout])).rgb, unit(values))


@pytest.mark.parametrize("packing", ["jpeg", "tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd"])
def test_packings_of_pillow(tmp_path, packing):
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(
        buffer, "TIFF", compression=packing, **{"quality": 95} if packing == "jpeg" else {}
    )
    np.testing.assert_allclose(read(tmp_path, buffer.getvalue()).rgb, unit(COLOURS), atol=0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_cmyk(tmp_path, dtype):
    ink = (RGBA8 // 2).astype(dtype) * (np.iinfo(dtype).max // 255)
    expected = (1 - unit(RGBA8[..., :3] // 2)) * (1 - unit(RGBA8[..., 3:] // 2))
    picture = read(tmp_path, tiff(ink, photometric="separated"))
    np.testing.assert_allclose(picture.rgb, expected, atol=0.02)


@pytest.mark.parametrize("kind", ["cielab", "icclab"])
@pytest.mark.parametrize("bits", [8, 16])
def test_lab(tmp_path, kind, bits):
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(Image.fromarray(COLOURS), *profiles, outputMode="LAB", flags=PLAIN)
    back = ImageCms.profileToProfile(image, *profiles[::-1], outputMode="RGB", flags=PLAIN)
    samples = np.array(image)  # with signed a* and b*
    if kind == "icclab":
        samples[..., 1:] ^= 128
    if bits == 16:
        samples = samples.astype(np.uint16) * np.array(
            [257 if kind == "cielab" else 256, 256, 256], np.uint16
        )
    picture = read(tmp_path, tiff(samples, photometric=kind))
    np.testing.assert_allclose(picture.rgb, unit(np.asarray(back)), atol=1.5 / 255)
    if (kind, bits) == ("cielab", 8):
        packed = io.BytesIO()
        image.save(packed, "TIFF", compression="tiff_lzw")
        np.testing.assert_array_equal(read(tmp_path, packed.getvalue()).rgb, picture.rgb)


def test_pages_are_counted(tmp_path):
    for array in (RGB8, RGBA16[..., :3], RGBA16[..., 0]):
        picture = read(
            tmp_path, tiff(np.stack([array] * 3), photometric="rgb" if array.ndim == 3 else "minisblack")
        )
        np.testing.assert_array_equal(picture.rgb[..., 0], unit(array.reshape(5, 7, -1)[..., 0]))
        assert notes(picture) == ["has 3 pages; the first is used"]
    stack = tiff(np.stack([RGBA16[..., 0]] * 20), imagej=True, photometric="minisblack")
    assert notes(read(tmp_path, stack)) == ["has 20 pages; the first is used"]


def test_smaller_copies_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(RGBA16[..., :3], photometric="rgb")
        file.write(RGBA16[::2, ::2, :3], photometric="rgb", subfiletype=1)
    assert images.read(tmp_path / "a.tif").notes == ()


def test_preview_of_a_raw_file_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.dng") as file:
        file.write(RGB8, photometric="rgb", subfiletype=1, subifds=1)
        file.write(RGBA16[..., 0], photometric="cfa", extratags=[(33421, 3, 2, (2, 2), True)])
    with pytest.raises(
        ImageError, match=r"a\.dng: is a camera raw file, of which only a preview could be read$"
    ):
        images.read(tmp_path / "a.dng")


def test_further_channels_are_told_of(tmp_path):
    values = RANDOM.integers(0, 65536, (5, 7, 5), dtype=np.uint16)
    for kind, count in (("minisblack", 1), ("rgb", 3)):
        picture = read(tmp_path, tiff(values, photometric=kind, planarconfig="contig"))
        np.testing.assert_array_equal(picture.rgb, np.broadcast_to(unit(values[..., :count]), (5, 7, 3)))
        assert notes(picture) == ["has 5 channels; only colour and transparency are used"]


@pytest.mark.parametrize("most", [65535, 1023, 256])
def test_ppm_of_16_bits(tmp_path, most):
    values = RANDOM.integers(0, most, (5, 7, 3), endpoint=True)
    data = b"P6\n# made by hand\n7 5 # wide and high\n%d\n" % most + values.astype(">u2").tobytes()
    np.testing.assert_allclose(read(tmp_path, data).rgb, values / most, atol=1e-6)
    with pytest.raises(ImageError, match="damaged or cut short"):
        read(tmp_path, data[:-9])
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(ImageError, match="35 pixels, more than the limit of 34"):
        images.read(tmp_path / "a", max_pixels=34)
