"""One run on arrays: targets, a first image, chunks of optimisation, a callback between them.

Images are RGB in [0, 1], shape ``(height, width, 3)``: float, or uint8 for 0 to 255.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from nst_jax import images
from nst_jax.config import Config, StyleKind
from nst_jax.losses.conventions import ConventionName
from nst_jax.networks import vgg
from nst_jax.networks.convolution import Engine, Padding
from nst_jax.pretrained.network import Encoder, encoder_for
from nst_jax.solvers import scipy_lbfgsb as lbfgsb
from nst_jax.solvers import solver
from nst_jax.transfer import fitting, lacking, pyramid
from nst_jax.transfer.memory import give_back, keep_freed
from nst_jax.transfer.problem import Memory, Task, fitted, prepare, targets
from nst_jax.transfer.program import Precision

_DEFAULT = Config()

CHUNK_SECONDS = 0.5
"""About how long the program computes between two looks at it."""


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
    """Fetches the best image so far, of the level's size."""
    level: int = 1
    levels: int = 1
    left: float | None = None
    """About how many seconds are left, if that is known."""


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
    content: ArrayLike | None,
    style: ArrayLike | None,
    *,
    size: tuple[int, int] | None = None,
    encoder: str | Encoder = _DEFAULT.weights,
    init: str | ArrayLike | Mapping[str, float | ArrayLike] = "content",
    seed: int = _DEFAULT.seed,
    evaluations: int = _DEFAULT.solver.evaluations,
    convention: ConventionName = _DEFAULT.loss.convention,
    content_weight: float | None = _DEFAULT.content.weight,
    style_weight: float | None = _DEFAULT.style.weight,
    total_variation: float | None = _DEFAULT.loss.total_variation,
    content_layers: Sequence[str] | Mapping[str, float] = _DEFAULT.content.layers,
    style_layers: Sequence[str] | Mapping[str, float] | None = None,
    style_kind: StyleKind = _DEFAULT.style.kind,
    content_map: ArrayLike | None = None,
    style_map: ArrayLike | None = None,
    semantic_weight: float = _DEFAULT.semantic.weight,
    patch_size: int = _DEFAULT.patch.size,
    patch_memory: int = _DEFAULT.patch.memory,
    patch_variety: float = _DEFAULT.patch.variety,
    patch_rematch: int = _DEFAULT.patch.rematch,
    patch_copies: Sequence[tuple[float, float]] = (),
    levels: int | None = _DEFAULT.pyramid.levels,
    level_factor: float = _DEFAULT.pyramid.factor,
    style_scale: float = _DEFAULT.style.scale,
    style_fit: str | None = _DEFAULT.style.fit,
    pool: vgg.Pool = _DEFAULT.network.pool,
    padding: Padding = _DEFAULT.network.padding,
    normalised: bool | None = _DEFAULT.network.normalised,
    method: str = _DEFAULT.solver.kind,
    linesearch: str = _DEFAULT.solver.linesearch,
    history: int | None = _DEFAULT.solver.history,
    learning_rate: float = _DEFAULT.solver.learning_rate,
    engine: Engine = _DEFAULT.network.engine,
    precision: Precision = _DEFAULT.precision,
    memory: Memory = _DEFAULT.memory,
    memory_limit: int | None = _DEFAULT.memory_limit,
    callback: Callable[[Progress], object] | None = None,
    stops: int = 0,
) -> Result:
    """Paint the content image in the style of another: minimise equation (7) of Gatys et al. (2016).

    Args:
        content: the photograph, ``(height, width, 3)``; the result has its size. None: the content map alone
            says what shall be where, and the result has its size; without one either, a texture of the style.
        style: the painting, of any size. None: a reconstruction of the content from its layers.
        size: height and width of the result where there is no content; None: the map's, or the style's.
        encoder: ``auto``, ``vgg19``, ``dictionary``, a weights file, or an `Encoder` loaded before.
        init: first image: ``content``, ``style``, ``noise``, an image, or a blend: a mapping of these names
            to their shares.
        seed: of the noise.
        evaluations: how often the loss and its gradient are computed, at each level.
        convention: whose formula the weights are meant for, see `conventions.CONVENTIONS`.
        content_weight: alpha; None: the convention's own.
        style_weight: beta; None: the convention's own.
        total_variation: weight of the smoothness term; None: the convention's own.
        content_layers: names, or names with weights.
        style_layers: names, or names with the w_l of equation (5); None: `config.STYLE_LAYERS` of the kind.
        style_kind: ``gram``, ``patch`` (see `patches`), or ``guided_gram`` (`losses.guided_gram_matrices`).
        content_map: what is where in the picture to be made, ``(height, width, labels)`` in [0, 1], for the
            last two kinds; of the content's aspect ratio, but of any size.
        style_map: the same of the style, with as many labels.
        semantic_weight: gamma, see `patches.balance`.
        patch_size: positions of a patch in each direction.
        patch_memory: bytes for the scores of patches that are compared at a time.
        patch_variety: against patches chosen too often, from 0 to 1, see `patches.nearest`.
        patch_rematch: evaluations with the same matches.
        patch_copies: degrees and scale of further copies of the style whose patches may be taken.
        levels: sizes of the picture from coarse to fine; None: `tasks.LEVELS` of the kind.
        level_factor: of sizes.
        style_scale: size of the style image relative to the content's.
        style_fit: ``content``, ``aspect`` or ``own``, see `tasks.style_size`; None: ``content``, or ``own``
            for a texture.
        pool: ``avg`` or ``max``.
        padding: ``zero`` or ``replicate``.
        normalised: use the network of mean activation one; None: as the convention expects.
        method: ``lbfgs``, ``adam`` or ``lbfgsb``, SciPy's with bounds as in the authors' code, see `lbfgsb`.
        linesearch: of L-BFGS: ``none`` or ``zoom``.
        history: pairs that L-BFGS remembers; None: `HISTORY`, or what fits in `HISTORY_BYTES` and in memory;
            `lbfgsb.CORRECTIONS` of ``lbfgsb``.
        learning_rate: of Adam, in grey levels.
        engine: of the convolutions: ``auto``, ``direct`` or ``winograd``, see `convolution`.
        precision: of the features, on a GPU or TPU: ``auto``, ``f32``, ``tf32`` or ``bf16``.
        memory: ``fast`` keeps all features for the gradient, ``low`` computes those of the first blocks
            again; ``auto`` chooses.
        memory_limit: bytes that may be used; None: what is free.
        callback: called between chunks with a `Progress`; the run ends as interrupted if it returns True.
        stops: if positive, chunks end at every multiple of this many evaluations as well.

    Returns:
        The best image, with its loss and how the run ended.

    Raises:
        NstError: an image too small for the deepest layer, an unknown layer, all weights zero, too little
            memory, ...
    """
    keep_freed()
    maps = [None if given is None else np.asarray(given, np.float32) for given in (content_map, style_map)]
    gone = lacking.changes(content=content is not None, style=style is not None, init=init)
    fit = lacking.fit_of(style_fit, texture=content is None and content_map is None)
    pair = lacking.completed(content, style, content_map=maps[0], size=size)
    photograph, painting = fitted(*pair, scale=style_scale, fit=fit)
    encoder = encoder_for(encoder, convention=convention, normalised=normalised, pool=pool, padding=padding)
    options: dict[str, Any] = {
        "params": encoder.params,
        "init": init,
        "seed": seed,
        "evaluations": evaluations,
        "convention": convention,
        "content_weight": content_weight,
        "style_weight": style_weight,
        "total_variation": total_variation,
        "content_layers": content_layers,
        "style_layers": style_layers,
        "pool": pool,
        "padding": padding,
        "method": method,
        "linesearch": linesearch,
        "history": history,
        "learning_rate": learning_rate,
        "engine": engine,
        "precision": precision,
        "memory": memory,
        "memory_limit": memory_limit,
        "style_kind": style_kind,
        "content_map": maps[0],
        "style_map": maps[1],
        "semantic_weight": semantic_weight,
        "patch_size": patch_size,
        "patch_memory": patch_memory,
        "patch_variety": patch_variety,
        "patch_rematch": patch_rematch,
        "patch_copies": patch_copies,
        "levels": levels,
        "level_factor": level_factor,
    }
    task = prepare(photograph, painting, **options | gone)
    return _through_levels(task, callback, stops)


