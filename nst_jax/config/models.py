"""The settings: the only place of their defaults, limits and meaning."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nst_jax.config.values import check_axes
from nst_jax.errors import ConfigError
from nst_jax.losses.conventions import ConventionName
from nst_jax.networks.layers import canonical_layers

INIT_SOURCES = ("content", "style", "noise")

LONGEST = 512
"""The bound of a picture's longer side unless told otherwise."""

StyleKind = Literal["gram", "patch", "guided_gram"]
"""What of the style is matched: Gram matrices, patches, or Gram matrices region by region."""

_EACH_BLOCK = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
STYLE_LAYERS: dict[StyleKind, tuple[str, ...]] = {
    "gram": _EACH_BLOCK,
    "patch": ("conv3_1", "conv4_1"),
    "guided_gram": _EACH_BLOCK,
}
"""Layers of the style unless told otherwise: Gatys et al. (2016) and Champandard (2016)."""


def _check_layers(value: Any) -> Any:
    if isinstance(value, Mapping):
        bad = [w for w in value.values() if not _is_number(w) or w < 0]
        if bad:
            raise ValueError(f"a layer's weight should be a number of at least 0, got {bad[0]!r}")
        return dict(zip(_canonical(map(str, value)), map(float, value.values()), strict=True))
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"should be a list of layers, or layers with weights, such as {{conv4_2: 1.0}}, got {value!r}"
        )
    return _canonical(value)


def _canonical(names: Iterable[str]) -> tuple[str, ...]:
    try:
        layers = canonical_layers(names)
    except ConfigError as error:  # pydantic gathers ValueErrors
        raise ValueError(str(error)) from None
    if len(set(layers)) < len(layers):
        raise ValueError(f"names a layer twice: {', '.join(layers)}")
    return layers


def _check_init(value: Any) -> Any:
    if isinstance(value, Mapping):
        total = 0.0
        for name, share in value.items():
            if name not in INIT_SOURCES:
                raise ValueError(f"a blend is of {', '.join(INIT_SOURCES)}, got '{name}'")
            if not _is_number(share) or share < 0:
                raise ValueError(f"the share of '{name}' should be a number of at least 0, got {share!r}")
            total += share
        if total <= 0:
            raise ValueError("shares of a blend should add up to more than 0")
        return {str(name): share / total for name, share in value.items()}
    if not isinstance(value, str) or not value:
        raise ValueError(f"should be content, style, noise, a file or a blend of these, got {value!r}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


Layers = Annotated[tuple[str, ...] | dict[str, float], BeforeValidator(_check_layers)]
Init = Annotated[str | dict[str, float], BeforeValidator(_check_init)]
Weight = Annotated[float | None, Field(ge=0, allow_inf_nan=False)]
AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
Angles = Annotated[tuple[Annotated[float, Field(ge=-180, le=180)], ...], AsTuple]
Scales = Annotated[tuple[Annotated[float, Field(ge=0.1, le=10)], ...], AsTuple]
SemanticMap = Annotated[str | None, Field(min_length=1)]


def _check_size(value: Any) -> Any:
    written = re.fullmatch(r"\s*([0-9]+)\s*[xX×]\s*([0-9]+)\s*", value) if isinstance(value, str) else None
    if written:
        value = (int(written[1]), int(written[2]))
    sides = tuple(value) if isinstance(value, list | tuple) and len(value) == 2 else (value,)
    if value is not None and not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sides):
        raise ValueError(
            f"should be a number of pixels, or for a texture WIDTHxHEIGHT, such as 640x480, got {value!r}"
        )
    return sides if len(sides) == 2 else value


def _check_crop(value: Any) -> Any:
    if value is None:
        return None
    box = tuple(value) if isinstance(value, list | tuple) else ()
    if len(box) != 4 or not all(map(_is_number, box)) or not _is_box(*box):
        raise ValueError(
            "should be [left, top, right, bottom] as shares from 0 to 1, such as [0, 0.5, 1, 1] for the "
            f"lower half, got {value!r}"
        )
    return tuple(map(float, box))


def _is_box(left: float, top: float, right: float, bottom: float) -> bool:
    return 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def _check_bytes(value: Any) -> Any:
    if value is None or (_is_number(value) and value > 0):
        return value and int(value)
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kKMGT]?i?)B?\s*", value) if isinstance(value, str) else None
    try:
        number = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    except (ValueError, OverflowError):
        number = 0
    if number <= 0:
        raise ValueError(f"should be a number of bytes, such as 800MB or 4GiB, got {value!r}")
    return number


_UNITS = {"": 1} | {
    prefix + i: (1024 if i else 1000) ** power for power, prefix in enumerate("KMGT", 1) for i in ("", "I")
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)


SHORT = {"content": "image", "style": "image", "output": "image", "solver": "kind"}
"""Sections that may be written as one text, and which setting that is."""


