"""The seam behind which all solvers stand: where a solve is, and what every step has in common.

A `Method` is a pair of pure functions, ``init`` and ``step``, on a `State`, to be jitted (``step`` with its
state donated) and, for several lanes, batched with ``jax.vmap``. The loop around ``step`` belongs to the
caller, in Python: XLA's CPU back end runs convolutions inside a compiled loop about four times slower.

The function is minimised after scaling by its own first gradient: with f unscaled, g0 its first gradient and
r the wanted root mean square step, the methods see f * r / rms(g0). Weights of any magnitude then behave
alike. Reported values are unscaled.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.typing import Tree

Fun = Callable[..., tuple[Array, Tree]]
"""``fun(x, *args) -> (value, aux)``, differentiable in x."""

Share = Callable[..., Array | None]
"""``share(x, *args)``: of x, what a function depends on; None: all of it."""

Status = Literal["running", "finished", "stalled", "not finite", "interrupted"]
STATUSES: tuple[Status, ...] = ("running", "finished", "stalled", "not finite", "interrupted")
"""A `State` holds an index into this."""

RUNNING, STALLED, NOT_FINITE = 0, 2, 3

FIRST_STEP = 1.0
"""Root mean square of the first L-BFGS step, in the units of x (grey levels)."""

RISE = 2.0
"""A step that takes the loss above this multiple of the present one is refused."""

SHORTEN = 0.25
"""After a refused step the next try along the same direction is shorter by this factor."""

PATIENCE = 12
"""So many refused steps in a row end the run as stalled."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """Where a solve stands. ``best`` is the x of the lowest value so far, with its ``value`` and ``aux``.

    Where a method averages, ``best`` is the mean of all x so far, and ``value`` and ``aux`` are those of the
    latest x: the mean itself is not evaluated.
    """

    x: Array
    best: Array
    value: Array
    aux: Tree
    scale: Array
    evaluations: Array
    refused: Array
    status: Array
    inner: Tree


class Method(NamedTuple):
    """A way to minimise: ``init(x, *args) -> State`` and ``step(state, *args) -> State``.

    ``init`` evaluates nothing; the first step evaluates x itself. A step leaves a state that has ended alone.
    ``carry(state, before, resized) -> State``, where there is one, puts into a state of ``init`` what goes on
    from the last state of a smaller x, whose arrays ``resized`` brings to the shape of the larger.
    """

    init: Callable[..., State]
    step: Callable[..., State]
    carry: Callable[[State, State, Callable[[Array], Array]], State] | None = None


@dataclass(frozen=True)
class Masked:
    """A function that depends on a part of x alone, and tells how large that is."""

    fun: Fun
    share: Share
    """How large."""

    def __call__(self, x: Array, *args: Tree) -> tuple[Array, Tree]:
        """Return what the function does."""
        return self.fun(x, *args)


def share_of(fun: Fun, x: Array, args: tuple[Tree, ...]) -> Array | None:
    """Return which share of x a function depends on; None: on all of it."""
    return fun.share(x, *args) if isinstance(fun, Masked) else None


def evaluated(
    evaluate: Callable[..., Tree],
    state: State,
    x: Array,
    args: tuple[Tree, ...],
    share: Array | None = None,
) -> State:
    """Return the state after an evaluation at x, its scaled value and gradient in ``inner``.

    The first gradient gets a root mean square of `FIRST_STEP`, over the `share_of` x. What is not finite ends
    the run: these methods cannot take back a step, and have no way on.
    """
    (_, (value, aux)), grad = evaluate(x, state.scale, *args)
    good = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
    scale = jnp.where((state.evaluations == 0) & good, scale_of(grad, FIRST_STEP, share), state.scale)
    inner = (value * scale, grad * scale / state.scale)
    after = moved_to(state, x, value, aux, good, scale, state.evaluations + 1, inner)
    return replace(after, status=jnp.where(good, after.status, NOT_FINITE))


def scaled(fun: Fun) -> Callable[..., tuple[tuple[Array, tuple[Array, Tree]], Array]]:
    """Return the value and gradient of a function, times a scale that is its second argument."""

    def value_and_grad(x: Array, scale: Array, *args: Tree) -> tuple[tuple[Array, tuple[Array, Tree]], Array]:
        (value, aux), grad = jax.value_and_grad(fun, has_aux=True)(x, *args)
        return (value * scale, (value, aux)), grad * scale

    return value_and_grad


def scale_of(grad: Array, wanted: float, share: Array | None = None) -> Array:
    """Return what gives a gradient the wanted root mean square, over the share of it that is not masked."""
    largest = jnp.max(jnp.abs(grad))  # divided out first, lest the squares overflow or vanish
    mean = jnp.mean(jnp.square(grad / jnp.where(largest > 0, largest, 1.0)))
    rms = largest * jnp.sqrt(mean if share is None else mean / share)
    return jnp.where(rms > 0, wanted / rms, 1.0)


def is_good(value: Array, slope: Array, last: Array) -> Array:
    """Tell whether a step may stay: value and gradient are finite, the value at most `RISE` times the last.

    Args:
        value: after the step, scaled as the last one is.
        slope: a norm of the gradient.
        last: before it.
    """
    return jnp.isfinite(value) & jnp.isfinite(slope) & (value <= RISE * last)


def placeholders(fun: Fun, x: Array, args: tuple[Tree, ...]) -> tuple[Array, Tree]:
    """Return an infinite value and zero aux, of the types that ``fun`` returns, without evaluating it."""
    value, aux = jax.eval_shape(fun, x, *args)
    return jnp.full(value.shape, jnp.inf, value.dtype), jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), aux
    )


def begun(x: Array, value: Array, aux: Tree, inner: Tree) -> State:
    """Return the state before the first evaluation."""
    zero = jnp.zeros((), jnp.int32)
    return State(x, x, value, aux, jnp.ones((), x.dtype), zero, zero, zero, inner)


def moved_to(
    state: State,
    x: Array,
    value: Array,
    aux: Tree,
    good: Array,
    scale: Array,
    evaluations: Array,
    inner: Tree,
) -> State:
    """Return the state after an evaluation at x, which is ``good`` if it may stay there."""
    better = good & (value < state.value)

    def keep(new: Tree, old: Tree) -> Tree:
        return jax.tree.map(lambda n, o: jnp.where(better, n, o), new, old)

    refused = jnp.where(good, 0, state.refused + 1)
    hopeless = jnp.where(state.evaluations == 0, NOT_FINITE, RUNNING)  # the very first value is not finite
    status = jnp.where(good, state.status, jnp.where(refused >= PATIENCE, STALLED, hopeless))
    return State(
        x=x,
        best=keep(x, state.best),
        value=keep(value, state.value),
        aux=keep(aux, state.aux),
        scale=scale,
        evaluations=jnp.asarray(evaluations, jnp.int32),
        refused=refused,
        status=status.astype(jnp.int32),
        inner=inner,
    )


def unless_ended(state: State, after: State) -> State:
    """Return the state after a step, or the one before if the solve had ended."""
    running = state.status == RUNNING
    kept: State = jax.tree.map(
        lambda old, new: jnp.where(running, new, old), replace(state, inner=None), replace(after, inner=None)
    )
    return replace(kept, inner=after.inner)  # no longer used then, and too large to copy for nothing
