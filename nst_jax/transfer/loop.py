"""The one driver: a batch of problems is solved level by level, with a look every now and then.

A single run is a batch of one. Callers hang on to the loop by one function, which is given every `Look`, and
may answer with a `Turn`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nst_jax.solvers.state import STATUSES, State, Status
from nst_jax.transfer import alike, machine, memory, pyramid, stretch
from nst_jax.transfer.checkpoints import Checkpoint
from nst_jax.transfer.looks import Look, Result, Snapshot, Turn
from nst_jax.transfer.pictures import Image
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.program import Program, Shapes
from nst_jax.transfer.remembering import Remember, always
from nst_jax.transfer.stretch import Batch, Course, Stops, Watching

Levels = list[tuple[Problem, ...]]
"""Of each level, the problems of a batch."""


def solve(
    batch: Batch,
    watch: Callable[[Look], object] = lambda look: None,
    *,
    stops: Stops = 0,
    is_due: Callable[[int], bool] | None = None,
    is_fitted: bool = False,
    checkpoint: Checkpoint | None = None,
    remember: Remember = always,
) -> list[Result]:
    """Optimise at each level of a batch's problems in turn, and return their results.

    Args:
        batch: the problems.
        watch: called at every look; if it returns True, the problems end as interrupted; if a `Turn`, the
            problem, which must be a single one, is gone on with as that says.
        stops: where there is a look as well, see `stretch.Stops`.
        is_due: asked before every step, with the evaluations so far, whether there should be a look first.
        is_fitted: whether the problems are known to fit in memory; a batch of more than one must be.
        checkpoint: where states are kept.
        remember: for what several batches, or turns, would compute anew: prepared networks and targets.

    Raises:
        NstError: a single problem that does not fit in memory.
    """
    every = _levels(batch, is_fitted, checkpoint.level if checkpoint else 0)
    course = _course(every)
    if checkpoint:
        course = replace(
            course,
            number=checkpoint.level,
            before=checkpoint.before,
            within=checkpoint.within,
            seconds=checkpoint.seconds,
        )
    plan = checkpoint.plan if checkpoint and not is_fitted else {}
    before: tuple[State, Program] | None = None
    fit: _Fit | None = None
    first: Sequence[Image] = ()
    while True:
        here = every[course.number]
        if first:
            here = tuple(replace(each, init=image) for each, image in zip(here, first, strict=True))
        if plan:  # what is kept has its shapes
            here, plan = (replace(here[0], program=here[0].program.as_planned(plan), open=()),), {}
        shapes = batch.shapes if course.number == batch.problems[0].levels - 1 else None
        fit = _fitted(here[0], fit, shapes, is_fitted)
        here = (fit.fitted, *here[1:])
        watching = Watching(watch, stops, is_due, checkpoint, batch.problems)
        level = replace(batch, problems=here, shapes=fit.shapes)
        look, state, asked = stretch.run(level, course, before, watching, remember)
        pictures = look.raw()
        before = (state, here[0].program) if here[0].program.solver.carry else None
        del state  # the history, which would lie about while the next level needs its own
        machine.give_back()
        course = replace(course, within=int(np.max(look.evaluations)), seconds=look.seconds)
        statuses = [_ended(int(status), asked is True) for status in look.status]
        if isinstance(asked, Turn):
            batch = replace(batch, problems=(asked.problem,), shapes=None)
            every, before = _levels(batch, is_fitted, course.number), None
            course = _turned(course, every)
            pictures = pictures if asked.image is None else asked.image[None]
        elif asked or (len(here) == 1 and statuses[0] == "not finite"):
            break
        if course.budget and isinstance(asked, Turn):
            first = [pyramid.at_size(pictures[0], every[course.number][0])]
        elif not course.is_last:
            course = replace(course, number=course.number + 1, before=course.spent, within=0)
            pairs = zip(pictures, every[course.number - 1], every[course.number], strict=True)
            first = [pyramid.grown(image, coarser, now) for image, coarser, now in pairs]
        else:
            break
    finished = Snapshot(pictures, here, batch.problems).finished()
    return [
        Result(
            image=finished[i],
            loss=float(look.loss[i]),
            terms={name: float(term[i]) for name, term in look.terms.items()},
            initial_loss=float(look.initial_loss[i]),
            evaluations=int(look.spent[i]),
            status=statuses[i],
            seconds=course.seconds / len(batch.problems),
        )
        for i in range(len(finished))
    ]


def _levels(batch: Batch, is_fitted: bool, first: int) -> Levels:
    """Return a batch's problems at each level; ``first`` is the one to begin with."""
    every = list(zip(*map(pyramid.levels, batch.problems), strict=True))
    whole = batch.problems[0].levels - 1
    memory.check_disk(every[whole][0])
    if not is_fitted and whole > first and memory.may_not_fit(every[whole][0]):
        # What is refused is refused before there is any work to lose.
        program = memory.fit(every[whole][0])[0].program
        every[whole:] = [(replace(problem, program=program),) for (problem,) in every[whole:]]
    return every


def _course(every: Levels) -> Course:
    numbers = ((3 * each.size[0] * each.size[1], each.evaluations) for each, *_ in every)
    sizes, budgets = zip(*numbers, strict=True)
    return Course(sizes, budgets, 0)


def _turned(course: Course, every: Levels) -> Course:
    """Return where a run stands that is gone on with otherwise: at the level of its size."""
    number = max(0, len(every) - (len(course.sizes) - course.number))
    now = _course(every)
    return replace(course, sizes=now.sizes, budgets=now.budgets, number=number)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A problem, the same made to fit in memory, and the shapes of what its step takes."""

    problem: Problem
    fitted: Problem
    shapes: Shapes


def _fitted(problem: Problem, known: _Fit | None, shapes: Shapes | None, is_fitted: bool) -> _Fit:
    """Return how a level's first problem fits, as what was known before if it is alike."""
    if known and alike.program_of(problem) == alike.program_of(known.problem):
        fitted = replace(problem, program=known.fitted.program, open=())
        return _Fit(problem, fitted, known.shapes)
    shapes = memory.shapes_of(problem) if shapes is None else shapes
    if is_fitted:
        return _Fit(problem, problem, shapes)
    fitted = memory.fit(problem, shapes)[0]
    return _Fit(problem, fitted, shapes if fitted.program == problem.program else memory.shapes_of(fitted))


def _ended(status: int, is_interrupted: bool) -> Status:
    return (
        "interrupted" if is_interrupted and STATUSES[status] in ("running", "finished") else STATUSES[status]
    )
