"""The loss and its gradient at several weights at once: `jax.vmap` over `LossWeights`."""

import jax
import jax.numpy as jnp

from nst_jax import images, load_network, samples
from nst_jax.networks import vgg
from nst_jax.transfer import objective

SIZE = 128
STYLE_WEIGHTS = (1e1, 1e2, 1e3, 1e4)


def main() -> None:
    """Print, for each weight of the style, the loss and which way the picture is pulled."""
    params = load_network("compact").params
    content = images.bounded(samples.load("coffee"), SIZE)
    style = images.resize(samples.load("starry_swirls"), (content.shape[0], content.shape[1]))
    photo, painting = vgg.to_input(content), vgg.to_input(style)
    targets = objective.make_targets(params, photo, painting)
    weights = objective.loss_weights(style=jnp.array(STYLE_WEIGHTS))
    axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, weights)  # what has an axis is mapped
    evaluate = jax.value_and_grad(objective.loss, has_aux=True)
    every = jax.jit(jax.vmap(evaluate, in_axes=(None, None, None, axes)))
    (losses, terms), gradients = every(0.7 * photo + 0.3 * painting, params, targets, weights)
    for i, weight in enumerate(STYLE_WEIGHTS):
        rms = float(jnp.sqrt(jnp.mean(jnp.square(gradients[i]))))
        content = float(terms["content/conv4_2"][i])
        print(f"beta {weight:7g}: loss {losses[i]:.4g}, content {content:.4g}, gradient {rms:.4g}")


if __name__ == "__main__":
    main()
