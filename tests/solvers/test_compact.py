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


def remember(random, count, m, void=(), again=()):
    """Return H g once all pairs went through m slots, and what it is by the update of BFGS.

    The gradient is the one after the last pair; after some steps it was asked for ``again``, without another.
    """
    S, Y = pairs_of(random, count)
    rho = np.array([0.0 if i in void else 1 / (s @ y) for i, (s, y) in enumerate(zip(S, Y, strict=True))])
    products, gamma = compact.none(m, jnp.float32), 1.0
    held = [jnp.zeros((m, *SHAPE)), jnp.zeros((m, *SHAPE)), jnp.zeros(m)]
    g = random.normal(size=S[0].shape)
    for i in range(count):
        g = g + Y[i]
        held = [
            each.at[i % m].set(jnp.float32(new.reshape(each.shape[1:])))
            for each, new in zip(held, (S[i], Y[i], rho[i]), strict=True)
        ]
        gamma = gamma if i in void else (S[i] @ Y[i]) / (Y[i] @ Y[i])
        for is_new in (True, False) if i in again else (True,):
            found, products = compact.times_gradient(
                products,
                *held[:2],
                jnp.float32(g.reshape(SHAPE)),
                rho=held[2],
                gamma=jnp.float32(gamma),
                first=jnp.int32(i + 1) % m,
                is_new=is_new,
            )
    kept = [(S[i], Y[i]) for i in range(max(0, count - m), count) if i not in void]
    return found, (inverse_hessian(kept, gamma) @ g).reshape(SHAPE)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 15])
def test_it_is_the_inverse_hessian_of_the_latest_pairs(random, count):
    found, wanted = remember(random, count, 6)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("void", [{14}, {9}, {10, 12}, set(range(15))])
def test_pairs_that_are_void_do_not_count(random, void):
    found, wanted = remember(random, 15, 6, void)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_asked_again_without_another_pair_it_is_the_same(random):
    found, wanted = remember(random, 9, 6, again=(2, 5, 8))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def nothing(m, g, **others):
    products, pairs = compact.none(m, jnp.float32), jnp.zeros((m, *SHAPE))
    given = {"rho": jnp.zeros(m), "gamma": 0.5, "first": jnp.int32(0), "is_new": True} | others
    return compact.times_gradient(products, pairs, pairs, g, **given)[0]


def test_without_pairs_it_is_a_multiple_of_the_gradient(random):
    g = jnp.float32(random.normal(size=SHAPE))
    np.testing.assert_allclose(nothing(4, g), g / 2, rtol=1e-6)


def test_pairs_are_read_together_and_in_full_precision():
    with jax.default_matmul_precision("tensorfloat32"):
        text = jax.jit(lambda g, rho: nothing(50, g, rho=rho)).lower(jnp.ones(SHAPE), jnp.ones(50)).as_text()
    assert "while" not in text
    dots = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(dots) == 5
    assert all("[HIGHEST, HIGHEST]" in line for line in dots)
