"""Files without their metadata: what is too large or broken beside the pixels should not cost a picture."""

import contextlib
import re
import struct
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from PIL import Image

from nst_jax.errors import ImageError

Part = tuple[str, bytes]
"""A piece of a file, after what it is for: "pixels", "profile", "exif" (or orientation), "text", "other"."""

LOOKS: tuple[Collection[str], ...] = (("profile", "exif"), ("exif",), ("profile",))
"""What a picture should keep besides its pixels: all that changes how it looks, or else as much as works."""

TEXT: tuple[Collection[str], ...] = (("text",),)

T = TypeVar("T")

_TIFF_PIXELS = {
    *(254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325),
    *(332, 333, 334, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
}
_TIFF_TAGS: dict[int, str] = dict.fromkeys(_TIFF_PIXELS, "pixels") | {274: "exif", 34675: "profile"}
_PNG_CHUNKS: dict[bytes, str] = {b"tRNS": "pixels", b"iCCP": "profile", b"eXIf": "exif"}
_PNG_CHUNKS |= {b"tEXt": "text", b"zTXt": "text", b"iTXt": "text"}
_WEBP_CHUNKS: dict[bytes, str] = {b"ICCP": "profile", b"EXIF": "exif"}
_WEBP_CHUNKS |= dict.fromkeys((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"), "pixels")
_WEBP_NAME = re.compile(rb"VP8[ XL]|ALPH|ANIM|ANMF|ICCP|EXIF|XMP ")
_WEBP_FLAGS = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}


def decoded(data: bytes, decode: Callable[[bytes], T], keeps: tuple[Collection[str], ...]) -> tuple[T, bool]:
    """Decode a file, if need be without some of its metadata; tell whether that was needed.

    Args:
        data: the file.
        decode: raises if there is anything wrong.
        keeps: the metadata to keep if it cannot be all, the first choice first; none is the last choice.

    Raises:
        Exception: what ``decode`` raised at the whole file, if the pixels alone do not please it either.
    """
    try:
        return decode(data), False
    except (ImageError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception:
        bare = trimmed(data, ())
        if bare is None:
            raise
        try:
            pixels = decode(bare)
        except Exception:
            pixels = None
        if pixels is None:
            raise
        for keep in keeps:
            with contextlib.suppress(Exception):
                return decode(trimmed(data, keep) or bare), True
        return pixels, True


def trimmed(data: bytes, keep: Collection[str]) -> bytes | None:
    """Return a PNG, JPEG, WebP, TIFF or AVIF file with its pixels and what is to be kept; None of others.

    Nothing is decoded: parts that are damaged or cut short stay so.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"".join([data[:8], *_kept(_png_chunks(data), keep)])
    if data.startswith(b"\xff\xd8\xff"):
        return b"".join([data[:2], *_kept(_jpeg_segments(data), keep)])
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(_kept(_webp_chunks(data), keep))
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        with contextlib.suppress(struct.error):
            return _tiff(data, keep)
    if data[4:8] == b"ftyp" and "exif" not in keep:  # an item of a type that nobody knows is not looked at
        return re.sub(rb"(infe\x02.{7})Exif", rb"\1none", data, flags=re.DOTALL)
    return None


def _kept(parts: Iterator[Part], keep: Collection[str]) -> list[bytes]:
    return [part for use, part in parts if use == "pixels" or use in keep]


def _png_chunks(data: bytes) -> Iterator[Part]:
    at = 8
    while at < len(data):
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        critical = name[:1].isupper()
        yield ("pixels" if critical else _PNG_CHUNKS.get(name, "other")), data[at:end]
        at = end


def _jpeg_segments(data: bytes) -> Iterator[Part]:
    """Find the segments before the pixels; what lies between them, if a length is wrong, is left out."""
    at = data.find(b"\xff", 2)
    while 0 <= at < len(data) - 4 and data[at + 1] != 0xDA:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xFE and not 0xD0 <= marker <= 0xD9:
            yield _use_of_segment(marker, data[at + 4 : end]), data[at:end]
        else:  # a filling byte, or a marker that stands alone
            end = at + 1
        at = data.find(b"\xff", end)
    yield "pixels", data[at:] if at >= 0 else b""


def _use_of_segment(marker: int, body: bytes) -> str:
    """Tell what a segment is for; those of JFIF and Adobe tell the colour model."""
    if marker == 0xE0:
        return "pixels" if body.startswith(b"JFIF\0") and len(body) >= 14 else "other"
    if marker == 0xEE:
        return "pixels" if body.startswith(b"Adobe") and len(body) >= 12 else "other"
    if marker == 0xE1:
        return "exif" if body.startswith(b"Exif\0\0") else "other"
    if marker == 0xE2:
        return "profile" if body.startswith(b"ICC_PROFILE\0") and len(body) > 14 else "other"
    return "other" if 0xE0 <= marker <= 0xEF or marker == 0xFE else "pixels"


def _webp_chunks(data: bytes) -> Iterator[Part]:
    at = 12
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end, use = at + 8 + size + size % 2, _WEBP_CHUNKS.get(data[at : at + 4], "other")
        if use != "pixels" and not _WEBP_NAME.match(
            data, end
        ):  # of a wrong size: on with the next that is known
            following = _WEBP_NAME.search(data, at + 8)
            end = following.start() if following else len(data)
            body = data[at + 8 : end] + b"\0" * ((end - at) % 2)
            yield use, data[at : at + 4] + struct.pack("<I", len(body)) + body
        else:
            yield use, data[at:end]
        at = end


def _webp(chunks: list[bytes]) -> bytes:
    """Put chunks together; the first of many tells which metadata there are."""
    if chunks and chunks[0].startswith(b"VP8X") and len(chunks[0]) > 8:
        names = {chunk[:4] for chunk in chunks}
        flags = chunks[0][8] & ~sum(flag for name, flag in _WEBP_FLAGS.items() if name not in names)
        chunks = [chunks[0][:8] + bytes([flags]) + chunks[0][9:], *chunks[1:]]
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(data: bytes, keep: Collection[str]) -> bytes:
    """Leave out entries of the first directory: what they point to stays, and nothing moves."""
    order = "<" if data.startswith(b"II") else ">"
    big = 43 in data[2:4]
    offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + count, data, start)
    first = start + struct.calcsize(order + count)
    end = first + entry * entries
    places = range(first, min(end, len(data) - entry + 1), entry)
    kept = [data[at : at + entry] for at in places if _use_of_tag(order, data, at) in ("pixels", *keep)]
    ending = data[end : end + struct.calcsize(order + offset)]  # where the next directory is
    directory = struct.pack(order + count, len(kept)) + b"".join(kept) + ending
    return data[:start] + directory + data[start + len(directory) :]


def _use_of_tag(order: str, data: bytes, at: int) -> str:
    return _TIFF_TAGS.get(struct.unpack_from(order + "H", data, at)[0], "other")
