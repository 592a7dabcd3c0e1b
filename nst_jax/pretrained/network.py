"""The network that a run sees with: published VGG weights, or the compact network that comes along."""

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from numpy.typing import NDArray

from nst_jax import images, samples
from nst_jax.architecture import VGG19, Architecture, block_and_index
from nst_jax.errors import OutputError, WeightsError
from nst_jax.files import cache_folder, write_atomically
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.networks import vgg
from nst_jax.networks.convolution import unwrapped
from nst_jax.pretrained import compact, downloads, normalisation
from nst_jax.pretrained import files as weights
from nst_jax.settings import ConventionName

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
"""The sample photographs over which the activations of networks without shipped means are measured."""

_SIDE = 256
"""Of their middle squares, in pixels."""

_WHY_COMPACT = (
    "using the compact network; VGG-19 paints finer: 'nst-jax weights fetch' downloads it, once (80 MB)"
)

_normalise = jax.jit(vgg.normalise, donate_argnums=0)


@dataclass(frozen=True, eq=False)
class Network:
    """Parameters of a network, and where they come from."""

    params: vgg.Params = field(repr=False)
    name: str
    """Its architecture's, such as ``vgg19``; or ``compact``."""
    digest: str
    source: str
    licence: str
    note: str = ""
    """What the user should know: that the compact network is used, that weights were downloaded, ..."""
    architecture: Architecture = VGG19

    def down_to(self, layer: str) -> "Network":
        """Return the network without the layers deeper than one: whoever keeps only this lets go of them."""
        names = (name for name in self.params if block_and_index(name) <= block_and_index(layer))
        return replace(self, params={name: self.params[name] for name in names})

    def record(self) -> dict[str, str]:
        """Return what an output says of the network."""
        return {"name": self.name, "digest": self.digest, "source": self.source, "licence": self.licence}


def network_for(
    network: str | Network,
    *,
    convention: ConventionName,
    normalised: bool | None = None,
    pool: vgg.Pool = "avg",
    padding: vgg.Padding = "zero",
    progress: Callable[[int, int], None] | None = None,
) -> Network:
    """Return the network given; or `load_network`'s, normalised as the convention expects unless told."""
    if isinstance(network, Network):
        return network
    expected = CONVENTIONS[convention].normalised if normalised is None else normalised
    return load_network(network, normalised=expected, pool=pool, padding=padding, progress=progress)


def load_network(
    spec: str,
    *,
    normalised: bool = True,
    pool: vgg.Pool = "avg",
    padding: vgg.Padding = "zero",
    progress: Callable[[int, int], None] | None = None,
) -> Network:
    """Return the network that a setting stands for.

    Args:
        spec: ``vgg19`` or ``vgg16`` (from ``$NST_JAX_WEIGHTS``, the cache or a download, see
            `downloads.find`), ``compact`` (the network that comes along), ``auto`` (what is in
            ``$NST_JAX_WEIGHTS`` or the cache, else ``compact``), or a weights file.
        normalised: scale filters to mean activation one; a file that holds the normalised network is taken
            as it is.
        pool: the pooling that it will be used with.
        padding: the padding that it will be used with.
        progress: called while weights are downloaded.

    Raises:
        WeightsError: weights that cannot be had or used, or the normalised network where the original is
            wanted.
    """
    if spec == "compact":
        return _compact(normalised, pool)
    if spec == "dictionary":
        raise WeightsError("the network 'dictionary' is no more: use compact, which comes along in its place")
    notes: list[str] = []
    try:
        path = downloads.find(spec, download=False)
    except downloads.NoWeightsError:
        if spec == "auto":  # downloads nothing that nobody asked for
            return _compact(normalised, pool, note=_WHY_COMPACT)
        path = downloads.find(spec, progress=progress)
        notes.append(f"downloaded {path.name} ({path.stat().st_size / 1e6:.0f} MB) to {path.parent}")
    params, found = weights.read(path)
    if found.normalised:
        notes += _check_normalised(found, normalised, pool)
    elif normalised:
        means = _means(params, found, pool, padding, notes)
        params = _normalise(params, means)
    origin = found.digest, found.source, found.licence
    return Network(params, found.architecture.name, *origin, "; ".join(notes), found.architecture)


def _compact(normalised: bool, pool: vgg.Pool, note: str = "") -> Network:
    found = compact.read()
    params = _normalise(found.params, found.means[pool]) if normalised else found.params
    origin = found.digest, found.record.recipe, found.record.licence
    return Network(params, "compact", *origin, note, vgg.architecture_of(params))


def _check_normalised(found: weights.Provenance, wanted: bool, pool: vgg.Pool) -> list[str]:
    """Return notes on a file that holds the normalised network; refuse it if the original is wanted."""
    assert found.normalised is not None
    if not wanted:
        others = ", ".join(name for name, convention in CONVENTIONS.items() if not convention.normalised)
        raise WeightsError(
            f"{found.path}: holds the normalised network, but the original is wanted (as the conventions "
            f"{others} do, unless told): set network.normalised=true, or give the original weights"
        )
    if found.normalised.pool == pool:
        return []
    return [
        f"{found.path} was normalised for {found.normalised.pool} pooling, and is used with {pool} pooling"
    ]


def _means(
    params: vgg.Params,
    found: weights.Provenance,
    pool: vgg.Pool,
    padding: vgg.Padding,
    notes: list[str],
) -> Mapping[str, NDArray[np.float32]]:
    """Return the mean activations shipped for a network; of others, those over the sample photographs."""
    padding = unwrapped(padding)
    if (shipped := normalisation.shipped_means(params, pool)) is not None:
        return shipped
    # Said each time, for another network paints another picture, and this may be a damaged VGG-19.
    notes.append(_why_measured(found))
    cache = cache_folder() / "normalised" / f"{found.digest[:16]}-{pool}-{padding}.npz"
    with contextlib.suppress(Exception):  # absent, or damaged: measure
        stored = np.load(io.BytesIO(cache.read_bytes()), allow_pickle=False)
        known = {name: stored[name] for name in stored.files}
        if all(known[name].shape == params[name]["bias"].shape for name in params):
            return known
    # The papers do not say which images they used.
    inputs = (vgg.to_input(photo, found.architecture) for photo in photographs(_SIDE))
    means = vgg.mean_activations(params, inputs, pool=pool, padding=padding)
    measured = {name: mean.astype(np.float32) for name, mean in means.items()}
    data = io.BytesIO()
    np.savez(data, **measured)  # type: ignore[arg-type]  # its stub is too narrow
    with contextlib.suppress(OSError, OutputError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, data.getvalue())
    return measured


def _why_measured(found: weights.Provenance) -> str:
    over = f"measured over {len(PHOTOS)} sample photographs"
    if normalisation.has_means(found.architecture):
        return f"{found.path}: is no network known here; its mean activations were {over}"
    return f"{found.path}: no mean activations of {found.architecture.title} come along; they were {over}"


def photographs(side: int) -> list[images.FloatArray]:
    """Return the middle squares of the sample photographs, ``side`` pixels wide."""
    return [images.middle_square(samples.load(name), side) for name in PHOTOS]