def _through_levels(task: Task, callback: Callable[[Progress], object] | None, stops: int) -> Result:
    """Optimise at each level of a task in turn; what ends early is enlarged to the last level's size."""
    every = pyramid.levels(task)
    spent, seconds, result = 0, 0.0, None
    for number, level in enumerate(every, 1):
        if result is not None:
            level = replace(level, init=pyramid.grown(result.image, every[number - 2], level))
        watch = partial(_watched, callback, every, number, (spent, seconds))
        result = _at_one_level(level, watch, stops, spent)
        spent, seconds = spent + result.evaluations, seconds + result.seconds
        if result.status not in ("finished", "stalled"):
            break
    assert result
    size = (task.content.shape[0], task.content.shape[1])
    return replace(result, image=images.resize(result.image, size), evaluations=spent, seconds=seconds)


def _watched(
    callback: Callable[[Progress], object] | None,
    every: Sequence[Task],
    number: int,
    before: tuple[int, float],
    progress: Progress,
) -> object:
    """Tell the callback how far the whole run is, given how far this level is and what was before it."""
    if callback is None:
        return None
    size = every[number - 1].content.size
    ahead = progress.budget * sum(later.content.size / size for later in every[number:])
    left = (progress.budget - progress.evaluations + ahead) / progress.rate if progress.rate else None
    whole = replace(
        progress,
        evaluations=before[0] + progress.evaluations,
        budget=len(every) * progress.budget,
        seconds=before[1] + progress.seconds,
        level=number,
        levels=len(every),
        left=left,
    )
    return callback(whole)


