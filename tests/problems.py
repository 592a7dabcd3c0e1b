"""Problems of small pictures on a narrow network, made and solved; also for processes that tests start."""

from dataclasses import dataclass

import jax.numpy as jnp

from nst_jax.losses.terms import AdditiveTerm
from nst_jax.settings import Settings
from nst_jax.transfer import batch, loop, plan
from nst_jax.transfer.pictures import Pictures, without
from nst_jax.transfer.problem import Network, make_problem
from nst_jax.transfer.stretch import Batch

WEIGHTS = (10.0, 100.0, 1000.0, 3000.0, 1e4)

QUICK = {
    "content.layers": ("conv2_2",),
    "content.weight": 1.5,
    "style.layers": ("conv1_1", "conv2_1"),
    "network.engine": "direct",
    "solver.evaluations": 12,
    "solver.history": 10,
    "pyramid.levels": 1,
    "pyramid.variables": "pixels",
    "loss.total_variation": 0.0,
}
"""Of two blocks of the network, whose program is soon compiled."""


@dataclass(frozen=True)
class Moments(AdditiveTerm):
    """Means and standard deviations of channels are alike: a style term as a user might write it."""

    def statistics(self, F):
        return jnp.mean(F, (0, 1)), jnp.mean(F**2, (0, 1))

    def compare(self, statistics, target):
        (m, s), (n, t) = (self.moments(*each) for each in (statistics, target))
        return jnp.mean((m - n) ** 2 + (s - t) ** 2)

    def moments(self, mean, square):
        return mean, jnp.sqrt(jnp.maximum(square - mean**2, 1e-3))


def network_of(params):
    return Network(params, "narrow", "", "", "")


def settings(values=None, **changes):
    """Return quick settings with some values: by dotted key, or by name where a keyword may have it."""
    return Settings().with_values(QUICK | (values or {}) | changes)


def problem(pair, network, values=None, *, maps=(None, None), init=None, seed=None, **changes):
    content, style = pair
    there = {"content": content is not None, "style": style is not None}
    chosen = without(settings(values, **changes), **there)
    return make_problem(Pictures(content, style, *maps, init), chosen, network, seed=seed)


def solve(problem, watch=lambda look: None, **options):
    return loop.solve(Batch((problem,)), watch, **options)[0]


def grid(pair, network, values=None, *, weights=WEIGHTS, **changes):
    """Return problems with other style weights, by number."""
    here = [problem(pair, network, {"style.weight": w} | (values or {}), **changes) for w in weights]
    return dict(enumerate(plan.align(here)))


def solve_all(problems, *, finished=(), watch=lambda progress: None, **how):
    """Return results and curves by number, and whether all was done."""
    found = {}

    def done(index, *result):
        found[index] = result

    how = plan.How(**how)
    return found, batch.run(problems, done=done, finished=finished, watch=watch, how=how)
