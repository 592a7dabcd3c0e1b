"""Image files to arrays."""

import io
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from nst_jax.errors import ImageError
from nst_jax.images.pictures import FloatArray, Picture, one_line, to_unit

MAX_PIXELS = 200_000_000
"""The largest picture that `read` accepts unless told otherwise; a file of kilobytes can claim more."""

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION_TAG = 0x0112
_ICC_TAG = 34675
_TIFFFILE_LOG = logging.getLogger("tifffile")
_ONE_AT_A_TIME = threading.RLock()


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
    data = _file_bytes(path)
    with _decoding(path, max_pixels):
        if data.startswith(_TIFF_SIGNATURES) and (picture := _read_deep_tiff(data, path, max_pixels)):
            return picture
        with Image.open(io.BytesIO(data)) as image:
            _check_size(path, image.width, image.height, max_pixels)
            image.load()
            orientation = _orientation(image)
            if image.format == "PNG" and data[24] == 16 and _is_srgb(image.info.get("icc_profile")):
                return _turned(_read_deep_png(data, image.info.get("transparency")), orientation)
            return _turned(_from_pillow(image), orientation)


def read_text(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """Return the texts stored in a PNG file, by keyword; of any other image, an empty dictionary.

    Raises:
        ImageError: as `read`.
    """
    data = _file_bytes(path)
    with _decoding(path, max_pixels), Image.open(io.BytesIO(data)) as image:
        _check_size(path, image.width, image.height, max_pixels)
        if not isinstance(image, PngImagePlugin.PngImageFile):
            return {}
        return {str(keyword): str(value) for keyword, value in image.text.items()}


def _file_bytes(path: str | Path) -> bytes:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder, not an image") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise ImageError(f"{path}: is empty")
    return data


@contextmanager
def _decoding(path: str | Path, max_pixels: int) -> Iterator[None]:
    """Let the decoders run quietly, with our limit on size for Pillow's own and errors in our words."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, _TIFFFILE_LOG.disabled
        _TIFFFILE_LOG.disabled = True
        Image.MAX_IMAGE_PIXELS = max(1, (max_pixels + 1) // 2)  # Pillow warns at its limit, refuses at twice
        try:
            yield
        except ImageError:
            raise
        except UnidentifiedImageError:
            raise ImageError(f"{path}: is not an image of a kind that can be read") from None
        except Image.DecompressionBombError as error:
            pixels = str(error).partition("(")[2].partition(" ")[0]
            raise _too_large(path, f"{pixels} pixels", max_pixels) from None
        except MemoryError:
            raise ImageError(f"{path}: does not fit in memory") from None
        except Exception as error:  # decoders raise whatever they trip over in a damaged file
            raise ImageError(f"{path}: is damaged or cut short ({one_line(error)})") from None
        finally:
            Image.MAX_IMAGE_PIXELS, _TIFFFILE_LOG.disabled = before


def _check_size(path: str | Path, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise _too_large(path, f"{width} x {height} = {width * height} pixels", max_pixels)


def _too_large(path: str | Path, size: str, max_pixels: int) -> ImageError:
    return ImageError(
        f"{path}: has {size}, more than the limit of {max_pixels}; raise max_pixels to allow it"
    )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken EXIF data does not make a picture unusable
        return 1


def _turned(picture: Picture, orientation: int) -> Picture:
    alpha = None if picture.alpha is None else _upright(picture.alpha, orientation)
    return Picture(_upright(picture.rgb, orientation), alpha)


def _upright(array: FloatArray, orientation: int) -> FloatArray:
    """Apply an EXIF orientation: 2 to 4 are mirrored or upside down, 5 to 8 lie on a side."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def _from_pillow(image: Image.Image) -> Picture:
    """Convert a loaded image; all modes but the deep grey ones have 8 bits."""
    icc = image.info.get("icc_profile")
    if image.mode == "F":
        return Picture(_as_rgb(np.asarray(image)))
    if image.mode.startswith("I"):
        grey = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        if _is_srgb(icc):
            return Picture(_as_rgb(grey))
        image = Image.fromarray((grey >> 8).astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA") if image.mode not in ("LA", "RGBA") else image
        alpha = to_unit(np.asarray(image.convert("RGBA").getchannel("A")))
    opaque = image.convert(
        {"1": "L", "LA": "L", "CMYK": "CMYK", "L": "L", "LAB": "LAB"}.get(image.mode, "RGB")
    )
    if opaque.mode in ("CMYK", "LAB") or not _is_srgb(icc):
        opaque = _to_srgb(opaque, icc)
    return Picture(_as_rgb(np.asarray(opaque)), alpha)


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
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


def _is_srgb(icc: bytes | None) -> bool:
    """Tell whether converting to sRGB changes nothing visible; then the file's values are kept exactly.

    Profiles cannot be told by their names, so a colour chart goes through both ways a picture may be stored.
    """
    if not icc:
        return True
    levels = np.linspace(0, 255, 6).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(6, 36, 3)
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return _unchanged(Image.fromarray(colours), icc) and _unchanged(Image.fromarray(greys), icc)


def _unchanged(chart: Image.Image, icc: bytes) -> bool:
    plain, converted = np.asarray(chart.convert("RGB")), np.asarray(_to_srgb(chart, icc))
    return int(np.abs(plain.astype(int) - converted).max()) <= 2


def _as_rgb(array: NDArray[Any]) -> FloatArray:
    """Scale (height, width) grey or (height, width, 3) to float32 RGB."""
    unit = to_unit(array)
    return np.stack([unit] * 3, axis=-1) if unit.ndim == 2 else unit


def _read_deep_png(data: bytes, transparent: Any) -> Picture:
    """Read 16-bit PNG, of which Pillow keeps the high bytes: its decoder is asked for the low bytes too."""
    colour_type = data[25]
    if colour_type == 4:  # grey with alpha is four bytes per pixel, as 8-bit RGBA
        pairs = _png_samples(data, "RGBA").view(">u2").astype(np.uint16)
        return Picture(_as_rgb(pairs[:, :, 0]), to_unit(pairs[:, :, 1]))
    if colour_type == 0:
        samples = _png_samples(data, "I;16B")
        return Picture(_as_rgb(samples), _keyed_alpha(samples[:, :, None], transparent))
    mode = "RGBA" if colour_type == 6 else "RGB"
    high, low = _png_samples(data, f"{mode};16B"), _png_samples(data, f"{mode};16L")
    samples = high.astype(np.uint16) << 8 | low
    if colour_type == 6:
        return Picture(to_unit(samples[:, :, :3]), to_unit(samples[:, :, 3]))
    return Picture(to_unit(samples), _keyed_alpha(samples, transparent))


def _png_samples(data: bytes, raw_mode: str) -> NDArray[Any]:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        image.tile = [tile._replace(args=raw_mode) for tile in image.tile]
        return np.asarray(image)


def _keyed_alpha(samples: NDArray[np.uint16], transparent: Any) -> FloatArray | None:
    """Alpha of a PNG that names one colour as transparent."""
    if transparent is None:
        return None
    opaque: NDArray[np.bool_] = (samples != np.asarray(transparent, np.uint16)).any(axis=-1)
    return opaque.astype(np.float32)


def _read_deep_tiff(data: bytes, path: str | Path, max_pixels: int) -> Picture | None:
    """Read a grey or RGB TIFF with more than 8 bits; None if it is another kind, or better left to Pillow."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            if any(map(len(data).__lt__, map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))):
                raise ImageError(f"{path}: is cut short")
            kind, size = (page.dtype.kind, page.dtype.itemsize) if page.dtype else ("", 0)
            if not (kind == "f" or (kind == "u" and size > 1)) or page.photometric not in (0, 1, 2):
                return None
            _check_size(path, page.imagewidth, page.imagelength, max_pixels)
            if kind == "u" and not _is_srgb(page.tags.valueof(_ICC_TAG)):
                return None
            samples = np.moveaxis(page.asarray(), 0, -1) if page.axes == "SYX" else page.asarray()
            picture = _tiff_picture(samples, page.photometric == 0, [int(e) for e in page.extrasamples])
            return _turned(picture, page.tags.valueof(_ORIENTATION_TAG, default=1))
    except ImageError:
        raise
    except Exception:  # Pillow has another try at it, and its complaint is reported
        return None


def _tiff_picture(samples: NDArray[Any], white_is_zero: bool, extra_samples: list[int]) -> Picture:
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