def _at_one_level(task: Task, callback: Callable[[Progress], object], stops: int, before: int) -> Result:
    task, _ = fitting.fit(task)
    program, network = task.program, task.network()
    args = (network, targets(task, network), jax.tree.map(jnp.asarray, fitting.weights_of(task)))
    state = fitting.start(task.first_image(), args, program=program)
    compiled = fitting.compiled(program, fitting.shapes_like(state, args))
    give_back()
    with _stepping(task, fitting.Steps(program, compiled, args)) as stepping:
        return _optimise(
            stepping,
            state,
            budget=task.evaluations,
            searching=program.searching,
            callback=callback,
            stops=stops,
            before=before,
        )


def _stepping(task: Task, step: lbfgsb.Step) -> AbstractContextManager[lbfgsb.Step]:
    """Give the step of a task, given its compiled step: the same, but where SciPy leads."""
    if task.program.method != "lbfgsb":
        return nullcontext(step)
    low, high = lbfgsb.bounds(*(vgg.to_input(image) for image in (task.content, task.style)))
    return lbfgsb.steps(step, low=low, high=high, corrections=task.program.history)


@jax.jit
def _to_image(x: Array) -> Array:
    return vgg.to_image(x)


@dataclass(frozen=True)
class Look:
    """What is known between two chunks of steps; arrays, if the state is of several lanes."""

    evaluations: NDArray[np.int32]
    status: NDArray[np.int32]
    loss: NDArray[np.float32]
    terms: dict[str, NDArray[np.float32]]
    rate: float
    """Evaluations per second and lane lately; 0 if not known yet."""


def advance(
    step: Callable[[solver.State], solver.State],
    state: solver.State,
    *,
    budget: int,
    searching: bool = False,
    stops: int = 0,
    before: int = 0,
) -> Iterator[tuple[solver.State, Look]]:
    """Take steps until all lanes have ended or spent their budget, with a look every `CHUNK_SECONDS` or so.

    Args:
        step: the compiled step; it may consume its argument.
        state: of one lane, or of several that run in lockstep.
        budget: evaluations of each lane.
        searching: a step takes several evaluations: look after each.
        stops: if positive, look at every multiple of this many evaluations as well.
        before: evaluations before the first, which count for that.

    Yields:
        The state, valid until the next is asked for, and the look.
    """
    done, chunk, rate, compiled = int(np.max(state.evaluations)), 1, 0.0, False
    while True:
        stop = ((done + before) // stops + 1) * stops - before if stops else budget
        until = min(done + chunk, budget, stop)
        begun, started = done, time.perf_counter()
        for _ in range(min(1, until - done) if searching else until - done):
            state = step(state)
        found = jax.device_get((state.evaluations, state.status, state.value, state.aux))
        done = int(np.max(found[0]))
        if compiled:  # the first chunk may have compiled the program: its time says nothing
            rate = (done - begun) / (time.perf_counter() - started)
            chunk = max(1, min(2 * chunk, int(rate * CHUNK_SECONDS)))
        compiled = True
        yield state, Look(found[0], found[1], found[2], found[3], rate)
        if done >= budget or not np.any(found[1] == solver.RUNNING):
            return


def _optimise(
    step: Callable[[solver.State], solver.State],
    state: solver.State,
    *,
    budget: int,
    searching: bool,
    callback: Callable[[Progress], object],
    stops: int,
    before: int,
) -> Result:
    begun = time.perf_counter()
    first_loss = float("nan")
    looks = advance(step, state, budget=budget, searching=searching, stops=stops, before=before)
    for state, look in looks:
        done, loss = int(look.evaluations), float(look.loss)
        terms = {name: float(term) for name, term in look.terms.items()}
        first_loss = loss if math.isnan(first_loss) else first_loss
        status = ended(int(look.status), done >= budget)
        fetch = partial(to_image, state.best)
        progress = Progress(done, budget, loss, terms, time.perf_counter() - begun, look.rate, fetch)
        if callback(progress) is True and status == "running":
            status = "interrupted"
            break
    seconds = time.perf_counter() - begun
    return Result(to_image(state.best), loss, terms, first_loss, done, status, seconds)


def ended(status: int, spent: bool) -> solver.Status:
    """Return how a lane stands, given the solver's status and whether its budget is spent."""
    name = solver.STATUSES[status]
    return "finished" if name == "running" and spent else name


def to_image(x: Array) -> NDArray[np.float32]:
    """Fetch an image out of the network's input space: RGB in [0, 1]."""
    return np.asarray(_to_image(x))
