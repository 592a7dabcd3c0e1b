"""From pictures and settings to a problem: the one way, whoever asks.

Pictures are RGB, shape ``(height, width, 3)``: float in [0, 1], or uint8 for 0 to 255. Runs may lack one of
them: without a content they make a texture, or with a map of the content a doodle (Champandard 2016);
without a style they reconstruct the content (Gatys et al. 2016, Fig. 1). What is not there is not compared
(see `pictures.without`), and a grey picture stands for its size.
"""

import math
from dataclasses import dataclass, replace

import jax
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from nst_jax import images
from nst_jax.architecture import block_and_index, stride
from nst_jax.errors import ImageError, SettingError
from nst_jax.images import maps
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.losses.kinds import style_layers, style_term
from nst_jax.losses.regions import by_regions
from nst_jax.losses.terms import StyleTerm
from nst_jax.native import library
from nst_jax.networks import vgg
from nst_jax.pretrained.network import Network
from nst_jax.settings import LONGEST, Memory, Settings
from nst_jax.solvers.scipy_lbfgsb import CORRECTIONS
from nst_jax.transfer import objective, rows, variables
from nst_jax.transfer.checks import check_moving, check_weights
from nst_jax.transfer.first_image import first_image
from nst_jax.transfer.pictures import (
    Frames,
    Image,
    Init,
    Painting,
    Pictures,
    Size,
    coloured,
    each_style,
    placed,
    shares_of,
    shown,
    sized,
)
from nst_jax.transfer.program import Program

HISTORY = 50
HISTORY_BYTES = 2**29
FEW = 20
"""Pairs that L-BFGS remembers unless told otherwise, what memory bounds them, and how few it may leave."""

_LEAST_STRENGTH = 0.01
"""With less of it nothing would be seen."""

HUGE = 2**23
"""From so many pixels on, they are optimised, not bands: these take twice the memory of an evaluation, and
what they are good for, large shapes, is there from smaller sizes."""

LARGE = 2**19
"""From so many pixels on, a CPU computes the first block twice, for half the memory."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A run made ready, all but its computation."""

    settings: Settings
    network: Network
    content: Image
    """At the size of the result."""
    paintings: tuple[Painting, ...]
    """The styles; those that have a share."""
    content_map: Image | None
    """Its semantic map, of its size."""
    init: Init
    seed: int | Array
    term: StyleTerm
    weights: objective.LossWeights
    program: Program
    colours: Image | None = None
    """What the result gets its colours from, see `pictures.shown`; None: it has its own."""
    where: Image | None = None
    """How much the style counts at each place, and which one, ``(height, width, regions)``; None: everywhere
    alike. See `losses.regions`."""
    keep: Image | None = None
    """How much each place is left as it is in the content, ``(height, width, 1)``; None: not at all."""
    past: Frames | None = None
    """Earlier frames of a film, of the content's size."""
    content_size: tuple[int, int] | None = None
    """Height and width at which the picture is compared with the content; None: at those of both."""
    canvas: Size | None = None
    """Height and width of what is computed, the picture at its top left; None: its own. See `sharing`."""
    levels: int = 1
    """So many sizes, see `pyramid`."""
    share: float = 1.0
    """Of the evaluations, that this level has."""
    open: tuple[str, ...] = ()
    """What may be changed for it to fit in memory: ``history``, ``recompute``, ``history_on``,
    ``engine``."""

    @property
    def size(self) -> Size:
        """Height and width of what is computed."""
        return self.canvas or (self.content.shape[0], self.content.shape[1])

    @property
    def shortest(self) -> int:
        """The shortest side of all pictures."""
        every = (self.content, *(painting.image for painting in self.paintings))
        return int(min(side for image in every for side in image.shape[:2]))

    @property
    def wraps(self) -> bool:
        """Whether the picture is a torus."""
        return self.program.network.padding == "wrap"

    @property
    def moving(self) -> int:
        """Bytes of what is optimised: of pixels, or of bands, which are a third more."""
        return variables.nbytes(self.program.bands, self.size)

    @property
    def evaluations(self) -> int:
        """At this level: at the first of them if they are still to be made."""
        return max(1, round(self.share * self.settings.solver.evaluations))

    @property
    def passes(self) -> int:
        """Levels, and what follows at the last size."""
        return self.levels + len(self.term.last)

    @property
    def deepest(self) -> str:
        """The deepest layer that any weight is for."""
        layers = (*self.weights.content_layers, *self.weights.style_layers)
        return max(layers, key=block_and_index, default="conv1_1")

    def first_image(self) -> Array:
        """Return the image to start from, in the network's input space."""
        style = self.paintings[0].image
        return first_image(self.init, self.content, style, seed=self.seed, canvas=self.canvas)

    @property
    def query(self) -> Array | None:
        """What the picture shall be like, for a term that asks for it: content and first image, mixed."""
        if self.term.likeness is None:
            return None
        share = self.term.likeness if self.weights.content_layers else 0.0
        return (1 - share) * vgg.to_image(self.first_image()) + share * self.content

    def shown(self, image: Image) -> Image:
        """Return an optimised image as it is shown, see `pictures.shown`."""
        return shown(image, self.colours, self.content, self.keep)

    def prepared(self) -> vgg.Params:
        """Return the parameters of the layers that are used, ready for the optimisation."""
        program = self.program
        prepared: vgg.Params = vgg.prepared(
            self.network.params,
            deepest=self.deepest,
            engine=program.network.engine,
            dtype=program.dtype,
        )
        return prepared


