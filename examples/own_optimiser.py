"""An optimiser of one's own: Adam whose steps shrink, around the pure objective. Writes own_optimiser.png."""

import jax
import optax
from jax import Array

from nst_jax import images, load_network, samples
from nst_jax.networks import vgg
from nst_jax.transfer import objective

SIZE, EVALUATIONS = 256, 200


def main() -> None:
    """Paint the photograph with steps of 4 grey levels at first, and of none in the end."""
    params = load_network("compact").params
    names = ("coffee", "starry_swirls")
    photo, painting = (vgg.to_input(images.bounded(samples.load(name), SIZE)) for name in names)
    targets = objective.make_targets(params, photo, painting)
    weights = objective.loss_weights(style=1e3, total_variation=2e-3)
    optimiser = optax.adam(optax.cosine_decay_schedule(4.0, EVALUATIONS))

    @jax.jit
    def step(x: Array, params: vgg.Params, moments: optax.OptState) -> tuple[Array, optax.OptState, Array]:
        (loss, _), grad = jax.value_and_grad(objective.loss, has_aux=True)(x, params, targets, weights)
        change, moments = optimiser.update(grad, moments, x)
        return optax.apply_updates(x, change), moments, loss

    x, moments = photo, optimiser.init(photo)
    for n in range(EVALUATIONS):
        x, moments, loss = step(x, params, moments)
        if n % 50 == 0:
            print(f"{n:4d}  loss {loss:.4g}")
    images.write("own_optimiser.png", vgg.to_image(x))


if __name__ == "__main__":
    main()
