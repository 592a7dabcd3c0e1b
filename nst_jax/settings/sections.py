"""The settings: name, default, check, meaning. Where the default is None, None (``null``) is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import ClassVar, Literal, Self

from nst_jax.errors import SettingError
from nst_jax.settings.checks import (
    WEIGHT,
    Choice,
    Layers,
    Number,
    box,
    choice,
    first_image,
    layers,
    nbytes,
    numbers,
    pixels,
    shares,
    term_named,
    terms_of,
    text,
    texts,
    whole,
)
from nst_jax.settings.outputs import Film, Output, Sweep
from nst_jax.settings.section import Problem, Section, changed, setting
from nst_jax.typing import Json

ContentKind = Literal["features", "self_similarity"]
ConventionName = Literal["gatys2016", "literal", "notebook", "johnson", "champandard2016"]
Colour = Literal["style", "content", "matched"]
Memory = Literal["auto", "fast", "low"]
Precision = Literal["auto", "f32", "tf32", "bf16"]

STYLE_KINDS = {
    "gram": "nst_jax.losses.gram:Gram",
    "moments": "nst_jax.losses.moments:Moments",
    "w2": "nst_jax.losses.wasserstein:Wasserstein",
    "sliced": "nst_jax.losses.sliced:Sliced",
    "histogram": "nst_jax.losses.histogram:Histogram",
    "strotss": "nst_jax.losses.strotss:RelaxedTransport",
    "nnst": "nst_jax.losses.neighbours:Neighbours",
    "patch": "nst_jax.losses.patches:Patches",
    "guided_gram": "nst_jax.losses.guided:GuidedGram",
}
"""The style terms that have a name, and where they are: a new one is registered by a line here."""

GUIDED_KINDS = ("nnst", "patch", "guided_gram")
"""Those of them that semantic maps guide."""

SOLVERS = {
    "lbfgs": "nst_jax.solvers.lbfgs:method",
    "adam": "nst_jax.solvers.adam:method",
    "lbfgsb": "nst_jax.solvers.scipy_lbfgsb:method",
}
"""The solvers, likewise."""


LONGEST = 512
"""The bound of a picture's longer side unless told otherwise."""

GAMMA = 50.0
"""The semantic weight at which maps count as much as features (Champandard 2016)."""


@dataclass(frozen=True)
class Content(Section):
    """The photograph."""

    SHORT: ClassVar[str] = "image"
    image: str | None = setting(
        None,
        text,
        "the photograph: a file, or sample:NAME (nst-jax samples lists them); null with weight 0: a texture",
        flag="content",
    )
    weight: float | None = setting(
        None, WEIGHT, "alpha of equation 7; null: the convention's own", flag="content-weight"
    )
    kind: ContentKind = setting(
        "features",
        choice(ContentKind),
        "features (Gatys et al.), or self_similarity: how parts are like one another (Kolkin et al.)",
    )
    layers: Layers = setting(("conv4_2",), layers, "a list, or layers with weights: {conv4_2: 1.0}")
    map: str | None = setting(
        None,
        text,
        "what is where in the picture, for style.kind patch and guided_gram: a file or sample:NAME; null: "
        "NAME_sem.png beside the image, if there is one; none: no map. A map without an image is a doodle",
        flag="content-map",
    )
    keep: str | None = setting(
        None,
        text,
        "a mask of what stays as photographed: white is left alone, grey is a blend; null: nothing",
        flag="keep-mask",
    )