# From pictures to a problem.


def make_problem(
    pictures: Pictures, settings: Settings, network: Network, *, seed: int | Array | None = None
) -> Problem:
    """Return the problem that pictures and settings pose.

    Args:
        pictures: the pictures. The content is resized if ``settings.size`` says so.
        settings: the settings; names of files in them are of no matter here.
        network: what sees.
        seed: of the noise, an int or a JAX key; None: that of the settings.

    Raises:
        NstError: a picture that cannot be used or is too small, an unknown layer, all weights zero, maps that
            do not go with the style's kind.
    """
    return posed(coloured(sized(pictures, settings), settings), settings, network, seed=seed)


def posed(
    pictures: Pictures, settings: Settings, network: Network, *, seed: int | Array | None = None
) -> Problem:
    """Return what `make_problem` does, of pictures that are `sized` and `coloured` already."""
    content = np.asarray(pictures.content)
    where, keep = placed(pictures.places, content)
    term = style_term(settings)
    return _checked(
        Problem(
            settings=settings,
            network=network,
            content=content,
            paintings=_paintings(pictures, settings),
            content_map=_guide(pictures.content_map, content, None),
            init=settings.init if pictures.init is None else pictures.init,
            seed=settings.seed if seed is None else seed,
            term=term if where is None else by_regions(term, where.shape[2]),
            weights=weights_of(settings),
            program=program_for(settings, (content.shape[0], content.shape[1])),
            colours=pictures.colours,
            where=where,
            keep=keep,
            past=pictures.past,
            content_size=pictures.own_size,
            open=_open(settings),
        )
    )


def posed_here(problem: Problem) -> Problem:
    """Return a problem that another machine has `posed`, perhaps for other devices, as if posed here."""
    return replace(problem, program=program_for(problem.settings, problem.size), open=_open(problem.settings))


def weights_of(settings: Settings) -> objective.LossWeights:
    """Return the weights of the loss that settings describe."""
    term, convention = style_term(settings), settings.loss.convention
    content, strength = settings.content.weight, settings.style.strength
    if strength is not None:
        content = CONVENTIONS[convention].content_weight * (1 - strength) / max(strength, _LEAST_STRENGTH)
    return objective.loss_weights(
        convention=convention,
        content=content,
        style=settings.style.weight,
        total_variation=settings.loss.total_variation,
        content_layers=settings.content.layers,
        style_layers=style_layers(settings),
        smoothness=term.smoothness,
    )


def program_for(settings: Settings, size: Size) -> Program:
    """Return what shapes the compiled program of a picture of some height and width as settings want it."""
    solver, bands = settings.solver, bands_for(settings, size)
    moving = variables.nbytes(bands, size)
    history = history_for(moving, solver.kind) if solver.history is None else solver.history
    found = Program(
        network=replace(settings.network, normalised=None),
        solver=replace(solver, history=history, evaluations=1),  # how many there are does not shape it
        precision=settings.precision,
        recompute=recompute_for(settings.memory, size[0] * size[1]),
        bands=bands,
    )
    if settings.devices == "one" or not rows.are_possible(size[0], rows.devices()):
        return found
    # Loops over tiles, and over strips in Winograd's convolutions, would gather what is divided.
    network = replace(found.network, engine="direct")
    return replace(found, network=network, recompute=(), is_by_rows=True)


