"""Whatever bytes a file has, it is read, or refused in our words."""

import io

import numpy as np
import png
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import RGB8, RGBA8, RGBA16, peak_of
from PIL import Image, ImageCms

from nst_jax import images
from nst_jax.errors import ImageError


def by_pillow(form, image=None, **options):
    buffer = io.BytesIO()
    (image or Image.fromarray(RGB8)).save(buffer, form, **options)
    return buffer.getvalue()


def by_tifffile(array, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def files():
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}
    frames = {"save_all": True, "append_images": [Image.new("RGB", (7, 5))]}
    buffer = io.BytesIO()
    png.Writer(7, 5, greyscale=False, alpha=True, bitdepth=16, interlace=True).write(
        buffer, RGBA16.reshape(5, -1).tolist()
    )
    yield buffer.getvalue()
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF"):
        yield by_pillow(form)
        yield by_pillow(form, **more)
    for form in ("PNG", "GIF", "WEBP", "TIFF", "MPO"):
        yield by_pillow(form, **frames)
    for form in ("BMP", "PPM", "TGA", "ICO", "JPEG2000", "PCX", "SGI", "DDS", "QOI"):
        yield by_pillow(form)
    yield by_pillow("PNG", Image.fromarray(RGB8).quantize(4), transparency=1)
    yield by_pillow("JPEG", Image.fromarray(RGBA8).convert("CMYK"))
    yield b"P6 7 5 65535\n" + RGBA16[..., :3].astype(">u2").tobytes()
    yield by_tifffile(RGBA16, photometric="rgb", extrasamples=["unassalpha"], compression="zlib")
    yield by_tifffile(RGB8 / 255, photometric="rgb", tile=(16, 16))
    yield by_tifffile(RGB8, photometric="cielab", bigtiff=True)
    yield b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(99)


VALID = list(files())


@st.composite
def broken(draw):
    """A valid file, with a few bytes changed, taken out or put in, most often near its beginning."""
    data = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(data), draw(st.sampled_from([40, 400, len(data)])))))
        new = draw(st.binary(max_size=8) | st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff"]))
        gone = draw(st.sampled_from([len(new), len(new), 0, 1, 9, len(data)]))
        data = data[:at] + new + data[at + gone :]
    return data


@pytest.mark.parametrize("data", VALID[:-1])
def test_valid_files_are_read(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert images.read(tmp_path / "a").rgb.shape in ((5, 7, 3), (7, 5, 3))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=broken())
def test_broken_files_are_read_or_refused(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    for read in (images.read, images.read_map):
        refusal = None
        try:
            found = read(tmp_path / "a", max_pixels=1_000_000)
        except ImageError as error:
            refusal = str(error)
        if refusal is not None:
            assert refusal.startswith(f"{tmp_path / 'a'}: ")
            assert "\n" not in refusal
        elif read is images.read:
            assert found.rgb.shape[2:] == (3,)
            check(found.rgb)
            if found.alpha is not None:
                assert found.alpha.shape == found.rgb.shape[:2]
                check(found.alpha)
            assert not any("\n" in note for note in found.notes)
        else:
            check(found)


def check(array):
    assert array.dtype == np.float32
    assert 0 < array.shape[0] * array.shape[1] <= 1_000_000
    assert array.min() >= 0  # which no comparison with NaN would be
    assert array.max() <= 1


@pytest.mark.parametrize(("name", "bits", "most"), [("a.jpg", 8, 18), ("a.png", 8, 18), ("a.png", 16, 22)])
def test_large_picture_is_read_without_copies(tmp_path, name, bits, most):
    """Of its bytes a pixel 12 are the picture, and 4 what Pillow decodes, at 16 bits twice."""
    images.write(tmp_path / name, np.broadcast_to(np.float32(0.3), (4000, 5000, 3)), bits=bits)
    images.write(tmp_path / f"small_{name}", np.zeros((9, 9, 3)), bits=bits)
    prepare = "images.read(file.with_name(f'small_{file.name}'))"
    assert peak_of(prepare, "picture = images.read(file)", tmp_path / name) < most * 4000 * 5000
