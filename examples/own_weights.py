"""Weights from a file: Keras HDF5, a Caffe model, safetensors or npz. Writes own_weights.png.

There is no such file yet, so this writes one, in the HDF5 layout of Keras: random filters in VGG-19's shape.
"""

from pathlib import Path

import jax

from nst_jax import images, load_network, samples, stylize
from nst_jax.networks import vgg
from nst_jax.pretrained import files

SIZE, EVALUATIONS = 256, 100
WEIGHTS = Path("own_weights.h5")


def main() -> None:
    """Write the file, read it, and paint with it."""
    if not WEIGHTS.exists():
        params = vgg.random_params(jax.random.key(0))
        files.write(WEIGHTS, params, source="random", sha256="", licence="CC0")
    network = load_network(str(WEIGHTS))  # normalised to mean activation one, as in the paper
    print(network.record())
    photo, painting = samples.load("chelsea"), samples.load("burning_sky")
    result = stylize(photo, painting, size=SIZE, evaluations=EVALUATIONS, network=network)
    images.write("own_weights.png", result.image)


if __name__ == "__main__":
    main()
