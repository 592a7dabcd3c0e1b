"""Loss after N evaluations: ours, SciPy's L-BFGS-B as in the authors' code, and torch's L-BFGS.

python benchmarks/solver_quality.py [CONTENT STYLE] [--size 128] [--convention gatys2016] [--evaluations 200]

Needs real weights in $NST_JAX_WEIGHTS; without torch (the extra `bench`) its column is left out. Prints, for
a start from the content image and one from noise, the loss over the first loss of each solver, and the ratios
of ours to the others', as JSON and as a Markdown table. All minimise the same jitted function: nst_jax with
100 pairs; SciPy with 20, bounds and a line search, in float64 (`lbfgsb`), both scaled so that the first
gradient has root mean square `solver.FIRST_STEP`; torch with 100 pairs, learning rate 1 and no line search,
scaled to 3.
"""

import argparse
import contextlib
import json
import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from nst_jax import Settings, images
from nst_jax.losses.conventions import CONVENTIONS
from nst_jax.networks import vgg
from nst_jax.pretrained.network import network_for
from nst_jax.runs import inputs
from nst_jax.solvers import lbfgs, scipy_lbfgsb
from nst_jax.transfer import objective, problem
from nst_jax.transfer.first_image import first_image
from nst_jax.transfer.pictures import Pictures
from nst_jax.transfer.targets import targets_of

try:
    import torch
except ImportError:
    torch = None

MARKS = (25, 50, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000)


def load(name):
    """Return an image by its file or as sample:NAME."""
    return inputs.read_picture(name, images.MAX_PIXELS)[0].rgb


def torch_losses(evaluate, x, evaluations):
    """Return the best loss after each evaluation of torch's L-BFGS; ``evaluate`` gives loss and gradient."""
    scale = 3 / float(jnp.sqrt(jnp.mean(evaluate(x)[1] ** 2)))
    image = torch.tensor(np.asarray(x)).requires_grad_(True)
    seen = []
    optimiser = torch.optim.LBFGS(
        [image],
        lr=1,
        max_iter=evaluations,
        max_eval=evaluations,
        tolerance_grad=-1,
        tolerance_change=-1,
        history_size=100,
    )

    def closure():
        value, grad = evaluate(jnp.asarray(image.detach().numpy()))
        image.grad = torch.tensor(np.asarray(grad) * scale)
        seen.append(float(value))
        return torch.tensor(float(value) * scale)

    optimiser.step(closure)
    return np.minimum.accumulate(seen)


def losses(method, x, args, evaluations, leading=contextlib.nullcontext):
    """Return the best loss after each evaluation of a `Method`, led by ``leading``."""
    take = jax.jit(method.step, donate_argnums=0)
    state, found = jax.jit(method.init)(x, *args), []
    with leading(lambda state: take(state, *args)) as step:
        for _ in range(evaluations):
            state = step(state)
            found.append(float(state.value))
    return np.array(found)


def markdown(table):
    """Return the numbers as a Markdown table."""
    rows = [(init, mark, numbers) for init, marks in table.items() for mark, numbers in marks.items()]
    heads = ["start", "evaluations", *rows[0][2]]
    lines = [heads, ["---"] * len(heads), *([init, mark, *map(str, n.values())] for init, mark, n in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("content", nargs="?", default="sample:coffee")
    parser.add_argument("style", nargs="?", default="sample:starry_swirls")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--convention", default="notebook", choices=CONVENTIONS)
    parser.add_argument("--evaluations", type=int, default=200)
    options = parser.parse_args()
    if torch:
        torch.set_num_threads(os.cpu_count() or 1)

    settings = Settings().with_values(
        {"loss.convention": options.convention, "size": options.size, "loss.total_variation": 0.0}
    )
    network = network_for("vgg19", convention=options.convention)
    posed = problem.make_problem(Pictures(load(options.content), load(options.style)), settings, network)
    params = posed.prepared()
    args = (params, targets_of(posed, params), posed.weights)
    fun = partial(objective.loss, **posed.program.seeing)
    compiled = jax.jit(jax.value_and_grad(lambda x, *args: fun(x, *args)[0]))
    evaluate = lambda x: compiled(x, *args)

    low, high = scipy_lbfgsb.bounds(vgg.to_input(posed.content), vgg.to_input(posed.paintings[0].image))
    leading = partial(scipy_lbfgsb.steps, low=low, high=high)
    count = options.evaluations
    marks = [*(mark for mark in MARKS if mark < count), count]
    table = {}
    for init in ("content", "noise"):
        x = first_image(init, posed.content, posed.paintings[0].image)
        curves = {
            "nst_jax": losses(lbfgs.lbfgs(fun, history=problem.HISTORY), x, args, count),
            "L-BFGS-B": losses(scipy_lbfgsb.evaluating(fun), x, args, count, leading),
        }
        if torch:
            curves["torch"] = torch_losses(evaluate, x, count)
        first, ours = float(evaluate(x)[0]), curves["nst_jax"]
        table[init] = {
            mark: {name: float(f"{curve[mark - 1] / first:.4g}") for name, curve in curves.items()}
            | {
                f"nst_jax / {name}": round(ours[mark - 1] / curve[mark - 1], 3)
                for name, curve in curves.items()
                if name != "nst_jax"
            }
            for mark in marks
        }
    print(json.dumps(table, indent=1))
    print(markdown(table))


if __name__ == "__main__":
    main()
