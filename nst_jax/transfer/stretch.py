"""A stretch of a run: steps of one program, with one objective at one size, looked at every now and then."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from nst_jax.losses.terms import is_even
from nst_jax.networks import vgg
from nst_jax.solvers import scipy_lbfgsb
from nst_jax.solvers.state import RUNNING, STATUSES, State
from nst_jax.transfer import hosts, machine, memory, targets
from nst_jax.transfer.canvases import put_on
from nst_jax.transfer.checkpoints import Checkpoint
from nst_jax.transfer.looks import Look, Snapshot, Turn, together
from nst_jax.transfer.objective import Targets
from nst_jax.transfer.pictures import Image, Painting
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.program import (
    Devices,
    OutsideSteps,
    Program,
    Shapes,
    Steps,
    batch_of,
    begin,
    carried,
    compiled,
    placements,
    stacked,
    steps_of,
)
from nst_jax.transfer.remembering import Remember

Step = Callable[[State], State]
Found = tuple[Array, Array, Array, dict[str, Array]]
"""Evaluations, status, value and terms of a state, on the host."""

Stops = int | Callable[[int], int]
"""When there is a look at any rate: at every multiple of so many evaluations, 0: of none; or a function that
returns where the next one is after so many."""

CHUNK_SECONDS = 0.5
"""About how long the program computes between two looks at it."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Problems that one program solves together. If there are fewer than its size, the last is repeated."""

    problems: tuple[Problem, ...]
    size: int = 1
    devices: Devices = ()
    shapes: Shapes | None = None
    """Of the whole size, if they are known."""


@dataclass(frozen=True)
class Course:
    """Where a stretch stands in its run: sizes and evaluations of all levels, and what was spent before."""

    sizes: tuple[int, ...]
    budgets: tuple[int, ...]
    number: int
    """Of the level, the first is 0."""
    before: int = 0
    """Evaluations at the levels before."""
    within: int = 0
    """At this level, before a `Turn`."""
    seconds: float = 0.0

    @property
    def spent(self) -> int:
        """Evaluations before the stretch."""
        return self.before + self.within

    @property
    def budget(self) -> int:
        """Evaluations that are left for it."""
        return max(0, self.budgets[self.number] - self.within)

    @property
    def is_last(self) -> bool:
        """Whether no level follows."""
        return self.number == len(self.sizes) - 1

    def left(self, done: int, rate: float) -> float | None:
        """Return about how many seconds are left after evaluations of the stretch, all levels together."""
        size = self.sizes[self.number]
        later = zip(self.sizes[self.number + 1 :], self.budgets[self.number + 1 :], strict=True)
        ahead = sum(count * other / size for other, count in later)
        return (self.budget - done + ahead) / rate if rate else None


@dataclass(frozen=True, eq=False)
class Watching:
    """Who watches a run, and when; see `loop.solve`."""

    watch: Callable[[Look], object]
    stops: Stops = 0
    is_due: Callable[[int], bool] | None = None
    checkpoint: Checkpoint | None = None
    whole: tuple[Problem, ...] = ()
    """The problems at their own size."""


def run(
    batch: Batch,
    course: Course,
    before: tuple[State, Program] | None,
    watching: Watching,
    remember: Remember,
) -> tuple[Look, State, Turn | bool]:
    """Optimise; return the last look and state, and whether the watcher ended it, or what it wants.

    What the level's solver carries on from the one before comes from the last state there, and its program.
    """
    checkpoint = watching.checkpoint
    steps, state, initial = _set_up(batch, course.number, before, checkpoint, remember)
    problem = batch.problems[0]
    asked: Turn | bool = False
    began = time.perf_counter()
    with _stepping(problem, steps) as stepping:
        looks = advance(
            stepping,
            state,
            budget=course.budget,
            is_searching=problem.program.is_searching,
            stops=watching.stops,
            is_due=watching.is_due,
            before=course.spent,
        )
        for state, found, rate in looks:
            seconds = course.seconds + time.perf_counter() - began
            look = _look(batch, course, state, found, rate, seconds, watching.whole)
            initial = look.loss if np.isnan(initial).all() else initial
            look = replace(look, initial_loss=initial)
            watched = time.perf_counter()
            asked = _asked(watching, look, course)
            began += time.perf_counter() - watched  # a pause is none of the run's time
            if checkpoint and not isinstance(asked, Turn) and checkpoint.is_due(last=asked is True):
                checkpoint.keep(
                    (state, steps.kept, initial),
                    level=course.number,
                    before=course.before,
                    within=course.within,
                    evaluations=course.before + int(np.max(look.evaluations)),
                    seconds=seconds,
                    plan=problem.program.plan,
                )
            if asked:
                break
    return look, state, asked


