import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from nst_jax.architecture import VGG19, Architecture, stride
from nst_jax.errors import ConfigError
from nst_jax.networks import vgg
from nst_jax.pretrained import files as weights

POOLS = ("avg", "max")
PADDINGS = ("zero", "replicate", "wrap")


def worst(found, wanted):
    """Largest error over largest value."""
    return np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("size", [(33, 47), (16, 70)])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("pool", POOLS)
def test_features_agree_with_numpy(narrow, random, pool, padding, size):
    x = np.float32(random.normal(0, 60, (*size, 3)))
    found = vgg.features(narrow, x, layers=VGG19.layers, pool=pool, padding=padding)
    wanted = reference.vgg(narrow, x, pool, padding)
    assert list(found) == list(wanted)
    for name in wanted:
        assert found[name].shape == wanted[name].shape
        assert worst(found[name], wanted[name]) < 1e-5, name


@pytest.mark.parametrize("engine", ["direct", "winograd", "auto"])
@pytest.mark.parametrize("padding", ["zero", "replicate"])
def test_what_is_only_averaged_makes_no_difference(narrow, random, padding, engine):
    x = np.float32(random.normal(0, 60, (37, 50, 3)))
    look = partial(vgg.features, narrow, x, padding=padding, engine=engine)
    every = look(layers=VGG19.layers)
    for name, F in look(layers=["conv1_1", "conv2_1", "conv4_2"]).items():
        assert worst(F, every[name]) < 1e-5, name


