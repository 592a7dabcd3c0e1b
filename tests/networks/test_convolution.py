import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nst_jax.networks import convolution, vgg

PADDINGS = ("zero", "replicate", "wrap")
ENGINES = ("direct", "winograd")


@pytest.fixture
def layer(random):
    return {"kernel": random.normal(size=(3, 3, 3, 5)), "bias": random.normal(size=5)}


def plain(x, layer, padding="zero"):
    """Nine shifted products; JAX's own gradients follow from it."""
    mode = {"zero": "constant", "replicate": "edge", "wrap": "wrap"}[padding]
    padded, (height, width, _) = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode), x.shape
    taps = [padded[i : i + height, j : j + width] @ layer["kernel"][i, j] for i in range(3) for j in range(3)]
    return sum(taps) + layer["bias"][None, None]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(6, 7), (1, 5), (2, 2)])
def test_gradients_of_the_direct_engine_are_those_of_jax(random, layer, padding, size):
    x, y = random.normal(size=(*size, 3)), random.normal(size=(*size, 5))
    with jax.enable_x64(True):
        x, y, layer = jnp.asarray(x), jnp.asarray(y), jax.tree.map(jnp.asarray, layer)

        @partial(jax.jit, static_argnums=0)
        def value_and_pull(f, x, layer):
            value, pull = jax.vjp(partial(f, padding=padding), x, layer)
            return value, pull(y)

        both = [value_and_pull(f, x, layer) for f in (convolution.convolved, plain)]
        for found, wanted in zip(*map(jax.tree.leaves, both), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("size", "known"), [((6, 7), False), ((1, 5), True), ((13, 1), False), ((20, 9), True)]
)
def test_engines_agree_in_double_precision_up_to_second_derivatives(
    random, layer, engine, padding, size, known
):
    x, y, z = (random.normal(size=(*size, n)) for n in (3, 5, 3))
    with jax.enable_x64(True):
        x, y, z, layer = jnp.asarray(x), jnp.asarray(y), jnp.asarray(z), jax.tree.map(jnp.asarray, layer)
        prepared = convolution.prepare(layer, engine=engine) if known else layer
        ours = lambda x: convolution.rectified(x, prepared, engine=engine, padding=padding)
        wanted = lambda x: jax.nn.relu(plain(x, layer, padding))

        def first(f, x):
            value, pull = jax.vjp(f, x)
            return pull(y * (1 - jnp.tanh(value) ** 2))[0], value

        @partial(jax.jit, static_argnums=0)
        def orders(f, x):
            slope, pull, value = jax.vjp(partial(first, f), x, has_aux=True)
            return value, slope, pull(z)[0]

        for found, right, digits in zip(orders(ours, x), orders(wanted, x), (9, 8, 7), strict=True):
            np.testing.assert_allclose(found, right, rtol=10.0**-digits, atol=0.01 * 10.0**-digits)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_kernels_and_biases_have_their_gradients_up_to_the_second(random, layer, engine, padding, known):
    x = random.normal(size=(6, 7, 3))
    with jax.enable_x64(True):
        x, layer = jnp.asarray(x), jax.tree.map(jnp.asarray, layer)

        def ours(x, layer):
            prepared = convolution.prepare(layer, engine=engine) if known else layer
            return convolution.rectified(x, prepared, engine=engine, padding=padding)

        wanted = lambda x, layer: jax.nn.relu(plain(x, layer, padding))

        def penalty(f, x, layer):
            """Return the slope with respect to the image, squared; it changes with the kernel. And slopes."""
            value, pull = jax.vjp(f, x, layer)
            slopes = pull(1 - jnp.tanh(value) ** 2)
            return jnp.sum(slopes[0] ** 2), slopes

        both = jax.jit(jax.grad(penalty, argnums=(1, 2), has_aux=True), static_argnums=0)
        found, right = (jax.tree.leaves(both(f, x, layer)) for f in (ours, wanted))
        for a, b in zip(found, right, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_the_input_is_kept_only_for_the_gradient_of_the_kernel(random, layer):
    x, layer = np.float32(random.normal(size=(8, 9, 3))), jax.tree.map(jnp.float32, layer)
    run = lambda x, layer: convolution.rectified(x, layer, engine="winograd")
    _, image_only = jax.vjp(lambda x: run(x, layer), x)
    _, everything = jax.vjp(run, x, layer)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(pull)] for pull in (image_only, everything)]
    assert [x.shape in each for each in shapes] == [False, True]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_by_vmap_equals_a_loop(random, layer, engine):
    xs, layer = np.float32(random.normal(size=(3, 9, 11, 3))), jax.tree.map(np.float32, layer)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(convolution.rectified(x, layer, engine=engine) ** 2)))
    np.testing.assert_allclose(jax.vmap(slope)(xs), jnp.stack([slope(x) for x in xs]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "padding"),
    [((33, 47), "zero"), ((33, 47), "replicate"), ((33, 47), "wrap"), ((16, 70), "wrap")],
)
def test_features_of_both_engines_agree_through_the_whole_network(narrow, random, size, padding):
    x = np.float32(random.normal(0, 60, (*size, 3)))
    look = partial(vgg.features, narrow, x, layers=list(narrow), padding=padding)
    direct, fast = (look(engine=engine) for engine in ENGINES)
    for name, wanted in jax.tree.map(np.asarray, direct).items():
        assert np.abs(fast[name] - wanted).max() / np.abs(wanted).max() < 1e-4, name


