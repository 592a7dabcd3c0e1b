"""Loss after N evaluations against torch.optim.LBFGS (lr 1, history 100) driven with the same function.

python benchmarks/solver_quality.py [CONTENT STYLE] [--size 128] [--convention notebook]

Needs real weights in $NST_JAX_WEIGHTS and the extra `bench`. Prints, for a start from the content image and
one from noise, the loss over the first loss of both solvers and their ratio. Both minimise the same jitted
function, scaled so that the first gradient has root mean square 3 (torch) or `solver.FIRST_STEP` (nst_jax).
"""

import argparse
import json
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch

from nst_jax import images, objective, samples, solver, tasks, vgg
from nst_jax.conventions import CONVENTIONS
from nst_jax.encoder import load_encoder

MARKS = (25, 50, 100, 150, 200)


def load(name):
    """Return an image by its file or as sample:NAME."""
    return samples.load(name.removeprefix("sample:")) if name.startswith("sample:") else images.read(name).rgb


def torch_losses(fun, x, scale):
    """Return the best loss after each of MARKS evaluations of torch's L-BFGS."""
    value_and_grad = jax.jit(jax.value_and_grad(fun))
    image = torch.tensor(np.asarray(x)).requires_grad_(True)
    seen = []
    optimiser = torch.optim.LBFGS(
        [image],
        lr=1,
        max_iter=MARKS[-1],
        max_eval=MARKS[-1],
        tolerance_grad=-1,
        tolerance_change=-1,
        history_size=100,
    )

    def closure():
        value, grad = value_and_grad(jnp.asarray(image.detach().numpy()))
        image.grad = torch.tensor(np.asarray(grad) * scale)
        seen.append(float(value))
        return torch.tensor(float(value) * scale)

    optimiser.step(closure)
    return [min(seen[:mark]) for mark in MARKS]


def our_losses(fun, x):
    """Return the best loss after each of MARKS evaluations of our L-BFGS."""
    method = solver.lbfgs(lambda x: (fun(x), {}), history=tasks.HISTORY)
    step = jax.jit(method.step, donate_argnums=0)
    state, losses = jax.jit(method.init)(x), []
    for _ in range(MARKS[-1]):
        state = step(state)
        losses.append(float(state.value))
    return [losses[mark - 1] for mark in MARKS]


def main():
    """Print the table as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("content", nargs="?", default="sample:coffee")
    parser.add_argument("style", nargs="?", default="sample:starry_swirls")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--convention", default="notebook", choices=CONVENTIONS)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)

    content = load(options.content)
    size = images.fit(*content.shape[:2], options.size)
    content = vgg.to_input(images.resize(content, size))
    style = vgg.to_input(images.resize(load(options.style), size))
    params = load_encoder("vgg19").params
    weights = objective.make_weights(convention=options.convention)
    layers = {"content_layers": tuple(weights.content_layers), "style_layers": tuple(weights.style_layers)}
    targets = objective.make_targets(params, content, style, **layers)
    loss = partial(objective.loss, convention=options.convention)
    fun = lambda x: loss(x, params, targets, weights)[0]
    noise = tasks.NOISE * jax.random.normal(jax.random.key(0), content.shape)
    table = {}
    for init, x in {"content": content, "noise": noise}.items():
        first, grad = jax.value_and_grad(fun)(x)
        theirs = torch_losses(fun, x, 3 / float(jnp.sqrt(jnp.mean(grad**2))))
        ours = our_losses(fun, x)
        table[init] = {
            mark: {
                "torch": round(t / float(first), 4),
                "nst_jax": round(o / float(first), 4),
                "ratio": round(o / t, 3),
            }
            for mark, t, o in zip(MARKS, theirs, ours, strict=True)
        }
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
