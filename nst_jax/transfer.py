"""One run on arrays: targets, a first image, chunks of optimisation, a callback between them.

Images are RGB in [0, 1], shape ``(height, width, 3)``: float, or uint8 for 0 to 255.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from nst_jax import images, objective, solver, vgg
from nst_jax.config import INIT_SOURCES, Config
from nst_jax.encoder import Encoder, load_encoder
from nst_jax.errors import ImageError, NstError
from nst_jax.layers import block_and_index, stride

_DEFAULT = Config()

HISTORY = 100
HISTORY_BYTES = 2**30
"""Pairs that L-BFGS remembers unless told otherwise, and the memory that bounds them."""

CHUNK_SECONDS = 0.5
"""About how long the program computes between two looks at it."""

NOISE = 1.0
"""Standard deviation of the noise of an initial image, in grey levels, as in the authors' own code."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: what the callback gets."""

    evaluations: int
    budget: int
    loss: float
    terms: dict[str, float]
    seconds: float
    """Seconds since the optimisation began, compiling included."""
    rate: float
    """Evaluations per second lately."""
    picture: Callable[[], NDArray[np.float32]]
    """Fetches the best image so far."""


@dataclass(frozen=True)
class Result:
    """What a run gives. ``image`` is the best seen, whatever the status."""

    image: NDArray[np.float32]
    loss: float
    terms: dict[str, float]
    initial_loss: float
    evaluations: int
    status: solver.Status
    seconds: float

    @property
    def sentence(self) -> str:
        """Say how the run ended."""
        count = f"{self.evaluations} evaluations"
        return {
            "running": "the run is under way",
            "finished": f"finished after {count}",
            "stalled": f"stalled after {count}: even short steps no longer lower the loss",
            "not finite": f"stopped after {count}: the loss or its gradient is no finite number; "
            "this is the last good image",
            "interrupted": f"interrupted after {count}",
        }[self.status]


def stylize(
    content: ArrayLike,
    style: ArrayLike,
    *,
    encoder: str | Encoder = _DEFAULT.weights,
    init: str | ArrayLike | Mapping[str, float | ArrayLike] = "content",
    seed: int = _DEFAULT.seed,
    evaluations: int = _DEFAULT.solver.evaluations,
    convention: objective.ConventionName = _DEFAULT.loss.convention,
    content_weight: float | None = _DEFAULT.content.weight,
    style_weight: float | None = _DEFAULT.style.weight,
    total_variation: float | None = _DEFAULT.loss.total_variation,
    content_layers: Sequence[str] | Mapping[str, float] = _DEFAULT.content.layers,
    style_layers: Sequence[str] | Mapping[str, float] = _DEFAULT.style.layers,
    style_scale: float = _DEFAULT.style.scale,
    style_fit: str = _DEFAULT.style.fit,
    pool: vgg.Pool = _DEFAULT.network.pool,
    padding: vgg.Padding = _DEFAULT.network.padding,
    normalised: bool | None = _DEFAULT.network.normalised,
    method: str = _DEFAULT.solver.kind,
    linesearch: str = _DEFAULT.solver.linesearch,
    history: int | None = _DEFAULT.solver.history,
    learning_rate: float = _DEFAULT.solver.learning_rate,
    callback: Callable[[Progress], object] | None = None,
    stops: int = 0,
) -> Result:
    """Paint the content image in the style of another: minimise equation (7) of Gatys et al. (2016).

    Args:
        content: the photograph, ``(height, width, 3)``; the result has its size.
        style: the painting, of any size.
        encoder: ``auto``, ``vgg19``, ``dictionary``, a weights file, or an `Encoder` loaded before.
        init: first image: ``content``, ``style``, ``noise``, an image, or a blend: a mapping of these names
            to their shares.
        seed: of the noise.
        evaluations: how often the loss and its gradient are computed.
        convention: whose formula the weights are meant for, see `objective.CONVENTIONS`.
        content_weight: alpha; None: the convention's own.
        style_weight: beta; None: the convention's own.
        total_variation: weight of the smoothness term; None: the convention's own.
        content_layers: names, or names with weights.
        style_layers: names, or names with the w_l of equation (5).
        style_scale: size of the style image relative to the content's.
        style_fit: ``content`` or ``aspect``, see `style_size`.
        pool: ``avg`` or ``max``.
        padding: ``zero`` or ``replicate``.
        normalised: use the network of mean activation one; None: as the convention expects.
        method: ``lbfgs`` or ``adam``.
        linesearch: of L-BFGS: ``none`` or ``zoom``.
        history: pairs that L-BFGS remembers; None: `HISTORY`, or what fits in `HISTORY_BYTES`.
        learning_rate: of Adam, in grey levels.
        callback: called between chunks with a `Progress`; the run ends as interrupted if it returns True.
        stops: if positive, chunks end at every multiple of this many evaluations as well.

    Returns:
        The best image, with its loss and how the run ended.

    Raises:
        NstError: an image too small for the deepest layer, an unknown layer, all weights zero, ...
    """
    photograph, painting = as_image(content, "content"), as_image(style, "style")
    weights = objective.make_weights(
        convention=convention,
        content=content_weight,
        style=style_weight,
        total_variation=total_variation,
        content_layers=content_layers,
        style_layers=style_layers,
    )
    _check_weights(weights)
    height, width = photograph.shape[:2]
    fitted = images.resize(painting, style_size(painting.shape[:2], (height, width), style_scale, style_fit))
    deepest = max((*weights.content_layers, *weights.style_layers), key=block_and_index, default="conv1_1")
    for name, image in (("content", photograph), ("style", fitted)):
        check_size(image, name, deepest)
    x = first_image(init, photograph, fitted, seed=seed)

    normal = objective.CONVENTIONS[convention].normalised if normalised is None else normalised
    if not isinstance(encoder, Encoder):
        encoder = load_encoder(encoder, normalised=normal, pool=pool, padding=padding)
    network = _Network(pool=pool, padding=padding)
    targets = _targets(
        encoder.params,
        photograph,
        fitted,
        network=network,
        content_layers=tuple(weights.content_layers),
        style_layers=tuple(weights.style_layers),
    )
    program = _Program(
        network=network,
        convention=convention,
        method=method,
        linesearch=linesearch,
        history=history_for(x.nbytes) if history is None else history,
        learning_rate=learning_rate,
    )
    params = vgg.with_transposed(encoder.params, deepest=deepest)
    args = (params, targets, jax.tree.map(jnp.float32, weights))
    return _optimise(program, x, args, evaluations=evaluations, callback=callback, stops=stops)