def test_real_features_of_both_engines_agree(real_weights, random):
    from nst_jax.pretrained import files as weights

    params, _ = weights.read(real_weights)
    x = np.float32(random.normal(0, 60, (90, 75, 3)))
    direct, fast = (vgg.features(params, x, layers=list(params), engine=engine) for engine in ENGINES)
    for name, wanted in direct.items():
        assert float(jnp.abs(fast[name] - wanted).max() / jnp.abs(wanted).max()) < 1e-4, name


@pytest.mark.parametrize(
    ("engine", "channels", "dtype", "wanted"),
    [
        ("auto", 40, "float32", "winograd"),
        ("auto", 5, "float32", "direct"),
        ("winograd", 3, "float32", "winograd"),
        ("winograd", 64, "bfloat16", "direct"),
        ("direct", 64, "float32", "direct"),
    ],
)
def test_engine_of_a_layer(engine, channels, dtype, wanted):
    kernel = jax.ShapeDtypeStruct((3, 3, channels, 512), dtype)
    assert convolution.engine_for(engine, kernel) == wanted


def test_only_images_made_to_be_tori_wrap():
    assert [convolution.unwrapped(padding) for padding in PADDINGS] == ["zero", "replicate", "replicate"]


def test_other_back_ends_use_their_own_convolution(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert convolution.engine_for("auto", jax.ShapeDtypeStruct((3, 3, 512, 512), "float32")) == "direct"


def test_prepared_layers_hold_what_their_engine_needs(narrow):
    known = {engine: convolution.prepare(narrow["conv2_1"], engine=engine) for engine in ENGINES}
    assert set(known["direct"]) == {"kernel", "bias", "transposed"}
    assert set(known["winograd"]) == {"kernel", "bias", "winograd"}
    assert known["winograd"]["winograd"].shape == (36, 4, 4)


def test_a_gpu_gets_a_rectifier_that_its_convolutions_can_take_in(random, layer):
    """That is a maximum, whose gradient asks the result, or what came before it would be needed again."""
    x, layer = np.float32(random.normal(size=(8, 9, 3))), jax.tree.map(np.float32, layer)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(convolution.rectified(x, layer) ** 2))).trace(x)
    cuda, cpu = (slope.lower(lowering_platforms=(name,)).as_text() for name in ("cuda", "cpu"))
    assert (cuda.count("stablehlo.maximum"), cpu.count("stablehlo.maximum")) == (1, 0)
    assert re.findall(r"stablehlo.compare +(\w+)", cuda) == ["NE"]
