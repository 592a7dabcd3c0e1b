"""What a file is; the package for HEIC is played by a module of our own."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import RGB8, unit
from PIL import Image, ImageFile

from nst_jax import images
from nst_jax.errors import ImageError

NO_PICTURES = {
    "a PDF": b"%PDF-1.7\n%",
    "a PostScript file": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a ZIP archive, or a document packed as one": b"PK\3\4\x14\0\6\0",
    "a gzip archive": b"\x1f\x8b\x08\0",
    "a JPEG XL picture": b"\0\0\0\x0cJXL \r\n\x87\n",
    "an OpenEXR picture": b"\x76\x2f\x31\x01\2\0\0\0",
    "a Radiance HDR picture": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "a camera raw file": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "a video": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
    "an SVG drawing": b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- by hand --><svg width="9"/>',
    "a web page": b"\n<!DOCTYPE html><title>Not found</title>",
    "a NumPy array": b"\x93NUMPY\1\0",
    "a Windows metafile": b"\xd7\xcd\xc6\x9a\0\0",
}
HEIC = b"\0\0\0\x18ftyp%s\0\0\0\0mif1heic"


def read(tmp_path, data):
    (tmp_path / "a.jpg").write_bytes(data.ljust(600, b"\0"))
    return images.read(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_called_by_its_name(tmp_path, name):
    with pytest.raises(ImageError) as caught:
        read(tmp_path, NO_PICTURES[name])
    assert str(caught.value) == f"{tmp_path / 'a.jpg'}: is {name}, not a picture of a kind that can be read"


@pytest.mark.parametrize("data", [b"<?xml version='1.0'?><note/>", b"RIFF\0\0\0\0WAVE", b"\0", b"hello"])
def test_what_nobody_knows(tmp_path, data):
    with pytest.raises(ImageError, match=r"a\.jpg: is not an image of a kind that can be read$"):
        read(tmp_path, data)


def test_what_is_wrong_with_a_known_kind_is_told(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(RGB8).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    data[data.index(b"\xff\xc0") + 4] = 12  # bits per channel
    with pytest.raises(
        ImageError, match=r"is a JPEG file, but .* of a rare kind \(cannot handle 12-bit layers\)"
    ):
        read(tmp_path, bytes(data))


@pytest.fixture
def registry(monkeypatch):
    """Pillow's list of formats, to be forgotten afterwards."""
    Image.init()
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1"])
def test_heic_needs_a_package(tmp_path, monkeypatch, registry, brand):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError) as caught:
        read(tmp_path, HEIC % brand)
    needed = "is a HEIC picture, which needs another package: pip install pillow-heif"
    assert str(caught.value) == f"{tmp_path / 'a.jpg'}: {needed}"


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_is_read_by_the_package(tmp_path, monkeypatch, registry, brand):
    class Heif(ImageFile.ImageFile):
        format = "HEIF"

        def _open(self):
            self._mode, self._size = "RGB", (7, 5)
            self.tile = [ImageFile._Tile("raw", (0, 0, 7, 5), 24, ("RGB", 0, 1))]

    calls = []

    def register_heif_opener():
        calls.append(1)
        Image.register_open("HEIF", Heif, lambda prefix: prefix[4:8] == b"ftyp")

    package = SimpleNamespace(register_heif_opener=register_heif_opener)
    monkeypatch.setitem(sys.modules, "pillow_heif", package)
    for _ in range(2):
        picture = read(tmp_path, HEIC % brand + RGB8.tobytes())
        np.testing.assert_array_equal(picture.rgb, unit(RGB8))
        assert picture.notes == ()
    assert calls == [1]


def test_other_pictures_do_not_ask_for_the_package(tmp_path, monkeypatch, registry):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Image.fromarray(RGB8).save(tmp_path / "a.avif")
    data = (tmp_path / "a.avif").read_bytes()
    (tmp_path / "b.avif").write_bytes(data[:8] + b"mif1" + data[12:])  # it is compatible with AVIF
    for name in ("a.avif", "b.avif"):
        assert images.read(tmp_path / name).rgb.shape == (5, 7, 3)


def test_heic_itself(tmp_path, registry):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.OPEN.pop("HEIF")
    flat = np.full((64, 48, 3), (200, 100, 50), np.uint8)
    heif.from_pillow(Image.fromarray(flat)).save(tmp_path / "a.heic", quality=95)
    np.testing.assert_allclose(images.read(tmp_path / "a.heic").rgb, unit(flat), atol=0.03)
