"""What is written is read back by Pillow, tifffile and pypng too."""

import contextlib
import errno
import io
import os
import re
import resource
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
import skimage.io
import skimage.transform
import tifffile
from image_files import (
    RANDOM,
    RGB8,
    RGBA8,
    RGBA16,
    grey_as_rgb,
    peak_of,
    save,
    unit,
    with_png_chunk,
)
from PIL import Image

from nst_jax import images
from nst_jax.errors import ImageError, OutputError
from nst_jax.images import pictures, writing


@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF", ".PNG"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_written_file_reads_back_exactly(tmp_path, suffix, bits, channels):
    samples = RGBA16 if bits == 16 else RGBA8
    alpha = unit(samples[..., 3]) if channels == 4 else None
    path = tmp_path / f"a{suffix}"
    images.write(path, unit(samples[..., :3]), alpha=alpha, bits=bits)
    picture = images.read(path)
    np.testing.assert_array_equal(picture.rgb, unit(samples[..., :3]))
    np.testing.assert_array_equal(picture.alpha, alpha)
    if suffix.lower() == ".png":
        width, height, rows, info = png.Reader(bytes=path.read_bytes()).asDirect()
        assert (width, height, info["bitdepth"]) == (7, 5, bits)
        others = np.array([list(row) for row in rows]).reshape(5, 7, channels)
    else:
        others = tifffile.imread(path)
    np.testing.assert_array_equal(others, samples[..., :channels])


def test_every_16_bit_value_survives(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for suffix in (".png", ".tif"):
        images.write(tmp_path / f"a{suffix}", grey_as_rgb(values), bits=16)
        np.testing.assert_array_equal(images.read(tmp_path / f"a{suffix}").rgb, grey_as_rgb(values))


def test_png_of_a_photograph_reads_back_elsewhere(tmp_path):
    photograph = skimage.io.imread(Path(skimage.__file__).parent / "data" / "astronaut.png")
    images.write(tmp_path / "a.png", photograph / 255)
    np.testing.assert_array_equal(skimage.io.imread(tmp_path / "a.png"), photograph)


@pytest.mark.parametrize("suffix", images.SUFFIXES)
def test_one_pixel_and_one_column(tmp_path, suffix):
    for shape in ((1, 1, 3), (9, 1, 3), (1, 9, 3)):
        images.write(tmp_path / f"a{suffix}", np.full(shape, 0.5, np.float32))
        read = images.read(tmp_path / f"a{suffix}").rgb
        assert read.shape == shape
        np.testing.assert_allclose(read, 128 / 255, atol=2 / 255)


def test_rounding_is_to_the_nearest_with_halves_up_after_clipping(tmp_path):
    values = np.array([-5, -1e-9, 0, 0.4999, 0.5, 1.5, 2.5, 254.4999, 254.5, 255, 300]) / 255
    images.write(tmp_path / "a.png", np.repeat(values[None, :, None], 3, axis=2))
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 0, 0, 1, 2, 3, 254, 255, 255, 255]


def test_jpeg_keeps_full_colour_resolution(tmp_path):
    stripes = np.zeros((32, 32, 3))
    stripes[:, ::2] = [1, 0, 0]
    stripes[:, 1::2] = [0, 0, 1]
    images.write(tmp_path / "a.jpg", stripes)
    assert np.abs(images.read(tmp_path / "a.jpg").rgb - stripes).max() < 0.15
    small = images.encode("a.jpg", np.random.default_rng(1).random((64, 64, 3)), quality=30)
    large = images.encode("a.jpg", np.random.default_rng(1).random((64, 64, 3)))
    assert len(small) < len(large) / 2


def test_jpeg_puts_transparency_on_white_and_webp_keeps_it(tmp_path):
    rgb, alpha = np.zeros((16, 16, 3)), np.zeros((16, 16))
    alpha[:, 8:] = 1
    for suffix in (".jpg", ".webp"):
        images.write(tmp_path / f"a{suffix}", rgb, alpha=alpha)
    jpeg, webp = images.read(tmp_path / "a.jpg"), images.read(tmp_path / "a.webp")
    np.testing.assert_allclose(jpeg.rgb[:, :, 0], 1 - alpha, atol=0.03)
    np.testing.assert_array_equal(webp.alpha, alpha)


