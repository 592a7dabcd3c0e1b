import jax
import numpy as np
import reference

from nst_jax.losses.content import content_loss

SHAPE = (5, 7, 4)


def test_it_is_equation_1_per_value(random):
    F, P = random.normal(size=(2, *SHAPE))
    np.testing.assert_allclose(content_loss(F, P) * F.size / 2, reference.content_equation(F, P), rtol=1e-5)
    assert content_loss(F, F) == 0


def test_its_gradient_is_equation_2(random):
    """With respect to the activations before the rectifier: zero where these are negative."""
    before, P = random.normal(size=(2, *SHAPE))
    half_sum = lambda a: content_loss(jax.nn.relu(a), P) * P.size / 2
    np.testing.assert_allclose(
        jax.grad(half_sum)(before), np.where(before > 0, before - P, 0), rtol=1e-5, atol=1e-6
    )


def test_it_may_be_compiled_and_batched(random):
    many, P = np.float32(random.normal(size=(3, *SHAPE))), np.float32(random.normal(size=SHAPE))
    batched = jax.jit(jax.vmap(content_loss, (0, None)))(many, P)
    np.testing.assert_allclose(batched, [content_loss(F, P) for F in many], rtol=1e-5)
