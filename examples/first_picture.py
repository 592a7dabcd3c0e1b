"""A first picture: a cup of coffee, painted like a starry night. Writes first_picture.png."""

from nst_jax import images, samples, stylize

SIZE, EVALUATIONS = 256, 100
NETWORK = "compact"  # comes along; "vgg19" downloads 80 MB, once, and paints finer


def main() -> None:
    """Paint it."""
    result = stylize(
        samples.load("coffee"),
        samples.load("starry_swirls"),
        size=SIZE,
        evaluations=EVALUATIONS,
        network=NETWORK,
        callback=lambda progress: print(f"{progress.evaluations:4d}  loss {progress.loss:.4g}"),
    )
    print(result.sentence)
    images.write("first_picture.png", result.image)


if __name__ == "__main__":
    main()
