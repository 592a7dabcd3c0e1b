"""A run made ready: images checked and sized, weights by layer, the first image, targets, the program.

Images are RGB in [0, 1], shape ``(height, width, 3)``: float, or uint8 for 0 to 255.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.config import INIT_SOURCES, LONGEST, STYLE_LAYERS, StyleKind
from nst_jax.errors import ImageError, NstError
from nst_jax.images import maps
from nst_jax.losses.conventions import ConventionName
from nst_jax.losses.patches import BLOCK_BYTES, GAMMA, PatchStyle
from nst_jax.networks import vgg
from nst_jax.networks.convolution import Engine, Padding
from nst_jax.networks.layers import block_and_index, stride
from nst_jax.solvers import scipy_lbfgsb as lbfgsb
from nst_jax.transfer import objective
from nst_jax.transfer.program import SEEING, Precision, Program

HISTORY = 100
HISTORY_BYTES = 2**29
FEW = 20
"""Pairs that L-BFGS remembers unless told otherwise, what memory bounds them, and how few it may leave."""

NOISE = 1.0
"""Standard deviation of the noise of an initial image, in grey levels, as in the authors' own code."""


Memory = Literal["auto", "fast", "low"]

LEVELS: dict[StyleKind, int] = {"gram": 1, "guided_gram": 1, "patch": 3}
"""Sizes of a run unless told otherwise, if all of them are large enough."""

LARGE = 2**19
"""From so many pixels on, a CPU computes the first block twice, for half the memory."""


@dataclass(frozen=True)
class Task:
    """A run made ready, all but its computation."""

    program: Program
    params: vgg.Params
    content: NDArray[np.float32]
    """At the size of the result."""
    style: NDArray[np.float32]
    """At the size that it is looked at."""
    init: Any
    seed: int
    weights: objective.Weights
    evaluations: int
    memory_limit: int | None = None
    open: tuple[str, ...] = ()
    """What of the program may be changed for it to fit in memory: ``history``, ``recompute``."""
    content_map: NDArray[np.float32] | None = None
    style_map: NDArray[np.float32] | None = None
    """Semantic maps, of their images' sizes."""
    copies: tuple[tuple[float, float], ...] = ()
    """Degrees and scale of further copies of the style, for patches."""
    levels: int = 1
    factor: float = 2.0
    """So many sizes, each larger than the one before by the factor; see `pyramid`."""

    def first_image(self) -> Array:
        """Return the image to start from, in the network's input space."""
        return first_image(self.init, self.content, self.style, seed=self.seed)

    def network(self) -> vgg.Params:
        """Return the parameters of the layers that are used, ready for the optimisation."""
        program = self.program
        network: vgg.Params = vgg.prepared(
            self.params,
            deepest=deepest(self.weights),
            engine=program.engine,
            padding=program.padding,
            dtype=program.dtype,
        )
        return network


