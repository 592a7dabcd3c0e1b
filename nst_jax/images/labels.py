"""Semantic maps: image files and NumPy arrays whose values are labels, so that each must come out exact."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from nst_jax.errors import ImageError
from nst_jax.images import deep, kinds, metadata
from nst_jax.images.decoding import MAX_PIXELS, check_size, decoding, exif_orientation, file_bytes, upright
from nst_jax.images.pictures import FloatArray, Samples, to_unit

_NPY_SIGNATURE = b"\x93NUMPY"
_FLAT_MODES = {"1": "L", "L": "L", "La": "LA", "LA": "LA", "RGBa": "RGBA", "RGBA": "RGBA", "PA": "RGBA"}


def read_map(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> FloatArray:
    """Read a semantic map as (height, width, channels) in [0, 1], with the channels that the file has.

    Grey has one channel, RGB three, and transparency is one more; a palette is looked up, and other colour
    models become RGB. The EXIF orientation is applied, but colour profiles are ignored: they would turn
    equal labels of two files into different ones. A ``.npy`` file may have any number of channels, of type
    uint8, bool, or floating point within [0, 1].

    Args:
        path: the file.
        max_pixels: refuse a map whose header claims more than that, before decoding it.

    Raises:
        ImageError: there is no such file, or it is not a map, is damaged, or is too large.
    """
    data = file_bytes(path)
    with decoding(path, max_pixels):
        if data.startswith(_NPY_SIGNATURE):
            return _from_npy(data, path, max_pixels)
        return metadata.decoded(data, lambda some: _decode(some, path, max_pixels), (("exif",),))[0]


def _decode(data: bytes, path: str | Path, max_pixels: int) -> FloatArray:
    with kinds.opened(data) as image:
        check_size(path, image.width, image.height, max_pixels)
        image.load()
        is_deep = image.format == "PNG" and data[24] == 16
        array = _from_deep_png(data, image) if is_deep else _from_pillow(image, path)
        return upright(array, exif_orientation(image) or 1)


def _from_pillow(image: Image.Image, path: str | Path) -> FloatArray:
    if image.mode == "F":
        return _within_unit(np.asarray(image)[:, :, None], path)
    if image.mode.startswith("I"):
        return to_unit(np.clip(np.asarray(image), 0, 65535).astype(np.uint16)[:, :, None])
    mode = _FLAT_MODES.get(image.mode, "RGB")
    if image.has_transparency_data:
        mode = {"L": "LA", "RGB": "RGBA"}.get(mode, mode)
    unit = to_unit(np.asarray(image.convert(mode)))
    return unit[:, :, None] if unit.ndim == 2 else unit


def _from_deep_png(data: bytes, image: Image.Image) -> FloatArray:
    picture = deep.read_png(data, image)
    is_grey = data[25] in (0, 4)
    colours = picture.rgb[:, :, :1] if is_grey else picture.rgb
    return colours if picture.alpha is None else np.dstack([colours, picture.alpha])


def _from_npy(data: bytes, path: str | Path, max_pixels: int) -> FloatArray:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ImageError(f"{path}: has the shape {shape}, not (height, width) or (height, width, channels)")
    if dtype != np.uint8 and dtype.kind not in "bf":
        raise ImageError(f"{path}: has values of type {dtype}; allowed are uint8, bool and floating point")
    check_size(path, shape[1], shape[0], max_pixels)
    array = np.load(io.BytesIO(data), allow_pickle=False)
    array = array[:, :, None] if array.ndim == 2 else array
    return to_unit(array) if dtype == np.uint8 else _within_unit(array.astype(np.float32), path)


def _within_unit(array: Samples, path: str | Path) -> FloatArray:
    if not np.isfinite(array).all():
        raise ImageError(f"{path}: holds values that are not finite numbers")
    least, most = float(np.min(array)), float(np.max(array))
    if least < 0 or most > 1:
        raise ImageError(f"{path}: has values from {least:g} to {most:g}, not within 0 and 1")
    return np.ascontiguousarray(array, np.float32)
