"""PNG, PPM and TIFF with more than 8 bits per channel, of which Pillow alone would lose the low ones."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nst_jax.errors import ImageError
from nst_jax.images.decoding import ORIENTATION_TAG, band, check_size, upright_picture
from nst_jax.images.pictures import FloatArray, Picture, Samples, as_rgb, in_strips, notes_on, to_unit
from nst_jax.images.profiles import is_srgb, lab_to_srgb

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_ICC_TAG, _SUB_IFDS = 34675, 330
_CIELAB = 8
_LAB = (_CIELAB, 9)
_FEW_PAGES = 16
"""Of so many, each is looked at."""

_PPM = re.compile(rb"P6\s+(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s")

Transparent = int | tuple[int, ...] | None
"""The grey or the colour that a PNG names as transparent."""


def read_png(data: bytes, image: Image.Image) -> Picture:
    """Read 16-bit PNG: Pillow's decoder keeps the high bytes, and is asked for the low bytes too.

    Args:
        data: the file.
        image: what Pillow makes of it.
    """
    colour_type, transparent = data[25], image.info.get("transparency")
    if colour_type == 4:  # grey with alpha is four bytes per pixel, as 8-bit RGBA
        pairs = np.asarray(_png_as(data, "RGBA")).view(">u2").astype(np.uint16)
        return Picture(as_rgb(pairs[:, :, 0]), to_unit(pairs[:, :, 1]))
    if colour_type == 0:
        grey = np.asarray(_png_as(data, "I;16B"))
        return Picture(as_rgb(grey), _keyed_alpha(grey[:, :, None], transparent))
    low = _png_as(data, f"{image.mode};16L")

    def part(rows: slice) -> Picture:
        high_bytes, low_bytes = (np.asarray(band(each, rows)) for each in (image, low))
        samples = np.asarray(high_bytes.astype(np.uint16) << 8 | low_bytes, np.uint16)
        if colour_type == 6:
            return Picture(to_unit(samples[:, :, :3]), to_unit(samples[:, :, 3]))
        return Picture(to_unit(samples), _keyed_alpha(samples, transparent))

    return in_strips(image.height, image.width, part)


def _png_as(data: bytes, raw_mode: str) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
    image.load()
    return image


def _keyed_alpha(samples: NDArray[np.uint8 | np.uint16], transparent: Transparent) -> FloatArray | None:
    """Return the alpha of a PNG that names one colour as transparent."""
    if transparent is None:
        return None
    return np.asarray((samples != np.asarray(transparent, np.uint16)).any(axis=-1), np.float32)


def read_ppm(data: bytes) -> FloatArray | None:
    """Read a binary PPM with more than 8 bits; None of other kinds, which lose nothing in Pillow."""
    header = _PPM.match(data)
    if not header or int(header[3]) < 256:
        return None
    width, height, most = map(int, header.groups())
    samples = np.frombuffer(data, ">u2", 3 * width * height, header.end())
    return np.minimum(samples.reshape(height, width, 3) / np.float32(most), 1).astype(np.float32)


def read_tiff(data: bytes, path: str | Path, max_pixels: int) -> Picture | None:
    """Read a TIFF of which Pillow would lose something, or that it would not read; None if it is another.

    Raises:
        ImageError: it is cut short, too large, or a camera raw file.
    """
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            if any(map(len(data).__lt__, map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))):
                raise ImageError(f"{path}: is cut short")
            if page.is_reduced and _SUB_IFDS in page.tags:
                raise ImageError(f"{path}: is a camera raw file, of which only a preview could be read")
            if not _is_ours(page):
                return None
            check_size(path, page.imagewidth, page.imagelength, max_pixels)
            if page.dtype.kind == "u" and not is_srgb(page.tags.valueof(_ICC_TAG)):
                return None
            extra = [int(each) for each in page.extrasamples]
            samples = np.moveaxis(page.asarray(), 0, -1) if page.axes == "SYX" else page.asarray()
            height, width = samples.shape[:2]
            picture = in_strips(
                height, width, lambda rows: _tiff_picture(samples[rows], page.photometric, extra)
            )
            pages = _pages(tiff)
            notes = [f"has {pages} pages; the first is used"] if pages > 1 else []
            if len(extra) > 1 or extra == [0]:
                notes.append(f"has {page.samplesperpixel} channels; only colour and transparency are used")
            picture = replace(picture, notes=(*notes, *notes_on(samples)))
            return upright_picture(picture, page.tags.valueof(ORIENTATION_TAG, default=1))
    except ImageError:
        raise
    except Exception:  # Pillow has another try at it, and its complaint is reported
        return None


def size_of(data: bytes) -> tuple[int, int, int] | None:
    """Return height, width and orientation of a TIFF as it is stored; None if tifffile does not read it."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            orientation = int(page.tags.valueof(ORIENTATION_TAG, default=1))
            return int(page.imagelength), int(page.imagewidth), orientation
    except Exception:  # Pillow has another try at it
        return None


