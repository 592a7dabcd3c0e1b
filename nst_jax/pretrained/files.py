"""VGG parameters on disk: read, checked and written.

What `containers` can read is checked against the architectures that are known: the layers of a file tell
which one it holds. Files are written as HDF5 in the layout of Keras, with their origin and a digest as
further attributes, and with those of `Normalisation` if they hold the normalised network.

Kernels are float32 ``(3, 3, in, out)``, for images in the architecture's input space: BGR, 0 to 255, minus
the mean colour.

Reference for the weights: Simonyan & Zisserman (2015), licensed CC BY 4.0 by the Visual Geometry Group.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import cast, get_args

import h5py
import jax
import numpy as np
from numpy.typing import ArrayLike

from nst_jax.architecture import (
    ARCHITECTURES,
    VGG19,
    Architecture,
    Blocks,
    kernel_shapes,
    layer_names,
    of_blocks,
)
from nst_jax.errors import OutputError, WeightsError
from nst_jax.files import same_file, write_atomically
from nst_jax.networks import vgg
from nst_jax.pretrained import hdf5
from nst_jax.pretrained.caffe import Arrays
from nst_jax.pretrained.containers import Kind, damaged, open_any
from nst_jax.pretrained.hdf5 import FORMAT, NORMALISED
from nst_jax.pretrained.stored import Layers, Stored, float32

LICENCE = "CC BY 4.0, Visual Geometry Group, University of Oxford"

CHECKSUMS: Mapping[str, str] = {
    "keras": "md5:253f8cb515780f3b799900260a226db6",
    "caffe": "sha384:86b83739d448a81ddc927922d4d7581e06113478106b59480097b02cc63ff51c"
    "9da7c3cd8a865b08946d07d0281d5b2e",
    "vgg16-keras": "md5:6d6bbae143d832006294945121d1f1fc",
    "vgg16-caffe": "sha256:a6196bc498e45ea4cb2637114ae8db9410cf1556fd60a55ae93272371beba197",
}
"""Algorithms and checksums of the published files, which are named where they are downloaded."""

_TORCHVISION = (
    (-5.3474e-02, -4.9257e-02, -6.7942e-02),
    (1.5314e-02, 4.5068e-02, 2.1444e-03),
    (3.6226e-02, 1.9999e-02, 1.9864e-02),
)
_ROUNDED = 2**-8
"""Relative, of a number in bfloat16."""
_UNSTATED = "not stated in the file"


@dataclass(frozen=True)
class Normalisation:
    """How a network was normalised to mean activation one.

    Attributes:
        pool: the pooling with which the activations were measured, and are one.
        padding: the padding, likewise.
        photos: how many photographs there were.
        photos_size: bound of their longer side in pixels.
        photos_sha256: digest of the set, see `normalisation.PhotoSet`.
    """

    pool: vgg.Pool
    padding: vgg.Padding
    photos: int
    photos_size: int
    photos_sha256: str

    def __str__(self) -> str:
        photos = f"{self.photos} photographs of at most {self.photos_size} pixels"
        return f"for {self.pool} pooling and {self.padding} padding, over {photos}"


@dataclass(frozen=True)
class Provenance:
    """Where parameters come from.

    Attributes:
        path: the file they were read from.
        kind: who wrote it, or one like it: ``nst_jax`` (HDF5), ``keras`` (HDF5, .keras), ``torch``
            (safetensors, npz) or ``caffe``; of safetensors and npz the names in it tell.
        digest: SHA-256 over the float32 values in layer order; the same numbers in another container have
            the same digest.
        source: name of the file they were converted from, if that is recorded, else of the file itself.
        source_sha256: SHA-256 of the file they were converted from, or an empty string.
        licence: the terms they may be used under.
        normalised: how the network was normalised to mean activation one; None if it was not.
        architecture: of the network.
    """

    path: Path
    kind: Kind
    digest: str
    source: str
    source_sha256: str = ""
    licence: str = _UNSTATED
    normalised: Normalisation | None = None
    architecture: Architecture = VGG19


# Reading


def read(path: str | Path, *, blocks: Blocks | None = None) -> tuple[vgg.Params, Provenance]:
    """Read and check the parameters of a VGG network.

    Args:
        path: a file in one of the containers that `containers` knows.
        blocks: the layer table that it must have; None: that of any of `ARCHITECTURES`.

    Returns:
        The parameters, as in `vgg`, and where they come from.

    Raises:
        WeightsError: the file cannot be read, is no weights file, is damaged, holds another network, or
            holds values that are not finite.
    """
    layers, provenance = _load(Path(path), blocks)
    params: vgg.Params = {}
    for name in list(layers):  # one layer at a time, so that there are never two copies of them all
        layer = layers.pop(name)
        params[name] = {part: jax.device_put(layer.pop(part), may_alias=False) for part in list(layer)}
    return params, provenance


def identify(path: Path) -> Architecture | None:
    """Return which of `ARCHITECTURES` has the very layers of a file, None if none has: no more is checked.

    Raises:
        WeightsError: the file cannot be read, is no weights file, or is damaged.
    """
    with open_any(path) as found:
        nearest, names = _nearest(found.layers, ARCHITECTURES.values())
    return nearest if set(names) == set(nearest.layers) else None


def _load(path: Path, blocks: Blocks | None) -> tuple[Arrays, Provenance]:
    known = ARCHITECTURES.values() if blocks is None else [of_blocks(blocks)]
    with open_any(path) as (stored, kind, notes):
        architecture, names = _nearest(stored, known)
        stored = dict(zip(names, stored.values(), strict=True))
        _refuse_torchvision(path, stored)
        _check(path, stored, architecture)
        layers = {n: {part: array.read() for part, array in stored[n].items()} for n in architecture.layers}
    _check_finite(path, layers)
    total = digest(layers)
    if notes.get("digest", total) != total:
        raise WeightsError(f"{path}: damaged: its values do not have the digest recorded with them")
    provenance = Provenance(
        path,
        kind,
        total,
        source=notes.get("source", path.name),
        source_sha256=notes.get("source_sha256", ""),
        licence=notes.get("licence", _UNSTATED),
        normalised=_normalisation(path, notes),
        architecture=architecture,
    )
    return layers, provenance


def _nearest(layers: Layers, known: Iterable[Architecture]) -> tuple[Architecture, list[str]]:
    """Return the architecture with the most layers of a file, and what it calls those of the file."""
    candidates = []
    for architecture in known:
        aliases = _torch_indices(architecture.blocks) | _keras_counts(architecture.blocks)
        candidates.append((architecture, [aliases.get(name, name) for name in layers]))
    return min(candidates, key=lambda each: len(set(each[0].layers) ^ set(each[1])))


def _normalisation(path: Path, notes: Mapping[str, str]) -> Normalisation | None:
    if not any(name in notes for name in NORMALISED):
        return None
    try:
        pool, padding, photos, size, sha256 = (notes[name] for name in NORMALISED)
        if pool not in get_args(vgg.Pool) or padding not in get_args(vgg.Padding):
            raise ValueError(f"normalised for {pool!a} pooling and {padding!a} padding, which do not exist")
        return Normalisation(cast(vgg.Pool, pool), cast(vgg.Padding, padding), int(photos), int(size), sha256)
    except (ValueError, KeyError) as error:
        raise damaged(path, error) from error


def _torch_indices(blocks: Blocks) -> dict[str, str]:
    """Return the layers by the names that torchvision's module has for them."""
    indices, index = {}, 0
    for block, (convs, _) in enumerate(blocks, 1):
        for i in range(1, convs + 1):
            indices[f"features.{index}"] = f"conv{block}_{i}"
            index += 2  # a rectifier follows
        index += 1  # the pooling
    return indices


