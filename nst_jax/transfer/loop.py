"""The one driver: a batch of problems is solved level by level, with a look every now and then.

A single run is a batch of one. Callers hang on to the loop by one function, which is given every `Look`.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from nst_jax.losses.terms import is_even
from nst_jax.networks import vgg
from nst_jax.solvers import scipy_lbfgsb
from nst_jax.solvers.state import RUNNING, STATUSES, State, Status
from nst_jax.transfer import machine, memory, pyramid, targets
from nst_jax.transfer.checkpoints import Checkpoint
from nst_jax.transfer.objective import Targets
from nst_jax.transfer.pictures import Image
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
from nst_jax.typing import Tree

Step = Callable[[State], State]
Found = tuple[Array, Array, Array, dict[str, Array]]
"""Evaluations, status, value and terms of a state, on the host."""

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


@dataclass(frozen=True, eq=False)
class Look:
    """How far a batch is, between two chunks of steps: arrays with an entry for each problem."""

    evaluations: NDArray[np.int32]
    """At this level."""
    status: NDArray[np.int32]
    loss: NDArray[np.float32]
    terms: dict[str, NDArray[np.float32]]
    initial_loss: NDArray[np.float32]
    """The first at this level."""
    rate: float
    """Evaluations per second lately; 0 if not known yet."""
    seconds: float
    """Since the optimisation began."""
    budget: int
    """Evaluations at this level."""
    total: int
    """Evaluations at all levels."""
    before: int
    """Evaluations at the levels before."""
    level: int
    levels: int
    left: float | None
    """About how many seconds are left, if that is known."""
    raw: Callable[[], NDArray[np.float32]]
    """Fetches the best images so far, of the level's size: ``(problems, height, width, 3)``."""
    pictures: Callable[[], NDArray[np.float32]]
    """The same as they are shown: in the colours that they shall have."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run gives. ``image`` is the best seen, whatever the status."""

    image: Image
    loss: float
    terms: dict[str, float]
    initial_loss: float
    evaluations: int
    status: Status
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


Made = TypeVar("Made")
Remember = Callable[[Callable[[], Made], Callable[[], object]], Made]
"""Returns what a function makes, or what it made before for an equal key."""


def solve(
    batch: Batch,
    watch: Callable[[Look], object] = lambda look: None,
    *,
    stops: int = 0,
    is_fitted: bool = False,
    checkpoint: Checkpoint | None = None,
    remember: Remember[Tree] = lambda make, key: make(),
) -> list[Result]:
    """Optimise at each level of a batch's problems in turn, and return their results.

    Args:
        batch: the problems.
        watch: called at every look; if it returns True, the problems end as interrupted.
        stops: if positive, there is a look at every multiple of this many evaluations as well.
        is_fitted: whether the problems are known to fit in memory; a batch of more than one must be.
        checkpoint: where states are kept.
        remember: for what several batches would compute anew: prepared networks and targets.

    Raises:
        NstError: a single problem that does not fit in memory.
    """
    every = list(zip(*map(pyramid.levels, batch.problems), strict=True))
    first = checkpoint.level if checkpoint else 0
    pictures: NDArray[np.float32] | None = None
    before: tuple[State, Program] | None = None
    spent, seconds = (checkpoint.before, checkpoint.seconds) if checkpoint else (0, 0.0)
    whole = batch.problems[0].levels - 1
    memory.check_disk(every[whole][0])
    if not is_fitted and whole > first and memory.may_not_fit(every[whole][0]):
        # What is refused is refused before there is any work to lose.
        program = memory.fit(every[whole][0])[0].program
        every[whole:] = [(replace(problem, program=program),) for (problem,) in every[whole:]]
    for number in range(first, len(every)):
        here = list(every[number])
        if pictures is not None:
            pairs = zip(pictures, every[number - 1], here, strict=True)
            here = [replace(now, init=pyramid.grown(image, before, now)) for image, before, now in pairs]
        if checkpoint and checkpoint.plan and number == first and not is_fitted:
            program = here[0].program.as_planned(checkpoint.plan)  # what is kept has its shapes
            here = [replace(here[0], program=program, open=())]
        shapes = batch.shapes if number == whole and batch.shapes else memory.shapes_of(here[0])
        if not is_fitted:
            fitted = memory.fit(here[0], shapes)[0]
            here, shapes = [fitted], shapes if fitted.program == here[0].program else memory.shapes_of(fitted)
        level = replace(batch, problems=tuple(here), shapes=shapes)
        sizes, budgets = zip(*((each.content.size, each.evaluations) for each, *_ in every), strict=True)
        around = _Around(sizes, budgets, number, spent, seconds)
        look, state, is_interrupted = _level(level, around, before, watch, stops, checkpoint, remember)
        before = (state, here[0].program) if here[0].program.solver.carry else None
        del state  # the history, which would lie about while the next level needs its own
        pictures, seconds = look.raw()[: len(here)], look.seconds
        machine.give_back()
        spent += int(np.max(look.evaluations))
        statuses = [_ended(int(status), is_interrupted) for status in look.status[: len(here)]]
        if is_interrupted or (len(here) == 1 and statuses[0] == "not finite"):
            break
    assert pictures is not None
    return [
        Result(
            image=problem.shown(pyramid.at_size(pictures[i], problem)),
            loss=float(look.loss[i]),
            terms={name: float(term[i]) for name, term in look.terms.items()},
            initial_loss=float(look.initial_loss[i]),
            evaluations=look.before + int(look.evaluations[i]),
            status=statuses[i],
            seconds=seconds / len(batch.problems),
        )
        for i, problem in enumerate(batch.problems)
    ]


