"""Move an array until a scalar function of it is small: jaxopt L-BFGS or optax Adam behind one seam.

A `Method` is a pair of pure functions, ``init`` and ``step``, on a `State`, to be jitted (``step`` with its
state donated) and, for several lanes, batched with ``jax.vmap``. The loop around ``step`` belongs to the
caller, in Python: XLA's CPU back end runs convolutions inside a compiled loop about four times slower.

The function is minimised after scaling by its own first gradient: with f unscaled, g0 its first gradient and
r the wanted root mean square step, the methods see f * r / rms(g0). Weights of any magnitude then behave
alike. Reported values are unscaled.

References: Nocedal & Wright, "Numerical optimization" (2006), algorithm 7.5; Kingma & Ba, "Adam" (2015).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # it says that it is unmaintained; this seam is the answer
    import jaxopt

Fun = Callable[..., tuple[Array, Any]]
"""``fun(x, *args) -> (value, aux)``, differentiable in x."""

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
    """Where a solve stands. ``best`` is the x of the lowest value so far; ``value`` and ``aux`` are its."""

    x: Array
    best: Array
    value: Array
    aux: Any
    scale: Array
    evaluations: Array
    refused: Array
    status: Array
    inner: Any


class Method(NamedTuple):
    """A way to minimise: ``init(x, *args) -> State`` and ``step(state, *args) -> State``.

    ``init`` evaluates nothing; the first step evaluates x itself. A step leaves a state that has ended alone.
    """

    init: Callable[..., State]
    step: Callable[..., State]


def lbfgs(
    fun: Fun,
    *,
    history: int = 100,
    linesearch: Literal["none", "zoom"] = "none",
    first_step: float = FIRST_STEP,
) -> Method:
    """Return L-BFGS (jaxopt).

    Without a line search every step is the full quasi-Newton step and costs one evaluation. Pairs without
    positive curvature are not used. A step to a value that is not finite or more than `RISE` times the
    present one is refused: the image stays, and a shorter step is tried.

    Args:
        fun: the function.
        history: pairs of steps and gradient differences to keep; each takes twice the memory of x.
        linesearch: ``zoom`` searches for the strong Wolfe conditions: about two evaluations a step.
        first_step: root mean square of the first step.
    """
    full_step = _jaxopt_lbfgs(fun, history, stepsize=1.0)
    searching = _jaxopt_lbfgs(fun, history, stepsize=0.0)

    def init(x: Array, *args: Any) -> State:
        value, aux = _placeholders(fun, x, args)
        # A zero gradient makes the first full step an evaluation of x itself, by the one compiled program.
        known = jaxopt.LBFGS(
            lambda x: ((value, (value, aux)), jnp.zeros_like(x)),
            value_and_grad=True,
            has_aux=True,
            history_size=history,
        )
        return _state(x, value, aux, known.init_state(x)._replace(num_fun_eval=jnp.asarray(0)))

    def propose(state: State, args: tuple[Any, ...]) -> tuple[Array, Any]:
        def take(solver: Any, length: Array | float = 1.0) -> tuple[Array, Any]:
            # The step is linear in the gradient: a scaled gradient makes a step of another length.
            inner = state.inner._replace(grad=state.inner.grad * length)
            x, inner = solver.update(state.x, inner, state.scale, *args)
            return x, inner

        if linesearch == "none":
            return take(full_step, SHORTEN ** state.refused.astype(state.x.dtype))
        first = state.evaluations == 0
        found: tuple[Array, Any] = jax.lax.cond(first, lambda: take(full_step), lambda: take(searching))
        return found

    def step(state: State, *args: Any) -> State:
        before = state.inner
        x, after = propose(state, args)
        first = state.evaluations == 0
        good = jnp.isfinite(after.value) & jnp.isfinite(after.error) & (after.value <= RISE * before.value)
        scale = jnp.where(first & good, _scale(after.grad, first_step), state.scale)
        moved = x - state.x
        inner = _guarded(before, after, moved, good, rescale=scale / state.scale, forget=linesearch == "zoom")
        value, aux = inner.aux
        x = jnp.where(good, x, state.x)
        return _unless_ended(state, _moved(state, x, value, aux, good, scale, after.num_fun_eval, inner))

    return Method(init, step)


def _jaxopt_lbfgs(fun: Fun, history: int, *, stepsize: float) -> Any:
    return jaxopt.LBFGS(
        _scaled(fun),
        value_and_grad=True,
        has_aux=True,
        stepsize=stepsize,  # 0 is jaxopt's word for a line search
        linesearch="zoom",
        history_size=history,
        tol=0.0,
        implicit_diff=True,  # otherwise jaxopt unrolls its loops
    )


def _guarded(before: Any, after: Any, moved: Array, good: Array, *, rescale: Array, forget: bool) -> Any:
    """Return jaxopt's state after a step that is good, or else as before but for the number of evaluations.

    A pair (s, y) enters the history if its curvature s . y is positive; otherwise rho = 0 makes it void.
    Pairs are put into the histories from before: what jaxopt did to them is then dead code, and nothing is
    copied.
    """
    slot = before.iter_num % before.rho_history.shape[0]

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)

    s = jnp.where(good, moved, 0.0)  # zero, for a void pair that is not finite still spoils
    y = jnp.where(good, after.grad - before.grad, 0.0)
    curvature, length = jnp.vdot(s, y), jnp.vdot(y, y)
    curved = curvature > 0
    rho = before.rho_history.at[slot].set(jnp.where(curved, 1 / jnp.where(curved, curvature, 1.0), 0.0))
    return after._replace(
        iter_num=choose(after.iter_num, before.iter_num),
        value=choose(after.value, before.value) * rescale,
        grad=choose(after.grad, before.grad) * rescale,
        aux=choose(after.aux, before.aux),
        s_history=before.s_history.at[slot].set(s),
        y_history=before.y_history.at[slot].set(y),
        rho_history=jnp.where(good, rho, 0.0) if forget else rho,
        gamma=jnp.where(curved, curvature / jnp.where(curved, length, 1.0), before.gamma),
        stepsize=choose(after.stepsize, jnp.ones_like(after.stepsize)),
        failed_linesearch=jnp.asarray(False),
    )


def forget_last(state: State) -> State:
    """Make the latest pair of L-BFGS void: the function has changed between its two gradients."""
    inner = state.inner
    if not hasattr(inner, "rho_history"):
        return state
    slot = (inner.iter_num - 1) % inner.rho_history.shape[0]
    return replace(state, inner=inner._replace(rho_history=inner.rho_history.at[slot].set(0.0)))


def adam(fun: Fun, *, learning_rate: float = 2.0) -> Method:
    """Return Adam (optax), with steps of about ``learning_rate`` in the units of x."""
    optimiser = optax.adam(learning_rate)
    evaluate = _scaled(fun)

    def init(x: Array, *args: Any) -> State:
        value, aux = _placeholders(fun, x, args)
        return _state(x, value, aux, (jnp.zeros_like(x), optimiser.init(x)))

    def step(state: State, *args: Any) -> State:
        grad, moments = state.inner
        change, moved = optimiser.update(grad, moments, state.x)
        first = state.evaluations == 0
        x = jnp.where(first, state.x, optax.apply_updates(state.x, change))
        moments = jax.tree.map(lambda new, old: jnp.where(first, old, new), moved, moments)
        after = _evaluated(evaluate, state, x, args)
        return _unless_ended(state, replace(after, inner=(after.inner[1], moments)))

    return Method(init, step)


def evaluating(fun: Fun) -> Method:
    """Return what only looks: a step leaves the value at x and its gradient, scaled, in ``inner``.

    It is for a solver outside of JAX that puts the next x into the state before each step, see `lbfgsb`.
    """
    evaluate = _scaled(fun)

    def init(x: Array, *args: Any) -> State:
        value, aux = _placeholders(fun, x, args)
        return _state(x, value, aux, (value, jnp.zeros_like(x)))

    def step(state: State, *args: Any) -> State:
        return _unless_ended(state, _evaluated(evaluate, state, state.x, args))

    return Method(init, step)


def _evaluated(evaluate: Callable[..., Any], state: State, x: Array, args: tuple[Any, ...]) -> State:
    """Return the state after an evaluation at x, its scaled value and gradient in ``inner``.

    The first gradient gets a root mean square of `FIRST_STEP`. What is not finite ends the run: these
    methods cannot take back a step, and have no way on.
    """
    (_, (value, aux)), grad = evaluate(x, state.scale, *args)
    good = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad))
    scale = jnp.where((state.evaluations == 0) & good, _scale(grad, FIRST_STEP), state.scale)
    inner = (value * scale, grad * scale / state.scale)
    after = _moved(state, x, value, aux, good, scale, state.evaluations + 1, inner)
    return replace(after, status=jnp.where(good, after.status, NOT_FINITE))


def _scaled(fun: Fun) -> Callable[..., tuple[tuple[Array, tuple[Array, Any]], Array]]:
    def scaled(x: Array, scale: Array, *args: Any) -> tuple[tuple[Array, tuple[Array, Any]], Array]:
        (value, aux), grad = jax.value_and_grad(fun, has_aux=True)(x, *args)
        return (value * scale, (value, aux)), grad * scale

    return scaled


def _scale(grad: Array, wanted: float) -> Array:
    largest = jnp.max(jnp.abs(grad))  # divided out first, lest the squares overflow or vanish
    rms = largest * jnp.sqrt(jnp.mean(jnp.square(grad / jnp.where(largest > 0, largest, 1.0))))
    return jnp.where(rms > 0, wanted / rms, 1.0)


def _placeholders(fun: Fun, x: Array, args: tuple[Any, ...]) -> tuple[Array, Any]:
    """Return an infinite value and zero aux, of the types that ``fun`` returns, without evaluating it."""
    value, aux = jax.eval_shape(fun, x, *args)
    return jnp.full(value.shape, jnp.inf, value.dtype), jax.tree.map(
        lambda a: jnp.zeros(a.shape, a.dtype), aux
    )


def _state(x: Array, value: Array, aux: Any, inner: Any) -> State:
    zero = jnp.zeros((), jnp.int32)
    return State(x, x, value, aux, jnp.ones((), x.dtype), zero, zero, zero, inner)


def _moved(
    state: State, x: Array, value: Array, aux: Any, good: Array, scale: Array, evaluations: Array, inner: Any
) -> State:
    better = good & (value < state.value)

    def keep(new: Any, old: Any) -> Any:
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


def _unless_ended(state: State, after: State) -> State:
    running = state.status == RUNNING
    kept: State = jax.tree.map(
        lambda old, new: jnp.where(running, new, old), replace(state, inner=None), replace(after, inner=None)
    )
    return replace(kept, inner=after.inner)  # no longer used then, and too large to copy for nothing
