"""Two styles in one picture: the pure objective with a weighted mean of their targets. Writes blend.png."""

from dataclasses import replace

import jax

from nst_jax import images, load_network, samples
from nst_jax.networks import vgg
from nst_jax.solvers.lbfgs import lbfgs
from nst_jax.transfer import objective

SIZE, EVALUATIONS = 256, 100
SHARE = 0.5  # of the first style; the rest is the second's


def main() -> None:
    """Blend the Gram matrices of two paintings, and paint a photograph with them."""
    params = load_network("compact").params
    names = ("coffee", "starry_swirls", "stained_glass")
    photo, one, other = (vgg.to_input(images.bounded(samples.load(name), SIZE)) for name in names)
    A, B = (objective.make_targets(params, photo, style) for style in (one, other))
    mean = jax.tree.map(lambda a, b: SHARE * a + (1 - SHARE) * b, A.style, B.style)
    args = params, replace(A, style=mean), objective.loss_weights(total_variation=2e-3)
    solver = lbfgs(objective.loss)
    state, step = solver.init(photo, *args), jax.jit(solver.step)
    for _ in range(EVALUATIONS):
        state = step(state, *args)
    print(f"loss {float(state.value):.4g} after {int(state.evaluations)} evaluations")
    images.write("blend.png", vgg.to_image(state.best))


if __name__ == "__main__":
    main()
