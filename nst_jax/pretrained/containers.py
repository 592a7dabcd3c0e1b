"""The containers of weights files, told apart by what is in them rather than by their names.

* HDF5 in the layout of Keras, found by its ``layer_names`` and ``weight_names`` attributes; the files that
  `files` writes are of that layout too;
* safetensors or npz with the state of a torch module that was converted from Caffe (``features.0.weight`` or
  ``conv1_1.weight``);
* the original ``.caffemodel``.

Nothing is checked here but that a file is whole and readable; `files` knows what should be in it.
"""

import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open

from nst_jax.errors import NstError, WeightsError
from nst_jax.pretrained.caffe import Arrays, read_caffemodel

Kind = Literal["nst_jax", "keras", "torch", "caffe"]

FORMAT = "nst_jax VGG parameters, version 1"
"""Attribute of the HDF5 files that `files` writes; `NOTES`, and where it applies `NORMALISED`, are others."""
NOTES = ("source", "source_sha256", "licence", "digest")
NORMALISED = ("normalised_pool", "normalised_padding", "photos", "photos_size", "photos_sha256")
_DENSE = ("classifier.", "fc", "predictions")
_ZIP = b"PK\x03\x04"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_CAFFE = (b"\x0a", b"\x12", b"\x1a", b"\xa2\x06")  # the tags of name, layers, input and layer


def open_any(path: Path) -> tuple[Arrays, Kind, dict[str, str]]:
    """Return the layers of a file, unchecked and by the names they have there; its container; its notes.

    Raises:
        WeightsError: the file cannot be read, is no weights file, or is damaged.
    """
    try:
        return _read_any(path)
    except NstError:
        raise
    except Exception as error:  # the container libraries raise a dozen kinds of error on damaged files
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> WeightsError:
    """Return the error to raise for a file that a library, or its own notes, fail on."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return WeightsError(f"{path}: a damaged or unfamiliar weights file: {reason}")


def _read_any(path: Path) -> tuple[Arrays, Kind, dict[str, str]]:
    head = _head(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _read_hdf5(path)
    if head.startswith(_PICKLES) or (head.startswith(_ZIP) and _is_torch_archive(path)):
        raise WeightsError(
            f"{path}: a torch pickle, which can run any program when read; convert it where torch is: "
            "numpy.savez('vgg.npz', **{k: v.numpy() for k, v in torch.load('FILE.pth').items()})"
        )
    if head.startswith(_ZIP):
        with np.load(path, allow_pickle=False) as file:
            return _torch_layers(file.files, file.__getitem__), "torch", {}
    if head[8:9] == b"{":
        with safe_open(path, "np") as file:
            return _torch_layers(file.keys(), file.get_tensor), "torch", {}
    if head.startswith(_CAFFE) or path.suffix == ".caffemodel":
        return read_caffemodel(path), "caffe", {}
    raise WeightsError(f"{path}: no weights file; known are HDF5, safetensors, npz and .caffemodel")


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


def _is_torch_archive(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".pkl") for name in archive.namelist())


def _read_hdf5(path: Path) -> tuple[Arrays, Kind, dict[str, str]]:
    # Files are replaced whole, never changed, so locks would only fail on read-only network drives.
    with h5py.File(path, "r", locking=False) as file:
        root = file.get("model_weights", file)
        if "layer_names" not in root.attrs:
            raise WeightsError(f"{path}: HDF5, but not in the layout of Keras: it has no 'layer_names'")
        names = [_text(name) for name in root.attrs["layer_names"]]
        found = {_layer_name(name): _hdf5_layer(root[name]) for name in names if not name.startswith(_DENSE)}
        layers = {name: layer for name, layer in found.items() if layer}
        if root.attrs.get("format") != FORMAT:
            return layers, "keras", {}
        names = [*NOTES, *(name for name in NORMALISED if name in root.attrs)]
        return layers, "nst_jax", {name: _text(root.attrs[name]) for name in names}


def _hdf5_layer(group: h5py.Group) -> dict[str, NDArray[np.float32]]:
    names = [_text(name) for name in group.attrs["weight_names"]]
    return {part: float32(group[name][()]) for part, name in zip(_parts(names), names, strict=True)}


def _parts(names: list[str]) -> list[str]:
    return ["kernel", "bias", *names[2:]][: len(names)]  # the order that Keras writes them in


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _torch_layers(names: Iterable[str], get: Callable[[str], ArrayLike]) -> Arrays:
    layers: Arrays = {}
    for name in names:
        stem, _, part = name.rpartition(".")
        if stem.startswith(_DENSE):
            continue
        array = float32(get(name))
        if part == "weight":
            part, array = "kernel", array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        layers.setdefault(stem, {})[part] = np.ascontiguousarray(array)
    return layers


def _layer_name(name: str) -> str:
    found = re.fullmatch(r"block(\d+)_conv(\d+)", name)
    return f"conv{found[1]}_{found[2]}" if found else name


def float32(array: ArrayLike) -> NDArray[np.float32]:
    """Return a floating-point array in single precision; of any other kind a ValueError."""
    array = np.asarray(array)
    if array.dtype.kind != "f":
        raise ValueError(f"it holds {array.dtype} values where there should be floating-point ones")
    with np.errstate(all="ignore"):  # a double out of range becomes infinite, which is refused later
        return array.astype(np.float32, copy=False)