def _open(settings: Settings) -> tuple[str, ...]:
    """Return what may be changed for a problem to fit in memory, see `Problem.open`."""
    return (
        ("history",) * (settings.solver.history is None and settings.solver.kind == "lbfgs")
        + ("recompute",) * (settings.memory == "auto" and settings.devices == "one")
        + ("history_on",) * _may_be_outside(settings)
        + ("engine",) * _may_be_direct(settings)
    )


def _may_be_outside(settings: Settings) -> bool:
    solver = settings.solver
    can = (solver.kind, solver.linesearch, solver.history_on) == ("lbfgs", "none", None)
    return can and settings.devices == "one"


def _may_be_direct(settings: Settings) -> bool:
    is_auto = (settings.memory, settings.network.engine) == ("auto", "auto")
    is_cpu = settings.devices == "one" and jax.default_backend() == "cpu"
    return is_auto and is_cpu and not library.is_there()  # which wants no more than the network has either


def _paintings(pictures: Pictures, settings: Settings) -> tuple[Painting, ...]:
    styles = [np.asarray(style) for style in each_style(pictures)]
    return tuple(
        Painting(
            image=np.ascontiguousarray(style[:, :, :3]),
            alpha=np.ascontiguousarray(style[:, :, 3:]) if style.shape[2] == 4 else None,
            map=_guide(pictures.style_map, style, settings.style.crop),
            share=share,
        )
        for style, share in zip(styles, shares_of(len(styles), settings), strict=True)
        if share
    )


def _guide(
    map_: ArrayLike | None, image: Image, crop: tuple[float, float, float, float] | None
) -> Image | None:
    if map_ is None:
        return None
    return images.resize_map(images.crop(np.asarray(map_, np.float32), crop), image.shape[:2])


