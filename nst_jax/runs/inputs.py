"""What a config names, at hand: its pictures at their size, its network, and the options of a run."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_jax import images, samples
from nst_jax.config import INIT_SOURCES, Config, Content, Style
from nst_jax.errors import ConfigError
from nst_jax.images import Picture, maps
from nst_jax.samples import works
from nst_jax.transfer import lacking


@dataclass(frozen=True)
class Inputs:
    """The pictures of a run, the content at the size of the result, and the digest of each."""

    content: Picture
    """Without a content image, a grey one of the size of the doodle or texture."""
    style: Picture
    """Without a style image, the content."""
    init: Any
    digests: dict[str, str]
    maps: dict[str, Any]
    """``content_map`` and ``style_map``, if there are any."""
    notes: tuple[str, ...] = ()
    """What the user should know."""


def read_picture(name: str, max_pixels: int) -> tuple[Picture, str]:
    """Return a picture, of a file, ``sample:NAME`` or ``work:NAME``, and the SHA-256 of its pixels."""
    sample = sample_of(name)
    picture = Picture(samples.load(sample)) if sample else images.read(name, max_pixels=max_pixels)
    return picture, _digest(picture.rgb)


def sample_of(name: str) -> str | None:
    """Return the sample that a picture's name stands for, if any: its own, or that of an absent work."""
    if name.startswith(works.PREFIX):
        return works.named(name).stand_in
    return name.removeprefix("sample:") if name.startswith("sample:") else None


def stand_ins(names: dict[str, str]) -> tuple[str, ...]:
    """Return what should be said of samples that stand in for works."""
    return tuple(works.note(name) for name in names.values() if name.startswith(works.PREFIX))


def names_of(config: Config) -> dict[str, str]:
    """Return the pictures that a config names: content, style, their maps, and the first image if a file.

    Raises:
        ConfigError: no content or style is given though it has a weight, or a map without the other.
    """
    doodle = config.style.kind != "gram" and is_doodle(config)
    sections: dict[str, Content | Style] = {"content": config.content, "style": config.style}
    for name, section in sections.items():
        if section.image is None and not (section.weight == 0 or (name == "content" and doodle)):
            instead = {"content": "a texture", "style": "a reconstruction of the content"}[name]
            more = f", or --{name}-weight 0 for {instead}"
            if (config.style.kind, name) == ("patch", "content"):
                more += ", or --content-map FILE for a doodle"
            raise ConfigError(f"{name}.image: no {name} image given: use --{name} FILE, or sample:NAME{more}")
    if doodle and config.content.weight:
        raise ConfigError(
            "content.weight: there is no content image to compare with; leave it out, or give one"
        )
    names = {name: section.image for name, section in sections.items() if section.image is not None}
    if not names:
        raise ConfigError("content.image, style.image: there is neither: use --content FILE or --style FILE")
    if "content" in names and isinstance(config.size, tuple):
        width, height = config.size
        raise ConfigError(
            f"size: {width}x{height} is for a picture without content; with one, give the bound of the "
            "longer side"
        )
    names |= _maps_of(config)
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
    init: Any = found["init"][0].rgb if "init" in found else first_of(config)
    style = cropped(found["style"][0], config) if "style" in found else None
    content = content_of(
        config,
        found["content"][0] if "content" in found else None,
        drawn.get("content_map"),
        None if style is None else style.rgb,
    )
    style = content if style is None else style
    for name, image in (("content", content), ("style", style)):
        if f"{name}_map" in drawn:
            maps.check_shape(drawn[f"{name}_map"], image.rgb.shape[:2], name)
    return Inputs(content, style, init, digests, drawn, (*stand_ins(names), *notes))


def is_doodle(config: Config) -> bool:
    """Tell whether there is a map of the content, but no content."""
    return config.content.image is None and config.content.map not in (None, "none")


def is_texture(config: Config) -> bool:
    """Tell whether there is neither a content nor a map of it."""
    return config.content.image is None and not is_doodle(config)


def changes(config: Config) -> dict[str, Any]:
    """Return what follows for the options of a run from the pictures that it lacks, see `lacking.changes`."""
    there = {"content": config.content.image is not None, "style": config.style.image is not None}
    return lacking.changes(**there, init=config.init)


def first_of(config: Config) -> Any:
    """Return the first image by name or shares."""
    return changes(config).get("init", config.init)


def fit_of(config: Config) -> str:
    """Return how the style is sized, see `tasks.style_size`."""
    return lacking.fit_of(config.style.fit, texture=is_texture(config))


def content_of(
    config: Config,
    picture: Picture | None,
    content_map: NDArray[np.float32] | None,
    style: NDArray[np.float32] | None,
) -> Picture:
    """Return the content at the size of the result, or what stands for it in a doodle or texture."""
    if picture is not None:
        return sized(picture, config.longest)
    if isinstance(config.size, tuple):
        return Picture(images.canvas(config.size[1], config.size[0]))
    if content_map is not None:
        return Picture(doodled(content_map, config.size))
    assert style is not None
    height, width = style.shape[:2]
    return Picture(images.canvas(*lacking.texture_size((height, width), config.size)))


def cropped(style: Picture, config: Config) -> Picture:
    """Return the part of a style that is looked at."""
    return Picture(images.crop(style.rgb, config.style.crop))


def read_maps(
    config: Config, names: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...]]:
    """Return both semantic maps as they are compared, the digest of each file, and what should be said."""
    read = {
        name: samples.load(sample)
        if (sample := sample_of(file))
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
    both[1] = images.crop(both[1], config.style.crop)
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
    for prefix, known in (("sample:", samples.CREDITS), (works.PREFIX, works.WORKS)):
        if image.startswith(prefix):
            return f"{image}_sem" if f"{image.removeprefix(prefix)}_sem" in known else None
    map_ = Path(image).with_name(f"{Path(image).stem}_sem.png")
    return str(map_) if map_.is_file() else None


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def sized(picture: Picture, size: int) -> Picture:
    """Return a picture whose longer side is at most ``size`` pixels."""
    alpha = None if picture.alpha is None else images.bounded(picture.alpha, size)
    return Picture(images.bounded(picture.rgb, size), alpha)


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
    from nst_jax.pretrained.network import encoder_for

    network = config.network.model_dump(exclude={"engine"})
    convention = config.loss.convention
    found = encoder_for(config.weights, convention=convention, progress=download, **network)
    for note in filter(None, (found.note, *notes)):
        say(note)
    return found


def options(config: Config) -> dict[str, Any]:
    """Return what `transfer.stylize` and `tasks.prepare` are told besides pictures and network."""
    turns = [
        (turn, scale) for turn in (0.0, *config.patch.rotations) for scale in (1.0, *config.patch.scales)
    ]
    return {
        "seed": config.seed,
        "evaluations": config.solver.evaluations,
        "convention": config.loss.convention,
        "content_weight": config.content.weight,
        "style_weight": config.style.weight,
        "total_variation": config.loss.total_variation,
        "content_layers": config.content.layers,
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
    } | {name: value for name, value in changes(config).items() if name != "init"}
