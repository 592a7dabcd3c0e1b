"""The containers of weights files, told apart by what is in them rather than by their names.

* HDF5 of Keras, and of `files` (see `hdf5`);
* ``.keras``, the archive of Keras 3, with such a file in it;
* safetensors or npz with the state of a torch module that was converted from Caffe (``features.0.weight`` or
  ``conv1_1.weight``), or with Keras' variables by their paths (``block1_conv1/kernel``);
* the original ``.caffemodel``.

Nothing is checked here but that a file can be read; `files` knows what should be in it. Nothing is unpickled.
"""

import contextlib
import io
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

import h5py
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from safetensors import safe_open

from nst_jax.errors import NstError, WeightsError
from nst_jax.pretrained import hdf5
from nst_jax.pretrained.caffe import read_caffemodel
from nst_jax.pretrained.stored import Layers, Stored, is_dense, layer_name, stored

Kind = Literal["nst_jax", "keras", "torch", "caffe"]

_ZIP = b"PK\x03\x04"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_CAFFE = (b"\x0a", b"\x12", b"\x1a", b"\xa2\x06")  # the tags of name, layers, input and layer
_KERAS_WEIGHTS = "model.weights.h5"
_STRETCH = 2**20


class Found(NamedTuple):
    """What a file holds: its layers, by the names they have there; its container; its notes."""

    layers: Layers
    kind: Kind
    notes: dict[str, str]


@contextlib.contextmanager
def open_any(path: Path) -> Iterator[Found]:
    """Open a weights file and give what it holds; arrays can be read until it is left.

    Raises:
        WeightsError: the file cannot be read, is no weights file, or is damaged; while arrays are read, too.
    """
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as files:
            warnings.simplefilter("ignore")  # such as NumPy's, on the text in a damaged header
            yield _open(path, files)
    except NstError:
        raise
    except Exception as error:  # the container libraries raise a dozen kinds of error on damaged files
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> WeightsError:
    """Return the error to raise for a file that a library, or its own notes, fail on."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return WeightsError(f"{path}: a damaged or unfamiliar weights file: {reason}")


def _open(path: Path, files: contextlib.ExitStack) -> Found:
    head = _head(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        hdf5.check_heaps(path)
        # Files are replaced whole, never changed, so locks would only fail on read-only network drives.
        return _of_hdf5(files.enter_context(h5py.File(path, "r", locking=False)))
    if head.startswith(_ZIP):
        return _of_zip(path, files)
    if head.startswith(_PICKLES):
        raise _pickle(path)
    if head[8:9] == b"{":
        return _of_safetensors(path, files)
    if head.startswith(_CAFFE) or path.suffix == ".caffemodel":
        layers = read_caffemodel(path)
        return Found(
            {name: {p: _known(a) for p, a in layer.items()} for name, layer in layers.items()}, "caffe", {}
        )
    raise WeightsError(f"{path}: no weights file; known are HDF5, .keras, safetensors, npz and .caffemodel")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise WeightsError(f"{path}: the file is empty")
    if re.match(rb"\s*<(!doctype|html|head|body|\?xml|!--)", head, re.IGNORECASE):
        raise WeightsError(f"{path}: this is a web page, not weights; the download went wrong")
    if head.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path}: this is a Git LFS pointer, not weights; run 'git lfs pull'")
    return head


def _pickle(path: Path) -> WeightsError:
    return WeightsError(
        f"{path}: a torch pickle, which can run any program when read; convert it where torch is: "
        "safetensors.torch.save_file(torch.load('FILE.pth', weights_only=True), 'vgg.safetensors')"
    )


def _known(array: NDArray[np.float32]) -> Stored:
    return Stored(array.shape, lambda: array)


def _of_hdf5(file: h5py.File) -> Found:
    layers, notes = hdf5.layers_of(file)
    return Found(layers, "keras" if notes is None else "nst_jax", notes or {})


# Archives


def _of_zip(path: Path, files: contextlib.ExitStack) -> Found:
    archive = files.enter_context(zipfile.ZipFile(path))
    names = archive.namelist()
    if any(name.endswith(".pkl") for name in names):
        raise _pickle(path)
    if _KERAS_WEIGHTS in names:
        part = _Part(files.enter_context(path.open("rb")), *_place(path, archive, _KERAS_WEIGHTS))
        return _of_hdf5(files.enter_context(h5py.File(part, "r")))
    return _of_named(names, lambda name, torch: _npy(archive, name, torch))


def _npy(archive: zipfile.ZipFile, name: str, torch: bool) -> Stored:
    with archive.open(name) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"an array in NumPy's format {version[0]}.{version[1]}")
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(file)
        if file.tell() + math.prod(shape) * dtype.itemsize != archive.getinfo(name).file_size:
            raise ValueError(f"an array of shape {shape} is cut short, or something follows it")

    def read() -> NDArray[np.generic]:
        with archive.open(name) as file:
            array: NDArray[np.generic] = npy.read_array(file, allow_pickle=False)
            file.read()  # to the end, where the checksum is looked at
        return array

    return stored(shape, dtype, read, torch=torch)


def _place(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[int, int]:
    """Return where in an archive a file begins, and its size; it must be whole and not compressed."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise WeightsError(f"{path}: {name} in it is compressed; unpack the archive and give that file")
    with archive.open(info) as file:
        while file.read(_STRETCH):  # at the end it looks at the checksum, which HDF5 has not
            pass
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        name_and_extra = raw.read(4)
    lengths = int.from_bytes(name_and_extra[:2], "little") + int.from_bytes(name_and_extra[2:], "little")
    return info.header_offset + 30 + lengths, info.file_size


class _Part(io.RawIOBase):
    """A stretch of a file as a file: 550 MB of fully connected layers are not to be copied."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


# Arrays by names


def _of_safetensors(path: Path, files: contextlib.ExitStack) -> Found:
    file = files.enter_context(safe_open(path, "np"))

    def tensor(name: str, torch: bool) -> Stored:
        found = file.get_slice(name)
        kind = found.get_dtype()
        if kind not in _SAFETENSORS:
            raise ValueError(f"it holds {kind} values where there should be floating-point ones")
        return stored(
            tuple(found.get_shape()), _SAFETENSORS[kind], lambda: file.get_tensor(name), torch=torch
        )

    return _of_named(file.keys(), tensor)


_SAFETENSORS = {"F16": np.dtype("f2"), "BF16": np.dtype("V2"), "F32": np.dtype("f4"), "F64": np.dtype("f8")}


def _of_named(names: Iterable[str], get: Callable[[str, bool], Stored]) -> Found:
    """Return the convolutions among named arrays; ``get`` takes a name and whether it is torch's."""
    layers: Layers = {}
    kind: Kind = "keras"
    for name in names:
        path, _, part = name.removesuffix(".npy").removesuffix(":0").replace("/", ".").rpartition(".")
        if is_dense(path):
            continue
        if torch := part == "weight":
            kind, part = "torch", "kernel"
        layer = layers.setdefault(layer_name(path), {})
        if part in layer:
            raise ValueError(f"layer {path[:40]!r} has two arrays {part[:40]!r}")
        layer[part] = get(name, torch)
    return Found(layers, kind, {})
