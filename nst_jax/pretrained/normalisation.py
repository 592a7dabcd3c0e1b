"""The network of mean activation one: measured over a folder of photographs, written, or known beforehand.

Gatys, Ecker & Bethge (2016), section 2: "we normalized the network by scaling the weights such that the mean
activation of each convolutional filter over images and positions is equal to one". `vgg.normalise` scales,
`vgg.mean_activations` measures; this is about where the photographs come from and where the results go. Means
of VGG-19 come with the package, in ``mean_activations.json``, which the command recorded in it made.

Photographs are float32 RGB in [0, 1], shape ``(height, width, 3)``.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypedDict, cast

import jax
import numpy as np
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.architecture import ARCHITECTURES, Architecture
from nst_jax.errors import ImageError, OutputError, WeightsError
from nst_jax.files import check_folder, write_atomically
from nst_jax.networks import vgg
from nst_jax.pretrained import files as weights
from nst_jax.pretrained import fingerprint
from nst_jax.pretrained.files import Normalisation, Provenance

Means = Mapping[str, NDArray[np.float64]]

SMALLEST = 16
"""Least shorter side in pixels: what leaves VGG's deepest layer a position."""

_SHIPPED = "mean_activations.json"
_DIGITS = 6


class Entry(TypedDict):
    """What a data file of means holds for one architecture and pooling."""

    command: str
    padding: str
    photos: int
    photos_size: int
    photos_sha256: str
    digest: str
    fingerprint: dict[str, dict[str, list[float]]]
    means: dict[str, list[float]]


Entries = dict[str, dict[Literal["avg", "max"], Entry]]
"""By architecture and pooling."""


# Photographs


@dataclass(frozen=True, order=True)
class Photo:
    """A photograph on disk: the (height, width) it is used at, the SHA-256 of its pixels, and its file."""

    shape: tuple[int, int]
    sha256: str
    path: Path


@dataclass(frozen=True)
class PhotoSet:
    """The photographs in a folder.

    Attributes:
        photos: ordered by shape and digest, so that results depend on the pictures alone, and those of one
            shape, which share a program, come together.
        skipped: names of files that are not pictures, are damaged, or have a side below `SMALLEST`.
        size: bound of their longer side in pixels.
    """

    photos: tuple[Photo, ...]
    skipped: tuple[str, ...]
    size: int

    @property
    def sha256(self) -> str:
        """SHA-256 over the sorted SHA-256s of the photographs; names and order do not matter."""
        each = sorted(photo.sha256 for photo in self.photos)
        return hashlib.sha256("\n".join(each).encode()).hexdigest()


def find_photos(folder: Path, *, size: int, progress: Callable[[int, int], None] | None = None) -> PhotoSet:
    """Read every picture in a folder once, to know what there is; none is kept in memory.

    Args:
        folder: files in it that are not pictures are skipped, and so are folders.
        size: bound of the longer side in pixels; smaller pictures keep their size.
        progress: called with the number of files read and of all files.

    Raises:
        ImageError: no such folder, no picture in it, or a size below `SMALLEST`.
    """
    if size < SMALLEST:
        raise ImageError(f"size: should be at least {SMALLEST} pixels, got {size}")
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ImageError(f"{folder}: should be a folder of photographs: {error.strerror}") from None
    photos, skipped = [], []
    for done, path in enumerate(paths, 1):
        try:
            rgb = images.read(path).rgb
            height, width, _ = rgb.shape
        except ImageError:
            skipped.append(path.name)
        else:
            shape = images.fit(height, width, size)
            if min(shape) >= SMALLEST:
                photos.append(Photo(shape, _digest(rgb), path))
            else:
                skipped.append(path.name)
        if progress:
            progress(done, len(paths))
    if not photos:
        raise ImageError(f"{folder}: none of its {len(paths)} files is a picture that can be used")
    return PhotoSet(tuple(sorted(photos)), tuple(skipped), size)


