"""Colour profiles: embedded ones are converted to sRGB."""

import io

import numpy as np
from PIL import Image, ImageCms

from nst_jax.images.pictures import FloatArray

_D50 = np.array([0.9642, 1, 0.8249], np.float32)
_D50_TO_SRGB = np.array(  # with Bradford's adaptation to D65
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ],
    np.float32,
)


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert with the embedded profile; without one, or with one that does not fit, by the plain formula."""
    if not icc:
        return image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")
    assert converted is not None  # None is for conversion in place
    return converted


def lab_to_srgb(lab: FloatArray) -> FloatArray:
    """Convert (height, width, 3) CIE L*, a*, b* under D50, as files have it, to sRGB; clip what is beyond it.

    L* is in [0, 100].
    """
    y = (lab[..., 0] + 16) / 116
    roots = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    edge = np.float32(6 / 29)
    xyz = np.where(roots > edge, roots**3, 3 * edge**2 * (roots - np.float32(4 / 29))) * _D50
    linear = np.clip(xyz @ _D50_TO_SRGB.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    return np.asarray(np.clip(srgb, 0, 1), np.float32)


def is_readable(icc: bytes | None) -> bool:
    """Tell whether there is no profile, or one that can be understood."""
    try:
        return not icc or bool(ImageCms.ImageCmsProfile(io.BytesIO(icc)))
    except (ImageCms.PyCMSError, OSError):
        return False


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
