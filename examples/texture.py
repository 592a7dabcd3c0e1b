"""A texture: as much starry night as you like, with no photograph in it. Writes texture.png."""

from nst_jax import Settings, images, samples, stylize

WIDTH, HEIGHT, EVALUATIONS = 384, 192, 150
NETWORK = "compact"  # comes along; "vgg19" downloads 80 MB, once, and paints finer

SETTINGS = Settings().with_values({"style.crop": (0, 0, 1, 0.6), "loss.total_variation": 2e-3})
"""Of the painting only the sky; and a little smoothing."""


def main() -> None:
    """Paint it, from noise."""
    result = stylize(
        None,
        samples.load("starry_swirls"),
        SETTINGS,
        size=(WIDTH, HEIGHT),
        evaluations=EVALUATIONS,
        network=NETWORK,
    )
    images.write("texture.png", result.image)


if __name__ == "__main__":
    main()
