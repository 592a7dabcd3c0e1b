import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from nst_jax import architecture
from nst_jax.networks import vgg
from nst_jax.pretrained import builtin as dictionary
from nst_jax.pretrained import files as weights

BLOCKS = ((2, 8), (2, 16))


@pytest.fixture(autouse=True, scope="module")
def few_patches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionary, "PATCHES", 600)
        yield


def photographs(count=2, size=40):
    # Shaded discs and stripes: edges in many directions, and no sample file to read.
    result = []
    for seed in range(count):
        generator = np.random.default_rng(seed)
        rows, columns = np.mgrid[:size, :size] / size
        photo = np.zeros((size, size, 3)) + generator.uniform(0.2, 0.8, 3)
        for _ in range(12):
            y, x, radius = generator.uniform(0, 1, 3)
            inside = (rows - y) ** 2 + (columns - x) ** 2 < (0.1 + 0.3 * radius) ** 2
            photo[inside] = generator.uniform(0, 1, 3) * (0.5 + 0.5 * rows[inside, None])
        result.append(photo.astype(np.float32))
    return result


@pytest.fixture(scope="module")
def params(few_patches):
    return dictionary.build(photographs(), blocks=BLOCKS)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """`load` from small pictures, into a cache folder of its own."""
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(dictionary, "SIDE", 24)
    photos = dict(zip(dictionary.PHOTOS, photographs(len(dictionary.PHOTOS)), strict=True))
    monkeypatch.setattr(dictionary.samples, "load", photos.__getitem__)
    return tmp_path / "dictionary"


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_shapes_and_names_are_those_of_the_table(params):
    assert vgg.blocks_of(params) == BLOCKS
    assert {name: layer["kernel"].shape for name, layer in params.items()} == architecture.kernel_shapes(
        BLOCKS
    )
    for layer in params.values():
        assert layer["bias"].shape == layer["kernel"].shape[-1:]
        assert layer["kernel"].dtype == layer["bias"].dtype == jnp.float32


def test_same_arguments_give_the_same_network_and_another_seed_another(params):
    assert equal(params, dictionary.build(photographs(), blocks=BLOCKS))
    assert not equal(params, dictionary.build(photographs(), blocks=BLOCKS, seed=1))


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_every_filter_has_the_stated_mean_activation_over_the_photographs(pool):
    params = dictionary.build(photographs(), blocks=BLOCKS, pool=pool)
    means = vgg.mean_activations(params, map(vgg.to_input, photographs()), pool=pool)
    for mean in means.values():
        np.testing.assert_allclose(mean, dictionary.ACTIVATION, rtol=1e-3)


def test_the_last_layer_of_a_block_blurs_each_channel(params):
    photo = vgg.to_input(jnp.asarray(photographs(1)[0]))
    found = vgg.features(params, photo, layers=["conv1_1", "conv1_2"])
    for below, above in zip(*(np.moveaxis(np.asarray(x), 2, 0) for x in found.values()), strict=True):
        # A binomial of order 2 in both directions; zeros lie beyond the border, as in the network.
        blurred = ndimage.convolve(below, np.outer([1, 2, 1], [1, 2, 1]), mode="constant")
        scale = above.sum() / blurred.sum()
        np.testing.assert_allclose(above, scale * blurred, rtol=1e-4, atol=1e-4)


def test_a_block_of_one_layer_keeps_its_filters():
    kernel = dictionary.build(photographs(), blocks=((1, 8), (1, 8)))["conv2_1"]["kernel"]
    across = np.abs(kernel).sum((0, 1))
    assert (across - np.diag(np.diag(across)) > 0).any()


def test_stripes_that_pooling_would_alias_fade():
    # 0.45 cycles per pixel: more than pooling by two can hold, and seen as 0.1 after it.
    stripes = np.tile(0.5 + 0.4 * np.cos(0.45 * 2 * np.pi * np.arange(40)), (40, 1))[..., None]
    stripes = vgg.to_input(jnp.asarray(np.float32(np.repeat(stripes, 3, 2))))
    kernel, bias = dictionary._blur(3)
    inside = slice(2, -2)
    plain, blurred = (
        np.asarray(vgg.pooled(x, "avg"))[inside, inside]
        for x in (stripes + 200, dictionary._responses([stripes + 200], kernel, bias)[0][0])
    )
    assert (blurred.std((0, 1)) < 0.1 * plain.std((0, 1))).all()


def test_groups_are_those_of_k_means_by_loops(monkeypatch):
    monkeypatch.setattr(dictionary, "ROUNDS", 3)
    white = np.random.default_rng(0).standard_normal((200, 5)) * np.geomspace(0.1, 10, 200)[:, None]
    lengths = [np.sqrt(sum(x * x for x in row)) for row in white]
    units = [row / length for row, length in zip(white, lengths, strict=True)]
    shares = np.array(lengths) / sum(lengths)
    directions = [units[i] for i in np.random.default_rng(1).choice(200, 7, replace=False, p=shares)]
    for _ in range(3):
        sums = [np.zeros(5) for _ in directions]
        for row, unit in zip(white, units, strict=True):
            sums[max(range(7), key=lambda i: directions[i] @ unit)] += row
        directions = [
            total / np.linalg.norm(total) if total.any() else old
            for total, old in zip(sums, directions, strict=True)
        ]
    found = dictionary._group(white, 7, np.random.default_rng(1))
    np.testing.assert_allclose(found, directions, rtol=1e-6)