class ImageSection(_Section):
    """A section that may be written as the name of its picture alone."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            raise ValueError("is one picture; for several see nst-jax sweep --help")
        return {"image": value} if isinstance(value, str) else value


class Content(ImageSection):
    """The photograph."""

    image: str | None = Field(
        None,
        description="a file, or sample:NAME (nst-jax samples lists them); null with weight 0: a texture",
    )
    weight: Weight = Field(None, description="alpha of equation 7; null: the convention's own")
    layers: Layers = Field(("conv4_2",), description="a list, or layers with weights: {conv4_2: 1.0}")
    map: SemanticMap = Field(
        None,
        description="what is where, for style.kind patch and guided_gram: a file or sample:NAME; null: "
        "NAME_sem.png beside the image, if there is one; none: no map. A map without an image is a doodle",
    )


class Style(ImageSection):
    """The painting."""

    image: str | None = Field(
        None, description="a file, or sample:NAME; null with weight 0: a reconstruction of the content"
    )
    kind: StyleKind = Field(
        "gram",
        description="gram (Gatys et al.), patch (Li & Wand; with maps Champandard), or guided_gram: a Gram "
        "matrix for each colour of the maps",
    )
    weight: Weight = Field(None, description="beta of equation 7; null: the convention's own")
    layers: Layers = Field(
        STYLE_LAYERS["gram"],
        description="a list, or layers with weights w_l (equation 5); unless given, conv3_1 and conv4_1 for "
        "patches, the first of each block for Gram matrices",
    )
    map: SemanticMap = Field(None, description="as content.map, with as many channels")
    crop: Annotated[tuple[float, float, float, float] | None, BeforeValidator(_check_crop)] = Field(
        None, description="the part to look at: [left, top, right, bottom] as shares from 0 to 1; null: all"
    )
    scale: float = Field(1.0, gt=0, le=16, description="size of the style image relative to what fit says")
    fit: Literal["content", "aspect", "own"] | None = Field(
        None,
        description="content: resize the style to the content's height and width, as in the paper; "
        "aspect: to the content's area with the style's own aspect ratio; own: its own size, at most 512; "
        "null: content, or own for a texture",
    )

    @model_validator(mode="before")
    @classmethod
    def _layers_of_kind(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("kind") in STYLE_LAYERS and value.get("layers") is None:
            return {**value, "layers": STYLE_LAYERS[value["kind"]]}
        return value


class Semantic(_Section):
    """How maps guide."""

    weight: float = Field(
        50.0,
        ge=0,
        allow_inf_nan=False,
        description="gamma: at 50, maps count as much as features in the choice of patches; 0: not at all",
    )
    map: Literal["channels", "colours"] = Field(
        "channels",
        description="channels: colours are compared as they are, so that shades are alike; colours: each "
        "colour is a label of its own (guided_gram always does so)",
    )


class Patch(_Section):
    """Of style.kind patch."""

    size: int = Field(3, ge=1, le=9, description="positions of a patch in each direction")
    memory: Annotated[int, BeforeValidator(_check_bytes)] = Field(
        2**26, description="for the scores of patches compared at a time, such as 64MiB"
    )
    variety: float = Field(
        0.0,
        ge=0,
        le=1,
        description="how much patches that have been chosen often are avoided: 0.1 is a little",
    )
    rematch: int = Field(1, ge=1, description="evaluations with the same matches; more is faster")
    rotations: Angles = Field((), description="further copies of the style, turned by degrees")
    scales: Scales = Field((), description="and scaled, such as [0.9, 1.1]")


class Pyramid(_Section):
    """From coarse to fine: the picture at growing sizes."""

    levels: Annotated[int, Field(ge=1, le=8)] | None = Field(
        None,
        description="how many sizes, each with solver.evaluations; null: up to 3 for patches, else 1",
    )
    factor: float = Field(2.0, gt=1, le=4, description="from one size to the next")


class Loss(_Section):
    """How differences become one number."""

    convention: ConventionName = Field(
        "gatys2016",
        description="whose formula the weights are meant for: gatys2016, literal, notebook, johnson, "
        "champandard2016",
    )
    total_variation: Weight = Field(
        None, description="weight of the smoothness term; null: the convention's own"
    )


class Network(_Section):
    """VGG-19."""

    pool: Literal["avg", "max"] = Field("avg", description="avg as in the paper, or max")
    padding: Literal["zero", "replicate"] = Field("zero", description="beyond the border: zero, or replicate")
    normalised: bool | None = Field(
        None,
        description="scale every filter to mean activation one, as in the paper (section 2); "
        "null: as the convention expects (gatys2016 and literal)",
    )
    engine: Literal["auto", "direct", "winograd"] = Field(
        "auto",
        description="how convolutions are computed: direct (by XLA), winograd (less arithmetic), "
        "or auto: what is faster here",
    )


class Solver(_Section):
    """How the image is optimised."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {SHORT["solver"]: value} if isinstance(value, str) else value

    kind: Literal["lbfgs", "adam", "lbfgsb"] = Field(
        "lbfgs",
        description="lbfgs (jaxopt), adam (optax), or lbfgsb: the papers' SciPy L-BFGS-B, the picture "
        "bounded by the range of content and style; for single runs",
    )
    evaluations: int = Field(300, ge=1, description="how often the loss and its gradient are computed")
    linesearch: Literal["none", "zoom"] = Field("none", description="of lbfgs: none is one evaluation a step")
    history: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="pairs that L-BFGS remembers; null: as many of 100 as fit in 512 MiB, at least 20; "
        "20 of lbfgsb",
    )
    learning_rate: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="of Adam, in grey levels (0 to 255)"
    )


