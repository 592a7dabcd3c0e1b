import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from makers import NARROW
from safetensors.numpy import save

from nst_jax.errors import ConfigError, WeightsError
from nst_jax.networks import vgg
from nst_jax.pretrained import downloads, normalisation
from nst_jax.pretrained import files as weights
from nst_jax.pretrained.network import load_network, network_for, photographs


@pytest.fixture
def small(monkeypatch, narrow, tmp_path):
    """Narrow networks everywhere; returns a weights file."""
    monkeypatch.setattr(weights, "read", functools.partial(weights.read, blocks=NARROW))
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NST_JAX_WEIGHTS", raising=False)
    file = tmp_path / "narrow.h5"
    weights.write(file, narrow, source="test", sha256="", licence="CC0")
    return file


def offline(monkeypatch):
    def fail(*args, **options):
        raise WeightsError("no connection")

    monkeypatch.setattr(downloads, "fetch", fail)


def test_a_file_as_it_is(small, narrow):
    found = load_network(str(small), normalised=False)
    jax.tree.map(np.testing.assert_array_equal, found.params, narrow)
    assert (found.name, found.source, found.licence) == ("vgg19", "test", "CC0")
    assert found.record()["digest"] == found.digest
    assert (found.architecture.name, found.architecture.blocks) == ("vgg19", NARROW)


def test_deeper_layers_can_be_let_go_of(small, narrow):
    whole = load_network(str(small), normalised=False)
    found = whole.down_to("conv4_2")
    assert list(found.params) == [name for name in narrow if name <= "conv4_2"]
    assert all(found.params[name] is whole.params[name] for name in found.params)
    assert found.record() == whole.record()


def test_normalised_on_photographs_and_remembered(small, monkeypatch):
    first = load_network(str(small))
    note = f"{small}: is no network known here; its mean activations were measured over 4 sample photographs"
    assert first.note == note
    means = vgg.mean_activations(first.params, map(vgg.to_input, photographs(256)))
    middle = np.median(np.concatenate([means[name] for name in means]))
    assert middle == pytest.approx(1.0, rel=0.01)
    monkeypatch.setattr(vgg, "mean_activations", lambda *a, **k: pytest.fail("measured again"))
    again = load_network(str(small))
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    assert again.note == note


def test_photographs_do_not_wrap(small, monkeypatch):
    replicated = load_network(str(small), padding="replicate")
    monkeypatch.setattr(vgg, "mean_activations", lambda *a, **k: pytest.fail("measured again"))
    jax.tree.map(
        np.testing.assert_array_equal, load_network(str(small), padding="wrap").params, replicated.params
    )


def test_a_damaged_cache_is_measured_again(small, tmp_path):
    first = load_network(str(small))
    (file,) = (tmp_path / "cache" / "normalised").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again = load_network(str(small))
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)


@pytest.fixture
def normal(small, narrow, tmp_path):
    """The network normalised, as a file."""
    means = vgg.mean_activations(narrow, map(vgg.to_input, photographs(256)))
    over = weights.Normalisation("avg", "zero", 4, 512, "ab" * 32)
    file = tmp_path / "normal.h5"
    options = {"source": "test", "sha256": "", "licence": "CC0", "normalised": over}
    weights.write(file, vgg.normalise(narrow, means), **options)
    return file


@pytest.mark.parametrize("variable", [True, False])
def test_a_normalised_file_is_not_normalised_again(normal, monkeypatch, variable):
    monkeypatch.setattr(vgg, "normalise", lambda *a: pytest.fail("normalised again"))
    if variable:
        monkeypatch.setenv("NST_JAX_WEIGHTS", str(normal))
    found = load_network("auto" if variable else str(normal))
    jax.tree.map(np.testing.assert_array_equal, found.params, weights.read(normal)[0])
    assert found.note == ""


def test_a_normalised_file_for_another_pooling_is_noted(normal):
    note = load_network(str(normal), pool="max").note
    assert "normal.h5 was normalised for avg pooling, and is used with max pooling" in note


