"""What a problem takes of memory, as its compiler says, and settings chosen so that it fits."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nst_jax.errors import NstError
from nst_jax.files import cache_folder
from nst_jax.losses.terms import AdditiveTerm
from nst_jax.networks import vgg
from nst_jax.solvers import scipy_lbfgsb, streamed
from nst_jax.transfer import hosts, machine
from nst_jax.transfer import problem as problems
from nst_jax.transfer.objective import LossWeights
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.program import (
    Program,
    Shapes,
    compiled,
    forget_compiled,
    nbytes,
    shapes_like,
    start,
)
from nst_jax.transfer.seeing import BREADTH
from nst_jax.transfer.targets import targets_of


class Rung(NamedTuple):
    """How thrifty an evaluation is, see `seeing.Seeing`."""

    recompute: tuple[int, ...]
    breadth: int
    nbytes: int
    """Of VGG-19, a pixel, about: what the compiler says counts, this spares compiling them all."""


LADDER = (
    Rung((), BREADTH, 1340),
    Rung((1,), BREADTH, 630),
    Rung((1, 2), BREADTH, 500),
    Rung((2,), BREADTH, 440),
    Rung((2, 3), BREADTH, 340),
    Rung((2, 3, 4), BREADTH, 250),
    Rung((3, 4), 8, 140),
    Rung((3, 4), 4, 120),
)
"""Ever less memory and more time."""

WHOLE = (1, 2)
"""Is for what is not made in tiles: where it is, (2,) takes less of both."""

PROGRAM = 48 * 2**20
"""Bytes of a computer's memory that a compiled program takes, as measured."""

IN_PIECES = 0.2
"""So much of what an evaluation takes lies about besides, as measured: small arrays are put where it was."""

FEWEST = 5
"""A shorter history is not worth the name."""


def shapes_of(problem: Problem) -> Shapes:
    """Return what the step of a problem takes, without computing anything."""
    params = jax.eval_shape(problem.prepared)
    targets = jax.eval_shape(lambda params: targets_of(problem, params), params)
    args = (params, targets, as_float32(problem.weights))
    x = jax.ShapeDtypeStruct((*problem.size, 3), jnp.float32)  # type: ignore[no-untyped-call]
    state = jax.eval_shape(start, x, args, program=problem.program)
    return shapes_like(state, args)


def as_float32(weights: LossWeights) -> LossWeights:
    """Return weights as the compiled program takes them."""
    found: LossWeights = jax.tree.map(np.float32, weights)
    return found


@dataclass(frozen=True)
class Estimate:
    """Bytes that a run takes besides the program itself, as its compiler says."""

    network: int
    optimiser: int
    """The image, its gradient and the history."""
    features: int
    """And all else that exists only during an evaluation."""
    kept: int
    """Of what is freed after one, for it is in pieces."""
    programs: int
    """Compiled for other sizes, and for what follows at the last."""
    held: int
    """Before the run: on a CPU by Python, JAX and the pictures."""
    usable: int
    """Besides that."""

    @property
    def total(self) -> int:
        """All that the run takes."""
        return self.network + self.optimiser + self.features + self.kept + self.programs

    @property
    def fits(self) -> bool:
        """Whether it is no more than is usable."""
        return self.total <= self.usable


def estimate(problem: Problem, shapes: Shapes | None = None) -> Estimate:
    """Return what a problem takes; compiles its step."""
    shapes = shapes_of(problem) if shapes is None else shapes
    arguments, rest = machine.taken(compiled(problem.program, shapes))
    optimiser = min(arguments, nbytes(shapes.state))
    besides = _of_scipy(problem) + _of_history(problem)
    devices = jax.local_devices()[:1]
    held, usable = machine.held(devices[0]), machine.usable(devices, problem.settings.memory_limit)
    others = problem.levels - 1 + len({*problem.term.last})
    programs = PROGRAM * others if jax.default_backend() == "cpu" else 0
    network = arguments - optimiser - _there(problem, shapes)
    taken = hosts.most([network, optimiser + besides, rest, kept(rest), programs, held])
    return Estimate(*taken, *hosts.least([usable]))  # so that all hosts choose the same


def kept(nbytes: int) -> int:
    """Return the bytes that lie about besides those that an evaluation takes: none of a GPU's."""
    return int(IN_PIECES * nbytes) if jax.default_backend() == "cpu" else 0


def _there(problem: Problem, shapes: Shapes) -> int:
    """Return the bytes of arguments that are the network's own parameters, which were there before."""
    if problem.program.dtype is not None:
        return 0
    params, taken = problem.network.params, shapes.args[0]
    return nbytes([params[layer][name] for layer in taken for name in taken[layer] if name in params[layer]])


