"""Colour profiles: embedded ones are converted to sRGB."""

import io

import numpy as np
from PIL import Image, ImageCms


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert with the embedded profile; without one, or with one that does not fit, by the plain formula."""
    if image.mode != "LAB" and not icc:
        return image.convert("RGB")
    try:
        lab = image.mode == "LAB"
        source = ImageCms.createProfile("LAB") if lab else ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    assert converted is not None  # None is for conversion in place
    return converted


def is_srgb(icc: bytes | None) -> bool:
    """Tell whether converting to sRGB changes nothing visible; then the file's values are kept exactly.

    Profiles cannot be told apart by name, so colours and greys are converted, to see what comes of them.
    """
    if not icc:
        return True
    levels = np.linspace(0, 255, 6).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(6, 36, 3)
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return _unchanged(Image.fromarray(colours), icc) and _unchanged(Image.fromarray(greys), icc)


def _unchanged(chart: Image.Image, icc: bytes) -> bool:
    plain, converted = np.asarray(chart.convert("RGB")), np.asarray(to_srgb(chart, icc))
    return int(np.abs(plain.astype(int) - converted).max()) <= 2
