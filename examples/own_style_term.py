"""A style term of one's own: means and standard deviations of each channel. Writes own_style_term.png."""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from nst_jax import Settings, images, samples, stylize
from nst_jax.losses.terms import AdditiveTerm

SIZE, EVALUATIONS = 256, 100
NETWORK = "compact"  # comes along; "vgg19" downloads 80 MB, once, and paints finer


@dataclass(frozen=True)
class MeanAndDeviation(AdditiveTerm):
    """Channels have the same means and deviations: Li et al., "Demystifying neural style transfer" (2017)."""

    def statistics(self, F: Array) -> tuple[Array, Array]:
        """Return the mean of each channel and of its square: averages over positions."""
        return F.mean((0, 1)), jnp.square(F).mean((0, 1))

    def compare(self, statistics: tuple[Array, Array], target: tuple[Array, Array]) -> Array:
        """Return the mean squared difference of means and deviations."""
        (m, s), (n, t) = (
            (mean, jnp.sqrt(jnp.maximum(square - mean**2, 0) + 1e-6)) for mean, square in (statistics, target)
        )
        return jnp.mean((m - n) ** 2) + jnp.mean((s - t) ** 2)


def main() -> None:
    """Paint with it. Strips, pyramids and grids take it as they take the terms that have a name."""
    settings = Settings().with_values({"style.kind": MeanAndDeviation(), "pyramid.levels": 2})
    photo, painting = samples.load("coffee"), samples.load("starry_swirls")
    result = stylize(photo, painting, settings, size=SIZE, evaluations=EVALUATIONS, network=NETWORK)
    print(result.terms)
    images.write("own_style_term.png", result.image)


if __name__ == "__main__":
    main()