def _asked(watching: Watching, look: Look, course: Course) -> Turn | bool:
    """Return what the watcher wants of a run that could go on."""
    asked = hosts.led(lambda snapshot: watching.watch(replace(look, snapshot=snapshot)), look.snapshot)
    if isinstance(asked, Turn):
        return asked
    return asked is True and (not course.is_last or bool(np.any(look.status == RUNNING)))


def _set_up(
    batch: Batch,
    level: int,
    before: tuple[State, Program] | None,
    checkpoint: Checkpoint | None,
    remember: Remember,
) -> tuple[Steps | OutsideSteps, State, NDArray[np.float32]]:
    """Return the step of a batch with its arguments, the state to begin with, and the first losses, if known.

    Raises:
        OutputError: what was kept at a later level cannot be read: what it began with is gone.
    """
    filled = [*batch.problems, *[batch.problems[-1]] * (batch.size - len(batch.problems))]
    one, program, shapes = filled[0], filled[0].program, batch.shapes
    assert shapes is not None
    each, shared = placements(program, batch.devices)
    layers = (*one.weights.content_layers, *one.weights.style_layers)
    params = shared(remember(one.prepared, lambda: ("network", _seen_by(one), layers)))
    targets = each(stacked([_targets(problem, params, remember) for problem in filled]))
    machine.give_back()
    weights = each(stacked([memory.as_float32(problem.weights) for problem in filled]))
    args = (params, targets, weights)
    step = compiled(program, shapes, batch.size, batch.devices)
    steps = steps_of(program, step, args, shapes.state.x, size=batch.size)
    unknown = np.full(batch.size, np.nan, np.float32)
    like = (batch_of(shapes.state, batch.size), steps.kept, unknown)
    if checkpoint and (kept := checkpoint.resume(like, level)):
        state, steps.kept, initial = kept
        return steps, each(state), initial
    state = begin(program, [problem.first_image() for problem in filled], args, each)
    if before:
        known, coarser = before
        state = each(carried(state, known, program=program, coarser=coarser, size=batch.size))
    return steps, state, unknown


def _look(
    batch: Batch,
    course: Course,
    state: State,
    found: Found,
    rate: float,
    seconds: float,
    whole: tuple[Problem, ...],
) -> Look:
    evaluations, status, loss, terms = jax.tree.map(np.atleast_1d, found)
    problems, best, program = batch.problems, state.best, batch.problems[0].program

    def snapshot() -> Snapshot:
        images: NDArray[np.float32] = hosts.whole(_to_images(best, program=program, size=batch.size))
        raw = images.reshape(-1, *problems[0].size, 3)[: len(problems)]  # the last may be repeated
        if problems[0].canvas is None:
            return Snapshot(raw, problems, whole)
        shapes = [problem.content.shape for problem in problems]
        own = [image[: shape[0], : shape[1]] for image, shape in zip(raw, shapes, strict=True)]
        return Snapshot(together(own), problems, whole)

    return Look(
        evaluations=course.within + evaluations,
        status=np.where((status == RUNNING) & (evaluations >= course.budget), _FINISHED, status),
        loss=loss,
        terms=terms,
        initial_loss=loss,
        rate=rate,
        seconds=seconds,
        budget=course.budgets[course.number],
        total=sum(course.budgets),
        before=course.before,
        level=course.number + 1,
        levels=len(course.sizes),
        left=course.left(int(np.max(evaluations)), rate),
        snapshot=snapshot,
    )


_FINISHED = STATUSES.index("finished")


