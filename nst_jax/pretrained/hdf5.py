"""HDF5 files of Keras, in both of its layouts, and those of `files`, which are of the first.

* Keras 1 and 2, and ``save("x.h5")`` of Keras 3: a group for each layer, with arrays such as
  ``block1_conv2/block1_conv2/kernel:0``; all of them perhaps in ``/model_weights``;
* Keras 3, ``save_weights``: ``/layers/conv2d_1/vars/0`` is the kernel of the second convolution and
  ``/layers/conv2d_1/vars/1`` its bias. A model in a model is in ``/layers/functional/layers``.

Keras has attributes, too, for the order of all this. They are not read: it is known without them, and in a
damaged file HDF5 takes gigabytes for a text, or ends the process.
"""

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from nst_jax.pretrained.stored import Layers, Stored, is_dense, layer_name, stored

FORMAT = "nst_jax VGG parameters, version 1"
"""Attribute of the HDF5 files that `files` writes; `NOTES`, and where it applies `NORMALISED`, are others."""
NOTES = ("source", "source_sha256", "licence", "digest")
NORMALISED = ("normalised_pool", "normalised_padding", "photos", "photos_size", "photos_sha256")

_HEAP = b"HEAP\0"
_DEEPEST = 4
_LARGEST_NOTE = 2**16
_LARGEST_CHUNK = 2**26
_MOST_NAMES = 1000


def layers_of(file: h5py.File) -> tuple[Layers, dict[str, str] | None]:
    """Return the convolutions in a file, by name; and its notes if `files` wrote it.

    Raises:
        ValueError: the file is of another layout. Of a damaged one, h5py's errors.
    """
    root = file.get("model_weights", file)
    if "layer_names" in root.attrs:
        layers = _layers(root)
        if "format" not in root.attrs or _note(root, "format") != FORMAT:
            return layers, None
        present = [*NOTES, *(name for name in NORMALISED if name in root.attrs)]
        return layers, {name: _note(root, name) for name in present}
    if isinstance(file.get("layers"), h5py.Group):
        return _layers_of_models(file["layers"]), None
    raise ValueError("HDF5 with neither 'layer_names', as of Keras 1 and 2, nor 'layers', as of Keras 3")


def check_heaps(path: Path) -> None:
    """Refuse a file in which a list of free space runs in a circle: HDF5 follows it until memory is full.

    A local heap, where a group has its names, is ``HEAP``, a version and three spare bytes, then the size of
    its data, the place of the first free block in them, and theirs in the file. A block begins with the
    place of the next; 1 is the end.

    Raises:
        ValueError: there is such a list.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_HEAP)
        while 0 <= at <= len(data) - 32:
            size, free, start = struct.unpack_from("<3Q", data, at + 8)
            seen: set[int] = set()
            while free != 1 and free + 8 <= size and start + free + 8 <= len(data):
                if free in seen:
                    raise ValueError(f"HDF5 with free space without end, from byte {start + free}")
                seen.add(free)
                (free,) = struct.unpack_from("<Q", data, start + free)
            at = data.find(_HEAP, at + 1)


def notes(texts: Mapping[str, str]) -> dict[str, np.bytes_]:
    """Return texts as attributes whose size is known before they are read."""
    return {name: np.bytes_(text.encode()) for name, text in texts.items()}


def _layers(root: h5py.Group) -> Layers:
    found = {layer_name(n): _parts(_arrays(root[n])) for n in _groups(root) if not is_dense(n)}
    return {name: parts for name, parts in found.items() if parts}


def _layers_of_models(models: h5py.Group, depth: int = 0) -> Layers:
    if depth > _DEEPEST:  # a damaged group can hold itself
        raise ValueError(f"models in models, more than {_DEEPEST} deep")
    layers: Layers = {}
    for name in _groups(models):
        found = {}
        if not is_dense(name) and isinstance(variables := models[name].get("vars"), h5py.Group):
            found = {layer_name(name): _parts(_arrays(variables))} if _names(variables) else {}
        if isinstance(inner := models[name].get("layers"), h5py.Group):
            found |= _layers_of_models(inner, depth + 1)
        if twice := layers.keys() & found.keys():
            raise ValueError(f"there are two layers {min(twice)[:40]!r}")
        layers |= found
    return layers


def _groups(parent: h5py.Group) -> list[str]:
    return [name for name in _names(parent) if isinstance(parent.get(name), h5py.Group)]


def _names(group: h5py.Group) -> list[str]:
    """Return the names in a group. In a damaged one there may be no end of them."""
    names: list[str] = []

    def keep(name: bytes) -> bool | None:
        names.append(name.decode())
        return len(names) > _MOST_NAMES or None  # anything but None is the end

    group.id.links.iterate(keep)
    if len(names) > _MOST_NAMES:
        raise ValueError(f"a group of more than {_MOST_NAMES} entries")
    return names


def _arrays(group: h5py.Group, depth: int = 0) -> Iterator[h5py.Dataset]:
    if depth > _DEEPEST:
        raise ValueError(f"groups in groups, more than {_DEEPEST} deep")
    for name in _names(group):
        each = group[name]
        if isinstance(each, h5py.Group):
            yield from _arrays(each, depth + 1)
        else:
            yield each


def _parts(arrays: Iterator[h5py.Dataset]) -> dict[str, Stored]:
    """Return arrays as parts of a layer: their names differ from version to version."""
    parts: dict[str, Stored] = {}
    for dataset in arrays:
        each = _stored(dataset)
        part = {4: "kernel", 1: "bias"}.get(len(each.shape), "")
        name = dataset.name.rpartition("/")[2]
        parts[part if part and part not in parts else name] = each
    return parts


def _stored(dataset: h5py.Dataset) -> Stored:
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise ValueError("something else where there should be an array")
    # HDF5 takes the memory for a whole chunk, whatever the size of the array.
    if dataset.chunks and math.prod(dataset.chunks) * dataset.dtype.itemsize > _LARGEST_CHUNK:
        raise ValueError(f"an array is in chunks of shape {dataset.chunks}")
    return stored(dataset.shape, dataset.dtype, lambda: dataset[()])


def _note(node: h5py.Group, name: str) -> str:
    found = node.attrs.get_id(name)
    if found.shape != () or h5py.check_string_dtype(found.dtype) is None:
        raise ValueError(f"the attribute {name!r} is no text")
    if found.dtype.itemsize > _LARGEST_NOTE:
        raise ValueError(f"the attribute {name!r} is {found.dtype.itemsize} bytes long")
    value = node.attrs[name]
    return value.decode() if isinstance(value, bytes) else str(value)
