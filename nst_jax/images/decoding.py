"""What every reader of image files needs: bytes, limits, errors in our words, the right way up."""

import logging
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from nst_jax.errors import ImageError
from nst_jax.images.pictures import FloatArray, Picture, one_line

MAX_PIXELS = 200_000_000
"""The largest picture that is read unless told otherwise; a file of kilobytes can claim more."""

_MAX_METADATA = 1 << 24
"""Bytes of one piece of packed metadata; Pillow's limit for all of them together stays."""

ORIENTATION_TAG = 0x0112
"""Of EXIF and TIFF."""

LYING = (5, 6, 7, 8)
"""Orientations of pictures that lie on a side."""

_TIFFFILE_LOG = logging.getLogger("tifffile")
_ONE_AT_A_TIME = threading.RLock()


def file_bytes(path: str | Path) -> bytes:
    """Return the content of a file.

    Raises:
        ImageError: there is no such file, or it is empty or cannot be read.
    """
    try:
        kind = Path(path).stat().st_mode
        if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):  # /dev/zero has no end
            raise ImageError(f"{path}: is a device, not an image")
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
def decoding(path: str | Path, max_pixels: int) -> Iterator[None]:
    """Run decoders quietly, with our limit on size in place of Pillow's, and turn their errors into ours.

    Raises:
        ImageError: whatever a decoder raised.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, _TIFFFILE_LOG.disabled
        _TIFFFILE_LOG.disabled = True
        Image.MAX_IMAGE_PIXELS = max(1, (max_pixels + 1) // 2)  # Pillow warns at its limit, refuses at twice
        PngImagePlugin.MAX_TEXT_CHUNK = _MAX_METADATA
        try:
            yield
        except ImageError:
            raise
        except UnidentifiedImageError as error:  # in the words of `kinds`
            raise ImageError(f"{path}: {error}") from None
        except Image.DecompressionBombError as error:
            pixels = str(error).partition("(")[2].partition(" ")[0]
            raise _too_large(path, f"{pixels} pixels", max_pixels) from None
        except MemoryError:
            raise ImageError(f"{path}: does not fit in memory") from None
        except Exception as error:  # decoders raise whatever they trip over in a damaged file
            raise ImageError(f"{path}: is damaged or cut short ({one_line(error)})") from None
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, _TIFFFILE_LOG.disabled = before


def check_size(path: str | Path, width: int, height: int, max_pixels: int) -> None:
    """Raise ImageError if a picture has more than ``max_pixels``."""
    if width * height > max_pixels:
        raise _too_large(path, f"{width} x {height} = {width * height} pixels", max_pixels)


def _too_large(path: str | Path, size: str, max_pixels: int) -> ImageError:
    return ImageError(
        f"{path}: has {size}, more than the limit of {max_pixels}; raise max_pixels to allow it"
    )


def band(image: Image.Image, rows: slice) -> Image.Image:
    """Return some rows of an image."""
    return image.crop((0, rows.start, image.width, rows.stop))


def exif_orientation(image: Image.Image) -> int | None:
    """Return the EXIF orientation, 1 (upright) where there is none, None where the data cannot be read."""
    try:
        if data := image.info.get("exif"):
            Image.Exif().load(data)  # the image's own may be left over from a first try that failed
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # broken EXIF data does not make a picture unusable
        return None


def upright(array: FloatArray, orientation: int) -> FloatArray:
    """Apply an EXIF orientation: 2 to 4 are mirrored or upside down, 5 to 8 lie on a side."""
    if orientation in LYING:
        array = np.swapaxes(array, 0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def upright_picture(picture: Picture, orientation: int) -> Picture:
    """Apply an EXIF orientation to colours and alpha."""
    alpha = None if picture.alpha is None else upright(picture.alpha, orientation)
    return Picture(upright(picture.rgb, orientation), alpha, picture.notes)
