"""What a config names, at hand: its pictures at their size, its network, and the options of a run."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nst_jax import images, samples
from nst_jax.config import INIT_SOURCES, Config
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


def names_of(config: Config) -> dict[str, str]:
    """Return the pictures that a config names: content, style, and the first image if it is a file.

    Raises:
        ConfigError: no content or style is given.
    """
    for name, given in (("content", config.content.image), ("style", config.style.image)):
        if given is None:
            raise ConfigError(f"{name}.image: no {name} image given: use --{name} FILE, or sample:NAME")
    names = {"content": str(config.content.image), "style": str(config.style.image)}
    if isinstance(config.init, str) and config.init not in INIT_SOURCES:
        names["init"] = config.init
    return names


def read_inputs(config: Config) -> Inputs:
    """Read the pictures that a config names.

    Raises:
        NstError: a picture that is not given, or cannot be read.
    """
    found = {name: read_picture(file, config.max_pixels) for name, file in names_of(config).items()}
    digests = {name: digest for name, (_, digest) in found.items()}
    init: Any = found["init"][0].rgb if "init" in found else config.init
    return Inputs(sized(found["content"][0], config.size), found["style"][0], init, digests)


def sized(picture: Picture, size: int) -> Picture:
    """Return a picture whose longer side is at most ``size`` pixels."""
    height, width, _ = picture.rgb.shape
    shape = images.fit(height, width, size)
    alpha = None if picture.alpha is None else images.resize(picture.alpha, shape)
    return Picture(images.resize(picture.rgb, shape), alpha)


def encoder(config: Config, download: Callable[[int, int], None] | None = None) -> Any:
    """Return the `encoder.Encoder` that a config names; ``download`` is called while weights are fetched."""
    from nst_jax.encoder import encoder_for

    network = config.network.model_dump(exclude={"engine"})
    return encoder_for(config.weights, convention=config.loss.convention, progress=download, **network)


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
        "engine": config.network.engine,
        "precision": config.precision,
        "memory": config.memory,
        "memory_limit": config.memory_limit,
        "method": config.solver.kind,
        "linesearch": config.solver.linesearch,
        "history": config.solver.history,
        "learning_rate": config.solver.learning_rate,
    }