@dataclass(frozen=True)
class _Around:
    """Where a level stands among the others: sizes and evaluations of all, and what was spent before it."""

    sizes: tuple[int, ...]
    budgets: tuple[int, ...]
    number: int
    evaluations: int
    seconds: float

    def left(self, budget: int, done: int, rate: float) -> float | None:
        """Return about how many seconds are left, all levels together."""
        size = self.sizes[self.number]
        later = zip(self.sizes[self.number + 1 :], self.budgets[self.number + 1 :], strict=True)
        ahead = sum(count * other / size for other, count in later)
        return (budget - done + ahead) / rate if rate else None


def _level(
    batch: Batch,
    around: _Around,
    before: tuple[State, Program] | None,
    watch: Callable[[Look], object],
    stops: int,
    checkpoint: Checkpoint | None,
    remember: Remember[Tree],
) -> tuple[Look, State, bool]:
    """Optimise at one level; return the last look and state, and whether the watcher ended it.

    What the level's solver carries on from the one before comes from the last state there, and its program.
    """
    steps, state, initial = _set_up(batch, around.number, before, checkpoint, remember)
    problem, is_interrupted = batch.problems[0], False
    began = time.perf_counter()
    with _stepping(problem, steps) as stepping:
        looks = advance(
            stepping,
            state,
            budget=problem.evaluations,
            is_searching=problem.program.is_searching,
            stops=stops,
            before=around.evaluations if stops else 0,
        )
        for state, found, rate in looks:
            seconds = around.seconds + time.perf_counter() - began
            look = _look(batch, around, state, found, rate, seconds)
            initial = look.loss if np.isnan(initial).all() else initial
            look = replace(look, initial_loss=initial)
            is_interrupted = watch(look) is True and bool(np.any(look.status == RUNNING))
            if checkpoint and checkpoint.is_due(last=is_interrupted):
                checkpoint.keep(
                    (state, steps.kept, initial),
                    level=around.number,
                    before=around.evaluations,
                    evaluations=around.evaluations + int(np.max(look.evaluations)),
                    seconds=seconds,
                    plan=problem.program.plan,
                )
            if is_interrupted:
                break
    return look, state, is_interrupted


