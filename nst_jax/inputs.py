"""What a config names, at hand: its pictures at their size, its network, and the options of a run."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_jax import images, maps, samples
from nst_jax.config import INIT_SOURCES, LONGEST, Config
from nst_jax.errors import ConfigError
from nst_jax.images import Picture


@dataclass(frozen=True)
class Inputs:
    """The pictures of a run, the content at the size of the result, and the digest of each."""

    content: Picture
    """Without a content image, a grey one of the doodle's size."""
    style: Picture
    init: Any
    digests: dict[str, str]
    maps: dict[str, Any]
    """``content_map`` and ``style_map``, if there are any."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


def read_picture(name: str, max_pixels: int) -> tuple[Picture, str]:
    """Return a picture, of a file or ``sample:NAME``, and the SHA-256 of its pixels."""
    if name.startswith("sample:"):
        picture = Picture(samples.load(name.removeprefix("sample:")))
    else:
        picture = images.read(name, max_pixels=max_pixels)
    return picture, _digest(picture.rgb)


def names_of(config: Config) -> dict[str, str]:
    """Return the pictures that a config names: content, style, their maps, and the first image if a file.

    Raises:
        ConfigError: no content or style is given, or a map without the other.
    """
    doodle = config.style.kind != "gram" and is_doodle(config)
    for name, given in (("content", config.content.image), ("style", config.style.image)):
        if given is None and not (name == "content" and doodle):
            more = (
                ", or --content-map FILE for a doodle"
                if (config.style.kind, name) == ("patch", "content")
                else ""
            )
            raise ConfigError(f"{name}.image: no {name} image given: use --{name} FILE, or sample:NAME{more}")
    if doodle and config.content.weight:
        raise ConfigError(
            "content.weight: there is no content image to compare with; leave it out, or give one"
        )
    names = {} if doodle else {"content": str(config.content.image)}
    names |= {"style": str(config.style.image)} | _maps_of(config)
    if isinstance(config.init, str) and config.init not in INIT_SOURCES:
        names["init"] = config.init
    return names


def read_inputs(config: Config) -> Inputs:
    """Read the pictures that a config names.

    Raises:
        NstError: a picture that is not given, or cannot be read.
    """
    names = names_of(config)
    drawn, digests, notes = read_maps(config, names)
    found = {
        name: read_picture(file, config.max_pixels)
        for name, file in names.items()
        if not name.endswith("_map")
    }
    digests = {name: digest for name, (_, digest) in found.items()} | digests
    init: Any = found["init"][0].rgb if "init" in found else init_of(config)
    if "content" in found:
        content = sized(found["content"][0], config.size or LONGEST)
    else:
        content = Picture(doodled(drawn["content_map"], config.size))
    for name, image in (("content", content), ("style", found["style"][0])):
        if f"{name}_map" in drawn:
            maps.check_shape(drawn[f"{name}_map"], image.rgb.shape[:2], name)
    return Inputs(content, found["style"][0], init, digests, drawn, notes)


def is_doodle(config: Config) -> bool:
    """Tell whether there is a map of the content, but no content."""
    return config.content.image is None and config.content.map is not None


def init_of(config: Config) -> Any:
    """Return the first image by name or shares; what would begin with the content of a doodle, with noise."""
    return "noise" if is_doodle(config) and config.init == "content" else config.init


def read_maps(
    config: Config, names: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...]]:
    """Return both semantic maps as they are compared, the digest of each file, and what should be said."""
    read = {
        name: samples.load(file.removeprefix("sample:"))
        if file.startswith("sample:")
        else images.read_map(file, max_pixels=config.max_pixels)
        for name, file in names.items()
        if name.endswith("_map")
    }
    if not read:
        plain = (
            "no semantic maps: plain patch-based style transfer; --content-map and --style-map would guide it"
        )
        return {}, {}, (plain,) if config.style.kind == "patch" else ()
    kind = "colours" if config.style.kind == "guided_gram" else config.semantic.map
    *both, notes = maps.encoded(read["content_map"], read["style_map"], kind=kind)
    digests = {name: _digest(array) for name, array in read.items()}
    return dict(zip(("content_map", "style_map"), both, strict=True)), digests, tuple(notes)


def doodled(content_map: NDArray[np.float32], size: int | None) -> NDArray[np.float32]:
    """Return the grey picture that stands for the content of a doodle, of the size that is wanted."""
    height, width = content_map.shape[:2]
    scale = 1.0 if size is None else size / max(height, width)
    return images.canvas(max(1, round(height * scale)), max(1, round(width * scale)))


def _maps_of(config: Config) -> dict[str, str]:
    """Return the names of both maps, given or found beside the images; nothing if only one was found."""
    if config.style.kind == "gram":
        for name, given in (("content", config.content.map), ("style", config.style.map)):
            if given not in (None, "none"):
                raise ConfigError(
                    f"{name}.map: maps guide style.kind patch and guided_gram, and style.kind is gram: "
                    "use --config semantic, or doodle"
                )
        return {}
    found = {
        "content": _beside(config.content.image, config.content.map),
        "style": _beside(config.style.image, config.style.map),
    }
    for name, other in (("content", "style"), ("style", "content")):
        given = getattr(config, name).map
        if given not in (None, "none") and found[other] is None:
            raise ConfigError(f"{other}.map: there is a map of the {name} but none of the {other}: give both")
    if None in found.values():
        if config.style.kind == "guided_gram":
            raise ConfigError("style.kind: guided_gram needs maps: give --content-map and --style-map")
        return {}
    return {f"{name}_map": str(file) for name, file in found.items()}


def _beside(image: str | None, given: str | None) -> str | None:
    """Return the map of an image: the one given, or what is called like the image with ``_sem``."""
    if given is not None or image is None:
        return None if given == "none" else given
    if image.startswith("sample:"):
        return f"{image}_sem" if f"{image.removeprefix('sample:')}_sem" in samples.CREDITS else None
    map_ = Path(image).with_name(f"{Path(image).stem}_sem.png")
    return str(map_) if map_.is_file() else None


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def sized(picture: Picture, size: int) -> Picture:
    """Return a picture whose longer side is at most ``size`` pixels."""
    height, width, _ = picture.rgb.shape
    shape = images.fit(height, width, size)
    alpha = None if picture.alpha is None else images.resize(picture.alpha, shape)
    return Picture(images.resize(picture.rgb, shape), alpha)


def encoder(
    config: Config,
    download: Callable[[int, int], None] | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
    notes: Iterable[str] = (),
) -> Any:
    """Return the `encoder.Encoder` that a config names, and say what the user should know.

    Args:
        config: the settings.
        download: called while weights are fetched.
        say: told the encoder's note, and then others.
        notes: the others.
    """
    from nst_jax.encoder import encoder_for

    network = config.network.model_dump(exclude={"engine"})
    convention = config.loss.convention
    found = encoder_for(config.weights, convention=convention, progress=download, **network)
    for note in filter(None, (found.note, *notes)):
        say(note)
    return found


def options(config: Config) -> dict[str, Any]:
    """Return what `transfer.stylize` and `tasks.prepare` are told besides pictures and network."""
    doodle = is_doodle(config)
    turns = [
        (turn, scale) for turn in (0.0, *config.patch.rotations) for scale in (1.0, *config.patch.scales)
    ]
    return {
        "seed": config.seed,
        "evaluations": config.solver.evaluations,
        "convention": config.loss.convention,
        "content_weight": 0.0 if doodle else config.content.weight,
        "style_weight": config.style.weight,
        "total_variation": config.loss.total_variation,
        "content_layers": () if doodle else config.content.layers,
        "style_layers": config.style.layers,
        "style_kind": config.style.kind,
        "semantic_weight": config.semantic.weight,
        "patch_size": config.patch.size,
        "patch_memory": config.patch.memory,
        "patch_variety": config.patch.variety,
        "patch_rematch": config.patch.rematch,
        "patch_copies": tuple(turns[1:]),
        "levels": config.pyramid.levels,
        "level_factor": config.pyramid.factor,
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