@pytest.mark.parametrize("engine", ["direct", "winograd"])
@pytest.mark.parametrize("pool", POOLS)
def test_features_of_an_image_that_wraps_move_with_it(narrow, random, pool, engine):
    x, shift = np.float32(random.normal(0, 60, (48, 64, 3))), (16, 32)
    look = partial(vgg.features, narrow, layers=VGG19.layers, pool=pool, engine=engine)
    still, moved = (look(image, padding="wrap") for image in (x, np.roll(x, shift, (0, 1))))
    for name, F in still.items():
        here = tuple(n // stride(name) for n in shift)
        assert worst(moved[name], np.roll(F, here, (0, 1))) < 1e-5, name
    still, moved = (look(image, layers=["conv1_1"])["conv1_1"] for image in (x, np.roll(x, shift, (0, 1))))
    assert worst(moved, np.roll(still, shift, (0, 1))) > 0.1


@pytest.mark.parametrize("pool", POOLS)
def test_features_of_the_real_network_agree_with_numpy(real_weights, random, pool):
    params, _ = weights.read(real_weights)
    x = np.float32(random.normal(0, 60, (48, 40, 3)))
    found = vgg.features(params, x, layers=VGG19.layers, pool=pool)
    wanted = reference.vgg(jax.tree.map(np.asarray, params), x, pool)
    for name in wanted:
        assert worst(found[name], wanted[name]) < 1e-5, name


def test_nothing_deeper_than_asked_is_computed(narrow):
    program = jax.make_jaxpr(lambda x: vgg.features(narrow, x, layers=["conv2_1", "conv1_1"]))(
        jnp.zeros((16, 16, 3))
    )
    assert str(program).count("conv_general_dilated[") == 3


def test_order_and_aliases(narrow):
    found = vgg.features(narrow, jnp.zeros((16, 16, 3)), layers=["relu2_1", "conv1_1"])
    assert list(found) == ["conv2_1", "conv1_1"]


def test_unknown_layer(narrow):
    with pytest.raises(ConfigError, match="VGG-19 has no layer 'conv6_1'"):
        vgg.features(narrow, jnp.zeros((16, 16, 3)), layers=["conv6_1"])
    with pytest.raises(ConfigError, match="VGG-19 has no layer 'conv5_5'"):
        vgg.prepared(narrow, deepest="conv5_5")


def test_input_space_is_bgr_without_the_imagenet_mean():
    x = vgg.to_input(jnp.array([[[1.0, 0.0, 0.5]]]))  # red, green, blue
    np.testing.assert_allclose(x[0, 0], [127.5 - 103.939, 0 - 116.779, 255 - 123.68], rtol=1e-6)


def test_another_network_may_want_other_colours(random):
    network = Architecture("mine", "Mine", ((1, 4),), order="RGB", scale=1.0, mean=(0.5, 0.25, 0.0))
    image = np.float32(random.uniform(size=(4, 5, 3)))
    x = vgg.to_input(image, network)
    np.testing.assert_allclose(x, image - np.float32([0.5, 0.25, 0.0]))
    np.testing.assert_allclose(vgg.to_image(x, network), image, atol=1e-6)


def test_to_image_inverts_and_clips(random):
    image = np.float32(random.uniform(size=(4, 5, 3)))
    np.testing.assert_allclose(vgg.to_image(vgg.to_input(image)), image, atol=1e-6)
    assert vgg.to_image(vgg.to_input(3 * image - 1)).min() == 0
    assert vgg.to_image(vgg.to_input(3 * image - 1)).max() == 1


def test_batch_by_vmap_equals_a_loop(narrow, random):
    xs = np.float32(random.normal(0, 60, (3, 32, 32, 3)))
    deep = lambda x: vgg.features(narrow, x, layers=["conv5_1"])["conv5_1"]
    np.testing.assert_allclose(jax.vmap(deep)(xs), jnp.stack([deep(x) for x in xs]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("engine", "padding"), [("direct", "zero"), ("direct", "wrap"), ("winograd", "wrap")]
)
@pytest.mark.parametrize("pool", POOLS)
def test_gradient_agrees_with_finite_differences(narrow, random, pool, engine, padding):
    x, options = random.normal(0, 60, (16, 16, 3)), {"pool": pool, "engine": engine, "padding": padding}
    direction = random.normal(size=x.shape)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda a: jnp.asarray(np.float64(a)), narrow)
        f = lambda x: jnp.sum(vgg.features(params, x, layers=["conv5_4"], **options)["conv5_4"] ** 2)
        f = jax.jit(jax.value_and_grad(f))
        slope = np.vdot(f(x)[1], direction)
        step = 1e-6
        numeric = float(f(x + step * direction)[0] - f(x - step * direction)[0]) / (2 * step)
    np.testing.assert_allclose(slope, numeric, rtol=1e-5)


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("engine", ["direct", "winograd"])
def test_gradient_of_the_parameters_agrees_with_finite_differences(random, engine, prepare):
    x = random.normal(0, 60, (9, 10, 3))
    with jax.enable_x64(True):
        draw = vgg.random_params(jax.random.key(0), blocks=((2, 3), (1, 4)))
        params = jax.tree.map(lambda a: jnp.asarray(np.float64(a)) + 0.1, draw)
        direction = jax.tree.map(lambda a: jnp.asarray(random.normal(size=a.shape)), params)

        @jax.jit
        @jax.value_and_grad
        def f(step):
            moved = jax.tree.map(lambda a, d: a + step * d, params, direction)
            moved = vgg.prepared(moved, deepest="conv2_1", engine=engine) if prepare else moved
            found = vgg.features(moved, jnp.asarray(x), layers=["conv1_2", "conv2_1"], engine=engine)
            return sum(jnp.mean(F**2) for F in found.values())

        numeric = (f(1e-5)[0] - f(-1e-5)[0]) / 2e-5
        np.testing.assert_allclose(f(0.0)[1], numeric, rtol=1e-6)


def test_forward_mode_agrees_with_reverse_mode(narrow, random):
    x, v = (np.float32(random.normal(0, 60, (16, 16, 3))) for _ in range(2))
    f = lambda x: jnp.sum(vgg.features(narrow, x, layers=["conv3_1"])["conv3_1"])
    np.testing.assert_allclose(jax.jvp(f, (x,), (v,))[1], jnp.vdot(jax.grad(f)(x), v), rtol=1e-4)


@pytest.mark.parametrize("engine", ["direct", "winograd"])
def test_forward_mode_through_a_prepared_network_is_refused(narrow, engine):
    params, x = vgg.prepared(narrow, deepest="conv1_1", engine=engine), jnp.ones((16, 16, 3))
    f = lambda x: vgg.features(params, x, layers=["conv1_1"], engine=engine)["conv1_1"]
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(f, (x,), (x,))


@pytest.mark.parametrize("engine", ["direct", "winograd"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_a_prepared_network_sees_the_same(narrow, random, padding, engine):
    x = np.float32(random.normal(0, 60, (20, 18, 3)))
    options = {"layers": ["conv3_1"], "padding": padding, "engine": engine}

    @jax.jit
    @partial(jax.grad, argnums=1)
    def slope(params, x):
        return jnp.sum(vgg.features(params, x, **options)["conv3_1"] ** 2)

    prepared = vgg.prepared(narrow, deepest="conv3_1", engine=engine)
    wanted = slope(narrow, x)
    np.testing.assert_allclose(slope(prepared, x), wanted, rtol=1e-4, atol=1e-4 * float(abs(wanted).max()))
    assert "conv3_2" not in prepared


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("pool", POOLS)
def test_mean_activations_are_over_all_positions_of_all_images(narrow, random, pool, padding):
    xs = [np.float32(random.normal(0, 60, (*size, 3))) for size in ((33, 50), (16, 21), (33, 50))]
    means = vgg.mean_activations(narrow, iter(xs), pool=pool, padding=padding)
    every = [reference.vgg(narrow, x, pool, padding) for x in xs]
    for name, mean in means.items():
        wanted = np.concatenate([found[name].reshape(-1, len(mean)) for found in every]).mean(0)
        np.testing.assert_allclose(mean, wanted, rtol=1e-5, atol=1e-6 * wanted.max())
        assert mean.dtype == np.float64


@pytest.mark.parametrize("images", [[], [np.zeros((8, 40, 3), np.float32)]])
def test_no_mean_of_nothing(narrow, images):
    with pytest.raises(ValueError, match="large enough for the deepest layer"):
        vgg.mean_activations(narrow, images)


def test_a_silent_layer_is_divided_by_one():
    found = vgg.divisors({"conv1_1": np.zeros(3), "conv1_2": np.array([1.0, 0.01, 1.99])})
    np.testing.assert_allclose(found["conv1_1"], 1)
    np.testing.assert_allclose(found["conv1_2"], [1, vgg.FAINT, 1.99], rtol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
def test_normalised_network_has_mean_activation_one_and_the_same_output(narrow, random, pool):
    xs = [np.float32(random.normal(0, 60, (32, 32, 3))) for _ in range(3)]
    means = vgg.mean_activations(narrow, xs, pool=pool)
    wanted = np.mean([reference.vgg(narrow, x, pool)["conv3_2"].mean((0, 1)) for x in xs], 0)
    np.testing.assert_allclose(means["conv3_2"], wanted, rtol=1e-4, atol=1e-6)
    normal = vgg.normalise(narrow, means)
    again = vgg.mean_activations(normal, xs, pool=pool)
    for name in again:
        faint = means[name] < vgg.FAINT * jnp.mean(means[name])
        np.testing.assert_allclose(jnp.where(faint, 1.0, again[name]), 1.0, rtol=1e-3)
    # The output is preserved up to each filter's own factor.
    before = vgg.features(narrow, xs[0], layers=["conv5_4"], pool=pool)["conv5_4"]
    after = vgg.features(normal, xs[0], layers=["conv5_4"], pool=pool)["conv5_4"]
    factor = jnp.maximum(means["conv5_4"], vgg.FAINT * jnp.mean(means["conv5_4"]))
    np.testing.assert_allclose(
        after * factor[None, None], before, rtol=1e-3, atol=1e-3 * float(jnp.abs(before).max())
    )


def test_a_dead_filter_stays_finite(narrow):
    dead = {
        **narrow,
        "conv2_1": {"kernel": narrow["conv2_1"]["kernel"] * 0, "bias": narrow["conv2_1"]["bias"] - 1},
    }
    normal = vgg.normalise(dead, vgg.mean_activations(dead, [jnp.ones((16, 16, 3))]))
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(normal))


def test_layer_table_is_read_off_the_parameters(narrow):
    assert vgg.blocks_of(narrow) == ((2, 4), (2, 4), (4, 6), (4, 6), (4, 6))
    assert vgg.blocks_of(vgg.random_params(jax.random.key(0), blocks=((1, 2), (3, 5)))) == ((1, 2), (3, 5))
    assert vgg.architecture_of(narrow).name == "vgg19"


def test_options_are_keyword_only():
    assert inspect.signature(vgg.features).parameters["pool"].kind is inspect.Parameter.KEYWORD_ONLY
