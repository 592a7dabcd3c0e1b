"""The time of the loss and its gradient with each kind of style.

python benchmarks/style_costs.py [--sizes 256 512] [--kinds gram w2 sliced histogram] [--rounds 5]

Needs VGG-19's weights, in $NST_JAX_WEIGHTS or in the cache. All kinds are evaluated in turn. Prints medians
in milliseconds, and how they relate to the first.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from nst_jax import Settings, load_network
from nst_jax.losses.kinds import style_term
from nst_jax.networks import vgg
from nst_jax.transfer import objective


def evaluation(params, kind, size):
    """Return a function that computes loss and gradient of noise, compiled."""
    term = style_term(Settings().with_values({"style.kind": kind}))
    x = jnp.asarray(np.random.default_rng(0).normal(0, 60, (size, size, 3)), jnp.float32)
    targets = objective.make_targets(params, x, x[::-1], term=term)
    weights = objective.loss_weights(style_layers=term.layers)
    loss = functools.partial(objective.loss, engine="auto")
    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(x, params, targets, weights).compile()
    return functools.partial(compiled, x, params, targets, weights)


def main():
    """Print a line for each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--kinds", nargs="+", default=["gram", "w2", "sliced", "histogram"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    params = vgg.prepared(load_network("vgg19").params, deepest="conv5_1")
    for size in options.sizes:
        runs = {kind: evaluation(params, kind, size) for kind in options.kinds}
        times = {kind: [] for kind in runs}
        for _ in range(options.rounds):
            for kind, run in runs.items():
                begun = time.perf_counter()
                jax.block_until_ready(run())
                times[kind].append(time.perf_counter() - begun)
        medians = {kind: 1e3 * np.median(each) for kind, each in times.items()}
        first = medians[options.kinds[0]]
        print(size, *(f"{kind} {each:.0f} ms = {each / first:.2f}" for kind, each in medians.items()))


if __name__ == "__main__":
    main()