@dataclass(frozen=True)
class Style(Section):
    """The painting."""

    SHORT: ClassVar[str] = "image"
    SHORT_TYPES: ClassVar[tuple[type, ...]] = (str, list)
    image: str | tuple[str, ...] | None = setting(
        None,
        texts,
        "the painting: a file, or sample:NAME, or a list of several that are mixed; null with weight 0: a "
        "reconstruction of the content",
        flag="style",
    )
    shares: tuple[float, ...] = setting(
        (), shares, "of several paintings, such as [2, 1]; empty: equal ones", flag="style-shares"
    )
    kind: Json = setting(
        "gram",
        term_named(STYLE_KINDS),
        "gram (Gatys et al.), moments: with means and deviations besides, histogram: with those besides, w2: "
        "means and covariances as distributions, sliced: whole distributions, strotss: relaxed transport of "
        "hypercolumns, nnst: features copied from the style, patch (Li & Wand; with maps Champandard), or "
        "guided_gram: a Gram matrix for each colour of the maps",
    )
    terms: tuple[dict[str, Json], ...] = setting(
        (),
        terms_of(STYLE_KINDS),
        "several kinds as one sum, with their weights in it: [{kind: gram, weight: 1}, {kind: sliced, "
        "weight: 0.1}]; empty: the one of style.kind",
    )
    weight: float | None = setting(
        None, WEIGHT, "beta of equation 7; null: the convention's own", flag="style-weight"
    )
    strength: float | None = setting(
        None,
        Number(least=0, most=1),
        "in place of content.weight: 0 leaves the photograph nearly as it is, 1 hardly any of it, 0.5 is the "
        "default; equal steps change it about equally, with every kind; null: content.weight",
        flag="strength",
    )
    layers: Layers | None = setting(
        None,
        layers,
        "a list, or layers with weights w_l (equation 5); null: conv3_1 and conv4_1 for patches, otherwise "
        "the first of each block, with loss.convention gatys2016 each for 1.7 times less than the one before",
    )
    map: str | None = setting(None, text, "the map of the painting, as content.map", flag="style-map")
    strength_map: str | None = setting(
        None,
        text,
        "a grey picture of how much the style's weight counts at each place of the photograph: white all of "
        "it, black nothing; null: everywhere alike",
        flag="strength-map",
    )
    regions: str | None = setting(
        None,
        text,
        "a map of the photograph whose colours each have a style of their own, from the darkest to the "
        "lightest; null: all styles everywhere",
        flag="regions",
    )
    crop: tuple[float, float, float, float] | None = setting(
        None, box, "the part to look at: [left, top, right, bottom] as shares from 0 to 1; null: all of it"
    )
    scale: float = setting(1.0, Number(above=0, most=16), "size of the style image relative to what fit says")
    scale_with: Literal["picture", "preview"] = setting(
        "picture",
        Choice(("picture", "preview")),
        "what the painting's size goes with: the picture's, so that a large one looks, reduced, like a small "
        "one; or that of a preview of 512 pixels: strokes stay as wide, in pixels, as there",
    )
    fit: str | None = setting(
        None,
        Choice(("content", "aspect", "own")),
        "content: resize the style to the content's height and width, as in the paper; aspect: to the "
        "content's area with the style's own aspect ratio; own: its own size, at most 512; null: content, "
        "or own for a texture",
    )


@dataclass(frozen=True)
class Semantic(Section):
    """How maps guide."""

    weight: float = setting(
        GAMMA,
        Number(least=0, most=1e6),
        "gamma: at 50, maps count as much as features in the choice of patches; 0: not at all",
    )
    map: Literal["channels", "colours"] = setting(
        "channels",
        Choice(("channels", "colours")),
        "channels: colours are compared as they are, so that shades are alike; colours: each colour is a "
        "label of its own (guided_gram always does so)",
    )


@dataclass(frozen=True)
class Patch(Section):
    """Of style.kind patch."""

    size: int = setting(3, whole(1, 9), "positions of a patch in each direction")
    memory: int = setting(2**26, nbytes, "for the scores of patches compared at a time, such as 64MiB")
    variety: float = setting(
        0.0,
        Number(least=0, most=1),
        "how much patches that have been chosen often are avoided: 0.1 is a little",
    )
    rematch: int = setting(1, whole(1), "evaluations with the same matches; more is faster")
    rotations: tuple[float, ...] = setting(
        (), numbers(Number(least=-180, most=180)), "further copies of the style, turned by degrees"
    )
    scales: tuple[float, ...] = setting(
        (), numbers(Number(least=0.1, most=10)), "and scaled, such as [0.9, 1.1]"
    )