def _keras_counts(blocks: Blocks) -> dict[str, str]:
    """Return the layers by the names that Keras 3 gives their groups: conv2d, conv2d_1, ..."""
    return {f"conv2d_{i}" if i else "conv2d": name for i, name in enumerate(layer_names(blocks))}


# Checking


def _check(path: Path, layers: Layers, architecture: Architecture) -> None:
    kernels = kernel_shapes(architecture.blocks)
    missing = [f"-{name} {shape}" for name, shape in kernels.items() if name not in layers]
    unexpected = [f"+{_plain(name)}" for name in layers if name not in kernels]
    wrong = [
        problem
        for name, shape in kernels.items()
        if name in layers
        for problem in _wrong_parts(name, layers[name], {"kernel": shape, "bias": shape[-1:]})
    ]
    if missing or unexpected or wrong:
        problems = ", ".join(_abbreviated(missing) + _abbreviated(unexpected) + _abbreviated(wrong))
        raise WeightsError(
            f"{path}: not the layers of {architecture.title} (- missing, + unexpected): {problems}"
        )


def _check_finite(path: Path, layers: Arrays) -> None:
    for name, layer in layers.items():
        if not all(np.isfinite(array).all() for array in layer.values()):
            raise WeightsError(f"{path}: layer {name} holds values that are not finite")