def _of_scipy(problem: Problem) -> int:
    """Return the bytes that SciPy takes of the memory that is counted: none of a GPU's."""
    solver = problem.program.solver
    if solver.kind != "lbfgsb" or solver.history is None or jax.default_backend() != "cpu":
        return 0
    return scipy_lbfgsb.nbytes(3 * problem.size[0] * problem.size[1], solver.history)


def _of_history(problem: Problem) -> int:
    """Return the bytes that a history on the host takes of the memory that is counted: none of a GPU's."""
    if not problem.program.is_outside or jax.default_backend() != "cpu":
        return 0
    kept = _outside(problem) if problem.program.solver.history_on == "host" else 0
    return kept + 16 * 4 * streamed.CHUNK


def _outside(problem: Problem) -> int:
    """Return the bytes of a history outside of the device."""
    solver = problem.program.solver
    assert solver.history is not None
    is_short = solver.history_type == "bfloat16"
    return streamed.nbytes(problem.moving // 4, solver.history, is_short=is_short)


def fit(problem: Problem, shapes: Shapes | None = None) -> tuple[Problem, Estimate]:
    """Return a problem that fits in memory: with a shorter history, or features computed twice, if need be.

    First programs of other sizes are no longer kept. Then only what was left open is changed
    (`Problem.open`): the history, down to `problem.FEW` pairs, and what of the features is computed twice,
    see `LADDER`; then the same with the history on disk, or if it must not be there down to `FEWEST` pairs;
    then with convolutions that want no more than the network has, which are slower.

    Args:
        problem: the problem.
        shapes: `shapes_of` it, if they are known.

    Raises:
        NstError: it does not fit, or its history not on the disk, with the numbers and what to do.
    """
    found = estimate(problem, shapes)
    if not found.fits:
        forget_compiled()  # those of other sizes, as it will be again when their turn is over
        found = replace(estimate(problem, shapes), programs=0)
    may_move = "history_on" in problem.open
    given, fewest = problem, problems.FEW if may_move else FEWEST
    problem, found = _with_less(problem, found, fewest)
    if not found.fits and may_move:
        solver = replace(given.program.solver, history_on="disk", history_type="bfloat16")
        problem = replace(given, program=replace(given.program, solver=solver))
        problem, found = _with_less(problem, _again(problem, found), fewest)
    if not found.fits and "engine" in problem.open:
        network = replace(problem.program.network, engine="direct")
        problem = replace(problem, program=replace(problem.program, network=network))
        problem, found = _with_less(problem, _again(problem, found), fewest)
    if not (found.fits or _is_within_limit(problem, found)):
        raise NstError(_refusal(problem, found))
    check_disk(problem)
    return problem, found


def _is_limited(problem: Problem, found: Estimate) -> bool:
    """Tell whether it is the limit that bounds what is usable."""
    limit = problem.settings.memory_limit
    # Not quite: what is held was asked for once more for it.
    return limit is not None and found.usable >= 0.9 * (limit - machine.reserve(limit) - found.held)


def _is_within_limit(problem: Problem, found: Estimate) -> bool:
    """Tell whether it is no more than a limit, with all that was to be left of that."""
    limit = problem.settings.memory_limit
    return limit is not None and _is_limited(problem, found) and found.held + found.total <= limit


def check_disk(problem: Problem) -> None:
    """Raise NstError if a problem's history is to be on disk, and there is no room for it."""
    if problem.program.solver.history_on == "disk":
        streamed.check_room(cache_folder(), _outside(problem))


def _again(problem: Problem, before: Estimate) -> Estimate:
    """Return what another problem takes, of the memory that there was before the first was compiled."""
    forget_compiled()
    return replace(estimate(problem), held=before.held, usable=before.usable, programs=before.programs)


def may_not_fit(problem: Problem) -> bool:
    """Tell without compiling anything whether a problem is so large that it may not fit as it is."""
    height, width = problem.size
    history = problem.program.solver.history or 0
    likely = 2 * LADDER[0].nbytes * height * width + (2 * history + 10) * problem.moving
    [usable] = hosts.least([machine.usable(jax.local_devices()[:1], problem.settings.memory_limit)])
    return bool(likely > usable)


def _with_less(problem: Problem, found: Estimate, fewest: int) -> tuple[Problem, Estimate]:
    """Return a problem with as much computed twice, and as short a history, as it needs to fit, if it can."""
    own, rungs = _rung(problem.program), _rungs(problem)
    pixels = problem.size[0] * problem.size[1]
    for rung in (own, *rungs):
        is_last = rung == (own, *rungs)[-1]
        least = fewest if is_last else problems.FEW
        if rung != own:
            less = (_rung(problem.program).nbytes - rung.nbytes) * pixels
            features = found.features - less
            expected = replace(found, features=features, kept=kept(features))
            if not is_last and not expected.fits and _pairs(problem, expected) < least:
                continue  # it is not worth the time to compile it
            program = replace(problem.program, recompute=rung.recompute, breadth=rung.breadth)
            problem = replace(problem, program=program)
            found = _again(problem, found)
        for _ in range(2):  # what a history takes is not quite known before
            if not found.fits and _pairs(problem, found) >= least:
                solver = replace(problem.program.solver, history=_pairs(problem, found))
                problem = replace(problem, program=replace(problem.program, solver=solver))
                found = _again(problem, found)
        if found.fits:
            break
    return problem, found


def _rung(program: Program) -> Rung:
    """Return the rung that a program stands on."""
    where = program.recompute, program.breadth
    return next((rung for rung in LADDER if rung[:2] == where), Rung(*where, 0))


def _rungs(problem: Problem) -> list[Rung]:
    """Return the rungs that a problem may climb to."""
    if "recompute" not in problem.open:
        return []
    higher = [rung for rung in LADDER if rung.nbytes < _rung(problem.program).nbytes]
    return [rung for rung in higher if _is_tiled(problem) == (rung.recompute != WHOLE)]


def _is_tiled(problem: Problem) -> bool:
    """Tell whether nothing of the picture's features is wanted as a whole."""
    by_position = problem.settings.content.kind == "features" and isinstance(problem.term, AdditiveTerm)
    return by_position and problem.program.network.padding == "zero"


def _pairs(problem: Problem, found: Estimate) -> int:
    """Return how long a history fits; 0 if it is not to be changed."""
    if "history" not in problem.open or problem.program.is_outside:
        return 0
    history = problem.program.solver.history or 0
    return min(history, history - -(-(found.total - found.usable) // (2 * problem.moving)))


def table(problem: Problem, found: Estimate) -> str:
    """Return in words what a problem takes at its size, and how it is made to fit."""
    height, width = problem.content.shape[:2]
    solver, recompute = problem.program.solver, problem.program.recompute
    solvers = {"lbfgs": "L-BFGS with {} pairs", "lbfgsb": "SciPy's L-BFGS-B with {} pairs, in float64"}
    pairs = solvers.get(solver.kind, solver.kind).format(solver.history)
    if problem.program.is_outside:
        pairs += f" on the {solver.history_on}, in {solver.history_type}"
    last = max(recompute, default=0)
    twice = f"blocks 1 to {last}" if last > 1 else "block 1"
    twice += " computed twice" + ", in small tiles" * (problem.program.breadth < BREADTH)
    is_direct = problem.program.network.engine != problem.settings.network.engine
    limited = problem.settings.memory_limit is not None
    is_cpu = jax.default_backend() == "cpu"
    rows = [
        ("held", found.held, "by Python, JAX and pictures" if is_cpu else "on the device"),
        ("network", found.network, "convolutions by the direct engine" if is_direct else ""),
        ("optimiser", found.optimiser, pairs),
        ("features", found.features, twice if recompute else "all kept"),
        *([("kept", found.kept, "of what is freed, for it is in pieces")] if found.kept else []),
        *([("programs", found.programs, "for further sizes and passes")] if found.programs else []),
        ("together", found.held + found.total, ""),
        ("usable", found.held + found.usable, "by the memory limit" if limited else "of what is free"),
    ]
    lines = [f"{name:<11}{gib(number):>10}  {note}".rstrip() for name, number, note in rows]
    return "\n".join([f"a picture of {width} x {height}, {problem.evaluations} evaluations", *lines])


def _refusal(problem: Problem, found: Estimate) -> str:
    height, width = problem.content.shape[:2]
    least = found.total
    if "history" in problem.open and not problem.program.is_outside:
        least -= ((problem.program.solver.history or 0) - FEWEST) * 2 * problem.moving
    share = (found.usable - found.network) / (least - found.network)
    size = int(0.97 * max(height, width) * share**0.5) if share > 0 else 0
    advice = f"use size {size}" if size >= 64 else "free some memory"
    needs = f"a picture of {width} x {height} needs about {gib(least)} ({gib(found.network)} for the network)"
    limit, held = problem.settings.memory_limit, found.held
    if limit is None or not _is_limited(problem, found):
        return f"{needs}, and {gib(found.usable)} can be used: {advice}"
    return (
        f"{needs} besides the {gib(held)} that Python and JAX hold already, and the memory limit is "
        f"{gib(limit)}: {advice}, or a memory limit of at least {gib(held + least)}"
    )


def features_nbytes(problem: Problem) -> int:
    """Return the bytes of all features of a problem's image."""
    params = problem.network.params
    image = jnp.zeros((*problem.size, 3))
    return nbytes(jax.eval_shape(lambda: vgg.features(params, image, layers=params)))


def gib(number: int) -> str:
    """Return a number of bytes in words."""
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
