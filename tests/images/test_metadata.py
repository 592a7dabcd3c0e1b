"""Files whose pixels are whole, with metadata that is not: made by Pillow and broken by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from image_files import RGB8, SMOOTH, png_chunk, unit, with_png_chunk
from PIL import Image, ImageCms

from nst_jax import images
from nst_jax.errors import ImageError
from nst_jax.images import metadata

COLOURS = np.stack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]], axis=-1)
HUGE = zlib.compress(b"a" * (40 << 20))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOTE = "metadata that cannot be read was skipped"
ON_ITS_SIDE = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHHI", 0x0112, 3, 1, 6, 0, 0)
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}


def encoded(form, array=COLOURS, **options):
    buffer = io.BytesIO()
    quality = {"quality": 98, "subsampling": 0} if form in ("JPEG", "MPO") else {}
    image = Image.fromarray(array)
    image.save(buffer, form, **(LOSSLESS.get(form, quality) | options))
    return buffer.getvalue()


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def in_jpeg(*segments):
    data = encoded("JPEG")
    return data[:2] + b"".join(segments) + data[2:]


def checksum_wrong(chunk):
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def read(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    return images.read(tmp_path / "a")


def check(tmp_path, data, *, turned=False, note=True):
    """Check that a file has the colours, and tells of what was skipped."""
    picture = read(tmp_path, data)
    expected = np.rot90(unit(COLOURS), -1) if turned else unit(COLOURS)
    np.testing.assert_allclose(picture.rgb, expected, atol=0.05)
    assert picture.notes == ((f"{tmp_path / 'a'}: {NOTE}",) if note else ())


PNG_CHUNKS = {
    "huge text": (b"zTXt", b"key\0\0" + HUGE),
    "huge international text": (b"iTXt", b"key\0\1\0\0\0" + HUGE),
    "huge profile": (b"iCCP", b"key\0\0" + HUGE),
    "text in an unknown packing": (b"zTXt", b"key\0\7text"),
    "profile that is not packed": (b"iCCP", b"key\0\0text"),
    **{f"{name.decode()} too short": (name, b"") for name in (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"acTL")},
    **{f"{name.decode()} of zeros": (name, b"\0" * 40) for name in (b"fcTL", b"fdAT", b"iCCP", b"eXIf")},
}


@pytest.mark.parametrize("name", PNG_CHUNKS)
def test_broken_chunk_of_png_is_skipped(tmp_path, name):
    data, chunk = encoded("PNG"), png_chunk(*PNG_CHUNKS[name])
    check(tmp_path, data[:33] + chunk + data[33:])
    whole = png_chunk(b"eXIf", ON_ITS_SIDE)
    if b"eXIf" not in chunk:
        check(tmp_path, data[:33] + whole + chunk + data[33:], turned=True)
    if b"pHYs" not in chunk and b"XTXt" in chunk.upper():  # texts may come after the pixels
        check(tmp_path, data[:33] + whole + data[33:-12] + chunk + data[-12:], turned=True)


@pytest.mark.parametrize("name", [b"tEXt", b"tIME", b"eXIf", b"iCCP", b"abCd", b"pHYs", b"zTXt"])
def test_wrong_checksum_costs_the_chunk_only(tmp_path, name):
    data, chunk = encoded("PNG"), checksum_wrong(png_chunk(name, b"some text"))
    check(tmp_path, data[:33] + chunk + data[33:])
    check(tmp_path, data[:33] + png_chunk(b"eXIf", ON_ITS_SIDE) + chunk + data[33:], turned=name != b"eXIf")


def test_text_of_some_size_is_no_matter(tmp_path):
    data = with_png_chunk(encoded("PNG"), b"iTXt", b"key\0\1\0\0\0" + zlib.compress(b"v" * (2 << 20)))
    check(tmp_path, data, note=False)
    assert images.read_text(tmp_path / "a") == {"key": "v" * (2 << 20)}


def test_texts_are_read_beside_broken_chunks(tmp_path):
    data = with_png_chunk(encoded("PNG"), b"tEXt", b"key\0value")
    (tmp_path / "a").write_bytes(data[:33] + checksum_wrong(png_chunk(b"tIME", b"1234567")) + data[33:])
    assert images.read_text(tmp_path / "a") == {"key": "value"}


def test_map_is_read_beside_broken_chunks(tmp_path):
    data = with_png_chunk(encoded("PNG"), b"eXIf", ON_ITS_SIDE)
    (tmp_path / "a").write_bytes(data[:33] + checksum_wrong(png_chunk(b"tIME", b"1234567")) + data[33:])
    np.testing.assert_array_equal(images.read_map(tmp_path / "a"), np.rot90(unit(COLOURS), -1))


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_wrong_checksum_of_what_pixels_need_is_refused(tmp_path, name):
    data = encoded("PNG")
    if name == b"PLTE":
        data = data[:33] + checksum_wrong(png_chunk(name, b"123")) + data[33:]
    else:
        data = data[:8] + checksum_wrong(data[8:33]) + data[33:]
    with pytest.raises(ImageError, match="damaged"):
        read(tmp_path, data)


JPEG_SEGMENTS = {
    "JFIF without a version": segment(0xE0, b"JFIF\0"),
    "profile without a number": segment(0xE2, b"ICC_PROFILE\0"),
    "profile that has no second part": segment(0xE2, b"ICC_PROFILE\0\1\2" + PROFILE[:1000]),
    "profile that is none": segment(0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 1000),
    "Photoshop's block cut short": segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
    "Adobe's without a version": segment(0xEE, b"Adobe"),
}


@pytest.mark.parametrize("name", JPEG_SEGMENTS)
def test_broken_segment_of_jpeg_is_skipped(tmp_path, name):
    check(tmp_path, in_jpeg(JPEG_SEGMENTS[name]))
    exif = segment(0xE1, b"Exif\0\0" + ON_ITS_SIDE)
    check(tmp_path, in_jpeg(exif, JPEG_SEGMENTS[name]), turned=True)


def test_jpeg_of_many_segments_without_meaning(tmp_path):
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0".ljust(60_000, b"<"))
    check(tmp_path, in_jpeg(*[xmp] * 50, segment(0xE5, b""), segment(0xFE, b"\xff" * 99)), note=False)


def test_broken_exif_is_told(tmp_path):
    check(tmp_path, in_jpeg(segment(0xE1, b"Exif\0\0no TIFF file at all")))


@pytest.mark.parametrize("place", range(4, 60, 4))
def test_first_picture_of_mpo_whatever_its_index(tmp_path, place):
    data = encoded("MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    check(tmp_path, data, note=False)
    at = data.index(b"MPF\0") + place
    np.testing.assert_allclose(
        read(tmp_path, data[:at] + b"\xff\xff\xff" + data[at + 3 :]).rgb, unit(COLOURS), atol=0.05
    )


@pytest.mark.parametrize("size", ["+1", "huge"])
@pytest.mark.parametrize("name", [b"ICCP", b"EXIF", b"XMP "])
def test_chunk_of_webp_of_a_wrong_size_is_skipped(tmp_path, name, size):
    data = encoded("WEBP", icc_profile=PROFILE, exif=b"Exif\0\0" + ON_ITS_SIDE, xmp=b"<x/>")
    check(tmp_path, data, turned=True, note=False)
    at = data.index(name) + 4
    wrong = bytes([data[at] ^ 1, *data[at + 1 : at + 4]]) if size == "+1" else b"\xff\xff\0\0"
    check(tmp_path, data[:at] + wrong + data[at + 4 :], turned=True)


def test_broken_exif_and_profile_of_webp_are_told(tmp_path):
    check(tmp_path, encoded("WEBP", exif=b"no TIFF file"))
    check(tmp_path, encoded("WEBP", icc_profile=b"nonsense" * 30))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("tag", [270, 282, 305, 330, 700, 33723, 34377, 34665, 34675, 34853])
def test_broken_tag_of_tiff_is_skipped(tmp_path, tag, big):
    buffer = io.BytesIO()
    places = [(65000, 4, 1, 7, True), (274, 3, 1, 6, True)]
    tifffile.imwrite(
        buffer, COLOURS, photometric="rgb", extratags=places, metadata=None, software=False, bigtiff=big
    )
    data, form = buffer.getvalue(), "<HHQ" if big else "<HHI"
    entry = struct.pack(form, 65000, 4, 1)
    for kind, count, value in (
        (4, 1, 0xFFFFFF00),
        (2, 9, 8),
        (13, 4, 3),
        (5, 0xFFFFFF, 8),
        (12, 7, 0xFFFFFF00),
    ):
        broken = struct.pack(form, tag, kind, count) + struct.pack("<I", value)
        at = data.index(entry)
        picture = read(tmp_path, data[:at] + broken + data[at + len(broken) :])
        np.testing.assert_array_equal(picture.rgb, np.rot90(unit(COLOURS), -1))
        assert {note.removeprefix(f"{tmp_path / 'a'}: ") for note in picture.notes} <= {NOTE}


def test_trimmed_tiff_keeps_what_it_should():
    buffer = io.BytesIO()
    for big in (False, True):
        buffer = io.BytesIO()
        tags = [(274, 3, 1, 6, True), (34675, 7, len(PROFILE), PROFILE, True)]
        tifffile.imwrite(buffer, np.stack([RGB8, RGB8]), photometric="rgb", extratags=tags, bigtiff=big)
        for keep, left in (((), set()), (("exif",), {274}), (("exif", "profile"), {274, 34675})):
            with tifffile.TiffFile(io.BytesIO(metadata.trimmed(buffer.getvalue(), keep))) as tiff:
                assert set(tiff.pages[0].tags.keys()) & {274, 34675, 270, 305} == left
                assert len(tiff.pages) == 2
                np.testing.assert_array_equal(tiff.pages[0].asarray(), RGB8)


def test_avif_without_its_broken_exif(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    data = encoded("AVIF", exif=exif, quality=98, subsampling="4:4:4")
    check(tmp_path, data, note=False)
    at = data.index(b"MM\0*")
    check(tmp_path, data[:at] + b"xxxxxxxx" + data[at + 8 :])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("end", [0.5, 0.75])
def test_pixels_cut_short_are_refused_though_metadata_is_broken_too(tmp_path, form, end):
    data = encoded(form)
    if form == "PNG":
        data = data[:33] + checksum_wrong(png_chunk(b"tIME", b"1234567")) + data[33:]
    if form == "JPEG":
        data = in_jpeg(JPEG_SEGMENTS["JFIF without a version"])
    with pytest.raises(ImageError, match=r"damaged|cut short"):
        read(tmp_path, data[: int(end * len(data))])


def test_what_is_whole_is_decoded_once(tmp_path):
    tries = []
    assert metadata.decoded(encoded("PNG"), lambda data: tries.append(data) or 3, metadata.LOOKS) == (
        3,
        False,
    )
    assert len(tries) == 1
    with pytest.raises(ZeroDivisionError):
        metadata.decoded(b"no picture", lambda data: 1 // 0, metadata.LOOKS)
