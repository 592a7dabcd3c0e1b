"""The image that an optimisation starts from."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nst_jax import images
from nst_jax.errors import SettingError
from nst_jax.networks import vgg
from nst_jax.settings import INIT_SOURCES
from nst_jax.transfer.pictures import Image, Init, as_image

NOISE = 1.0
"""Standard deviation of the noise of an initial image, in grey levels, as in the authors' own code."""


def first_image(init: Init, content: Image, style: Image, *, seed: int | Array = 0) -> Array:
    """Return the image to start from, in the network's input space, of the content's size.

    Args:
        init: see `Init`.
        content: the content image, RGB in [0, 1].
        style: the style image.
        seed: of the noise, or its JAX key: normal, of standard deviation `NOISE` around the mean colour.
    """
    size = (content.shape[0], content.shape[1])
    if isinstance(init, Mapping):
        total = jnp.zeros((*size, 3), jnp.float32)
        for name, share in init.items():
            total += float(np.asarray(share)) * first_image(name, content, style, seed=seed)
        return total
    if isinstance(init, str):
        if init == "noise":
            key = jax.random.key(seed) if isinstance(seed, int) else seed
            return NOISE * jax.random.normal(key, (*size, 3), jnp.float32)
        if init not in INIT_SOURCES:
            what = f"is {init!r}; allowed: {', '.join(INIT_SOURCES)}, an image, or a blend of these"
            raise SettingError.at("init", what)
        init = content if init == "content" else style
    x: Array = _to_input(images.resize(as_image(init, "initial")[:, :, :3], size))
    return x


@jax.jit
def _to_input(image: Image) -> Array:
    return vgg.to_input(image)