@pytest.mark.parametrize("convention", ["johnson", "notebook"])
def test_a_normalised_file_where_the_original_is_wanted(normal, convention):
    with pytest.raises(WeightsError) as caught:
        network_for(str(normal), convention=convention)
    message = str(caught.value)
    for phrase in (str(normal), "holds the normalised network", convention, "network.normalised=true"):
        assert phrase in message
    assert "\n" not in message
    assert network_for(str(normal), convention=convention, normalised=True).name == "vgg19"


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_the_real_network_takes_the_shipped_means(real_weights, random, monkeypatch, pool):
    monkeypatch.setattr(vgg, "mean_activations", lambda *a, **k: pytest.fail("measured"))
    found = load_network(real_weights, pool=pool)
    plain = load_network(real_weights, normalised=False)
    assert found.digest == plain.digest
    mean = vgg.divisors(normalisation.shipped_means(plain.params, pool))["conv4_2"]
    x = np.float32(random.normal(0, 60, (48, 40, 3)))
    after = vgg.features(found.params, x, layers=["conv4_2"], pool=pool)["conv4_2"] * mean[None, None]
    before = vgg.features(plain.params, x, layers=["conv4_2"], pool=pool)["conv4_2"]
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * float(before.max()))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_a_copy_in_half_precision_is_normalised_alike(real_weights, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(vgg, "mean_activations", lambda *a, **k: pytest.fail("measured"))
    plain, whole = weights.read(real_weights)[0], load_network(real_weights)
    state = {
        f"{n}/{part}": np.asarray(a).astype(dtype) for n, layer in plain.items() for part, a in layer.items()
    }
    (tmp_path / "half.safetensors").write_bytes(save(state))
    half = load_network(str(tmp_path / "half.safetensors"))
    assert half.note == ""
    for name, layer in whole.params.items():
        for part, array in layer.items():
            found = half.params[name][part]
            np.testing.assert_allclose(found, array, rtol=2**-8, atol=2**-8 * float(abs(array).max()))


def test_auto_takes_the_variable_first(small, monkeypatch):
    monkeypatch.setenv("NST_JAX_WEIGHTS", str(small))
    assert load_network("auto", normalised=False).name == "vgg19"


def test_auto_downloads_nothing_and_says_what_it_takes(small, monkeypatch):
    monkeypatch.setattr(downloads, "fetch", lambda *args, **options: pytest.fail("downloads"))
    found = load_network("auto")
    assert found.name == "compact"
    assert "compact network" in found.note
    assert "nst-jax weights fetch" in found.note
    assert "\n" not in found.note


def test_a_download_is_noted(small, narrow, monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "fetch", lambda *args, **options: small)
    note = load_network("vgg19", normalised=False).note
    assert note == f"downloaded narrow.h5 (0 MB) to {tmp_path}"


def test_vgg16_is_a_network_of_its_own(small, monkeypatch, tmp_path):
    blocks = ((2, 4), (2, 4), (3, 6), (3, 6), (3, 6))
    file = tmp_path / "sixteen.h5"
    params = vgg.random_params(jax.random.key(2), blocks=blocks)
    weights.write(file, params, source="test", sha256="", licence="CC0")
    monkeypatch.setattr(weights, "read", functools.partial(weights.read.func, blocks=blocks))
    monkeypatch.setenv("NST_JAX_WEIGHTS", str(file))
    found = load_network("vgg16")
    assert (found.name, found.architecture.title, len(found.params)) == ("vgg16", "VGG-16", 13)
    assert "sixteen.h5: no mean activations of VGG-16 come along; they were measured over 4" in found.note
    offline(monkeypatch)
    with pytest.raises(WeightsError, match="no VGG-19 weights"):
        load_network("vgg19")
    with pytest.raises(ConfigError, match="VGG-16 has no layer 'conv5_4'"):
        vgg.features(found.params, np.zeros((16, 16, 3), np.float32), layers=["conv5_4"])


def test_vgg19_never_falls_back(small, monkeypatch):
    offline(monkeypatch)
    with pytest.raises(WeightsError, match="nst-jax weights fetch"):
        load_network("vgg19")


def test_compact_when_asked_says_nothing(small):
    found = load_network("compact")
    assert (found.name, found.note) == ("compact", "")


def test_what_came_along_before_is_named(small):
    with pytest.raises(WeightsError, match="'dictionary' is no more: use compact"):
        load_network("dictionary")


@pytest.mark.parametrize("variable", [True, False])
def test_a_file_that_is_not_there_is_an_error(small, monkeypatch, variable):
    if variable:
        monkeypatch.setenv("NST_JAX_WEIGHTS", "nowhere.h5")
    with pytest.raises(WeightsError, match=r"nowhere\.h5"):
        load_network("auto" if variable else "nowhere.h5")
