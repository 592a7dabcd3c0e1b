import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from nst_jax.losses.gram import Gram, gram_matrix, natively, style_loss
from nst_jax.native import library

SHAPE = (5, 7, 4)


@pytest.fixture
def maps(random):
    """Two feature maps, some of whose activations are zero."""
    return np.maximum(random.normal(size=(2, *SHAPE)), 0)


def test_the_matrix_is_equation_3_per_position(maps):
    np.testing.assert_allclose(gram_matrix(maps[0]) * 35, reference.gram(maps[0]), rtol=1e-5)


def test_a_quarter_of_the_loss_is_equation_4(maps):
    F, S = maps
    found = style_loss(gram_matrix(F), gram_matrix(S)) / 4
    np.testing.assert_allclose(found, reference.style_equation(F, S), rtol=1e-5)


def test_the_gradient_is_equation_6(maps, random):
    """With respect to the activations before the rectifier, zero where these are negative."""
    F, P = maps
    before, A = np.where(F > 0, F, -random.uniform(0.1, 1, F.shape)), gram_matrix(P)
    quarter = lambda a: style_loss(gram_matrix(jax.nn.relu(a)), A) / 4
    np.testing.assert_allclose(
        jax.grad(quarter)(before), reference.style_gradient(F, P), rtol=1e-4, atol=1e-7
    )


def test_the_matrix_knows_neither_places_nor_sizes(maps, random):
    F, _ = maps
    shuffled = random.permutation(F.reshape(-1, 4)).reshape(SHAPE)
    for other in (shuffled, np.tile(F, (2, 3, 1))):
        np.testing.assert_allclose(gram_matrix(other), gram_matrix(F), rtol=1e-5)


def test_the_term_is_a_pure_function(random):
    F, P = np.float32(random.normal(size=(2, *SHAPE)))
    loss = lambda a, b: Gram().loss(a, gram_matrix(b))
    np.testing.assert_allclose(jax.jit(loss)(F, P), loss(F, P), rtol=1e-5)
    assert loss(F, F) == 0
    assert np.isfinite(jax.grad(loss)(F, P)).all()
    many = np.float32(random.normal(size=(3, *SHAPE)))
    np.testing.assert_allclose(jax.vmap(loss, (0, None))(many, P), [loss(f, P) for f in many], rtol=1e-5)


def test_conventions_that_count_by_channel_divide_by_their_square(maps):
    assert Gram().per_channel(gram_matrix(maps[0])) == 4**2


def test_the_matrix_has_one_matrix_product_in_its_gradient(maps):
    gradient = jax.make_jaxpr(jax.grad(lambda F: jnp.sum(gram_matrix(F) ** 2)))(maps[0])
    assert str(gradient).count("dot_general") == 2  # the matrix itself, and its gradient


def test_forward_derivatives_are_those_of_the_product_rule(maps):
    F, change = np.float32(maps)
    flat, moved = F.reshape(-1, 4), change.reshape(-1, 4)
    _, found = jax.jvp(gram_matrix, (F,), (change,))
    np.testing.assert_allclose(found, (flat.T @ moved + moved.T @ flat) / 35, rtol=1e-5)


def test_the_matrix_of_narrow_features_is_summed_in_float32(random):
    F = jnp.asarray(random.uniform(1, 2, size=(64, 64, 2)), jnp.bfloat16)
    found = gram_matrix(F)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference.gram(np.float64(F)) / 4096, rtol=1e-5)


def test_positions_count_by_their_shares(maps, random):
    F, share = np.float32(maps[0]), np.float32(random.uniform(size=(5, 7, 1)))
    wanted = np.einsum("hwi,hwj,hw->ij", F, F, share[:, :, 0]) / share.sum()
    np.testing.assert_allclose(Gram().weighted(F, share), wanted, rtol=1e-5)
    by_positions = super(Gram, Gram()).weighted(jnp.asarray(F), jnp.asarray(share))
    np.testing.assert_allclose(by_positions, wanted, rtol=1e-4)
    np.testing.assert_allclose(
        Gram().weighted(F, np.float32(np.arange(5) < 2)[:, None, None] * np.ones((5, 7, 1), np.float32)),
        gram_matrix(F[:2]),
        rtol=1e-5,
    )


def test_matrices_by_operations_of_our_own_are_the_same_up_to_second_derivatives(random):
    if not library.is_there():
        pytest.skip("no C++ compiler")
    F, change = np.float32(random.normal(size=(2, 9, 11, 32)))

    def orders(is_native):
        def slope(F):
            with natively(is_native):
                return jax.grad(lambda F: jnp.sum(gram_matrix(F) ** 3))(F)

        found, pull = jax.vjp(slope, F)
        return found, pull(change)[0], str(jax.make_jaxpr(slope)(F)).count("ffi_call")

    (*found, ours), (*wanted, theirs) = orders(True), orders(False)
    assert (ours, theirs) == (1, 0)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


def test_the_gradient_of_narrow_features_is_a_product_of_their_type(random):
    F = jnp.asarray(random.normal(size=(9, 11, 32)), jnp.bfloat16)
    slope = jax.grad(lambda F: jnp.sum(jnp.square(gram_matrix(F))))
    wanted = np.float32(slope(F.astype(jnp.float32)))
    np.testing.assert_allclose(np.float32(slope(F)), wanted, atol=0.01 * np.abs(wanted).max())
    products = re.findall(r":(\w+)\[[\d,]+\] = dot_general", str(jax.make_jaxpr(slope)(F)))
    assert products == ["f32", "bf16"]
