import jax
import numpy as np
import pytest
from scipy.signal import correlate

from nst_jax.networks import winograd


def plain(x, kernel, mode="constant"):
    """SciPy's correlation, channel by channel."""
    padded = np.pad(np.float64(x), ((1, 1), (1, 1), (0, 0)), mode=mode)
    _, _, inputs, outputs = kernel.shape
    return np.stack(
        [
            sum(correlate(padded[..., c], np.float64(kernel[..., c, k]), mode="valid") for c in range(inputs))
            for k in range(outputs)
        ],
        -1,
    )


POINTS = (0, 1, -1, 2, 1 / 2)


def test_one_dimension_follows_from_the_points(random):
    """Toom-Cook: values of the kernel's polynomial at the points, up to scale."""
    g = random.normal(size=3)
    U = np.asarray(winograd.transformed(np.float32(np.outer(g, [1, 0, 0]))[:, :, None, None]))[:, 0, 0]
    values = [*(np.polyval(g[::-1], p) for p in POINTS), g[2]]
    np.testing.assert_allclose(
        U.reshape(6, 6)[:, 0], np.array([1, 1, 1 / 9, 2 / 9, 8 / 9, 1]) * values, rtol=1e-5
    )


def test_turned_kernels_have_the_same_transform_in_another_order(random):
    kernel = np.float32(random.normal(size=(3, 3, 2, 5)))
    U, V = (np.asarray(winograd.transformed(k)).reshape(6, 6, 2, 5) for k in (kernel, kernel[::-1, ::-1]))
    np.testing.assert_allclose(V, U[np.ix_(winograd.TURNED, winograd.TURNED)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 1), (4, 4), (6, 5), (7, 18), (33, 20)])
@pytest.mark.parametrize("strip_bytes", [1, 2**12, 2**24])
@pytest.mark.parametrize("padding", ["zero", "replicate", "wrap"])
def test_convolutions_of_any_size_agree_with_scipy(random, monkeypatch, size, strip_bytes, padding):
    monkeypatch.setattr(winograd, "STRIP_BYTES", strip_bytes)
    x, kernel = np.float32(random.normal(size=(*size, 3))), np.float32(random.normal(size=(3, 3, 3, 4)))
    bias, gate = np.float32(random.normal(size=4)), random.uniform(size=x.shape) < 0.5
    mode = {"zero": "constant", "replicate": "edge", "wrap": "wrap"}[padding]
    wanted, gated = plain(x, kernel, mode), plain(x * gate, kernel, mode)
    close = {"rtol": 1e-4, "atol": 2e-5 * np.abs(wanted).max()}

    @jax.jit
    def run(x, kernel, bias, gate):
        U, turned = (winograd.transformed(k) for k in (kernel, kernel[::-1, ::-1].transpose(0, 1, 3, 2)))
        found = [
            winograd.convolve(x, U, padding=padding),
            winograd.convolve(x, turned, turned=True, padding=padding),
            winograd.convolve(x, U, gate=gate, padding=padding),
        ]
        return found, winograd.rectified(x, U, bias, padding=padding)

    found, (y, positive) = run(x, kernel, bias, gate)
    for each, right in zip(found, (wanted, wanted, gated), strict=True):
        np.testing.assert_allclose(each, right, **close)
    np.testing.assert_allclose(y, np.maximum(wanted + bias, 0), **close)
    np.testing.assert_array_equal(positive, np.asarray(y) > 0)


def test_strips_are_equal_and_of_about_the_size_asked_for(monkeypatch):
    monkeypatch.setattr(winograd, "STRIP_BYTES", 2**20)
    x, U = np.zeros((100, 64, 8), np.float32), np.zeros((36, 8, 16), np.float32)
    rows = winograd._rows(x, U)
    assert rows % winograd.TILE == 0
    assert 0.5 < rows // 4 * 16 * 36 * 16 * 4 / 2**20 < 2
