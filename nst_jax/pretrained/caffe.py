"""Caffe models without Caffe: the convolutions of a ``.caffemodel``, read off the protobuf wire format.

The file is mapped into memory and everything but convolutions is stepped over, so that of the 575 MB of
VGG-19 only the 80 MB that are wanted are ever touched. Kernels come out as ``(height, width, in, out)``.

A message is a sequence of fields, each a tag (field number times 8, plus the wire type) and a value. The
field numbers are those of ``caffe.proto``; both generations of layers and of blob shapes are understood.

Reference: https://protobuf.dev/programming-guides/encoding
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import WeightsError

Arrays = dict[str, dict[str, NDArray[np.float32]]]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTH = {_FIXED64: 8, _FIXED32: 4}


class _Field(NamedTuple):
    number: int
    wire: int
    start: int
    end: int


class _Layout(NamedTuple):
    name: int
    type: int
    convolution: int | bytes
    blobs: int


_LAYOUTS = {
    2: _Layout(name=4, type=5, convolution=4, blobs=6),  # NetParameter.layers: V1LayerParameter
    100: _Layout(name=1, type=2, convolution=b"Convolution", blobs=7),  # NetParameter.layer: LayerParameter
}
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE_DATA = 5, 7, 8
_NUMBERS: dict[int, np.dtype[np.floating]] = {
    _BLOB_DATA: np.dtype("<f4"),
    _BLOB_DOUBLE_DATA: np.dtype("<f8"),
}


def read_caffemodel(path: Path) -> Arrays:
    """Read the convolution layers of a Caffe model.

    Args:
        path: the ``.caffemodel`` file.

    Returns:
        For each layer, ``{"kernel": (height, width, in, out), "bias": (out,)}`` in float32.

    Raises:
        WeightsError: the file cannot be read, is damaged, or holds no convolutions.
    """
    data = _map(path)
    try:
        layers = _convolutions(data)
    except ValueError as error:
        raise WeightsError(f"{path}: not a Caffe model, or a damaged one: {error}") from None
    if not layers:
        raise WeightsError(f"{path}: not a Caffe model, or one without trained convolutions")
    return layers


def _map(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise WeightsError(f"{path}: the file is empty")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from None


def _convolutions(data: mmap.mmap) -> Arrays:
    layers: Arrays = {}
    for field in _fields(data, 0, len(data)):
        if field.number not in _LAYOUTS or field.wire != _BYTES:
            continue
        name, kind, blobs = _layer(data, field, _LAYOUTS[field.number])
        if kind != _LAYOUTS[field.number].convolution:
            continue
        if name in layers:
            raise ValueError(f"there are two layers {name[:40]!r}")
        layers[name] = _convolution(data, name, blobs)
    return layers


def _layer(data: mmap.mmap, layer: _Field, layout: _Layout) -> tuple[str, int | bytes, list[_Field]]:
    name, blobs = "", []
    kind: int | bytes = 0
    for field in _fields(data, layer.start, layer.end):
        if field.number == layout.name and field.wire == _BYTES:
            name = data[field.start : field.end].decode()
        elif field.number == layout.type:
            kind = _scalar(data, field)
        elif field.number == layout.blobs and field.wire == _BYTES:
            blobs.append(field)
    return name, kind, blobs


def _convolution(data: mmap.mmap, name: str, blobs: list[_Field]) -> dict[str, NDArray[np.float32]]:
    if len(blobs) != 2:
        raise ValueError(f"layer {name[:40]!r} has {len(blobs)} arrays; expected a kernel and a bias")
    kernel, bias = (_blob(data, blob) for blob in blobs)
    if kernel.ndim != 4:
        raise ValueError(f"the kernel of layer {name[:40]!r} has {kernel.ndim} dimensions; expected 4")
    return {"kernel": _float32(kernel.transpose(2, 3, 1, 0)), "bias": _float32(bias.reshape(-1))}


def _float32(array: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(all="ignore"):  # a double out of range becomes infinite, which is refused later
        return np.array(array, np.float32, order="C")


def _blob(data: mmap.mmap, blob: _Field) -> NDArray[np.floating]:
    legacy = [0, 0, 0, 0]  # num, channels, height, width
    shape: list[int] | None = None
    parts: dict[int, list[NDArray[np.floating]]] = {number: [] for number in _NUMBERS}
    for field in _fields(data, blob.start, blob.end):
        if field.number in _NUMBERS:
            parts[field.number].append(_numbers(data, field, _NUMBERS[field.number]))
        elif field.number == _BLOB_SHAPE and field.wire == _BYTES:
            shape = _dimensions(data, field)
        elif field.number <= len(legacy) and field.wire == _VARINT:
            legacy[field.number - 1], _ = _varint(data, field.start, field.end)
    values = np.concatenate(parts[_BLOB_DOUBLE_DATA] or parts[_BLOB_DATA] or [np.empty(0, np.float32)])
    dimensions = legacy if shape is None else shape
    if math.prod(dimensions) != values.size:
        raise ValueError(f"an array of shape {tuple(dimensions)} holds {values.size} numbers")
    return values.reshape(dimensions)


def _numbers(data: mmap.mmap, field: _Field, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    if field.wire not in (_BYTES, *_WIDTH) or _WIDTH.get(field.wire, dtype.itemsize) != dtype.itemsize:
        raise ValueError(f"at byte {field.start} there should be {dtype.name} numbers")
    size = field.end - field.start
    if field.wire == _BYTES:
        count, rest = divmod(size, dtype.itemsize)
        stride = dtype.itemsize
    else:
        stride = dtype.itemsize + 1
        count, rest = divmod(size + 1, stride)
    if rest:
        raise ValueError(f"the numbers at byte {field.start} end in the middle of one")
    if not count:
        return np.empty(0, dtype)
    return np.ndarray((count,), dtype, data, field.start, (stride,))


def _dimensions(data: mmap.mmap, shape: _Field) -> list[int]:
    dimensions = []
    for field in _fields(data, shape.start, shape.end):
        if field.number == 1 and field.wire in (_VARINT, _BYTES):
            position = field.start
            while position < field.end:
                size, position = _varint(data, position, field.end)
                dimensions.append(size)
    return dimensions


def _scalar(data: mmap.mmap, field: _Field) -> int | bytes:
    return (
        _varint(data, field.start, field.end)[0] if field.wire == _VARINT else data[field.start : field.end]
    )


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    while start < end:
        tag, value = _varint(data, start, end)
        number, wire = divmod(tag, 8)
        if wire == _VARINT:
            stop = _varint(data, value, end)[1]
        elif wire == _BYTES:
            length, value = _varint(data, value, end)
            stop = value + length
        elif wire in _WIDTH:
            stop = _run_end(data, value, end, _WIDTH[wire]) if number < 16 else value + _WIDTH[wire]
        else:
            raise ValueError(f"byte {start} begins no known field")
        if number == 0:
            raise ValueError(f"byte {start} begins no known field")
        if stop > end:
            raise ValueError(f"cut short: the field at byte {start} goes on to byte {stop}, past byte {end}")
        yield _Field(number, wire, value, stop)
        start = stop


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = 0
    for index, position in enumerate(range(start, min(end, start + 10))):
        byte = data[position]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + 1
    raise ValueError(f"the number at byte {start} has no end")


def _run_end(data: mmap.mmap, start: int, end: int, width: int) -> int:
    # Unpacked, an array is millions of fields with the same one-byte tag. They are taken as one, which still
    # holds the tags in between, and looked at in ever longer stretches so that short runs stay cheap.
    step, tag = width + 1, data[start - 1]
    fit = (end - start - width) // step
    if fit <= 0:
        return start + width
    tags = np.ndarray((fit,), np.uint8, data, start + width, (step,))
    run, stretch = 0, 1
    while run < fit:
        others = np.flatnonzero(tags[run : run + stretch] != tag)
        if others.size:
            return start + width + step * (run + int(others[0]))
        run, stretch = min(fit, run + stretch), 2 * stretch
    return start + width + step * fit
