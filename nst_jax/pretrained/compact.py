"""The compact network that comes with the package: VGG-19's layers to conv5_1, with fewer channels.

`tools/distil.py` made it from VGG-19, so that each of its features is like one of VGG-19's, and the layers
have the same names. Its kernels are stored as int8 with a scale for each output channel, in VGG-19's own
scale; the mean activations that `vgg.normalise` needs are those of the features of VGG-19 that it imitates.

Derived from VGG-19 (Simonyan & Zisserman 2015), licensed CC BY 4.0 by the Visual Geometry Group.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from nst_jax.errors import WeightsError
from nst_jax.files import write_atomically
from nst_jax.networks import vgg
from nst_jax.networks.vgg import Pool

PATH = Path(__file__).parent / "data" / "compact.npz"


@dataclass(frozen=True)
class Record:
    """Where the network comes from: what it was made of, by which recipe, and how it may be used."""

    source: str
    source_digest: str
    recipe: str
    licence: str


@dataclass(frozen=True, eq=False)
class Compact:
    """The compact network.

    Attributes:
        params: its parameters, in VGG-19's scale.
        channels: for each layer, which of VGG-19's features its own imitate.
        means: mean activations of those, by pooling and layer.
        record: where it comes from.
        digest: SHA-256 of the file's content; an empty string before there is a file.
    """

    params: vgg.Params
    channels: Mapping[str, NDArray[np.integer]]
    means: Mapping[Pool, Mapping[str, NDArray[np.float32]]]
    record: Record
    digest: str = ""


def read(path: Path = PATH) -> Compact:
    """Return the network in a file, by default the one that comes along.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"{path}: the compact network cannot be read: {error.strerror}; reinstall nst_jax"
        ) from None
    content, digest = data[:-32], data[-32:]
    if hashlib.sha256(content).digest() != digest:
        raise WeightsError(f"{path}: the compact network is damaged; reinstall nst_jax")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    record = Record(**json.loads(str(arrays.pop("record"))))
    names = [key.removesuffix("/kernel") for key in arrays if key.endswith("/kernel")]
    params: vgg.Params = {}
    for name in names:
        kernel = arrays[f"{name}/kernel"].astype(np.float32) * arrays[f"{name}/scale"]
        params[name] = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(arrays[f"{name}/bias"])}
    channels = {name: arrays[f"{name}/channels"] for name in names}
    means = {pool: {name: arrays[f"{name}/mean_{pool}"] for name in names} for pool in get_args(Pool)}
    return Compact(params, channels, means, record, digest.hex())


def write(path: Path, network: Compact) -> None:
    """Write a network as `read` reads it; the same network gives the same bytes.

    Raises:
        OutputError: the file cannot be written.
    """
    arrays: dict[str, NDArray[np.generic]] = {"record": np.asarray(json.dumps(asdict(network.record)))}
    for name, layer in network.params.items():
        kernel = np.asarray(layer["kernel"], np.float32)
        scale = np.maximum(np.abs(kernel).max((0, 1, 2)) / np.float32(127), np.float32(1e-30))
        arrays[f"{name}/kernel"] = np.rint(kernel / scale).astype(np.int8)
        arrays |= {f"{name}/scale": scale, f"{name}/bias": np.asarray(layer["bias"], np.float32)}
        arrays[f"{name}/channels"] = np.asarray(network.channels[name], np.uint16)
        for pool, means in network.means.items():
            arrays[f"{name}/mean_{pool}"] = np.asarray(means[name], np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # its stub is too narrow
    content = buffer.getvalue()
    write_atomically(path, content + hashlib.sha256(content).digest())
