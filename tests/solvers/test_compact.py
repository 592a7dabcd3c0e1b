import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.solvers import compact

SHAPE = (5, 4, 3)


def inverse_hessian(pairs, gamma):
    """H of pairs, oldest first, by the update of BFGS: Nocedal & Wright (2006), equation (6.17)."""
    H = gamma * np.eye(np.prod(SHAPE))
    for s, y in pairs:
        rho = 1 / (s @ y)
        V = np.eye(len(s)) - rho * np.outer(y, s)
        H = V.T @ H @ V + rho * np.outer(s, s)
    return H


def pairs_of(random, count):
    """Return steps and gradient differences of a quadratic, noisy: all have positive curvature."""
    curvatures = np.linspace(1, 5, np.prod(SHAPE))
    S = random.normal(size=(count, len(curvatures)))
    return S, S * curvatures + 0.1 * random.normal(size=S.shape)


def remember(random, count, m, void=()):
    """Return products, S, Y and rho once all pairs are in m slots, each as the latest once, and H."""
    S, Y = pairs_of(random, count)
    rho = np.array([0.0 if i in void else 1 / (s @ y) for i, (s, y) in enumerate(zip(S, Y, strict=True))])
    products = compact.none(m, jnp.float32)
    held = [jnp.zeros((m, *SHAPE)), jnp.zeros((m, *SHAPE)), jnp.zeros(m)]
    g = random.normal(size=SHAPE)
    for i in range(count):
        held = [
            each.at[i % m].set(jnp.float32(new.reshape(each.shape[1:])))
            for each, new in zip(held, (S[i], Y[i], rho[i]), strict=True)
        ]
        found, products = compact.times_gradient(
            products,
            *held[:2],
            jnp.float32(g),
            rho=held[2],
            gamma=jnp.float32(0.3),
            first=jnp.int32(i + 1) % m,
        )
    kept = [(S[i], Y[i]) for i in range(max(0, count - m), count) if i not in void]
    return found, inverse_hessian(kept, 0.3) @ g.ravel()


@pytest.mark.parametrize("count", [1, 3, 6, 7, 15])
def test_it_is_the_inverse_hessian_of_the_latest_pairs(random, count):
    found, wanted = remember(random, count, 6)
    np.testing.assert_allclose(found, wanted.reshape(SHAPE), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("void", [{14}, {9}, {10, 12}, set(range(15))])
def test_pairs_that_are_void_do_not_count(random, void):
    found, wanted = remember(random, 15, 6, void)
    np.testing.assert_allclose(found, wanted.reshape(SHAPE), rtol=1e-4, atol=1e-4)


def test_without_pairs_it_is_a_multiple_of_the_gradient(random):
    g, nothing = jnp.float32(random.normal(size=SHAPE)), jnp.zeros((4, *SHAPE))
    found, _ = compact.times_gradient(
        compact.none(4, jnp.float32), nothing, nothing, g, rho=jnp.zeros(4), gamma=0.5, first=jnp.int32(0)
    )
    np.testing.assert_allclose(found, g / 2, rtol=1e-6)


def test_pairs_are_read_together_and_in_full_precision():
    m = 50
    pairs = jax.ShapeDtypeStruct((m, *SHAPE), jnp.float32)

    def of(S, Y):
        products, ones = compact.none(m, jnp.float32), jnp.ones(m)
        return compact.times_gradient(products, S, Y, S[0], rho=ones, gamma=1.0, first=jnp.int32(0))

    with jax.default_matmul_precision("tensorfloat32"):
        text = jax.jit(of).lower(pairs, pairs).as_text()
    assert "while" not in text
    dots = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(dots) == 7
    assert all("[HIGHEST, HIGHEST]" in line for line in dots)
