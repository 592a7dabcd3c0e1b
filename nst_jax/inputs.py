"""What a config names, at hand: its pictures at their size, its network, and the options of a run."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nst_jax import images, samples
from nst_jax.config import INIT_SOURCES, Config
from nst_jax.conventions import CONVENTIONS
from nst_jax.errors import ConfigError
from nst_jax.images import Picture


@dataclass(frozen=True)
class Inputs:
    """The pictures of a run, the content at the size of the result, and the digest of each."""

    content: Picture
    style: Picture
    init: Any
    digests: dict[str, str]


def read_picture(name: str, max_pixels: int) -> tuple[Picture, str]:
    """Return a picture, of a file or ``sample:NAME``, and the SHA-256 of its pixels."""
    if name.startswith("sample:"):
        picture = Picture(samples.load(name.removeprefix("sample:")))
    else:
        picture = images.read(name, max_pixels=max_pixels)
    return picture, hashlib.sha256(np.ascontiguousarray(picture.rgb).tobytes()).hexdigest()


def read_inputs(config: Config, *, read: Callable[[str, int], tuple[Picture, str]] = read_picture) -> Inputs:
    """Read the pictures that a config names.

    Args:
        config: the settings.
        read: `read_picture`, or one that remembers.

    Raises:
        NstError: a picture that is not given, or cannot be read.
    """
    digests: dict[str, str] = {}
    found: dict[str, Picture] = {}
    for name, given in (("content", config.content.image), ("style", config.style.image)):
        if given is None:
            raise ConfigError(f"{name}.image: no {name} image given: use --{name} FILE, or sample:NAME")
        found[name], digests[name] = read(given, config.max_pixels)
    content = found["content"]
    height, width, _ = content.rgb.shape
    size = images.fit(height, width, config.size)
    init: Any = config.init
    if isinstance(init, str) and init not in INIT_SOURCES:
        picture, digests["init"] = read(init, config.max_pixels)
        init = picture.rgb
    alpha = None if content.alpha is None else images.resize(content.alpha, size)
    return Inputs(Picture(images.resize(content.rgb, size), alpha), found["style"], init, digests)


def encoder(config: Config, download: Callable[[int, int], None] | None = None) -> Any:
    """Return the `encoder.Encoder` that a config names; ``download`` is called while weights are fetched."""
    from nst_jax.encoder import load_encoder

    network = config.network
    expected = CONVENTIONS[config.loss.convention].normalised
    return load_encoder(
        config.weights,
        normalised=expected if network.normalised is None else network.normalised,
        pool=network.pool,
        padding=network.padding,
        progress=download,
    )


def options(config: Config) -> dict[str, Any]:
    """Return what `transfer.stylize` and `tasks.prepare` are told besides pictures and network."""
    return {
        "seed": config.seed,
        "evaluations": config.solver.evaluations,
        "convention": config.loss.convention,
        "content_weight": config.content.weight,
        "style_weight": config.style.weight,
        "total_variation": config.loss.total_variation,
        "content_layers": config.content.layers,
        "style_layers": config.style.layers,
        "pool": config.network.pool,
        "padding": config.network.padding,
        "method": config.solver.kind,
        "linesearch": config.solver.linesearch,
        "history": config.solver.history,
        "learning_rate": config.solver.learning_rate,
    }
