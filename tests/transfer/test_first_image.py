import jax
import numpy as np
import pytest

from nst_jax.errors import NstError
from nst_jax.networks import vgg
from nst_jax.transfer.first_image import NOISE, first_image


def test_initial_images(pair):
    content, style = pair
    fitted = style[:24, :1] * np.ones((1, 32, 1), np.float32)
    first = lambda init, **options: np.asarray(first_image(init, content, fitted, **options))
    np.testing.assert_allclose(first("content"), vgg.to_input(content), atol=1e-4)
    np.testing.assert_allclose(first("style"), vgg.to_input(fitted), atol=1e-4)
    noise = first("noise", seed=1)
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(NOISE, rel=0.1)
    assert (noise != first("noise", seed=2)).any()
    np.testing.assert_array_equal(noise, first("noise", seed=jax.random.key(1)))
    blend = first({"content": 0.7, "noise": 0.3}, seed=1)
    np.testing.assert_allclose(blend, 0.7 * first("content") + 0.3 * noise, atol=1e-4)
    given = np.full((6, 8, 3), 255, np.uint8)
    white = vgg.to_input(np.ones((24, 32, 3), np.float32))
    np.testing.assert_allclose(first(given), white, atol=1e-3)
    with pytest.raises(NstError, match="init: is 'nois'; allowed: content, style, noise"):
        first("nois")