def pages_of(data: bytes) -> int:
    """Return how many pictures a TIFF has, 1 if that cannot be told."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            return _pages(tiff)
    except Exception:  # it is none that tifffile reads
        return 1


def _pages(tiff: tifffile.TiffFile) -> int:
    """Count pages that are no smaller copies or masks of others; ImageJ writes one for many."""
    try:
        count = len(tiff.pages)
        if count <= _FEW_PAGES:
            count = 1 + sum(not (page.is_reduced or page.is_mask) for page in tiff.pages[1:])
        return max(count, int((tiff.imagej_metadata or {}).get("images", 1)))
    except Exception:  # a later page is damaged
        return 1


def _is_ours(page: tifffile.TiffPage) -> bool:
    """Tell whether a page is deep, signed, or in Lab; samples of an odd number of bits are left to Pillow."""
    if page.dtype is None or page.bitspersample != 8 * page.dtype.itemsize:
        return False
    if page.photometric in _LAB:
        return str(page.dtype) in ("uint8", "uint16")
    return page.photometric in (0, 1, 2) and str(page.dtype) not in ("uint8", "bool")


def _tiff_picture(samples: Samples, photometric: int, extra_samples: list[int]) -> Picture:
    """Split TIFF samples into colour and alpha: extra sample 1 is multiplied into the colours, 2 is not."""
    if samples.ndim == 2:
        samples = samples[:, :, None]
    count = samples.shape[2] - len(extra_samples)
    colours = (
        from_lab(samples[:, :, :count], photometric)
        if photometric in _LAB
        else to_unit(samples[:, :, :count])
    )
    if photometric == 0:
        colours = 1 - colours
    rgb = np.ascontiguousarray(np.broadcast_to(colours, (*samples.shape[:2], 3)))
    if not extra_samples or extra_samples[0] not in (1, 2):
        return Picture(rgb)
    alpha = to_unit(samples[:, :, count])
    if extra_samples[0] == 1:
        visible = np.where(alpha > 0, alpha, 1)[:, :, None]
        rgb = np.clip(rgb / visible, 0, 1).astype(np.float32)
    return Picture(rgb, alpha)


def from_lab(samples: Samples, photometric: int = _CIELAB) -> FloatArray:
    """Convert Lab of 8 or 16 bits: a* and b* are signed in the one kind, and have 128 added in the other."""
    step = 1 if samples.dtype == np.uint8 else 256
    if photometric == _CIELAB:
        white, a_b = 256 * step - 1, samples[:, :, 1:].view(f"i{samples.dtype.itemsize}").astype(np.float32)
    else:
        white, a_b = 255 * step, samples[:, :, 1:].astype(np.float32) - 128 * step
    lightness = np.minimum(samples[:, :, :1].astype(np.float32) * np.float32(100 / white), 100)
    return lab_to_srgb(np.concatenate([lightness, a_b / np.float32(step)], axis=-1))
