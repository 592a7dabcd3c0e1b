import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from nst_jax.losses import formulas as losses

SHAPE = (5, 7, 4)


@pytest.fixture
def maps(random):
    """Two feature maps, some of whose activations are zero."""
    F, P = np.maximum(random.normal(size=(2, *SHAPE)), 0)
    return F, P


def test_content_loss_is_equation_1_per_value(maps):
    F, P = maps
    np.testing.assert_allclose(
        losses.content_loss(F, P) * F.size / 2, reference.content_equation(F, P), rtol=1e-5
    )


def test_gram_matrix_is_equation_3_per_position(maps):
    F, _ = maps
    np.testing.assert_allclose(losses.gram_matrix(F) * 35, reference.gram(F), rtol=1e-5)


def test_a_quarter_of_the_style_loss_is_equation_4(maps):
    F, S = maps
    found = losses.style_loss(losses.gram_matrix(F), losses.gram_matrix(S)) / 4
    np.testing.assert_allclose(found, reference.style_equation(F, S), rtol=1e-5)


def test_gradients_are_equations_2_and_6(maps, random):
    """With respect to the activations before the rectifier, zero where these are negative."""
    F, P = maps
    before = np.where(F > 0, F, -random.uniform(0.1, 1, F.shape))
    content = lambda a: losses.content_loss(jax.nn.relu(a), P) * F.size / 2
    np.testing.assert_allclose(jax.grad(content)(before), np.where(F > 0, F - P, 0), rtol=1e-5, atol=1e-6)
    A = losses.gram_matrix(P)
    style = lambda a: losses.style_loss(losses.gram_matrix(jax.nn.relu(a)), A) / 4
    np.testing.assert_allclose(jax.grad(style)(before), reference.style_gradient(F, P), rtol=1e-4, atol=1e-7)


def test_gram_matrix_does_not_know_where_things_are(maps, random):
    F, _ = maps
    shuffled = random.permutation(F.reshape(-1, 4)).reshape(SHAPE)
    np.testing.assert_allclose(losses.gram_matrix(shuffled), losses.gram_matrix(F), rtol=1e-5)


def test_gram_matrix_does_not_grow_with_the_image(maps):
    F, _ = maps
    np.testing.assert_allclose(losses.gram_matrix(np.tile(F, (2, 3, 1))), losses.gram_matrix(F), rtol=1e-5)


def test_total_variation_by_loops(random):
    x = random.normal(size=(4, 6, 3))
    wanted = sum(
        (x[i + di, j + dj, c] - x[i, j, c]) ** 2
        for di, dj in ((0, 1), (1, 0))
        for i in range(4 - di)
        for j in range(6 - dj)
        for c in range(3)
    )
    np.testing.assert_allclose(losses.total_variation(jnp.asarray(x)), wanted, rtol=1e-5)
    # Johnson's neural-style adds x_diff and y_diff to the gradient: the derivative of half the sum.
    grad = np.zeros_like(x)
    down, right = x[:-1] - x[1:], x[:, :-1] - x[:, 1:]
    grad[:-1] += down
    grad[1:] -= down
    grad[:, :-1] += right
    grad[:, 1:] -= right
    np.testing.assert_allclose(
        jax.grad(losses.total_variation)(jnp.asarray(x)) / 2, grad, rtol=1e-4, atol=1e-5
    )


def both(loss):
    return lambda a, b: loss(losses.gram_matrix(a), losses.gram_matrix(b))


@pytest.mark.parametrize(
    "loss",
    [losses.content_loss, both(losses.style_loss), lambda a, b: losses.total_variation(a - b)],
    ids=["content", "style", "total variation"],
)
def test_every_loss_is_a_pure_function(loss, random):
    F, P = np.float32(random.normal(size=(2, *SHAPE)))
    np.testing.assert_allclose(jax.jit(loss)(F, P), loss(F, P), rtol=1e-5)
    assert loss(F, F) == 0
    assert np.isfinite(jax.grad(loss)(F, P)).all()
    many = np.float32(random.normal(size=(3, *SHAPE)))
    np.testing.assert_allclose(jax.vmap(loss, (0, None))(many, P), [loss(f, P) for f in many], rtol=1e-5)


def test_the_gram_matrix_has_one_matrix_product_in_its_gradient(maps):
    F, _ = maps
    gradient = jax.make_jaxpr(jax.grad(lambda F: jnp.sum(losses.gram_matrix(F) ** 2)))(F)
    assert str(gradient).count("dot_general") == 2  # the matrix itself, and its gradient


def test_gram_matrix_of_narrow_features_is_summed_in_float32(random):
    F = jnp.asarray(random.uniform(1, 2, size=(64, 64, 2)), jnp.bfloat16)
    found = losses.gram_matrix(F)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference.gram(np.float64(F)) / 4096, rtol=1e-5)
