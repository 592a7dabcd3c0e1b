"""Problems that are solved one after another, such as the frames of a film: one program, most things once."""

from dataclasses import replace

from nst_jax.transfer import alike, memory
from nst_jax.transfer.looks import Result
from nst_jax.transfer.loop import solve
from nst_jax.transfer.problem import Problem
from nst_jax.transfer.program import Shapes
from nst_jax.transfer.remembering import remembering
from nst_jax.transfer.stretch import Batch

_REMEMBERED = 32
"""Networks and targets."""


class Series:
    """Solves problems; what they have in common is computed once, and so is how they fit in memory."""

    def __init__(self) -> None:
        self._remember = remembering(_REMEMBERED)
        self._known: tuple[object, Problem, Shapes] | None = None

    def begun(self, problem: Problem) -> Result:
        """Return the result of a problem at all of its sizes."""
        return solve(Batch((problem,)), remember=self._remember)[0]

    def gone_on(self, problem: Problem) -> Result:
        """Return the result of a problem of a single size, as most of a series are."""
        _, fitted, shapes = self._fitted(problem)
        problem = replace(problem, program=fitted.program, open=())
        return solve(Batch((problem,), shapes=shapes), is_fitted=True, remember=self._remember)[0]

    def _fitted(self, problem: Problem) -> tuple[object, Problem, Shapes]:
        which = alike.program_of(problem)
        if self._known is None or self._known[0] != which:
            fitted = memory.fit(problem)[0]
            self._known = which, fitted, memory.shapes_of(fitted)
        return self._known