def _digest(rgb: images.FloatArray) -> str:
    """Return the SHA-256 of a picture's shape and its pixels as uint8."""
    pixels = np.floor(rgb * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


# Measuring


def measure(
    params: vgg.Params,
    photos: PhotoSet,
    *,
    pool: vgg.Pool = "avg",
    padding: vgg.Padding = "zero",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Return `vgg.mean_activations` over photographs, of which one is in memory at a time.

    Args:
        params: parameters of the network.
        photos: the photographs.
        pool: the pooling that the network will be used with.
        padding: the padding that the network will be used with.
        progress: called with the number of photographs done and of all photographs.

    Raises:
        ImageError: a photograph that has become unreadable.
    """
    architecture = vgg.architecture_of(params)

    def inputs() -> Iterator[jax.Array]:
        for done, photo in enumerate(photos.photos, 1):
            yield vgg.to_input(images.resize(images.read(photo.path).rgb, photo.shape), architecture)
            if progress:
                progress(done, len(photos.photos))

    return vgg.mean_activations(params, inputs(), pool=pool, padding=padding)


def faint(means: Means) -> int:
    """Return how many filters fire so little that `vgg.divisors` raises their mean."""
    divisors = vgg.divisors(means)
    return sum(int((np.asarray(divisors[name]) > means[name].astype(np.float32)).sum()) for name in means)


# The normalised network


def read_original(path: Path) -> tuple[vgg.Params, Provenance]:
    """Read a network that is not normalised yet.

    Raises:
        WeightsError: as `files.read`, or it is normalised already.
    """
    params, found = weights.read(path)
    if found.normalised:
        raise WeightsError(f"{path}: is normalised already, {found.normalised}; give the original weights")
    return params, found


def check_target(path: Path) -> None:
    """Refuse a path that `write` must not or cannot write: better before measuring than after.

    Raises:
        OutputError: the path holds anything but a normalised network, or its folder is missing.
    """
    if os.path.exists(path) and not _is_normalised(path):
        raise OutputError(f"{path}: exists and is not a normalised network, so it is kept; name another file")
    check_folder(path)


def _is_normalised(path: Path) -> bool:
    try:
        return weights.read(path)[1].normalised is not None
    except WeightsError:
        return False


def write(
    path: Path,
    params: vgg.Params,
    means: Means,
    photos: PhotoSet,
    *,
    found: Provenance,
    pool: vgg.Pool,
    padding: vgg.Padding,
) -> None:
    """Write the network normalised by its means, as `files.write` does.

    Args:
        path: the file to write; a normalised network there is replaced.
        params: the original network.
        means: what `measure` returned.
        photos: what they were measured over.
        found: where the original comes from.
        pool: the pooling they were measured with.
        padding: the padding they were measured with.

    Raises:
        OutputError: the path holds another file, or the network itself, or cannot be written.
    """
    weights.check_other(found.path, path)
    check_target(path)
    weights.write(
        path,
        vgg.normalise(params, means),
        source=found.path.name,
        sha256=weights.file_digest(found.path, "sha256"),
        licence=found.licence,
        normalised=Normalisation(pool, padding, len(photos.photos), photos.size, photos.sha256),
    )


# Means in a data file


def read_means(path: Path) -> Entries:
    """Return what a data file of means holds; nothing if there is no such file.

    Raises:
        OutputError: the path holds another file, or cannot be read.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        pools = [pool for name in ARCHITECTURES for pool in entries.get(name, {}).items()]
        if not entries.keys() <= ARCHITECTURES.keys() or not all(
            pool in ("avg", "max") and entry["means"] for pool, entry in pools
        ):
            raise ValueError("other entries")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise OutputError(
            f"{path}: exists and is not a file of means, so it is kept; name another file"
        ) from None
    return cast(Entries, entries)


def check_means(path: Path) -> None:
    """Refuse a path that `write_means` must not or cannot write.

    Raises:
        OutputError: the path holds another file, or its folder is missing.
    """
    read_means(path)
    check_folder(path)


def write_means(
    path: Path,
    params: vgg.Params,
    means: Means,
    photos: PhotoSet,
    *,
    command: str,
    found: Provenance,
    pool: vgg.Pool,
    padding: vgg.Padding,
) -> None:
    """Write means to a data file such as the package has, in place of those of the same network and pooling.

    Args:
        path: the file; its other entries are kept.
        params: the original network.
        means: what `measure` returned; they are written with 6 significant digits.
        photos: what they were measured over.
        command: the command line that makes the file, for the record.
        found: where the network comes from.
        pool: the pooling they were measured with.
        padding: the padding they were measured with.

    Raises:
        OutputError: the path holds another file, or cannot be written.
    """
    entry: Entry = {
        "command": command,
        "padding": padding,
        "photos": len(photos.photos),
        "photos_size": photos.size,
        "photos_sha256": photos.sha256,
        "digest": found.digest,
        "fingerprint": fingerprint.of({name: params[name] for name in means}),
        "means": {name: [float(f"{m:.{_DIGITS}g}") for m in mean] for name, mean in means.items()},
    }
    weights.check_other(found.path, path)
    entries = read_means(path)
    entries.setdefault(found.architecture.name, {})[pool] = entry
    text = _lines({name: dict(sorted(pools.items())) for name, pools in sorted(entries.items())})
    write_atomically(path, f"{text}\n".encode())


def _lines(value: object, indent: str = "") -> str:
    """Return JSON with a line for each entry of an object."""
    if not isinstance(value, dict):
        return json.dumps(value)
    inner = f"{indent} "
    entries = [f"{inner}{json.dumps(name)}: {_lines(entry, inner)}" for name, entry in value.items()]
    return "\n".join(["{", ",\n".join(entries), f"{indent}}}"])


def shipped_means(params: vgg.Params, pool: vgg.Pool) -> dict[str, NDArray[np.float32]] | None:
    """Return the means that come with the package for a network (VGG-19); None for any other.

    A network is known by what it computes (see `fingerprint`), not by a digest: a copy in half precision, or
    with kernels rounded to 256 levels, is the same network. Rounding those of VGG-19's blocks 4 and 5 to 256
    levels moves the means by 2% (the median), other photographs by tens. Whatever the means, what the network
    computes stays the same.

    They were measured with zero padding, and serve for other borders too, which differ in a few rows.
    """
    architecture = vgg.architecture_of(params)
    if ARCHITECTURES.get(architecture.name) != architecture:
        return None
    entry = _shipped().get(architecture.name, {}).get(pool)
    if entry is None or not fingerprint.matches(entry["fingerprint"], params):
        return None
    return {name: np.asarray(mean, np.float32) for name, mean in entry["means"].items()}


def has_means(architecture: Architecture) -> bool:
    """Tell whether means of some network of an architecture's name come with the package."""
    return architecture.name in _shipped()


@cache
def _shipped() -> Entries:
    return cast(Entries, json.loads(files(__package__).joinpath(_SHIPPED).read_text(encoding="utf-8")))