def style_size(
    style: tuple[int, ...], content: tuple[int, int], scale: float = 1.0, fit: str = "content"
) -> tuple[int, int]:
    """Return the size to which a style image is resized.

    ``content``: the content's height and width times ``scale``, as in Gatys et al. (2016), section 3.
    ``aspect``: the content's area times ``scale`` squared, with the style's own aspect ratio.
    """
    height, width = content
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


def check_size(image: NDArray[Any], name: str, deepest: str) -> None:
    """Raise ImageError if an image is too small for a layer to have a single position."""
    height, width = image.shape[:2]
    if min(height, width) < stride(deepest):
        raise ImageError(
            f"the {name} image is {width} x {height} pixels at the size used; layer {deepest} needs at least "
            f"{stride(deepest)} in both directions: use a larger size or shallower layers"
        )


def history_for(nbytes: int) -> int:
    """Return how many pairs L-BFGS remembers for an image of so many bytes."""
    return int(max(5, min(HISTORY, HISTORY_BYTES // (2 * nbytes))))


def _check_weights(weights: objective.Weights) -> None:
    content = weights.content * sum(weights.content_layers.values())
    style = weights.style * sum(weights.style_layers.values())
    if not (content or style or weights.total_variation):
        raise NstError("all weights are zero: give content.weight or style.weight, and layers, above zero")


@dataclass(frozen=True)
class _Network:
    pool: vgg.Pool
    padding: vgg.Padding


@dataclass(frozen=True)
class _Program:
    """All that shapes the compiled program, besides the shapes of its arrays."""

    network: _Network
    convention: objective.ConventionName
    method: str
    linesearch: Any
    history: int
    learning_rate: float

    def build(self) -> solver.Method:
        fun = partial(
            objective.loss, convention=self.convention, pool=self.network.pool, padding=self.network.padding
        )
        if self.method == "adam":
            return solver.adam(fun, learning_rate=self.learning_rate)
        return solver.lbfgs(fun, history=self.history, linesearch=self.linesearch)


@partial(jax.jit, static_argnames=("network", "content_layers", "style_layers"))
def _targets(
    params: vgg.Params,
    content: ArrayLike,
    style: ArrayLike,
    *,
    network: _Network,
    content_layers: tuple[str, ...],
    style_layers: tuple[str, ...],
) -> objective.Targets:
    return objective.make_targets(
        params,
        vgg.to_input(content),
        vgg.to_input(style),
        content_layers=content_layers,
        style_layers=style_layers,
        pool=network.pool,
        padding=network.padding,
    )


@partial(jax.jit, static_argnames="program")
def _start(x: Array, args: tuple[Any, ...], *, program: _Program) -> solver.State:
    return program.build().init(x, *args)


# The history is large: donated, there is one copy of it.
@partial(jax.jit, static_argnames="program", donate_argnames="state")
def _step(state: solver.State, args: tuple[Any, ...], *, program: _Program) -> solver.State:
    return program.build().step(state, *args)


@jax.jit
def _to_input(image: ArrayLike) -> Array:
    return vgg.to_input(image)


@jax.jit
def _to_image(x: Array) -> Array:
    return vgg.to_image(x)


def _optimise(
    program: _Program,
    x: Array,
    args: tuple[Any, ...],
    *,
    evaluations: int,
    callback: Callable[[Progress], object] | None,
    stops: int,
) -> Result:
    begun = time.perf_counter()
    state = _start(x, args, program=program)
    first_loss, done, chunk, rate = float("nan"), 0, 1, 0.0
    status: solver.Status = "running"
    while status == "running":
        until = min(done + chunk, evaluations, (done // stops + 1) * stops if stops else evaluations)
        before, started = done, time.perf_counter()
        for _ in range(1 if program.linesearch == "zoom" else until - done):  # zoom: the number is not known
            state = _step(state, args, program=program)
        scalars = jax.device_get((state.evaluations, state.status, state.value, state.aux))
        done, status, loss = int(scalars[0]), solver.STATUSES[scalars[1]], float(scalars[2])
        terms = {name: float(term) for name, term in scalars[3].items()}
        if before == 0:
            first_loss = loss
        else:  # the first chunk has compiled the program: its time says nothing
            rate = (done - before) / (time.perf_counter() - started)
            chunk = max(1, min(2 * chunk, int(rate * CHUNK_SECONDS)))
        if status == "running" and done >= evaluations:
            status = "finished"
        fetch = partial(_fetch, state.best)
        progress = Progress(done, evaluations, loss, terms, time.perf_counter() - begun, rate, fetch)
        if callback and callback(progress) is True and status == "running":
            status = "interrupted"
    seconds = time.perf_counter() - begun
    return Result(_fetch(state.best), loss, terms, first_loss, done, status, seconds)


def _fetch(x: Array) -> NDArray[np.float32]:
    return np.asarray(_to_image(x))
