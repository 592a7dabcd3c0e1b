"""Image files to arrays."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from nst_jax.images import deep
from nst_jax.images.decoding import (
    MAX_PIXELS,
    check_size,
    decoding,
    exif_orientation,
    file_bytes,
    upright_picture,
)
from nst_jax.images.pictures import Picture, as_rgb, to_unit
from nst_jax.images.profiles import is_srgb, to_srgb


def read(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a PNG, JPEG, WebP or TIFF file, or anything else that Pillow opens (its first frame).

    The EXIF orientation is applied and an embedded colour profile is converted to sRGB. Grey, palette and
    CMYK become RGB. Files with 16 bits or floating point per channel keep their precision, except where a
    profile other than sRGB must be converted, or a TIFF is packed in a way (LZW) that only Pillow unpacks:
    those are read with 8 bits. Floating-point values are clipped to [0, 1].

    Args:
        path: the file.
        max_pixels: refuse a picture whose header claims more than that, before decoding it.

    Raises:
        ImageError: there is no such file, or it is not an image, is damaged, or is too large.
    """
    data = file_bytes(path)
    with decoding(path, max_pixels):
        if data.startswith(deep.TIFF_SIGNATURES) and (picture := deep.read_tiff(data, path, max_pixels)):
            return picture
        with Image.open(io.BytesIO(data)) as image:
            check_size(path, image.width, image.height, max_pixels)
            image.load()
            if image.format == "PNG" and data[24] == 16 and is_srgb(image.info.get("icc_profile")):
                picture = deep.read_png(data, image.info.get("transparency"))
            else:
                picture = _from_pillow(image)
            return upright_picture(picture, exif_orientation(image))


def read_text(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """Return the texts stored in a PNG file, by keyword; of any other image, an empty dictionary.

    Raises:
        ImageError: as `read`.
    """
    data = file_bytes(path)
    with decoding(path, max_pixels), Image.open(io.BytesIO(data)) as image:
        check_size(path, image.width, image.height, max_pixels)
        if not isinstance(image, PngImagePlugin.PngImageFile):
            return {}
        return {str(keyword): str(value) for keyword, value in image.text.items()}


def _from_pillow(image: Image.Image) -> Picture:
    """Convert a loaded image; all modes but the deep grey ones have 8 bits."""
    icc = image.info.get("icc_profile")
    if image.mode == "F":
        return Picture(as_rgb(np.asarray(image)))
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        if is_srgb(icc):
            return Picture(as_rgb(grey))
        image = Image.fromarray((grey >> 8).astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA") if image.mode not in ("LA", "RGBA") else image
        alpha = to_unit(np.asarray(image.convert("RGBA").getchannel("A")))
    opaque = image.convert(
        {"1": "L", "LA": "L", "CMYK": "CMYK", "L": "L", "LAB": "LAB"}.get(image.mode, "RGB")
    )
    if opaque.mode in ("CMYK", "LAB") or not is_srgb(icc):
        opaque = to_srgb(opaque, icc)
    return Picture(as_rgb(np.asarray(opaque)), alpha)
