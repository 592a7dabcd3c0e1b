import concurrent.futures
import io
import re
import struct
import zlib

import numpy as np
import pytest
from image_files import png_chunk
from PIL import Image

from nst_jax import images
from nst_jax.errors import ImageError, OutputError
from nst_jax.studio import uploads


def encoded(kind, size=(40, 30), mode="RGB", colour=(200, 100, 50), **options):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind, **options)
    return buffer.getvalue()


def claiming(width, height):
    """Return a small PNG whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + rest


PHOTO = encoded("JPEG")
BAD = {
    "nothing": (b"", "is empty"),
    "text": (b"hello\nworld", "is not an image of a kind that can be read, such as JPEG or PNG"),
    "svg": (
        b"<svg xmlns='x'/>",
        "is an SVG drawing, not a picture of a kind that can be read, such as JPEG or PNG",
    ),
    "web page": (
        b"<!doctype html>",
        "is a web page, not a picture of a kind that can be read, such as JPEG or PNG",
    ),
    "cut short": (PHOTO[: len(PHOTO) - 60], "is damaged or cut short"),
    "head only": (PHOTO[:20], "is a JPEG file, but damaged or of a rare kind"),
    "bomb": (claiming(30000, 30000), "has 900.0 megapixels; at most 100 are taken: make it smaller first"),
    "smaller bomb": (
        claiming(10001, 10001),
        "has 100.0 megapixels; at most 100 are taken: make it smaller first",
    ),
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "studio" / "uploads"


@pytest.fixture
def kept(folder):
    return uploads.Uploads(folder)


def test_a_picture_is_kept(kept, folder):
    assert not folder.exists()
    found = kept.add("my photo.jpeg", PHOTO)
    assert re.fullmatch("upload:[0-9a-f]{12}", found["id"])
    assert found == {"id": found["id"], "name": "my photo.jpeg", "width": 40, "height": 30}
    path = kept.path(found["id"])
    assert path.read_bytes() == PHOTO
    assert path == folder / f"{found['id'][7:]}_my_photo.jpg"
    assert list(folder.iterdir()) == [path]


def test_the_same_bytes_are_the_same_upload(kept, folder):
    first, second = kept.add("one.jpg", PHOTO), kept.add("two.jpg", PHOTO)
    assert (first["id"], second["name"]) == (second["id"], "two.jpg")
    assert len(list(folder.iterdir())) == 1
    assert kept.add("one.jpg", encoded("PNG"))["id"] != first["id"]


def test_what_was_removed_is_kept_again(kept):
    found = kept.add("one.jpg", PHOTO)
    kept.path(found["id"]).unlink()
    kept.add("one.jpg", PHOTO)
    assert kept.path(found["id"]).read_bytes() == PHOTO


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_picture_leaves_nothing(kept, folder, what):
    data, sentence = BAD[what]
    with pytest.raises(ImageError) as caught:
        kept.add("../holiday.png", data)
    assert str(caught.value) == f"holiday.png: {sentence}"
    assert list(folder.iterdir()) == []


def test_heic_is_refused_in_plain_words_where_it_cannot_be_read(kept, folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(50)
    with pytest.raises(ImageError) as caught:
        kept.add("a.heic", heic)
    assert str(caught.value) == (
        "a.heic: is a HEIC picture, which needs the package pillow_heif; or save it as JPEG first".replace(
            "_", "-"
        )
    )
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("PNG", ".png"),
        ("JPEG", ".jpg"),
        ("WEBP", ".webp"),
        ("TIFF", ".tif"),
        ("GIF", ".gif"),
        ("BMP", ".bmp"),
        ("PPM", ".picture"),
    ],
)
def test_the_ending_is_that_of_the_content(kept, kind, suffix):
    found = kept.add("a.exe", encoded(kind))
    assert kept.path(found["id"]).name == f"{found['id'][7:]}_a{suffix}"
    assert images.read(kept.path(found["id"])).rgb.shape == (30, 40, 3)


@pytest.mark.parametrize(
    ("name", "shown", "piece"),
    [
        ("", "picture", "_picture"),
        ("../../etc/passwd", "passwd", "_passwd"),
        (r"C:\photos\dog.png", "dog.png", "_dog"),
        ("a\nb\0c\x1b[2J.png", r"a\nb\x00c\x1b[2J.png", "_a_nb_x00c_x1b_2J"),
        ("画像.png", "画像.png", ""),
        ("..", "..", ""),
        ("-rf", "-rf", "_rf"),
        ("\udcff.png", r"\xff.png", "_xff"),
        ("x" * 300 + ".png", "x" * 96 + ".png", "_" + "x" * 40),
        ("CON", "CON", "_CON"),
    ],
)
def test_names(kept, folder, name, shown, piece):
    found = kept.add(name, PHOTO)
    assert found["name"] == shown
    assert kept.path(found["id"]) == folder / f"{found['id'][7:]}{piece}.jpg"


def test_the_size_is_that_of_the_upright_picture(kept):
    exif = Image.Exif()
    exif[0x0112] = 6
    found = kept.add("a.jpg", encoded("JPEG", exif=exif))
    assert (found["width"], found["height"]) == (30, 40)
    assert Image.open(io.BytesIO(kept.thumbnail(found["id"]))).size == (30, 40)


def test_thumbnails(kept):
    found = kept.add("a.png", encoded("PNG", size=(1000, 500)))
    small = Image.open(io.BytesIO(kept.thumbnail(found["id"])))
    assert (small.format, small.size) == ("JPEG", (320, 160))
    assert np.abs(np.asarray(small, float) - (200, 100, 50)).max() < 4


def test_transparent_pictures_are_small_on_white(kept):
    half = np.zeros((400, 800, 4), np.uint8)
    half[:, :400] = (0, 0, 255, 255)
    half[:, 400:] = (255, 0, 0, 0)
    buffer = io.BytesIO()
    Image.fromarray(half).save(buffer, "PNG")
    small = np.asarray(
        Image.open(io.BytesIO(kept.thumbnail(kept.add("a.png", buffer.getvalue())["id"]))), float
    )
    assert np.abs(small[:, :150] - (0, 0, 255)).max() < 8
    assert np.abs(small[:, 170:] - 255).max() < 8
    red, green = small[:, 155:165, 0], small[:, 155:165, 1]
    assert np.abs(red - green).max() < 20  # nothing of the red that cannot be seen


def test_the_first_frame_of_an_animation(kept):
    frames = [Image.new("RGB", (20, 10), (0, 200, 0)), Image.new("RGB", (20, 10), (200, 0, 0))]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    found = kept.add("a.webp", buffer.getvalue())
    red, green, _ = np.asarray(Image.open(io.BytesIO(kept.thumbnail(found["id"])))).mean((0, 1))
    assert green > 150 > 50 > red


@pytest.mark.parametrize("id", ["upload:000000000000", "", "upload:../../x", "/etc/passwd"])
def test_only_what_was_given_is_found(kept, id):
    digits = kept.add("a.jpg", PHOTO)["id"].removeprefix("upload:")
    for each in (id, digits):
        with pytest.raises(LookupError, match="not uploaded"):
            kept.path(each)
        with pytest.raises(LookupError, match="not uploaded"):
            kept.thumbnail(each)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        uploads.Uploads(tmp_path / "file" / "uploads").add("a.jpg", PHOTO)


def test_many_at_once(kept, folder):
    files = [encoded("PNG", colour=(level, 0, 0)) for level in range(6)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda data: kept.add("a.png", data)["id"], files * 3))
    assert len(set(found)) == len(list(folder.iterdir())) == 6