def history_for(nbytes: int, kind: str = "lbfgs") -> int:
    """Return how many pairs L-BFGS remembers for an image of so many bytes; L-BFGS-B always as many."""
    if kind == "lbfgsb":
        return CORRECTIONS
    return int(max(FEW, min(HISTORY, HISTORY_BYTES // (2 * nbytes))))


def bands_for(settings: Settings, size: Size) -> variables.Bands:
    """Return the bands that are optimised; none: pixels are."""
    is_large = size[0] * size[1] >= HUGE
    by_pixels = settings.solver.kind == "lbfgsb" or is_large or settings.devices == "rows"
    usual = "pixels" if by_pixels else "laplacian"
    if (settings.pyramid.variables or usual) == "pixels":
        return ()
    return variables.bands_of(size, wrap=settings.network.padding == "wrap")


def recompute_for(memory: Memory, pixels: int) -> tuple[int, ...]:
    """Return which blocks of the network are computed again for the gradient of an image, see `seeing`."""
    if memory == "auto":
        return (1,) if jax.default_backend() == "cpu" and pixels >= LARGE else ()
    return (1, 2) if memory == "low" else ()


# Checks.


def _checked(problem: Problem) -> Problem:
    check_weights(problem.weights)
    if problem.settings.solver.kind == "lbfgsb" and not problem.term.is_smooth:  # often it stalls at once
        raise SettingError.at(
            "solver.kind",
            "lbfgsb: its line search fails where a style.kind changes what it matches: use lbfgs",
        )
    check_moving(problem.settings)
    if problem.settings.devices == "rows":
        rows.check(problem.settings, problem.term, problem.content.shape, rows.devices())
    _check_maps(problem)
    check_layers(problem)
    levels = problem.settings.pyramid.levels
    return replace(problem, levels=_fitting_levels(problem) if levels is None else levels)


def _check_maps(problem: Problem) -> None:
    content, style, term = problem.content_map, problem.paintings[0].map, problem.term
    regions = 1 if problem.where is None else problem.where.shape[2]
    if regions > 1 and regions != len(problem.paintings):
        what = f"regions: {regions}, styles: {len(problem.paintings)}; give one for each region"
        raise SettingError.at("style.regions", what)
    if style is not None and len(problem.paintings) > 1:
        raise SettingError.at("style.map", "there are several styles: maps go with one")
    if term.maps == "none" and (content is not None or style is not None):
        raise SettingError.at(
            "maps", "guide style.kind nnst, patch or guided_gram; with this one they would change nothing"
        )
    if (content is None) != (style is None):
        given, missing = ("style", "content") if content is None else ("content", "style")
        raise SettingError.at(
            "maps", f"there is one of the {given} but none of the {missing}: give both, or none"
        )
    if term.maps == "required" and content is None:
        raise SettingError.at(
            "maps", f"style.kind {problem.settings.style.kind} needs them: give one of each picture"
        )
    if content is not None and style is not None:
        maps.check_channels(content, style)


def check_size(image: Image, name: str, layer: str) -> None:
    """Raise ImageError if an image is too small for a layer to have a single position."""
    height, width = image.shape[:2]
    if min(height, width) < stride(layer):
        raise ImageError(
            f"the {name} image is {width} x {height} pixels at the size used; layer {layer} needs at least "
            f"{stride(layer)} in both directions: use a larger size or shallower layers"
        )


def check_layers(problem: Problem) -> None:
    """Raise ImageError if an image has too few positions at one of a problem's layers, or no whole ones."""
    extent = problem.term.extent
    styles = [("style", painting.image) for painting in problem.paintings]
    for name, image in (("content", problem.content), *styles):
        check_size(image, name, problem.deepest)
        for layer in problem.weights.style_layers if extent > 1 else ():
            height, width = (n // stride(layer) for n in image.shape[:2])
            if min(height, width) < extent:
                raise ImageError(
                    f"the {name} image has {width} x {height} positions at {layer}, less than a patch of "
                    f"{extent} x {extent}: use a larger size, fewer pyramid.levels, a smaller patch.size or "
                    "shallower layers"
                )
    _check_whole(problem)
    _check_places(problem)


def _check_places(problem: Problem) -> None:
    """Raise ImageError if a region has no place at the coarsest layer, where its style is compared."""
    if problem.where is None or not problem.weights.style_layers:
        return
    deepest = stride(max(problem.weights.style_layers, key=block_and_index))
    rows, columns = (n // deepest * deepest for n in problem.where.shape[:2])
    for number, most in enumerate(np.max(problem.where[:rows, :columns], (0, 1))):
        if not most:
            which = f"region {number + 1} of style.regions" if problem.where.shape[2] > 1 else "the picture"
            raise ImageError(
                f"nothing of {which} is left to be styled by content.keep and style.strength_map"
            )


def _check_whole(problem: Problem) -> None:
    """Raise ImageError if pooling would drop rows or columns of a picture that wraps: a seam."""
    multiple, (height, width) = stride(problem.deepest), problem.content.shape[:2]
    if problem.wraps and (height % multiple or width % multiple):
        to = "use size" if isinstance(problem.settings.size, tuple) else "crop the content to"
        more = multiple // 2 if to == "use size" else 0  # the nearest, but nothing is cropped to more
        down, across = ((side + more) // multiple * multiple for side in (height, width))
        raise ImageError(
            f"network.padding wrap needs sides in multiples of {multiple} for layer {problem.deepest}, and "
            f"the picture is {width} x {height}: {to} {across}x{down}, or use shallower layers"
        )


def _fitting_levels(problem: Problem) -> int:
    """Return the levels that the style's term wants, or fewer where images would be too small for it."""
    if not problem.weights.style_layers:  # the content is found again at its own size
        return 1
    wanted = [problem.term.room * stride(layer) for layer in problem.weights.style_layers]
    needed = max([stride(problem.deepest), *wanted])
    smallest = problem.shortest
    factor = problem.settings.pyramid.factor
    longest = max(problem.content.shape[:2])
    most = max(problem.term.levels, 1 + math.ceil(math.log(max(1, longest / LONGEST), factor) - 1e-9))
    counts = range(most, 1, -1)
    return next((n for n in counts if int(smallest * factor ** (1 - n)) >= needed), 1)