def fitted(
    content: ArrayLike, style: ArrayLike, *, scale: float = 1.0, fit: str = "content"
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both images checked, the style at the size that it is looked at; see `style_size`."""
    photograph, painting = as_image(content, "content"), as_image(style, "style")
    height, width = photograph.shape[:2]
    return photograph, images.resize(painting, style_size(painting.shape[:2], (height, width), scale, fit))


def prepare(
    content: NDArray[np.float32],
    style: NDArray[np.float32],
    *,
    params: vgg.Params,
    init: str | ArrayLike | Mapping[str, float | ArrayLike],
    seed: int,
    evaluations: int,
    convention: ConventionName,
    content_weight: float | None,
    style_weight: float | None,
    total_variation: float | None,
    content_layers: Sequence[str] | Mapping[str, float],
    style_layers: Sequence[str] | Mapping[str, float] | None,
    pool: vgg.Pool,
    padding: Padding,
    method: str,
    linesearch: str,
    history: int | None,
    learning_rate: float,
    engine: Engine = "auto",
    precision: Precision = "auto",
    memory: Memory = "auto",
    memory_limit: int | None = None,
    style_kind: StyleKind = "gram",
    content_map: NDArray[np.float32] | None = None,
    style_map: NDArray[np.float32] | None = None,
    semantic_weight: float = GAMMA,
    patch_size: int = 3,
    patch_memory: int = BLOCK_BYTES,
    patch_variety: float = 0.0,
    patch_rematch: int = 1,
    patch_copies: Sequence[tuple[float, float]] = (),
    levels: int | None = None,
    level_factor: float = 2.0,
) -> Task:
    """Check the settings of `transfer.stylize`, whose arguments these are, and make them ready.

    ``content`` and ``style`` are from `fitted`, ``params`` is the network.

    Raises:
        NstError: an image too small for the deepest layer, an unknown layer, all weights zero.
    """
    weights = objective.make_weights(
        convention=convention,
        content=content_weight,
        style=style_weight,
        total_variation=total_variation,
        content_layers=content_layers,
        style_layers=STYLE_LAYERS[style_kind] if style_layers is None else style_layers,
        semantic=semantic_weight,
    )
    _check_weights(weights)
    if (method, style_kind) == ("lbfgsb", "patch"):  # often it stalls at once
        raise NstError("solver.kind lbfgsb: its line search fails where patches change matches: use lbfgs")
    _check_maps(style_kind, content_map, style_map)
    program = Program(
        pool=pool,
        padding=padding,
        convention=convention,
        method=method,
        linesearch=linesearch,
        history=history_for(content.nbytes, method) if history is None else history,
        learning_rate=learning_rate,
        engine=engine,
        precision=precision,
        recompute=recompute_for(memory, content.shape[0] * content.shape[1]),
        kind=style_kind,
        patch_size=patch_size,
        patch_bytes=patch_memory,
        variety=patch_variety,
        rematch=patch_rematch,
    )
    left_open = ("history",) * (history is None and method == "lbfgs") + ("recompute",) * (memory == "auto")
    task = Task(
        program,
        params,
        content,
        style,
        init,
        seed,
        weights,
        evaluations,
        memory_limit,
        left_open,
        content_map=None if content_map is None else images.resize_map(content_map, content.shape[:2]),
        style_map=None if style_map is None else images.resize_map(style_map, style.shape[:2]),
        copies=tuple(patch_copies),
        factor=level_factor,
    )
    check_layers(task)
    return replace(task, levels=_fitting_levels(task) if levels is None else levels)


def targets(task: Task, network: vgg.Params) -> objective.Targets:
    """Return what a task's image is compared with."""
    return objective.Targets(content_targets(task, network), style_targets(task, network))


def content_targets(task: Task, network: vgg.Params) -> dict[str, Array]:
    """Return the features that a task's content is compared by; ``network`` is `Task.network`'s."""
    layers = tuple(task.weights.content_layers)
    found: dict[str, Array] = _represented(task, network, task.content, content_layers=layers)[0]
    return found


def style_targets(task: Task, network: vgg.Params) -> dict[str, Any]:
    """Return what a task's style is compared by; ``network`` is `Task.network`'s."""
    layers = tuple(task.weights.style_layers)
    if task.program.kind == "gram":
        return dict(_represented(task, network, task.style, style_layers=layers)[1])
    none = [np.zeros((*image.shape[:2], 0), np.float32) for image in (task.style, task.content)]
    style_map, content_map = (
        blank if given is None else given
        for given, blank in zip((task.style_map, task.content_map), none, strict=True)
    )
    turns = ((0.0, 1.0), *task.copies)
    pictures, guides = (
        [image if turn == turns[0] else images.turned(image, *turn) for turn in turns]
        for image in (task.style, style_map)
    )
    features = [_represented(task, network, picture, content_layers=layers)[0] for picture in pictures]
    if task.program.kind == "guided_gram":
        return dict(_guided(features[0], style_map, content_map))
    found: dict[str, Any] = _patched(features, guides, content_map)
    if task.program.holding:  # until the first step finds them
        found = {name: _held(style, task.program.patch_size) for name, style in found.items()}
    return found


def style_size(
    style: tuple[int, ...], content: tuple[int, int], scale: float = 1.0, fit: str = "content"
) -> tuple[int, int]:
    """Return the size to which a style image is resized.

    ``content``: the content's height and width times ``scale``, as in Gatys et al. (2016), section 3.
    ``aspect``: the content's area times ``scale`` squared, with the style's own aspect ratio.
    ``own``: its own height and width, the longer at most `config.LONGEST`, times ``scale``.
    """
    height, width = images.fit(style[0], style[1], LONGEST) if fit == "own" else content
    if fit == "aspect":
        ratio = (height * width / (style[0] * style[1])) ** 0.5
        height, width = style[0] * ratio, style[1] * ratio
    return max(1, round(height * scale)), max(1, round(width * scale))


def first_image(
    init: str | ArrayLike | Mapping[str, float | ArrayLike],
    content: NDArray[np.float32],
    style: NDArray[np.float32],
    *,
    seed: int = 0,
) -> Array:
    """Return the image to start from, in the network's input space, of the content's size.

    Args:
        init: a name of `config.INIT_SOURCES`, an image, or a mapping of names (or an image under the name
            ``image``) to shares.
        content: the content image, RGB in [0, 1].
        style: the style image.
        seed: of the noise: normal, of standard deviation `NOISE` around the mean colour.
    """
    size = (content.shape[0], content.shape[1])
    if isinstance(init, Mapping):
        total = jnp.zeros((*size, 3), jnp.float32)
        for name, share in init.items():
            total += float(np.asarray(share)) * first_image(name, content, style, seed=seed)
        return total
    if isinstance(init, str):
        if init == "noise":
            return NOISE * jax.random.normal(jax.random.key(seed), (*size, 3), jnp.float32)
        if init not in INIT_SOURCES:
            raise NstError(
                f"init is {init!r}; allowed: {', '.join(INIT_SOURCES)}, an image, or a blend of these"
            )
        init = content if init == "content" else style
    x: Array = _to_input(images.resize(as_image(init, "initial"), size))
    return x


def as_image(image: ArrayLike, name: str) -> NDArray[np.float32]:
    """Return an image as float32 RGB in [0, 1]; uint8 is divided by 255.

    Raises:
        ImageError: another shape, or values that are not finite or far outside [0, 1].
    """
    array: NDArray[Any] = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(f"the {name} image has shape {array.shape}; it should be (height, width, 3), RGB")
    array = array.astype(np.float32) / np.float32(255 if array.dtype == np.uint8 else 1)
    if not np.isfinite(array).all() or array.min() < -0.5 or array.max() > 1.5:
        low, high = array.min(), array.max()
        raise ImageError(
            f"the {name} image has values from {low:g} to {high:g}; they should be in [0, 1], or uint8"
        )
    clipped: NDArray[np.float32] = np.clip(array, 0, 1)
    return clipped


def check_size(image: NDArray[Any], name: str, layer: str) -> None:
    """Raise ImageError if an image is too small for a layer to have a single position."""
    height, width = image.shape[:2]
    if min(height, width) < stride(layer):
        raise ImageError(
            f"the {name} image is {width} x {height} pixels at the size used; layer {layer} needs at least "
            f"{stride(layer)} in both directions: use a larger size or shallower layers"
        )


def history_for(nbytes: int, method: str = "lbfgs") -> int:
    """Return how many pairs L-BFGS remembers for an image of so many bytes; L-BFGS-B always as many."""
    if method == "lbfgsb":
        return lbfgsb.CORRECTIONS
    return int(max(FEW, min(HISTORY, HISTORY_BYTES // (2 * nbytes))))


def recompute_for(memory: Memory, pixels: int) -> int:
    """Return how many blocks of the network are computed again for the gradient of an image."""
    if memory == "auto":
        return int(jax.default_backend() == "cpu" and pixels >= LARGE)
    return objective.IN_STRIPS if memory == "low" else 0


def check_layers(task: Task) -> None:
    """Raise ImageError if an image has no position, or no patch, at one of a task's layers."""
    size = task.program.patch_size
    for name, image in (("content", task.content), ("style", task.style)):
        check_size(image, name, deepest(task.weights))
        for layer in task.weights.style_layers if task.program.kind == "patch" else ():
            height, width = (n // stride(layer) for n in image.shape[:2])
            if min(height, width) < size:
                raise ImageError(
                    f"the {name} image has {width} x {height} positions at {layer}, less than a patch of "
                    f"{size} x {size}: use a larger size, fewer pyramid.levels, a smaller patch.size or "
                    "shallower layers"
                )


def _fitting_levels(task: Task) -> int:
    """Return `LEVELS` of the kind, or fewer where images would be too small for their layers.

    Two patches should find room side by side: of fewer, each would be most of the style, whatever the maps.
    """
    room = 2 * task.program.patch_size if task.program.kind == "patch" else 1
    wanted = [room * stride(layer) for layer in task.weights.style_layers]
    needed = max([stride(deepest(task.weights)), *wanted])
    smallest = min(*task.content.shape[:2], *task.style.shape[:2])
    counts = range(LEVELS[task.program.kind], 1, -1)
    return next((n for n in counts if int(smallest * task.factor ** (1 - n)) >= needed), 1)


def _check_maps(
    kind: StyleKind, content: NDArray[np.float32] | None, style: NDArray[np.float32] | None
) -> None:
    if kind == "gram" and (content is not None or style is not None):
        raise NstError("maps guide style.kind patch or guided_gram; with gram they would change nothing")
    if (content is None) != (style is None):
        given, missing = ("style", "content") if content is None else ("content", "style")
        raise NstError(f"there is a {given} map but no {missing} map: give --{missing}-map too, or none")
    if kind == "guided_gram" and content is None:
        raise NstError("style.kind guided_gram needs maps: give --content-map and --style-map")
    if content is not None and style is not None:
        maps.check_channels(content, style)


def _check_weights(weights: objective.Weights) -> None:
    content = weights.content * sum(weights.content_layers.values())
    style = weights.style * sum(weights.style_layers.values())
    if not (content or style or weights.total_variation):
        raise NstError("all weights are zero: give content.weight or style.weight, and layers, above zero")


def deepest(weights: objective.Weights) -> str:
    """Return the deepest layer that any weight is for."""
    return max((*weights.content_layers, *weights.style_layers), key=block_and_index, default="conv1_1")


def _represented(task: Task, network: vgg.Params, image: ArrayLike, **layers: Any) -> Any:
    seeing = task.program.seeing
    if not seeing["recompute"]:  # once only: not worth the time that Winograd's convolutions take to compile
        seeing |= {"engine": "direct"}
    with task.program.precisely():
        return _represent(network, image, **layers, **seeing)


@partial(jax.jit, static_argnames=("content_layers", "style_layers", *SEEING))
def _represent(network: vgg.Params, image: ArrayLike, **options: Any) -> Any:
    return objective.representations(network, vgg.to_input(image), **options)


def _held(style: PatchStyle, size: int) -> PatchStyle:
    none = jnp.zeros([n - size + 1 for n in style.map.shape[:2]], jnp.int32)
    return replace(style, held=(none, none))


_guided = jax.jit(objective.guided_targets)
_patched = jax.jit(objective.patch_targets)


@jax.jit
def _to_input(image: ArrayLike) -> Array:
    return vgg.to_input(image)