def _targets(problem: Problem, params: vgg.Params, remember: Remember) -> Targets:
    """Return a problem's targets, computed once for each picture and not for each problem."""
    weights, common = problem.weights, _seen_by(problem)

    def content() -> object:
        kind = problem.settings.content.kind
        layers, size = tuple(weights.content_layers), problem.content_size
        return "content", common, kind, layers, digest(problem.content), size, problem.canvas

    def style() -> object:
        guides = digest(problem.content_map), problem.settings.semantic.weight, problem.content.shape
        query = problem.query
        asked = None if query is None else digest(np.asarray(query))
        more = () if is_even(problem.term) else (*guides, asked)
        styles = tuple(
            (digest(each.image), digest(each.alpha), digest(each.map), each.share, each.canvas)
            for each in problem.paintings
        )
        where = digest(problem.where)
        return "style", common, tuple(weights.style_layers), styles, problem.term, where, more

    def one(make: Callable[[], object], painting: Painting) -> object:
        layers = tuple(weights.style_layers)
        look = digest(painting.image), digest(painting.alpha), painting.canvas
        return remember(make, lambda: ("one style", common, layers, look, problem.term))

    return Targets(
        remember(lambda: targets.content_targets(problem, params), content),
        remember(lambda: targets.style_targets(problem, params, one), style),
        problem.term,
        problem.settings.content.kind,
        targets.kept(problem),
        targets.past(problem),
        problem.content_size,
        targets.extent(problem),
    )


def _seen_by(problem: Problem) -> object:
    return id(problem.network), *problem.program.seeing.values(), problem.program.precision


def digest(image: Image | None) -> bytes:
    """Return a digest of an image's contents."""
    data = b"" if image is None else np.ascontiguousarray(image).tobytes()
    return hashlib.blake2b(data, digest_size=16).digest()


def _stepping(problem: Problem, step: Step) -> AbstractContextManager[Step]:
    """Give the step of a problem, given its compiled step: the same, but where SciPy leads."""
    solver = problem.program.solver
    if solver.kind != "lbfgsb":
        return nullcontext(step)
    styles = (put_on(painting.image, painting.canvas) for painting in problem.paintings)
    every = (put_on(problem.content, problem.canvas), *styles)
    low, high = scipy_lbfgsb.bounds(*map(vgg.to_input, every))
    assert solver.history is not None
    return scipy_lbfgsb.steps(step, low=low, high=high, corrections=solver.history)


def advance(
    step: Callable[[State], State],
    state: State,
    *,
    budget: int,
    is_searching: bool = False,
    stops: Stops = 0,
    is_due: Callable[[int], bool] | None = None,
    before: int = 0,
) -> Iterator[tuple[State, Found, float]]:
    """Take steps until all problems have ended or spent their budget, looking every `CHUNK_SECONDS` or so.

    Args:
        step: the compiled step; it may consume its argument.
        state: of one problem, or of several that run in lockstep.
        budget: evaluations of each problem.
        is_searching: a step takes several evaluations: look after each.
        stops: where else to look.
        is_due: asked before a step, with the evaluations so far, whether to look first: it waits for the step
            before, so that what it knows then acts on the next.
        before: evaluations before the first, which count for both.

    Yields:
        The state, valid until the next is asked for; its evaluations, status, value and terms on the host;
        and evaluations per second lately, 0 if not known yet.
    """
    done, chunk, rate, is_compiled = int(np.max(state.evaluations)), 1, 0.0, False
    while True:
        stop = _after(stops, done + before) - before if stops else budget
        until = hosts.told(min(done + chunk, budget, stop))
        begun, started = done, time.perf_counter()
        for taken in range(min(1, until - done) if is_searching else until - done):
            if is_due and taken:
                state.evaluations.block_until_ready()
                if is_due(before + done + taken):
                    break
            state = step(state)
        found: Found = hosts.agreed(jax.device_get((state.evaluations, state.status, state.value, state.aux)))
        done = int(np.max(found[0]))
        if is_compiled:  # the first chunk may have compiled the program: its time says nothing
            rate = (done - begun) / (time.perf_counter() - started)
            chunk = max(1, min(2 * chunk, int(rate * CHUNK_SECONDS)))
        is_compiled = True
        yield state, found, rate
        if done >= budget or not np.any(np.asarray(found[1]) == RUNNING):
            return


def _after(stops: Stops, evaluations: int) -> int:
    """Return the first stop after so many evaluations."""
    return stops(evaluations) if callable(stops) else (evaluations // stops + 1) * stops


@partial(jax.jit, static_argnames=("program", "size"))
def _to_images(x: Array, *, program: Program, size: int) -> Array:
    """Return what is shown of what is optimised: RGB in [0, 1]."""
    return vgg.to_image((program.picture if size == 1 else jax.vmap(program.picture))(x))