class Output(ImageSection):
    """What is written. Beside out.png, the folder out.run holds config, metrics and loss plot too."""

    image: str = Field("out.png", description="the picture: .png, .jpg, .webp or .tif")
    bits: Literal[8, 16] = Field(8, description="per channel; 16 for .png and .tif")
    quality: int = Field(95, ge=1, le=100, description="of .jpg and .webp")
    save_every: int = Field(
        0, ge=0, description="also keep a picture every so many evaluations, and a strip of them; 0: none"
    )


class Sweep(_Section):
    """A grid of settings, for nst-jax sweep."""

    axes: Annotated[tuple[dict[str, Any], ...], BeforeValidator(check_axes)] = Field(
        (),
        description="[{style.weight: [1e2, 1e3]}, {seed: {linspace: [0, 3, 4]}}]: settings with values, also "
        "{logspace: [1e-4, 1e-1, 4]}; axes are crossed, settings within one are zipped; "
        "title and labels name them",
    )
    folder: str = Field("sweep", min_length=1, description="where pictures, sheet.png and index.html go")
    max_cells: int = Field(400, ge=1, description="larger grids are refused")
    max_parallel: Annotated[int, Field(ge=1)] | None = Field(
        None, description="cells at once; null: what fits in memory"
    )
    lanes: Literal["auto", "vmap", "threads"] = Field(
        "auto",
        description="cells at once as one batch (vmap) or one by one on each thread; auto: threads on a CPU; "
        "line searches are never batched",
    )


class Config(_Section):
    """One run, or with a sweep, many."""

    content: Content = Content()
    style: Style = Style()
    init: Init = Field(
        "content",
        description="first image: content, style, noise, a file, or a blend {content: 0.7, noise: 0.3}",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of the noise")
    size: Annotated[int | tuple[int, int] | None, BeforeValidator(_check_size)] = Field(
        None,
        description="bound of the longer side, in pixels; smaller images stay as they are, a doodle or "
        "texture is enlarged to it, and may be WIDTHxHEIGHT; null: 512, or a doodle's own size",
    )
    max_pixels: int = Field(200_000_000, ge=1, description="larger input images are refused")
    images: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="folder of the papers' pictures, which configs name as work:NAME; samples stand in for "
        "those that are not there; null: $NST_JAX_IMAGES",
    )
    weights: str = Field(
        "auto",
        min_length=1,
        description="auto: $NST_JAX_WEIGHTS, the cache, a download, else the built-in encoder; "
        "vgg19: the same without the built-in encoder; dictionary: the built-in encoder; or a file",
    )
    memory: Literal["auto", "fast", "low"] = Field(
        "auto",
        description="fast keeps all features for the gradient, low computes them again; "
        "auto: low as far as it costs little, and where memory needs it",
    )
    memory_limit: Annotated[int | None, BeforeValidator(_check_bytes)] = Field(
        None, description="such as 4GiB; null: what is free"
    )
    precision: Literal["auto", "f32", "tf32", "bf16"] = Field(
        "auto",
        description="of features, on a GPU or TPU; Gram matrices, image and solver are always float32; "
        "auto: what XLA thinks best",
    )
    semantic: Semantic = Semantic()
    patch: Patch = Patch()
    pyramid: Pyramid = Pyramid()
    network: Network = Network()
    loss: Loss = Loss()
    solver: Solver = Solver()
    output: Output = Output()
    sweep: Sweep = Sweep()

    @property
    def longest(self) -> int:
        """The bound of the longer side."""
        return max(self.size) if isinstance(self.size, tuple) else self.size or LONGEST

    def written_size(self, times: int = 1) -> str:
        """Return the size, or a multiple of it, as it is written: 512, or 640x480."""
        sides = self.size if isinstance(self.size, tuple) else (self.longest,)
        return "x".join(str(times * side) for side in sides)
