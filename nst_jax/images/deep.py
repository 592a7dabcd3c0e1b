"""PNG and TIFF with more than 8 bits per channel, of which Pillow alone would lose the low ones."""

import io
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nst_jax.errors import ImageError
from nst_jax.images.decoding import ORIENTATION_TAG, check_size, upright_picture
from nst_jax.images.pictures import FloatArray, Picture, Samples, as_rgb, to_unit
from nst_jax.images.profiles import is_srgb

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_ICC_TAG = 34675

Transparent = int | tuple[int, ...] | None
"""The grey or the colour that a PNG names as transparent."""


def read_png(data: bytes, transparent: Transparent) -> Picture:
    """Read 16-bit PNG: Pillow's decoder keeps the high bytes, and is asked for the low bytes too."""
    colour_type = data[25]
    if colour_type == 4:  # grey with alpha is four bytes per pixel, as 8-bit RGBA
        pairs = _png_samples(data, "RGBA").view(">u2").astype(np.uint16)
        return Picture(as_rgb(pairs[:, :, 0]), to_unit(pairs[:, :, 1]))
    if colour_type == 0:
        grey = _png_samples(data, "I;16B")
        return Picture(as_rgb(grey), _keyed_alpha(grey[:, :, None], transparent))
    mode = "RGBA" if colour_type == 6 else "RGB"
    high, low = _png_samples(data, f"{mode};16B"), _png_samples(data, f"{mode};16L")
    samples = np.asarray(high.astype(np.uint16) << 8 | low, np.uint16)
    if colour_type == 6:
        return Picture(to_unit(samples[:, :, :3]), to_unit(samples[:, :, 3]))
    return Picture(to_unit(samples), _keyed_alpha(samples, transparent))


def _png_samples(data: bytes, raw_mode: str) -> NDArray[np.uint8 | np.uint16]:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.asarray(image)


def _keyed_alpha(samples: NDArray[np.uint8 | np.uint16], transparent: Transparent) -> FloatArray | None:
    """Return the alpha of a PNG that names one colour as transparent."""
    if transparent is None:
        return None
    return np.asarray((samples != np.asarray(transparent, np.uint16)).any(axis=-1), np.float32)


def read_tiff(data: bytes, path: str | Path, max_pixels: int) -> Picture | None:
    """Read a grey or RGB TIFF with more than 8 bits; None if it is another kind, or better left to Pillow."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            if any(map(len(data).__lt__, map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))):
                raise ImageError(f"{path}: is cut short")
            kind, size = (page.dtype.kind, page.dtype.itemsize) if page.dtype else ("", 0)
            if not (kind == "f" or (kind == "u" and size > 1)) or page.photometric not in (0, 1, 2):
                return None
            check_size(path, page.imagewidth, page.imagelength, max_pixels)
            if kind == "u" and not is_srgb(page.tags.valueof(_ICC_TAG)):
                return None
            samples = np.moveaxis(page.asarray(), 0, -1) if page.axes == "SYX" else page.asarray()
            picture = _tiff_picture(samples, page.photometric == 0, [int(e) for e in page.extrasamples])
            return upright_picture(picture, page.tags.valueof(ORIENTATION_TAG, default=1))
    except ImageError:
        raise
    except Exception:  # Pillow has another try at it, and its complaint is reported
        return None


def _tiff_picture(samples: Samples, white_is_zero: bool, extra_samples: list[int]) -> Picture:
    """Split TIFF samples into colour and alpha: extra sample 1 is multiplied into the colours, 2 is not."""
    unit = to_unit(samples if samples.ndim == 3 else samples[:, :, None])
    count = unit.shape[2] - len(extra_samples)
    colours = 1 - unit[:, :, :count] if white_is_zero else unit[:, :, :count]
    rgb = np.ascontiguousarray(np.broadcast_to(colours, (*unit.shape[:2], 3)))
    if not extra_samples or extra_samples[0] not in (1, 2):
        return Picture(rgb)
    alpha = unit[:, :, count]
    if extra_samples[0] == 1:
        visible = np.where(alpha > 0, alpha, 1)[:, :, None]
        rgb = np.clip(rgb / visible, 0, 1).astype(np.float32)
    return Picture(rgb, alpha)
