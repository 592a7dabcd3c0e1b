import jax
import numpy as np
import pytest
from makers import NARROW

from nst_jax.architecture import layer_names
from nst_jax.errors import ConfigError, WeightsError
from nst_jax.networks import vgg
from nst_jax.pretrained import compact
from nst_jax.pretrained.network import load_network

RECORD = compact.Record("VGG-19", "ab" * 32, "test", "CC0")


@pytest.fixture
def file(tmp_path, narrow, random):
    means = {
        pool: {name: random.uniform(1, 2, NARROW[int(name[4]) - 1][1]) for name in narrow}
        for pool in ("avg", "max")
    }
    channels = {name: np.arange(len(layer["bias"])) for name, layer in narrow.items()}
    compact.write(tmp_path / "compact.npz", compact.Compact(narrow, channels, means, RECORD))
    return tmp_path / "compact.npz"


def test_what_is_read_is_what_was_written_but_for_half_a_level(file, narrow):
    found = compact.read(file)
    assert found.record == RECORD
    assert len(found.digest) == 64
    assert list(found.params) == list(narrow)
    for name, layer in narrow.items():
        level = np.abs(np.asarray(layer["kernel"])).max((0, 1, 2)) / 127
        assert np.all(np.abs(found.params[name]["kernel"] - layer["kernel"]) <= 0.51 * level)
        np.testing.assert_array_equal(found.params[name]["bias"], layer["bias"])
        assert found.means["max"][name].shape == found.channels[name].shape == layer["bias"].shape


def test_the_same_network_gives_the_same_bytes(file, tmp_path):
    compact.write(tmp_path / "again.npz", compact.read(file))
    assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("at", [0, 100, -40, -1])
def test_a_changed_byte_is_found(file, at):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    with pytest.raises(
        WeightsError, match=r"compact\.npz: the compact network is damaged; reinstall nst_jax"
    ):
        compact.read(file)


@pytest.mark.parametrize("size", [0, 20, 1000])
def test_a_file_cut_short_is_found(file, size):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(WeightsError, match="damaged; reinstall"):
        compact.read(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.npz: the compact network cannot be read: .*reinstall"):
        compact.read(tmp_path / "gone.npz")


def test_the_network_that_comes_along():
    """Its layers are VGG-19's to conv5_1; normalised, its filters are about as active as VGG-19's."""
    assert compact.PATH.stat().st_size <= 8e6
    stored = compact.read()
    found = load_network("compact")
    assert found.licence.startswith("CC BY 4.0")
    assert stored.record.source == "VGG-19"
    assert tuple(found.params) == layer_names()[:13]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((found.params, stored.means)))
    plain = load_network("compact", normalised=False)
    x = vgg.to_input(np.float32(np.random.default_rng(0).uniform(size=(64, 48, 3))))
    layers = ["conv1_1", "conv3_1", "conv5_1"]
    one, other = (vgg.features(each.params, x, layers=layers) for each in (found, plain))
    for name in layers:  # scaled, and otherwise the same function
        divisor = vgg.divisors(stored.means["avg"])[name][None, None]
        close = {"rtol": 1e-3, "atol": 1e-4 * float(other[name].max())}
        np.testing.assert_allclose(one[name] * divisor, other[name], **close)


def test_layers_that_it_lacks_are_refused_with_those_it_has():
    params = load_network("compact").params
    with pytest.raises(
        ConfigError, match=r"VGG-19 to conv5_1 has no layer 'conv5_4' .*; it has conv1_1, .*5_1$"
    ):
        vgg.features(params, np.zeros((16, 16, 3), np.float32), layers=["conv5_4"])
