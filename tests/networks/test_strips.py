import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.networks import strips


def blurred(x):
    """Sums of three rows, and the same halved: what a strip with a row on either side yields."""
    y = x[:-2] + 2 * x[1:-1] + 3 * x[2:]
    return y, y[..., :1] > 0


@pytest.mark.parametrize("height", [1, 2, 5, 8, 9, 10, 11, 16, 31])
@pytest.mark.parametrize("rows", [1, 4, 8])
@pytest.mark.parametrize("padding", ["zero", "replicate", "wrap"])
def test_mapped_equals_the_whole(random, height, rows, padding):
    x = np.float32(random.normal(size=(height, 3, 2)))
    outputs = [(2, np.float32), (1, bool)]
    run = jax.jit(lambda x: strips.mapped(blurred, (x,), rows=rows, outputs=outputs, padding=padding))
    found, positive = run(x)
    padded = np.pad(
        x, ((1, 1), (0, 0), (0, 0)), mode={"zero": "constant", "replicate": "edge", "wrap": "wrap"}[padding]
    )
    wanted = padded[:-2] + 2 * padded[1:-1] + 3 * padded[2:]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(positive, np.asarray(found)[..., :1] > 0)


def test_mapped_by_vmap(random):
    xs = np.float32(random.normal(size=(3, 11, 4, 2)))
    run = jax.jit(lambda x: strips.mapped(blurred, (x,), rows=4, outputs=[(2, np.float32), (1, bool)])[0])
    np.testing.assert_array_equal(jax.vmap(run)(xs), jnp.stack([run(x) for x in xs]))