def _wrong_parts(
    layer: str, found: Mapping[str, Stored], expected: Mapping[str, tuple[int, ...]]
) -> list[str]:
    missing = [f"-{layer} {part} {shape}" for part, shape in expected.items() if part not in found]
    unexpected = [f"+{layer} {_plain(part)}" for part in found if part not in expected]
    wrong = [
        f"{layer} {part} is {found[part].shape}, should be {shape}"
        for part, shape in expected.items()
        if part in found and found[part].shape != shape
    ]
    return missing + unexpected + wrong


def _plain(name: str) -> str:
    return (name if name.isprintable() else ascii(name))[:40]  # names in a damaged file can be anything


def _abbreviated(items: list[str], *, limit: int = 4) -> list[str]:
    return items if len(items) <= limit + 1 else [*items[:limit], f"and {len(items) - limit} more"]


def _refuse_torchvision(path: Path, layers: Layers) -> None:
    # Same layers and shapes, so that only the numbers tell: no other training arrives at the same nine.
    kernel = layers.get("conv1_1", {}).get("kernel")
    if kernel is None or kernel.shape != (3, 3, 3, 64):
        return
    if np.allclose(kernel.read()[:, :, 0, 0], _TORCHVISION, rtol=_ROUNDED, atol=0):
        raise WeightsError(
            f"{path}: torchvision's own VGG-19, trained for RGB in [0, 1]; expected the weights of Simonyan "
            "and Zisserman (for torch: vgg19-d01eb7cb)"
        )


def digest(params: Mapping[str, Mapping[str, ArrayLike]]) -> str:
    """Return the SHA-256 over the float32 values, kernel before bias, in layer order."""
    total = hashlib.sha256()
    for name in layer_names(vgg.blocks_of(cast(vgg.Params, params))):
        for part in ("kernel", "bias"):
            total.update(np.ascontiguousarray(params[name][part], "<f4").data)
    return total.hexdigest()


# Writing