def test_same_picture_gives_the_same_bytes():
    rgb = np.random.default_rng(3).random((20, 30, 3))
    for suffix in images.SUFFIXES:
        assert images.encode(f"a{suffix}", rgb) == images.encode(f"other{suffix}", rgb)


@pytest.mark.parametrize("bits", [8, 16])
def test_text_comes_back(tmp_path, bits):
    text = {"config": "seed: 3\nstyle: 'a'\n", "Title": "Čapek, 北斎, 🎨", "Comment": "café", "empty": ""}
    images.write(tmp_path / "a.png", unit(RGB8), bits=bits, text=text)
    assert images.read_text(tmp_path / "a.png") == text
    kinds = {name for name, _ in png.Reader(bytes=(tmp_path / "a.png").read_bytes()).chunks()}
    assert {b"tEXt", b"iTXt", b"sRGB"} <= kinds


def test_text_of_another_writer_and_of_other_formats(tmp_path):
    save(tmp_path / "a.jpg", RGB8)
    images.write(tmp_path / "a.tif", unit(RGB8), text={"config": "x"})
    assert images.read_text(tmp_path / "a.jpg") == images.read_text(tmp_path / "a.tif") == {}
    data = save(tmp_path / "a.png", RGB8).read_bytes()
    (tmp_path / "a.png").write_bytes(with_png_chunk(data, b"zTXt", b"key\0\0" + zlib.compress(b"v" * 5000)))
    assert images.read_text(tmp_path / "a.png") == {"key": "v" * 5000}


@pytest.mark.parametrize("text", [{"": "x"}, {"k" * 80: "x"}, {"k": "a\0b"}])
def test_text_that_png_cannot_hold(text):
    with pytest.raises(ImageError, match="text"):
        images.encode("a.png", unit(RGB8), text=text)


def test_suffixes():
    assert images.check_suffix("folder.x/A.JPeG") == ".jpeg"
    assert images.check_suffix("a.tiff", bits=16) == ".tiff"
    with pytest.raises(ImageError, match=r"'\.pgn'.*did you mean '\.png'.*allowed: \.png, \.jpg"):
        images.check_suffix("a.pgn")
    with pytest.raises(ImageError, match="has no ending"):
        images.check_suffix("picture")
    with pytest.raises(ImageError, match=r"8 bits.*for 16 use \.png, \.tif"):
        images.check_suffix("a.jpg", bits=16)
    with pytest.raises(ImageError, match=r"12 bits.*allowed: 8, 16"):
        images.check_suffix("a.png", bits=12)


@pytest.mark.parametrize(
    ("rgb", "options", "message"),
    [
        (np.full((4, 4, 3), np.nan), {}, "not numbers"),
        (np.full((4, 4, 3), np.inf), {}, "not numbers"),
        (np.zeros((4, 4, 3)), {"alpha": np.full((4, 4), np.nan)}, "not numbers"),
        (np.zeros((4, 4)), {}, r"\(height, width, 3\).*\(4, 4\)"),
        (np.zeros((0, 4, 3)), {}, r"\(0, 4, 3\)"),
        (np.zeros((4, 4, 3)), {"alpha": np.zeros((4, 5))}, r"\(4, 5\)"),
        (np.zeros((4, 4, 3)), {"quality": 0}, "quality 0; allowed: 1 to 100"),
    ],
)
def test_picture_that_cannot_be_written(tmp_path, rgb, options, message):
    with pytest.raises(ImageError, match=message):
        images.write(tmp_path / "a.png", rgb, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "most", "others"),
    [("a.webp", 16383, ".png, .jpg, .jpeg, .tif, .tiff"), ("a.JPG", 65500, ".png, .tif, .tiff")],
)
def test_format_that_is_too_small_for_the_picture(tmp_path, name, most, others):
    images.write(tmp_path / name, np.zeros((1, most, 3)))
    assert images.read(tmp_path / name).rgb.shape == (1, most, 3)
    (tmp_path / name).unlink()
    message = re.escape(f"at most {most} pixels a side, and the picture has {most + 1} x 1; use {others}")
    with pytest.raises(ImageError, match=f"{message}$"):
        images.write(tmp_path / name, np.zeros((1, most + 1, 3)))
    with pytest.raises(ImageError, match=f"has 3 x {most + 1}"):
        images.check_sides(name, (most + 1, 3))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def in_parts(monkeypatch):
    """Small pictures are written as large ones are."""
    monkeypatch.setattr(writing, "LARGE", 0)
    monkeypatch.setattr(pictures, "AT_ONCE", 1000)


