"""SciPy's L-BFGS-B, the solver of the authors' own code: bounds, a line search, float64.

SciPy calls the function that it minimises, while here the caller takes the steps and looks between them. So
SciPy runs on a thread of its own, and the two wait for each other: only one is at work at a time.

References: Zhu, Byrd, Lu & Nocedal, "Algorithm 778: L-BFGS-B" (1997); Gatys, Ecker & Bethge, "Texture
synthesis using convolutional neural networks" (2015), whose code (DeepTextures) calls it as is done here.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from nst_jax.settings import Solver
from nst_jax.solvers.state import (
    RUNNING,
    STALLED,
    Fun,
    Method,
    State,
    begun,
    evaluated,
    placeholders,
    scaled,
    share_of,
    unless_ended,
)
from nst_jax.typing import Tree

CORRECTIONS = 20
"""Pairs that it remembers unless told otherwise, as in the authors' code: m of the papers."""

Step = Callable[[State], State]


def method(fun: Fun, settings: Solver) -> Method:
    """Return `evaluating`: what moves the image is `steps`."""
    return evaluating(fun)


def evaluating(fun: Fun) -> Method:
    """Return what only looks: a step leaves the value at x and its gradient, scaled, in ``inner``.

    It is for a solver outside of JAX that puts the next x into the state before each step, see `steps`.
    """
    evaluate = scaled(fun)

    def init(x: Array, *args: Tree) -> State:
        value, aux = placeholders(fun, x, args)
        return begun(x, value, aux, (value, jnp.zeros_like(x)))

    def step(state: State, *args: Tree) -> State:
        return unless_ended(state, evaluated(evaluate, state, state.x, args, share_of(fun, state.x, args)))

    return Method(init, step)


def bounds(*sources: ArrayLike) -> tuple[float, float]:
    """Return the least and the greatest value of some images, over all pixels and channels together."""
    arrays = [np.asarray(source) for source in sources]
    return min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)


@contextmanager
def steps(evaluate: Step, *, low: float, high: float, corrections: int = CORRECTIONS) -> Iterator[Step]:
    """Give the step of L-BFGS-B: one evaluation, where SciPy wants it. Its thread ends with the context.

    The first evaluation is of the x of the first state, clipped into the bounds. A state gets the status
    stalled when SciPy finds no lower value along a direction, nor along the gradient, or a gradient of zero.

    Args:
        evaluate: the step of `evaluating`, with its arguments filled in; it may consume the state.
        low: no element of x is below.
        high: or above.
        corrections: pairs of steps and gradient differences to keep.

    Yields:
        A function from state to state.
    """
    asked: SimpleQueue[NDArray[np.float64] | None] = SimpleQueue()
    told: SimpleQueue[tuple[float, NDArray[np.float64]] | None] = SimpleQueue()
    solving: list[Future[None]] = []

    def ask(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        asked.put(x)
        answer = told.get()
        if answer is None:
            raise CancelledError  # out of SciPy: nobody waits for it any more
        return answer

    def step(state: State) -> State:
        if state.status != RUNNING:
            return state
        if not solving:
            x = np.float64(jax.device_get(state.x)).clip(low, high).ravel()
            solving.append(pool.submit(_minimise, ask, x, low, high, corrections))
            solving[0].add_done_callback(lambda _: asked.put(None))
        wanted = asked.get()
        if wanted is None:
            solving[0].result()  # raises what SciPy raised
            return replace(state, status=jnp.full_like(state.status, STALLED))
        state = evaluate(replace(state, x=jnp.array(wanted.reshape(state.x.shape), state.x.dtype)))
        if state.status == RUNNING:
            value, grad = jax.device_get(state.inner)
            told.put((float(value), np.float64(grad).ravel()))
        return state

    with ThreadPoolExecutor(1, "l-bfgs-b") as pool:
        try:
            yield step
        finally:
            told.put(None)


def _minimise(fun: Callable[..., Tree], x: NDArray[np.float64], low: float, high: float, pairs: int) -> None:
    endless = {"maxfun": sys.maxsize, "maxiter": sys.maxsize}  # it would count by iterations; the caller does
    options = {"maxcor": pairs, "ftol": 0.0, "gtol": 0.0, "maxls": 20} | endless
    minimize(fun, x, jac=True, method="L-BFGS-B", bounds=Bounds(low, high), options=options)


def nbytes(size: int, pairs: int) -> int:
    """Return about how many bytes of host memory SciPy takes for an array of so many elements.

    (2 m + 5) n float64 of its workspace, and 33 n more: x, gradient and bounds, with copies and as Python's
    numbers (measured).
    """
    return 8 * (2 * pairs + 38) * size
