import numpy as np
import pytest

from nst_jax.networks.pooling import pooled, unpooled

SIZES = [(8, 6), (9, 7), (2, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "reduce"), [("avg", np.mean), ("max", np.max)])
def test_windows_are_two_by_two_and_a_last_row_or_column_is_dropped(random, size, kind, reduce):
    x = np.float32(random.normal(size=(*size, 5)))
    found = pooled(x, kind)
    assert found.shape == (size[0] // 2, size[1] // 2, 5)
    for row, column in np.ndindex(found.shape[:2]):
        window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        np.testing.assert_allclose(found[row, column], reduce(window, (0, 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_a_gradient_is_carried_back_by_the_transpose(random, size):
    x, g = random.normal(size=(*size, 5)), random.normal(size=(size[0] // 2, size[1] // 2, 5))
    there, back = np.vdot(pooled(np.float32(x), "avg"), g), np.vdot(x, unpooled(np.float32(g), x.shape))
    np.testing.assert_allclose(there, back, rtol=1e-4, atol=1e-5)