@pytest.mark.parametrize("size", [(1, 1), (300, 17), (512, 1024), (600, 1025)])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
def test_large_tiff_has_tiles_and_long_offsets(tmp_path, in_parts, size, bits, channels):
    samples = RANDOM.integers(0, 2**bits, (*size, channels), np.uint16 if bits == 16 else np.uint8)
    alpha = unit(samples[..., 3]) if channels == 4 else None
    path = tmp_path / "a.tif"
    images.write(path, unit(samples[..., :3]), alpha=alpha, bits=bits)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert tiff.pages[0].tile == (512, 512)
        np.testing.assert_array_equal(tiff.asarray(), samples)
    if bits == 8:  # Pillow has no deep colours
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), samples)
    picture = images.read(path)
    np.testing.assert_array_equal(picture.rgb, unit(samples[..., :3]))
    np.testing.assert_array_equal(picture.alpha, alpha)


@pytest.mark.parametrize("suffix", images.SUFFIXES)
@pytest.mark.parametrize("has_alpha", [False, True])
def test_parts_are_those_of_the_whole(suffix, has_alpha, monkeypatch):
    size = (70, 90)
    rgb, alpha = RANDOM.uniform(-0.1, 1.1, (*size, 3)), RANDOM.random(size) if has_alpha else None
    whole = images.encode(f"a{suffix}", rgb, alpha=alpha)
    monkeypatch.setattr(pictures, "AT_ONCE", 1000)
    assert images.encode(f"a{suffix}", rgb, alpha=alpha) == whole
    monkeypatch.setattr(writing, "LARGE", 0)
    parts = images.encode(f"a{suffix}", rgb, alpha=alpha)
    found = [np.asarray(Image.open(io.BytesIO(data))) for data in (whole, parts)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("suffix", "bits", "most"),
    [(".png", 8, 3), (".png", 16, 3), (".tif", 8, 3), (".tif", 16, 3), (".jpg", 8, 6)],
)
def test_large_picture_is_nowhere_a_second_time(tmp_path, suffix, bits, most):
    """It has 12 bytes a pixel, and no more than a quarter of that is added; by JPEG what Pillow needs."""
    prepare = "writing.LARGE = 0; rgb = np.full((4000, 5000, 3), 0.5, np.float32)"
    prepare += f"; images.write(file, rgb[:9, :9], bits={bits})"
    added = peak_of(prepare, f"images.write(file, rgb, bits={bits})", tmp_path / f"a{suffix}")
    assert added < most * 4000 * 5000


@contextlib.contextmanager
def full_above(room):
    """As if the disk were full: no file of this process grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("room", [0, 3000, 60_000])
def test_full_disk_in_the_middle_leaves_the_old_file(tmp_path, in_parts, suffix, room):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    with full_above(room), pytest.raises(OutputError, match=rf"a{suffix}: cannot be written: File too large"):
        images.write(path, RANDOM.random((300, 300, 3)))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"old")]


def test_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full_disk(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        images.write(path, unit(RGB8))
    with pytest.raises(ImageError):
        images.write(path, np.full((4, 4, 3), np.nan))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.png", b"old")]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="absent"):
        images.write(tmp_path / "absent" / "a.png", unit(RGB8))
