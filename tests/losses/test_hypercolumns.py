import jax
import numpy as np
import pytest
from scipy import ndimage

from nst_jax.losses.hypercolumns import directions, grid_of, joined, nearest, on_grid, sampled
from nst_jax.losses.terms import INPUT


def test_the_grid_has_a_place_for_sixteen_pixels():
    assert grid_of({INPUT: np.zeros((64, 50, 3))}) == (16, 12)
    assert grid_of({INPUT: np.zeros((3, 3, 3))}) == (1, 1)


def test_shallow_layers_are_averaged_and_deep_ones_interpolated(random):
    fine = np.float32(random.normal(size=(17, 12, 2)))
    wanted = fine[:16].reshape(4, 4, 3, 4, 2).mean((1, 3))
    np.testing.assert_allclose(on_grid(fine, (4, 3)), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(on_grid(wanted, (4, 3)), wanted)
    ramp = np.float32(np.arange(4.0)[:, None, None] * np.ones((1, 3, 1)))
    np.testing.assert_allclose(
        on_grid(ramp, (8, 6))[1:-1, :, 0], np.arange(0.25, 3, 0.5)[:, None] * np.ones(6)
    )


def test_samples_lie_between_positions(random):
    F = np.float32(random.normal(size=(5, 7, 3)))
    at = np.float32(random.uniform(size=(20, 2)))
    rows, columns = np.clip(at[:, 0] * 5 - 0.5, 0, 4), np.clip(at[:, 1] * 7 - 0.5, 0, 6)
    wanted = [ndimage.map_coordinates(F[..., c], [rows, columns], order=1) for c in range(3)]
    np.testing.assert_allclose(sampled(F, at), np.transpose(wanted), rtol=1e-4, atol=1e-5)


def test_layers_are_joined_by_their_channels(random):
    a, b = np.float32(random.normal(size=(2, 3, 4))), np.float32(random.normal(size=(2, 3, 2)))
    found = joined({"conv1_1": a, "conv2_1": b})
    np.testing.assert_allclose(found, np.concatenate([a.reshape(6, 4) / 4, b.reshape(6, 2) / 2], 1))
    np.testing.assert_allclose(np.linalg.norm(directions(found), axis=1), 1, rtol=1e-5)
    assert not np.any(directions(np.zeros((2, 3), np.float32)))


@pytest.mark.parametrize("memory", [1, 4 * 11 * 10, 2**20])
def test_the_nearest_are_those_of_brute_force(random, memory):
    query, table = np.float32(random.normal(size=(11, 5))), np.float32(random.normal(size=(23, 5)))
    less = np.float32(-random.uniform(size=23))
    rows = lambda first, number: tuple(jax.lax.dynamic_slice_in_dim(x, first, number) for x in (table, less))
    index, product = nearest(query, rows, len(table), memory=memory)
    products = query @ table.T + less
    np.testing.assert_array_equal(index, products.argmax(1))
    np.testing.assert_allclose(product, products.max(1), rtol=1e-5)
