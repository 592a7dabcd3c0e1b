"""The network that a run sees with: real VGG-19 weights, or the built-in encoder where there are none."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from nst_jax.errors import OutputError, WeightsError
from nst_jax.files import cache_folder, write_atomically
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.networks import vgg
from nst_jax.pretrained import builtin as dictionary
from nst_jax.pretrained import downloads, normalisation
from nst_jax.pretrained import files as weights
from nst_jax.settings import ConventionName

_SIDE = 256
"""Of the photographs over which another network's activations are measured, in pixels."""


@dataclass(frozen=True)
class Encoder:
    """Parameters of a network, and where they are from."""

    params: vgg.Params = field(repr=False)
    name: str
    """``vgg19`` or ``dictionary``."""
    digest: str
    source: str
    licence: str
    note: str = ""
    """What the user should know, such as why the built-in encoder is used, and how to get VGG-19."""

    def record(self) -> dict[str, Any]:
        """Return what an output says of the encoder."""
        return {"name": self.name, "digest": self.digest, "source": self.source, "licence": self.licence}


def encoder_for(
    encoder: str | Encoder,
    *,
    convention: ConventionName,
    normalised: bool | None = None,
    pool: vgg.Pool = "avg",
    padding: vgg.Padding = "zero",
    progress: Callable[[int, int], None] | None = None,
) -> Encoder:
    """Return `load_encoder`'s network, normalised as the convention expects unless told; or the one given."""
    if isinstance(encoder, Encoder):
        return encoder
    expected = CONVENTIONS[convention].normalised if normalised is None else normalised
    return load_encoder(encoder, normalised=expected, pool=pool, padding=padding, progress=progress)


def load_encoder(
    spec: str,
    *,
    normalised: bool = True,
    pool: vgg.Pool = "avg",
    padding: vgg.Padding = "zero",
    progress: Callable[[int, int], None] | None = None,
) -> Encoder:
    """Return the network that a setting stands for.

    Args:
        spec: ``auto`` (VGG-19 if it can be had, else the built-in encoder), ``vgg19`` (never the built-in
            encoder), ``dictionary`` (the built-in encoder), or a weights file.
        normalised: scale VGG-19's filters to mean activation one; a file that holds the normalised network is
            taken as it is, and the built-in encoder keeps its own scale.
        pool: the pooling that it will be used with.
        padding: the border that it will be used with.
        progress: called while weights are downloaded.

    Raises:
        WeightsError: weights that cannot be had or used, or the normalised network where the original is
            wanted.
    """
    note = ""
    if spec != "dictionary":
        try:
            path = downloads.find(spec, progress=progress)
        except downloads.NoWeightsError as error:
            if spec != "auto":
                raise
            note = f"using the built-in encoder, for there are {error}"
        else:
            params, found = weights.read(path)
            if found.normalised:
                note = _check_normalised(found, normalised, pool)
            elif normalised:
                means = _means(params, found.digest, pool, padding)
                params = jax.jit(vgg.normalise, donate_argnums=0)(params, means)
            return Encoder(params, "vgg19", found.digest, found.source, found.licence, note)
    params, record = dictionary.load(pool=pool)
    return Encoder(params, "dictionary", record.digest, record.recipe, "Apache-2.0", note)


def _check_normalised(found: weights.Provenance, wanted: bool, pool: vgg.Pool) -> str:
    """Return what the user should know of a file that holds the normalised network; refuse it if unwanted."""
    assert found.normalised is not None
    if not wanted:
        others = ", ".join(name for name, convention in CONVENTIONS.items() if not convention.normalised)
        raise WeightsError(
            f"{found.path}: holds the normalised network, but the original is wanted (as the conventions "
            f"{others} do, unless told): set network.normalised=true, or give the original weights"
        )
    if found.normalised.pool == pool:
        return ""
    return f"{found.path} was normalised for {found.normalised.pool} pooling, and is used with {pool} pooling"


def _means(
    params: vgg.Params, digest: str, pool: vgg.Pool, padding: vgg.Padding
) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the shipped means of VGG-19; of another network, those measured once on sample photographs."""
    if (shipped := normalisation.shipped_means(params, pool)) is not None:
        return shipped
    cache = cache_folder() / "normalised" / f"{digest[:16]}-{pool}-{padding}.npz"
    with contextlib.suppress(Exception):  # absent, or damaged: measure
        stored = np.load(io.BytesIO(cache.read_bytes()), allow_pickle=False)
        known = {name: stored[name] for name in stored.files}
        if all(known[name].shape == params[name]["bias"].shape for name in params):
            return known
    # The papers do not say which images they took.
    photographs = map(vgg.to_input, dictionary.photographs(_SIDE))
    means = vgg.mean_activations(params, photographs, pool=pool, padding=padding)
    measured = {name: mean.astype(np.float32) for name, mean in means.items()}
    data = io.BytesIO()
    np.savez(data, **measured)  # type: ignore[arg-type]  # its stub is too narrow
    with contextlib.suppress(OSError, OutputError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, data.getvalue())
    return measured