@dataclass(frozen=True)
class Pyramid(Section):
    """From coarse to fine: the picture at growing sizes."""

    levels: int | None = setting(
        None,
        whole(1, 8),
        "how many sizes, each with solver.evaluations; null: 3 (strotss and nnst: 4), more if the smallest "
        "would be above 512, or fewer where they would be too small; 1 without a style",
    )
    factor: float = setting(2.0, Number(above=1, most=4), "from one size to the next")
    later: float = setting(
        0.5,
        Number(above=0, most=1),
        "how many times as many evaluations at sizes above 1024 that follow a smaller one",
    )
    variables: str | None = setting(
        None,
        Choice(("pixels", "laplacian")),
        "what is optimised: the picture's pixels, or the bands of its Laplacian pyramid, as in STROTSS; "
        "null: laplacian, but pixels for lbfgsb",
    )


@dataclass(frozen=True)
class Loss(Section):
    """How differences become one number."""

    convention: ConventionName = setting(
        "gatys2016",
        choice(ConventionName),
        "whose formula the weights are meant for: gatys2016, literal, notebook, johnson, champandard2016",
    )
    total_variation: float | None = setting(
        None,
        WEIGHT,
        "weight of the smoothness term; null: the convention's own; of gatys2016 3e-5 of the "
        "style's weight (nnst: 9e-4)",
    )


@dataclass(frozen=True)
class Network(Section):
    """VGG-19."""

    pool: Literal["avg", "max"] = setting("avg", Choice(("avg", "max")), "avg as in the paper, or max")
    padding: Literal["zero", "replicate", "wrap"] = setting(
        "zero",
        Choice(("zero", "replicate", "wrap")),
        "beyond the border: zero, replicate, or wrap: the other side, so that the picture tiles without a "
        "seam; its sides are then multiples of 16, a texture's are rounded down",
    )
    normalised: bool | None = setting(
        None,
        Choice((True, False)),
        "scale every filter to mean activation one, as in the paper (section 2); null: as the convention "
        "expects (gatys2016 and literal)",
    )
    engine: Literal["auto", "direct", "winograd", "native"] = setting(
        "auto",
        Choice(("auto", "direct", "winograd", "native")),
        "how convolutions are computed: direct (by XLA), winograd (less arithmetic), native (in C++, for "
        "CPUs, compiled at first use), or auto: what is faster here",
    )


@dataclass(frozen=True)
class Solver(Section):
    """How the image is optimised."""

    SHORT: ClassVar[str] = "kind"
    kind: str = setting(
        "lbfgs",
        Choice(tuple(SOLVERS)),
        "lbfgs (jaxopt), adam (optax), or lbfgsb: the papers' SciPy L-BFGS-B, the picture bounded by the "
        "range of content and style; for single runs",
    )
    evaluations: int = setting(
        150, whole(1), "how often the loss and its gradient are computed, at each size", flag="evaluations"
    )
    linesearch: Literal["none", "zoom"] = setting(
        "none", Choice(("none", "zoom")), "of lbfgs: none is one evaluation a step"
    )
    history: int | None = setting(
        None,
        whole(1, 1000),
        "pairs that L-BFGS remembers; null: as many of 50 as fit in 512 MiB, at least 20; 20 of lbfgsb",
    )
    history_on: Literal["device", "host", "disk"] | None = setting(
        None,
        Choice(("device", "host", "disk")),
        "where lbfgs keeps them: device, host, or disk, in $NST_JAX_CACHE; null: as memory allows",
    )
    history_type: Literal["float32", "bfloat16"] = setting(
        "float32", Choice(("float32", "bfloat16")), "of pairs on host or disk; bfloat16 takes half"
    )
    learning_rate: float = setting(2.0, Number(above=0), "of Adam, in grey levels (0 to 255)")
    beta2: float = setting(0.999, Number(least=0, most=0.999999), "of Adam: decay of its mean of squares")
    averaging: float = setting(
        0.0,
        Number(least=0, most=0.999999),
        "of Adam: the decay of a mean of all pictures, which is then the result, and what the next size "
        "begins with: 0.99 is about the last hundred; 0: none",
    )
    carry: bool = setting(
        False,
        Choice((False, True)),
        "of Adam: whether its means go on from one size to the next, or begin anew",
    )