def _set_up(
    batch: Batch,
    level: int,
    before: tuple[State, Program] | None,
    checkpoint: Checkpoint | None,
    remember: Remember[Tree],
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


def _look(batch: Batch, around: _Around, state: State, found: Found, rate: float, seconds: float) -> Look:
    evaluations, status, loss, terms = jax.tree.map(np.atleast_1d, found)
    problems, best, program = batch.problems, state.best, batch.problems[0].program
    budget = problems[0].evaluations

    def raw() -> NDArray[np.float32]:
        images = _to_images(best, program=program, size=batch.size)
        return np.asarray(images).reshape(-1, *problems[0].content.shape)

    return Look(
        evaluations=evaluations,
        status=np.where((status == RUNNING) & (evaluations >= budget), _FINISHED, status),
        loss=loss,
        terms=terms,
        initial_loss=loss,
        rate=rate,
        seconds=seconds,
        budget=budget,
        total=sum(around.budgets),
        before=around.evaluations,
        level=around.number + 1,
        levels=len(around.sizes),
        left=around.left(budget, int(np.max(evaluations)), rate),
        raw=raw,
        pictures=lambda: _shown(raw(), problems),
    )


def _shown(raw: NDArray[np.float32], problems: tuple[Problem, ...]) -> NDArray[np.float32]:
    pairs = zip(raw, problems, strict=False)  # a batch that is not full repeats its last
    return np.stack([problem.shown(image) for image, problem in pairs])


_FINISHED = STATUSES.index("finished")


def _ended(status: int, is_interrupted: bool) -> Status:
    return "interrupted" if is_interrupted and status == RUNNING else STATUSES[status]


def _targets(problem: Problem, params: vgg.Params, remember: Remember[Tree]) -> Targets:
    """Return a problem's targets, computed once for each picture and not for each problem."""
    weights, common = problem.weights, _seen_by(problem)

    def content() -> object:
        kind = problem.settings.content.kind
        layers, size = tuple(weights.content_layers), problem.content_size
        return "content", common, kind, layers, digest(problem.content), size

    def style() -> object:
        guides = digest(problem.content_map), problem.settings.semantic.weight, problem.content.shape
        query = problem.query
        asked = None if query is None else digest(np.asarray(query))
        more = () if is_even(problem.term) else (*guides, asked)
        styles = tuple(
            (digest(each.image), digest(each.alpha), digest(each.map), each.share)
            for each in problem.paintings
        )
        where = digest(problem.where)
        return "style", common, tuple(weights.style_layers), styles, problem.term, where, more

    return Targets(
        remember(lambda: targets.content_targets(problem, params), content),
        remember(lambda: targets.style_targets(problem, params), style),
        problem.term,
        problem.settings.content.kind,
        targets.kept(problem),
        problem.content_size,
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
    every = (problem.content, *(painting.image for painting in problem.paintings))
    low, high = scipy_lbfgsb.bounds(*map(vgg.to_input, every))
    assert solver.history is not None
    return scipy_lbfgsb.steps(step, low=low, high=high, corrections=solver.history)


def advance(
    step: Callable[[State], State],
    state: State,
    *,
    budget: int,
    is_searching: bool = False,
    stops: int = 0,
    before: int = 0,
) -> Iterator[tuple[State, Found, float]]:
    """Take steps until all problems have ended or spent their budget, looking every `CHUNK_SECONDS` or so.

    Args:
        step: the compiled step; it may consume its argument.
        state: of one problem, or of several that run in lockstep.
        budget: evaluations of each problem.
        is_searching: a step takes several evaluations: look after each.
        stops: if positive, look at every multiple of this many evaluations as well.
        before: evaluations before the first, which count for that.

    Yields:
        The state, valid until the next is asked for; its evaluations, status, value and terms on the host;
        and evaluations per second lately, 0 if not known yet.
    """
    done, chunk, rate, is_compiled = int(np.max(state.evaluations)), 1, 0.0, False
    while True:
        stop = ((done + before) // stops + 1) * stops - before if stops else budget
        until = min(done + chunk, budget, stop)
        begun, started = done, time.perf_counter()
        for _ in range(min(1, until - done) if is_searching else until - done):
            state = step(state)
        found: Found = jax.device_get((state.evaluations, state.status, state.value, state.aux))
        done = int(np.max(found[0]))
        if is_compiled:  # the first chunk may have compiled the program: its time says nothing
            rate = (done - begun) / (time.perf_counter() - started)
            chunk = max(1, min(2 * chunk, int(rate * CHUNK_SECONDS)))
        is_compiled = True
        yield state, found, rate
        if done >= budget or not np.any(np.asarray(found[1]) == RUNNING):
            return


@partial(jax.jit, static_argnames=("program", "size"))
def _to_images(x: Array, *, program: Program, size: int) -> Array:
    """Return what is shown of what is optimised: RGB in [0, 1]."""
    return vgg.to_image((program.picture if size == 1 else jax.vmap(program.picture))(x))
