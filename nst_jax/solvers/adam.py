"""Adam (optax): Kingma & Ba, "Adam: a method for stochastic optimization" (2015).

Its iterates may be averaged, as there in section 7.2, and its moments carried from one size to the next: with
both it paints as Crowson's style-transfer-pytorch does.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
from jax import Array

from nst_jax.settings import Solver
from nst_jax.solvers.state import (
    NOT_FINITE,
    RUNNING,
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


def method(fun: Fun, settings: Solver) -> Method:
    """Return `adam` as settings want it."""
    found = adam(
        fun,
        learning_rate=settings.learning_rate,
        beta2=settings.beta2,
        averaging=settings.averaging,
    )
    return found if settings.carry else found._replace(carry=None)


def adam(fun: Fun, *, learning_rate: float = 2.0, beta2: float = 0.999, averaging: float = 0.0) -> Method:
    """Return Adam (optax), with steps of about ``learning_rate`` in the units of x.

    Args:
        fun: the function.
        learning_rate: the length of a step of an element whose gradients agree.
        beta2: the decay of the mean of squared gradients.
        averaging: gamma of the mean of all x, (1 - gamma) / (1 - gamma^n) sum_i gamma^(n-i) x_i for i from 1
            to n, which then is ``best`` of a state; 0: the x of the lowest value is.
    """
    optimiser = optax.adam(learning_rate, b2=beta2)
    evaluate = scaled(fun)

    def init(x: Array, *args: Tree) -> State:
        value, aux = placeholders(fun, x, args)
        return begun(x, value, aux, (jnp.zeros_like(x), optimiser.init(x)))

    def step(state: State, *args: Tree) -> State:
        grad, moments = state.inner
        change, moved = optimiser.update(grad, moments, state.x)
        first = state.evaluations == 0
        x = jnp.where(first, state.x, optax.apply_updates(state.x, change))
        moments = jax.tree.map(lambda new, old: jnp.where(first, old, new), moved, moments)
        share = share_of(fun, x, args)
        if averaging:
            latest = replace(state, value=jnp.full_like(state.value, jnp.inf))  # whatever comes is lower
            after = _averaged(state, evaluated(evaluate, latest, x, args, share), averaging)
        else:
            after = evaluated(evaluate, state, x, args, share)
        moments = _rescaled(moments, after.scale / state.scale)
        return unless_ended(state, replace(after, inner=(after.inner[1], moments)))

    return Method(init, step, _carried)


def _averaged(before: State, after: State, decay: float) -> State:
    """Return a state after an evaluation with the mean as ``best``: b_n = b_(n-1) + s_n (x_n - b_(n-1)).

    s_n = (1 - gamma) / (1 - gamma^n), n counted from 1, which makes the weights of all x add up to 1.
    """
    share = (decay - 1) / jnp.expm1(after.evaluations * math.log(decay))
    return replace(
        after,
        best=before.best + share.astype(before.x.dtype) * (after.best - before.best),
        value=jnp.where(after.status == NOT_FINITE, before.value, after.value),
    )


def _carried(state: State, before: State, resized: Callable[[Array], Array]) -> State:
    """Return the state of a larger x with the moments of a smaller one's gradients, and their count.

    Of a loss that is a mean over positions, each of n times as many elements has an n-th of the gradient: so
    much larger is the scale that the moments are of. Differs from style-transfer-pytorch, which leaves them
    as they are, so that its first steps at a size are short, and resizes the first moments bicubically.
    """
    grad, (anew, *rest) = state.inner
    known = before.inner[1][0]
    grown = known._replace(mu=resized(known.mu), nu=jnp.maximum(resized(known.nu), 0))
    good = before.status == RUNNING
    moments = jax.tree.map(lambda new, old: jnp.where(good, new, old), grown, anew)
    scale = jnp.where(good, before.scale * (state.x.size / before.x.size), state.scale)
    return replace(state, scale=scale, inner=(grad, (moments, *rest)))


def _rescaled(moments: Tree, ratio: Array) -> Tree:
    """Return the moments of gradients that are so much larger: the first of a size sets the scale of all."""
    first, *rest = moments
    mu, nu = first.mu * ratio, first.nu * ratio**2
    return (first._replace(mu=mu, nu=nu), *rest)