def write(
    path: Path,
    params: Mapping[str, Mapping[str, ArrayLike]],
    *,
    source: str,
    sha256: str,
    licence: str,
    normalised: Normalisation | None = None,
) -> None:
    """Write parameters as HDF5 in the layout of Keras, whole or not at all.

    The same arguments give the same bytes.

    Args:
        path: the file to write or replace.
        params: parameters, as in `vgg`.
        source: name of the file that they come from.
        sha256: SHA-256 of that file.
        licence: the terms they may be used under.
        normalised: how they were normalised, if they were.

    Raises:
        OutputError: the file cannot be written.
    """
    layers = {name: {part: float32(a) for part, a in layer.items()} for name, layer in params.items()}
    architecture = vgg.architecture_of(cast(vgg.Params, layers))
    layers = {name: layers[name] for name in architecture.layers}
    notes = {"source": source, "source_sha256": sha256, "licence": licence, "digest": digest(layers)}
    if normalised:
        notes |= dict(zip(NORMALISED, map(str, astuple(normalised)), strict=True))
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs.update(hdf5.notes(notes | {"format": FORMAT, "input": architecture.input}))
        file.attrs["layer_names"] = np.array(list(layers), "S")  # as Keras has it
        for name, layer in layers.items():
            group = file.create_group(name)
            group.attrs.update(weight_names=np.array(["kernel", "bias"], "S"), shape=layer["kernel"].shape)
            for part in ("kernel", "bias"):
                group.create_dataset(part, data=layer[part])
    write_atomically(path, buffer.getvalue())


def convert(path: Path, target: Path, *, licence: str = LICENCE, blocks: Blocks | None = None) -> Provenance:
    """Convert any file that `read` accepts to HDF5, as `write` writes it, and return where it came from.

    Raises:
        WeightsError: the file cannot be used (see `read`).
        OutputError: the target is the file itself, or cannot be written.
    """
    check_other(path, target)
    layers, provenance = _load(path, blocks)
    sha256 = file_digest(path, "sha256")
    write(target, layers, source=path.name, sha256=sha256, licence=licence, normalised=provenance.normalised)
    return replace(provenance, source_sha256=sha256, licence=licence)


def check_other(path: Path, target: Path) -> None:
    """Refuse a target that is the file to be read, by whatever name: the original would be lost.

    Raises:
        OutputError: it is.
    """
    if same_file(target, [path]):
        raise OutputError(f"{target}: is the file that is read, {path}, so it is kept; name another file")


def file_digest(path: Path, algorithm: str) -> str:
    """Return a file's digest in hexadecimal digits; a WeightsError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}") from None


# Telling people


def describe(path: Path, *, blocks: Blocks | None = None) -> str:
    """Return what is known about a weights file, in lines for people: origin, digest and layers.

    Raises:
        WeightsError: the file cannot be used (see `read`).
    """
    layers, known = _load(path, blocks)
    facts = {
        "file": str(path),
        "network": known.architecture.title,
        "container": known.kind,
        "source": known.source,
        "source sha256": known.source_sha256 or _UNSTATED,
        "licence": known.licence,
        "digest": known.digest,
        **({"normalised": str(known.normalised)} if known.normalised else {}),
        **({"photos sha256": known.normalised.photos_sha256} if known.normalised else {}),
        "parameters": f"{_count(layers):,} in {len(layers)} layers",
    }
    shapes = {name: " x ".join(map(str, layer["kernel"].shape)) for name, layer in layers.items()}
    return "\n".join(f"{key:<14} {value}" for key, value in (facts | shapes).items())


def examine(path: Path, *, blocks: Blocks | None = None) -> str:
    """Check a weights file in full and return a report for people.

    Raises:
        WeightsError: the file cannot be used (see `read`).
    """
    layers, known = _load(path, blocks)
    return (
        f"{path}: good\n"
        f"{len(layers)} layers with the shapes of {known.architecture.title}, {_count(layers):,} parameters, "
        "all finite\n"
        f"digest {known.digest}"
    )


def published(path: Path, *, checksums: Mapping[str, str] = CHECKSUMS) -> str | None:
    """Return under which name of ``checksums`` a file was published, or None."""
    return next((name for name, checksum in checksums.items() if has_checksum(path, checksum)), None)


def has_checksum(path: Path, checksum: str) -> bool:
    """Tell whether a file has a checksum, given as in `CHECKSUMS`."""
    algorithm, _, value = checksum.partition(":")
    return file_digest(path, algorithm) == value


def _count(layers: Arrays) -> int:
    return sum(array.size for layer in layers.values() for array in layer.values())