def test_whitening_of_narrow_layers_is_the_inverse_root_of_the_covariance():
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((27, 27))
    patches = (generator.standard_normal((5000, 27)) @ mixing + 3).astype(np.float32).reshape(-1, 9, 3)
    mean, basis = dictionary._whitening(patches)
    flat = patches.reshape(-1, 27).astype(np.float64)
    covariance = np.cov(flat.T, bias=True)
    ridge = dictionary.RIDGE * np.trace(covariance) / 27 * np.eye(27)
    np.testing.assert_allclose(mean.ravel(), flat.mean(0), rtol=1e-4)
    np.testing.assert_allclose(basis @ basis.T, np.linalg.inv(covariance + ridge), rtol=1e-2, atol=1e-4)


def test_wide_layers_keep_their_leading_directions(monkeypatch):
    generator = np.random.default_rng(0)
    sources = generator.standard_normal((3000, 9, 4))
    patches = (sources @ generator.standard_normal((4, 12))).astype(np.float32)
    whole = dictionary._whitening(patches)[1][:, :36]
    monkeypatch.setattr(dictionary, "DIRECTIONS", 4)
    kept = dictionary._whitening(patches)[1]
    assert kept.shape == (9 * 12, 36)
    centred = (patches - patches.mean(0)).reshape(3000, -1)
    # The ridge differs, for it is in units of the mean kept variance; the spanned responses do not.
    fit = np.linalg.lstsq(centred @ whole, centred @ kept, rcond=None)[0]
    np.testing.assert_allclose(centred @ whole @ fit, centred @ kept, atol=1e-3)


def test_filters_of_the_first_layer_fire_as_often_as_stated(params):
    # conv1_1 sees the very patches that it was built from, but for the border and the draw.
    fired = [
        np.mean(
            np.asarray(vgg.features(params, vgg.to_input(jnp.asarray(photo)), layers=["conv1_1"])["conv1_1"])
            > 0
        )
        for photo in photographs()
    ]
    assert abs(np.mean(fired) - (1 - dictionary.QUANTILE)) < 0.1


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_constant_photograph_gives_finite_parameters(level):
    params = dictionary.build([np.full((24, 24, 3), level, np.float32)], blocks=BLOCKS)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(params))


def test_photographs_of_several_sizes_and_few_patches():
    photos = [photographs(1, 12)[0], photographs(1, 25)[0][:16]]
    params = dictionary.build(photos, blocks=BLOCKS)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(params))


def test_load_builds_once_and_then_reads(small, monkeypatch):
    params, record = dictionary.load(blocks=BLOCKS)
    assert record == (dictionary.RECIPE, weights.digest(params))
    (file,) = small.iterdir()
    assert dictionary.RECIPE in file.name
    monkeypatch.setattr(dictionary, "build", None)  # a second build would fail
    again, same = dictionary.load(blocks=BLOCKS)
    assert equal(params, again)
    assert same == record


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 99]
)
def test_a_damaged_cache_file_is_built_anew(small, damage):
    params, record = dictionary.load(blocks=BLOCKS)
    (file,) = small.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again, same = dictionary.load(blocks=BLOCKS)
    assert equal(params, again)
    assert same == record
    assert len(file.read_bytes()) == len(whole)


def test_a_cache_file_with_other_numbers_is_built_anew(small):
    params, record = dictionary.load(blocks=BLOCKS)
    (file,) = small.iterdir()
    changed = jax.tree.map(lambda a: a + 1, params)
    file.write_bytes(dictionary._packed(changed, record))
    assert equal(params, dictionary.load(blocks=BLOCKS)[0])


def test_a_cache_that_cannot_be_written_is_no_error(small, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path / "file"))
    assert vgg.blocks_of(dictionary.load(blocks=BLOCKS)[0]) == BLOCKS


def test_the_sample_photographs_are_known():
    assert set(dictionary.PHOTOS) <= set(dictionary.samples.names())


def test_pools_and_tables_are_kept_apart(small):
    dictionary.load(blocks=BLOCKS)
    dictionary.load(blocks=BLOCKS, pool="max")
    dictionary.load(blocks=((1, 8),))
    assert len(list(small.iterdir())) == 3


def test_digest_is_over_layers_in_order(params):
    turned = dict(reversed(list(params.items())))
    assert weights.digest(turned) == weights.digest(params)
    assert weights.digest(jax.tree.map(lambda a: -a, params)) != weights.digest(params)


def test_a_style_moves_into_the_content(params):
    style_layers = ("conv1_1", "conv2_1")
    content, style = (vgg.to_input(jnp.asarray(photo)) for photo in photographs())

    def grams(x):
        found = vgg.features(params, x, layers=style_layers)
        return [
            jnp.einsum("hwi,hwj->ij", found[name], found[name]) / found[name][..., 0].size
            for name in style_layers
        ]

    wanted = grams(style)

    @jax.jit
    def descend(x):
        value, gradient = jax.value_and_grad(loss)(x)
        return x - 2 * gradient / (1e-12 + jnp.sqrt(jnp.mean(gradient**2))), value

    def loss(x):
        return sum(jnp.mean((g - a) ** 2) for g, a in zip(grams(x), wanted, strict=True))

    x, first = descend(content)
    for _ in range(30):
        x, last = descend(x)
    assert np.isfinite(x).all()
    assert last < first / 2


def test_import_reads_no_pictures():
    code = "import sys, nst_jax.pretrained.builtin; sys.exit('skimage' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