@dataclass(frozen=True)
class Settings(Section):
    """One run, or with a sweep, many."""

    content: Content = field(default_factory=Content)
    style: Style = field(default_factory=Style)
    init: str | dict[str, float] = setting(
        "content",
        first_image,
        "first image: content, style, noise, a file, or a blend {content: 0.7, noise: 0.3}",
        flag="init",
    )
    seed: int = setting(0, whole(0, 2**32 - 1), "of the noise", flag="seed")
    colour: Colour = setting(
        "style",
        choice(Colour),
        "whose colours: style: the painting's; content: the photograph's own, of the painting the lightness "
        "alone; matched: the photograph's palette, to which the painting is brought first",
        flag="colour",
    )
    size: int | tuple[int, int] | None = setting(
        None,
        pixels,
        "bound of the longer side, in pixels, or WIDTHxHEIGHT; a smaller photograph stays as it is, see "
        "enlarge; a doodle or texture is of this size; null: 512, or a doodle's own size",
        flag="size",
    )
    enlarge: bool = setting(
        False,
        Choice((False, True)),
        "whether a smaller photograph is enlarged to the size; it is compared with at its own",
        flag="enlarge",
    )
    max_pixels: int = setting(200_000_000, whole(1), "larger images are refused, to be read or to be made")
    images: str | None = setting(
        None,
        text,
        "folder of the papers' pictures, which configs name as work:NAME; samples stand in for those that "
        "are not there; null: $NST_JAX_IMAGES",
        flag="images",
    )
    weights: str = setting(
        "auto",
        text,
        "compact: the small network that comes along; vgg19: $NST_JAX_WEIGHTS, the cache, or a download of "
        "80 MB; vgg16: likewise; auto: $NST_JAX_WEIGHTS or the cache, else compact; or a file",
        flag="weights",
    )
    memory: Memory = setting(
        "auto",
        choice(Memory),
        "fast keeps all features for the gradient, low computes them again; auto: low as far as it costs "
        "little, and where memory needs it",
    )
    memory_limit: int | None = setting(None, nbytes, "such as 4GiB; null: what is free", flag="memory-limit")
    devices: Literal["one", "rows"] = setting(
        "one",
        Choice(("one", "rows")),
        "for one picture: one, or all, each with some of its rows (for kinds of style that are averages)",
        flag="devices",
    )
    precision: Precision = setting(
        "auto",
        choice(Precision),
        "of features, on a GPU or TPU; Gram matrices, image and solver are always float32; auto: what XLA "
        "thinks best",
    )
    semantic: Semantic = field(default_factory=Semantic)
    patch: Patch = field(default_factory=Patch)
    pyramid: Pyramid = field(default_factory=Pyramid)
    network: Network = field(default_factory=Network)
    loss: Loss = field(default_factory=Loss)
    solver: Solver = field(default_factory=Solver)
    output: Output = field(default_factory=Output)
    film: Film = field(default_factory=Film)
    sweep: Sweep = field(default_factory=Sweep)

    @property
    def longest(self) -> int:
        """The bound of the longer side."""
        return max(self.size) if isinstance(self.size, tuple) else self.size or LONGEST

    def written_size(self, times: int = 1) -> str:
        """Return the size, or a multiple of it, as it is written: 512, or 640x480."""
        sides = self.size if isinstance(self.size, tuple) else (self.longest,)
        return "x".join(str(times * side) for side in sides)

    def value(self, key: str) -> Json:
        """Return a setting by its dotted key."""
        return attrgetter(key)(self)

    def with_values(self, values: Mapping[str, object]) -> Self:
        """Return the same with other values, by dotted key: ``{"style.weight": 10}``.

        Raises:
            SettingError: an unknown key, or a value that it may not have.
        """
        found = self
        problems: list[Problem] = []
        for key, value in values.items():
            try:
                found = changed(found, key.split("."), value)
            except SettingError as error:
                problems += [((key,), message) for _, message in error.problems]
        if problems:
            raise SettingError(problems)
        return found
