"""Adam (optax): Kingma & Ba, "Adam: a method for stochastic optimization" (2015)."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import optax
from jax import Array

from nst_jax.settings import Solver
from nst_jax.solvers.state import Fun, Method, State, begun, evaluated, placeholders, scaled, unless_ended
from nst_jax.typing import Tree


def method(fun: Fun, settings: Solver) -> Method:
    """Return `adam` as settings want it."""
    return adam(fun, learning_rate=settings.learning_rate)


def adam(fun: Fun, *, learning_rate: float = 2.0) -> Method:
    """Return Adam (optax), with steps of about ``learning_rate`` in the units of x."""
    optimiser = optax.adam(learning_rate)
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
        after = evaluated(evaluate, state, x, args)
        return unless_ended(state, replace(after, inner=(after.inner[1], moments)))

    return Method(init, step)
