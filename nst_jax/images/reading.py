"""Image files to arrays."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from nst_jax.images import deep, kinds, metadata
from nst_jax.images.decoding import (
    LYING,
    MAX_PIXELS,
    band,
    check_size,
    decoding,
    exif_orientation,
    file_bytes,
    upright_picture,
)
from nst_jax.images.pictures import Picture, Samples, as_rgb, in_strips, notes_on, to_levels, to_unit
from nst_jax.images.profiles import is_readable, is_srgb, to_srgb

_UNREADABLE = "metadata that cannot be read was skipped"
_ONE_PICTURE = {"MPO", "PSD", "HEIF", "ICO", "ICNS"}
"""Formats in which what follows the first frame is no other picture: depth, layers, sizes."""


def read(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a PNG, JPEG, WebP or TIFF file, or anything else that Pillow opens (its first frame).

    The EXIF orientation is applied and an embedded colour profile is converted to sRGB. Grey, palette, CMYK
    and Lab become RGB. PNG, TIFF and PPM files with 16 bits or floating point per channel keep their
    precision, except where a profile other than sRGB must be converted, or a TIFF is packed in a way (LZW)
    that only Pillow unpacks: those are read with 8 bits. Floating-point values are clipped to [0, 1], and
    negative ones to 0. Metadata that is broken or too large is left out. Whatever of this loses something
    is told in the notes.

    Args:
        path: the file.
        max_pixels: refuse a picture whose header claims more than that, before decoding it.

    Raises:
        ImageError: there is no such file, or it is not an image, is damaged, or is too large.
    """
    data = file_bytes(path)
    with decoding(path, max_pixels):
        picture, skipped = metadata.decoded(
            data, lambda some: _decode(some, path, max_pixels), metadata.LOOKS
        )
    notes = dict.fromkeys((*picture.notes, _UNREADABLE) if skipped else picture.notes)
    return dataclasses.replace(picture, notes=tuple(f"{path}: {note}" for note in notes))


def _decode(data: bytes, path: str | Path, max_pixels: int) -> Picture:
    if data.startswith(deep.TIFF_SIGNATURES) and (picture := deep.read_tiff(data, path, max_pixels)):
        return picture
    with kinds.opened(data) as image:
        check_size(path, image.width, image.height, max_pixels)
        image.load()
        if image.format == "PNG" and data[24] == 16 and is_srgb(image.info.get("icc_profile")):
            picture = deep.read_png(data, image)
        elif image.format == "PPM" and (samples := deep.read_ppm(data)) is not None:
            picture = Picture(samples)
        else:
            picture = _from_pillow(image)
        orientation = exif_orientation(image)
        notes = (*picture.notes, *_notes(data, image, orientation))
        return dataclasses.replace(upright_picture(picture, orientation or 1), notes=notes)


def size_of(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the height and width that `read` would find, of the header as far as that tells.

    Raises:
        ImageError: as `read`, but for damage behind the header.
    """
    data = file_bytes(path)
    with decoding(path, max_pixels):
        return metadata.decoded(data, lambda some: _size(some, path, max_pixels), metadata.LOOKS)[0]


def _size(data: bytes, path: str | Path, max_pixels: int) -> tuple[int, int]:
    found = deep.size_of(data) if data.startswith(deep.TIFF_SIGNATURES) else None
    if found is None:
        with kinds.opened(data) as image:
            found = (image.height, image.width, exif_orientation(image) or 1)
    height, width, orientation = found
    check_size(path, width, height, max_pixels)
    return (width, height) if orientation in LYING else (height, width)


def read_text(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """Return the texts stored in a PNG file, by keyword; of any other image, an empty dictionary.

    Raises:
        ImageError: as `read`.
    """
    data = file_bytes(path)
    with decoding(path, max_pixels):
        return metadata.decoded(data, lambda some: _texts(some, path, max_pixels), metadata.TEXT)[0]


def _texts(data: bytes, path: str | Path, max_pixels: int) -> dict[str, str]:
    with kinds.opened(data) as image:
        check_size(path, image.width, image.height, max_pixels)
        if not isinstance(image, PngImagePlugin.PngImageFile):
            return {}
        return {str(keyword): str(value) for keyword, value in image.text.items()}


def _notes(data: bytes, image: Image.Image, orientation: int | None) -> Iterator[str]:
    """Tell what of a file is not used."""
    icc = image.info.get("icc_profile", b"")  # None where its pieces do not fit together
    if orientation is None or icc is None or not is_readable(icc):
        yield _UNREADABLE
    frames = deep.pages_of(data) if image.format == "TIFF" else _frames(image)
    if frames > 1:
        yield f"has {frames} {'pages' if image.format == 'TIFF' else 'frames'}; the first is used"


def _frames(image: Image.Image) -> int:
    try:
        return 1 if image.format in _ONE_PICTURE else int(getattr(image, "n_frames", 1))
    except Exception:  # a later one is damaged
        return 1


def _from_pillow(image: Image.Image) -> Picture:
    """Convert a loaded image; all modes but the deep grey ones have 8 bits."""
    icc = image.info.get("icc_profile")
    if image.mode == "F":
        values = np.asarray(image)
        return Picture(as_rgb(values), notes=notes_on(values))
    if image.mode.startswith("I"):
        grey, notes = _whole_grey(image)
        if is_srgb(icc):
            return Picture(as_rgb(grey), notes=notes)
        image = Image.fromarray(to_levels(to_unit(grey)))
    is_plain = is_srgb(icc)
    return in_strips(image.height, image.width, lambda rows: _flat(band(image, rows), icc, is_plain=is_plain))


def _flat(image: Image.Image, icc: bytes | None, *, is_plain: bool) -> Picture:
    """Convert an image of 8 bits, or rows of one."""
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA") if image.mode not in ("LA", "RGBA") else image
        alpha = to_unit(np.asarray(image.convert("RGBA").getchannel("A")))
    if image.mode == "LAB":
        return Picture(deep.from_lab(np.asarray(image)))
    opaque = image.convert({"1": "L", "LA": "L", "CMYK": "CMYK", "L": "L"}.get(image.mode, "RGB"))
    if opaque.mode == "CMYK" or not is_plain:
        opaque = to_srgb(opaque, icc)
    return Picture(as_rgb(np.asarray(opaque)), alpha)


def _whole_grey(image: Image.Image) -> tuple[Samples, tuple[str, ...]]:
    """Return grey values of more than 8 bits, and notes on them; but for TIFF, they are unsigned, of 16."""
    values = np.asarray(image)
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return np.clip(values, 0, 65535).astype(np.uint16), ()
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    signed = image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 2
    if bits == 32:
        whole = values if signed else values.view(np.uint32)
    elif signed:
        whole = values.astype(np.int16)
    else:
        whole = (np.clip(values, 0, 65535) * (65535 / (2**bits - 1))).round().astype(np.uint16)
    return whole, notes_on(whole)
