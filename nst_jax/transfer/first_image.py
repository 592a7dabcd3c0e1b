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
from nst_jax.transfer.canvases import put_on
from nst_jax.transfer.pictures import Image, Init, Size, as_image

NOISE = 1.0
"""Standard deviation of the noise of an initial image, in grey levels, as in the authors' own code."""


def first_image(
    init: Init, content: Image, style: Image, *, seed: int | Array = 0, canvas: Size | None = None
) -> Array:
    """Return the image to start from, in the network's input space, of the content's size.

    Args:
        init: see `Init`.
        content: the content image, RGB in [0, 1].
        style: the style image.
        seed: of the noise, or its JAX key: normal, of standard deviation `NOISE` around the mean colour.
        canvas: the same image is put on one, see `canvases.put_on`; None: it is the whole.
    """
    size = (content.shape[0], content.shape[1])
    if isinstance(init, Mapping):
        total = jnp.zeros((*(canvas or size), 3), jnp.float32)
        for name, share in init.items():
            total += float(np.asarray(share)) * first_image(name, content, style, seed=seed, canvas=canvas)
        return total
    if isinstance(init, str):
        if init == "noise":
            key = jax.random.key(seed) if isinstance(seed, int) else seed
            return _noise(key, size, canvas)
        if init not in INIT_SOURCES:
            what = f"is {init!r}; allowed: {', '.join(INIT_SOURCES)}, an image, or a blend of these"
            raise SettingError.at("init", what)
        init = content if init == "content" else style
    x: Array = _to_input(put_on(images.resize(as_image(init, "initial")[:, :, :3], size), canvas))
    return x


def _noise(key: Array, size: Size, canvas: Size | None) -> Array:
    if canvas is None:
        return NOISE * jax.random.normal(key, (*size, 3), jnp.float32)
    # Drawn for the canvas, by one program; in a row, for the first numbers are then the picture's own.
    row = np.asarray(jax.random.normal(key, (canvas[0] * canvas[1] * 3,), jnp.float32))
    own = row[: size[0] * size[1] * 3].reshape(*size, 3)
    return jnp.asarray(np.float32(NOISE) * put_on(own, canvas))


@jax.jit
def _to_input(image: Image) -> Array:
    return vgg.to_input(image)
