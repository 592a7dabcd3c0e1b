import jax
import jax.numpy as jnp
import numpy as np

from nst_jax.losses.variation import total_variation, variation_of_part


def test_it_is_the_sum_over_neighbours(random):
    x = random.normal(size=(4, 6, 3))
    wanted = sum(
        (x[i + di, j + dj, c] - x[i, j, c]) ** 2
        for di, dj in ((0, 1), (1, 0))
        for i in range(4 - di)
        for j in range(6 - dj)
        for c in range(3)
    )
    np.testing.assert_allclose(total_variation(jnp.asarray(x)), wanted, rtol=1e-5)
    assert total_variation(np.ones((4, 6, 3))) == 0


def test_on_a_torus_it_is_the_sum_over_all_neighbours_wherever_the_picture_begins(random):
    x = random.normal(size=(4, 6, 3))
    twice = np.tile(x, (2, 2, 1))[:5, :7]
    wanted = np.sum(np.diff(twice[:, :6], axis=0) ** 2) + np.sum(np.diff(twice[:4], axis=1) ** 2)
    for image in (x, np.roll(x, (1, 2), (0, 1))):
        np.testing.assert_allclose(total_variation(jnp.asarray(image), wrap=True), wanted, rtol=1e-5)
    assert total_variation(np.ones((4, 6, 3)), wrap=True) == 0
    across = np.ones((4, 1, 3)) * np.arange(6.0)[None, :, None]  # a ramp has its jump at the seam only
    assert total_variation(across, wrap=True) == total_variation(across) + 4 * 3 * 25


def test_half_of_it_has_the_gradient_of_johnsons_neural_style(random):
    """It adds x_diff and y_diff to the gradient."""
    x = random.normal(size=(4, 6, 3))
    wanted = np.zeros_like(x)
    down, right = x[:-1] - x[1:], x[:, :-1] - x[:, 1:]
    wanted[:-1] += down
    wanted[1:] -= down
    wanted[:, :-1] += right
    wanted[:, 1:] -= right
    np.testing.assert_allclose(jax.grad(total_variation)(jnp.asarray(x)) / 2, wanted, rtol=1e-4, atol=1e-5)


def test_it_may_be_compiled_and_batched(random):
    many = np.float32(random.normal(size=(3, 4, 6, 3)))
    batched = jax.jit(jax.vmap(total_variation))(many)
    np.testing.assert_allclose(batched, [total_variation(x) for x in many], rtol=1e-5)


def test_parts_of_an_image_have_it_together(random):
    x = np.float32(random.normal(size=(7, 9, 3)))
    wide, total = np.pad(x, ((2, 2), (2, 2), (0, 0)), constant_values=7.0), 0.0
    exists = np.pad(np.ones((7, 9, 1), bool), ((2, 2), (2, 2), (0, 0)))
    own = slice(2, 6), slice(2, 7)
    for row in (0, 4):
        for column in (0, 5):
            place = np.index_exp[row : row + 8, column : column + 9]
            parts = (np.zeros((8, 9, 3), np.float32), np.zeros((8, 9, 1), bool))
            for part, whole in zip(parts, (wide, exists), strict=True):
                here = whole[place]
                part[: here.shape[0], : here.shape[1]] = here
            total += variation_of_part(jnp.asarray(parts[0]), own, jnp.asarray(parts[1]))
    np.testing.assert_allclose(total, total_variation(x), rtol=1e-5)
