"""L-BFGS (jaxopt): Nocedal & Wright, "Numerical optimization" (2006), algorithm 7.5."""

import warnings
from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nst_jax.settings import Solver
from nst_jax.solvers import compact, streamed
from nst_jax.solvers.state import (
    FIRST_STEP,
    SHORTEN,
    Fun,
    Method,
    State,
    begun,
    is_good,
    moved_to,
    placeholders,
    scale_of,
    scaled,
    share_of,
    unless_ended,
)
from nst_jax.typing import Tree

with warnings.catch_warnings():
    # It says that it is unmaintained; the seam of `state` is the answer.
    warnings.simplefilter("ignore", DeprecationWarning)
    import jaxopt


def method(fun: Fun, settings: Solver) -> Method:
    """Return `lbfgs` as settings want it, or for a history elsewhere what `streamed` makes it of."""
    assert settings.history is not None
    if settings.history_on in streamed.PLACES:
        return streamed.evaluating(fun)
    return lbfgs(fun, history=settings.history, linesearch=settings.linesearch)


class Remembered(NamedTuple):
    """What is kept between two steps."""

    solver: Tree
    """The state of jaxopt's solver, which holds the pairs."""
    products: compact.Products | None
    """Of the pairs; None with a line search, for which jaxopt goes through them by itself."""


def lbfgs(
    fun: Fun,
    *,
    history: int = 50,
    linesearch: Literal["none", "zoom"] = "none",
    first_step: float = FIRST_STEP,
) -> Method:
    """Return L-BFGS (jaxopt).

    Without a line search every step is the full quasi-Newton step and costs one evaluation; its direction is
    that of jaxopt's recursion, in `compact` form. Pairs without positive curvature are not used. A step to a
    value that is not finite or more than `RISE` times the present one is refused: the image stays, and a
    shorter step is tried.

    Args:
        fun: the function.
        history: pairs of steps and gradient differences to keep; each takes twice the memory of x.
        linesearch: ``zoom`` searches for the strong Wolfe conditions: about two evaluations a step.
        first_step: root mean square of the first step.
    """
    stepping = _jaxopt_lbfgs(fun, 0, stepsize=1.0)  # along what it is given for a gradient
    searching = _jaxopt_lbfgs(fun, history, stepsize=0.0)

    def init(x: Array, *args: Tree) -> State:
        value, aux = placeholders(fun, x, args)
        # A zero gradient makes the first full step an evaluation of x itself, by the one compiled program.
        known = jaxopt.LBFGS(
            lambda x: ((value, (value, aux)), jnp.zeros_like(x)),
            value_and_grad=True,
            has_aux=True,
            history_size=history,
        )
        solver = known.init_state(x)._replace(num_fun_eval=jnp.asarray(0))
        products = compact.none(history, x.dtype) if linesearch == "none" else None
        return begun(x, value, aux, Remembered(solver, products))

    def propose(state: State, args: tuple[Tree, ...]) -> tuple[Array, Remembered]:
        known, products = state.inner

        def take(solver: Tree, towards: Array) -> tuple[Array, Tree]:
            x, after = solver.update(state.x, known._replace(grad=towards), state.scale, *args)
            return x, after

        if products is None:
            first = state.evaluations == 0
            x, after = jax.lax.cond(
                first, lambda: take(stepping, known.grad), lambda: take(searching, known.grad)
            )
            return x, Remembered(after, None)
        direction, products = compact.times_gradient(
            products,
            known.s_history,
            known.y_history,
            known.grad,
            rho=known.rho_history,
            gamma=known.gamma,
            first=_slot(known),
            is_new=state.refused == 0,
        )
        x, after = take(stepping, SHORTEN ** state.refused.astype(state.x.dtype) * direction)
        return x, Remembered(after, products)

    def step(state: State, *args: Tree) -> State:
        before = state.inner.solver
        x, (after, products) = propose(state, args)
        first = state.evaluations == 0
        good = is_good(after.value, after.error, before.value)
        share = share_of(fun, state.x, args)
        scale = jnp.where(first & good, scale_of(after.grad, first_step, share), state.scale)
        moved = x - state.x
        known = _guarded(before, after, moved, good, rescale=scale / state.scale, forget=products is None)
        value, aux = known.aux
        x = jnp.where(good, x, state.x)
        inner = Remembered(known, products)
        return unless_ended(state, moved_to(state, x, value, aux, good, scale, after.num_fun_eval, inner))

    return Method(init, step)


def _jaxopt_lbfgs(fun: Fun, history: int, *, stepsize: float) -> Tree:
    return jaxopt.LBFGS(
        scaled(fun),
        value_and_grad=True,
        has_aux=True,
        stepsize=stepsize,  # 0 is jaxopt's word for a line search
        linesearch="zoom",
        history_size=history,
        tol=0.0,
        implicit_diff=True,  # otherwise jaxopt unrolls its loops
    )


def _guarded(before: Tree, after: Tree, moved: Array, good: Array, *, rescale: Array, forget: bool) -> Tree:
    """Return jaxopt's state after a step that is good, or else as before but for the number of evaluations.

    A pair (s, y) enters the history if its curvature s . y is positive; otherwise rho = 0 makes it void.
    Pairs are put into the histories from before: what jaxopt did to them is then dead code, and nothing is
    copied.
    """
    slot = _slot(before)

    def choose(new: Tree, old: Tree) -> Tree:
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


def _slot(known: Tree) -> Array:
    """Return where the next pair goes, which is where the oldest is."""
    slot: Array = known.iter_num % known.rho_history.shape[0]
    return slot


def forget_last(state: State) -> State:
    """Make the latest pair of L-BFGS void: the function has changed between its two gradients."""
    if not isinstance(state.inner, Remembered):
        return state
    known = state.inner.solver
    slot = (known.iter_num - 1) % known.rho_history.shape[0]
    known = known._replace(rho_history=known.rho_history.at[slot].set(0.0))
    return replace(state, inner=state.inner._replace(solver=known))
