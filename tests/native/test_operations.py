from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from nst_jax.errors import ConfigError
from nst_jax.native import library, operations
from nst_jax.networks import convolution, vgg
from nst_jax.pretrained import files as weights

PADDINGS = {"zero": "constant", "replicate": "edge", "wrap": "wrap"}


@pytest.fixture(scope="module", autouse=True)
def there():
    if not library.is_there():
        pytest.skip("no C++ compiler")


@pytest.fixture
def make(random):
    """Arrays of small whole numbers, of which no sum is rounded."""
    return lambda *shape: np.float32(random.integers(-3, 4, shape))


def convolved(x, kernel, padding):
    """SciPy's correlation, channel by channel."""
    x = np.pad(np.float64(x), ((1, 1), (1, 1), (0, 0)), mode=PADDINGS[padding])
    each = [
        sum(correlate(x[:, :, i], kernel[:, :, i, o], "valid") for i in range(kernel.shape[2]))
        for o in range(kernel.shape[3])
    ]
    return np.stack(each, -1)


def orders(look, layer, x, y, z):
    """Features, the gradients of a sum of them with respect to bias and input, and the latter's along z."""

    def first(x):
        features = lambda x, bias: look(x, {**layer, "bias": bias})
        value, pull = jax.vjp(features, x, layer["bias"])
        slope, of_bias = pull(y * jnp.tanh(value / 100))
        return slope, (value, of_bias)

    slope, pull, found = jax.vjp(first, x, has_aux=True)
    return *found, slope, pull(z)[0]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ((9, 14), (16, 48)),
        ((1, 5), (32, 16)),
        ((17, 50), (3, 48)),
        ((3, 1), (16, 16)),
        ((33, 30), (160, 32)),
        ((43, 62), (144, 16)),
    ],
)
def test_features_are_those_of_scipy(make, size, channels, padding):
    x, kernel, bias = make(*size, channels[0]), make(3, 3, *channels), make(channels[1])
    wanted, kernels = convolved(x, kernel, padding) + bias, operations.grouped(jnp.asarray(kernel))
    found, positive = operations.rectified(jnp.asarray(x), kernels, jnp.asarray(bias), padding=padding)
    np.testing.assert_allclose(found, np.maximum(wanted, 0), rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert np.array_equal(positive, np.asarray(found) > 0)
    found = operations.convolve(jnp.asarray(x), kernels, padding=padding)
    np.testing.assert_allclose(np.asarray(found) + bias, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_kernels_of_some_outputs_lie_together(make):
    kernel = make(3, 3, 32, 48)
    found = np.asarray(operations.grouped(jnp.asarray(kernel)))
    assert found.shape == (3, 3, 3, 32, 16)
    for out in (0, 15, 16, 47):
        np.testing.assert_array_equal(found[out // 16, ..., out % 16], kernel[..., out])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("look", [convolution.rectified, convolution.averaged])
@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ((9, 14), (16, 48)),
        ((1, 1), (16, 16)),
        ((2, 3), (16, 16)),
        ((12, 5), (144, 160)),
        ((51, 45), (144, 144)),  # in tiles of 6 x 6
        ((18, 5), (3, 16)),
        ((1, 1), (3, 64)),
    ],
)
def test_gradients_are_those_of_the_direct_engine_up_to_the_second(
    random, make, size, channels, padding, look
):
    halved = [side // 2 for side in size] if look is convolution.averaged else size
    if 0 in halved:
        pytest.skip("of one row there are no windows")
    x, z = make(*size, channels[0]), np.float32(random.normal(size=(*size, channels[0])))
    y = np.float32(random.normal(size=(*halved, channels[1])))
    # No feature is within rounding of zero, where the engines' rectifiers would disagree.
    layer = {"kernel": make(3, 3, *channels), "bias": make(channels[1]) + np.float32(0.5)}

    def of_layer(features, layer, x, y, z):
        return jax.grad(lambda layer: jnp.sum(features(x, layer) * y))(layer)

    by = [partial(look, engine=engine, padding=padding) for engine in ("native", "direct")]
    for f in (orders, of_layer):
        found, wanted = (jax.jit(f, static_argnums=0)(features, layer, x, y, z) for features in by)
        for ours, right in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
            np.testing.assert_allclose(ours, right, rtol=1e-3, atol=3e-4 * float(jnp.abs(right).max()))


def halves(kernel):
    return operations.halves(kernel, convolution.transpose(kernel))


@pytest.fixture
def halved():
    if not library.takes_halves():
        pytest.skip("no matrix units")


@pytest.mark.usefixtures("halved")
def test_halves_add_up_to_the_kernel_and_to_it_turned_round(random):
    kernel = np.float32(random.normal(size=(3, 3, 64, 96)))
    blocks = np.asarray(halves(jnp.asarray(kernel)))
    assert blocks.shape == (2, 64 * 96 // 512, 9, 2, 16, 16)
    pairs = [blocks << 16, blocks & 0xFFFF0000]  # the first of two inputs is in the lower bits
    numbers = np.stack([each.view(np.float32) for each in pairs], 5).sum(3)
    for found, right in zip(numbers, (kernel, kernel[::-1, ::-1].transpose(0, 1, 3, 2)), strict=True):
        outputs = right.shape[3]
        whole = found.reshape(outputs // 16, -1, 3, 3, 16, 2, 16).transpose(2, 3, 1, 4, 5, 0, 6)
        np.testing.assert_allclose(whole.reshape(right.shape), right, rtol=2.0**-16)


@pytest.mark.usefixtures("halved")
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("look", [convolution.rectified, convolution.averaged])
@pytest.mark.parametrize(
    ("size", "channels"),
    [
        ((9, 14), (32, 64)),
        ((2, 3), (32, 32)),
        ((12, 5), (128, 160)),
        ((16, 32), (64, 64)),  # rows are multiples of what is multiplied at once
        ((51, 45), (64, 96)),
        ((6, 300), (64, 32)),  # in blocks beside each other
        ((60, 32), (512, 32)),  # below each other
    ],
)
def test_halves_give_the_gradients_of_the_direct_engine_up_to_the_second(
    random, make, size, channels, padding, look
):
    halved = [side // 2 for side in size] if look is convolution.averaged else size
    x, z = make(*size, channels[0]), np.float32(random.normal(size=(*size, channels[0])))
    y = np.float32(random.normal(size=(*halved, channels[1])))
    layer = {"kernel": make(3, 3, *channels), "bias": make(channels[1]) + np.float32(0.5)}
    prepared = convolution.prepare(layer, engine="native")
    assert prepared.keys() == {"halves", "bias"}

    both = jax.jit(partial(orders, partial(look, padding=padding)))
    found, wanted = (both(given, x, y, z) for given in (prepared, layer))
    for ours, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-4, atol=2e-5 * float(jnp.abs(right).max()))


def test_without_matrix_units_kernels_are_grouped(monkeypatch, make):
    monkeypatch.setattr(library, "_halves", [False])
    layer = {"kernel": make(3, 3, 32, 32), "bias": make(32)}
    assert convolution.prepare(layer, engine="native").keys() == {"kernel", "bias", "grouped"}


def test_large_pictures_are_worked_through_in_strips(random):
    x = jnp.asarray(random.normal(size=(84, 90, 144)), jnp.float32)  # 8.2 MiB of transformed tiles
    kernel = jnp.asarray(random.normal(size=(3, 3, 144, 16)), jnp.float32)
    wanted = convolution.convolved(x, {"kernel": kernel, "bias": jnp.zeros(16)})
    np.testing.assert_allclose(
        operations.convolve(x, operations.grouped(kernel)), wanted, rtol=1e-3, atol=1e-2
    )


def test_real_features_are_those_of_the_direct_engine(real_weights, random):
    params, _ = weights.read(real_weights)
    x = np.float32(random.normal(0, 60, (200, 180, 3)))  # large enough for either kind of tile
    found, wanted = (vgg.features(params, x, layers=list(params), engine=e) for e in ("native", "direct"))
    prepared = vgg.prepared(params, deepest="conv5_4", engine="native")
    halved = vgg.features(prepared, x, layers=list(params), engine="native")
    for name, right in wanted.items():
        for each in (found, halved):
            assert float(jnp.abs(each[name] - right).max() / jnp.abs(right).max()) < 1e-4, name


@pytest.fixture(params=[operations.grouped, halves])
def form(request):
    """What kernels are made into."""
    if request.param is halves:
        request.getfixturevalue("halved")
    return request.param


def test_what_is_no_number_is_not_positive(make, form):
    x, kernel, bias = make(8, 8, 32), make(3, 3, 32, 32), make(32)
    x[3, 3] = np.nan
    kernels = form(jnp.asarray(kernel))
    found, positive = operations.rectified(jnp.asarray(x), kernels, jnp.asarray(bias))
    assert np.isfinite(found).all()  # as where(y > 0, y, 0) has it
    assert not positive[3, 3].any()


def test_results_do_not_depend_on_threads_or_neighbours(random, form):
    """The same bytes, from one thread after another and from many at once, of one picture and of a batch."""
    xs = np.float32(random.normal(size=(6, 40, 44, 32)))
    kernel = form(jnp.asarray(random.normal(size=(3, 3, 32, 64)), jnp.float32))
    look = jax.jit(lambda x: operations.convolve(x, kernel))
    alone = [np.asarray(look(x)) for x in xs]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda x: np.asarray(look(x)), xs))
    assert np.array_equal(alone, together)
    assert np.array_equal(alone, jax.jit(jax.vmap(lambda x: operations.convolve(x, kernel)))(xs))


def test_other_kernels_are_left_to_winograd():
    shape = lambda *channels, dtype="float32": jax.ShapeDtypeStruct((3, 3, *channels), dtype)
    assert operations.takes(shape(64, 128))
    assert operations.takes(shape(3, 64))
    assert not operations.takes(shape(3, 40))
    assert not operations.takes(shape(4, 64))
    assert not operations.takes(shape(64, 64, dtype="float64"))
    assert convolution.engine_for("native", shape(64, 40)) == "winograd"
    assert convolution.engine_for("auto", shape(64, 40)) == "winograd"
    assert convolution.engine_for("auto", shape(64, 64)) == "native"
    assert convolution.engine_for("auto", shape(3, 64)) == "native"
    assert convolution.engine_for("auto", shape(3, 40)) == "direct"


@pytest.mark.parametrize("broken", ["nothing", "no library"])
def test_without_it_xla_computes(monkeypatch, tmp_path, broken):
    path = tmp_path / "x.so"
    path.write_text("no library")
    monkeypatch.setattr(library, "compiled", lambda: None if broken == "nothing" else path)
    monkeypatch.setattr(library, "_found", [])
    kernel = jax.ShapeDtypeStruct((3, 3, 64, 64), "float32")
    assert not library.is_there()
    assert convolution.engine_for("auto", kernel) == "winograd"
    with pytest.raises(ConfigError, match=r"network\.engine: native is for CPUs"):
        convolution.engine_for("native", kernel)


@pytest.mark.parametrize(("positions", "channels"), [(1, 16), (700, 48), (4097, 64), (9000, 32)])
def test_gram_matrices_are_those_of_numpy(make, positions, channels):
    F = make(positions, channels)
    found = operations.gram(jnp.asarray(F))
    assert np.array_equal(found, F.T @ F)  # of whole numbers, so that none is rounded
