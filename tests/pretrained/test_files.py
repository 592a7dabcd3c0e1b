"""Weight files, against files written here by hand with h5py, safetensors, numpy and protobuf."""

import hashlib
import io
import os
import pickle
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from weight_files import (
    BLOCKS,
    DIGEST,
    LAYERS,
    PARAMS,
    assert_params,
    keras_bytes,
    model_bytes,
    refusal,
)

from nst_jax.architecture import VGG16, VGG19, kernel_shapes, of_blocks
from nst_jax.errors import OutputError, WeightsError
from nst_jax.networks import vgg
from nst_jax.pretrained import files as weights

REAL = os.environ.get("NST_JAX_WEIGHTS")


def torch_state(stems, *, dense=True):
    state = {
        f"{stem}.{part}": array
        for stem, arrays in zip(stems, LAYERS.values(), strict=True)
        for part, array in zip(("weight", "bias"), arrays, strict=True)
    }
    if dense:
        state |= {"classifier.0.weight": np.ones((4, 5), np.float32), "fc8.bias": np.ones(4, np.float32)}
    return state


def npz_bytes(state):
    buffer = io.BytesIO()
    np.savez(buffer, **state)
    return buffer.getvalue()


FEATURES = torch_state(["features.0", "features.2", "features.5"])
NAMED = torch_state(LAYERS, dense=False)
CONTAINERS = {
    "keras 1.2": ("keras", keras_bytes()),
    "keras 2": ("keras", keras_bytes(style="2", dense=False)),
    "keras model": ("keras", keras_bytes(root="model_weights")),
    "keras gzip": ("keras", keras_bytes(compression="gzip")),
    "torch safetensors": ("torch", save(FEATURES)),
    "torch npz": ("torch", npz_bytes(FEATURES)),
    "vgg_conv safetensors": ("torch", save(NAMED)),
    "vgg_conv npz": ("torch", npz_bytes(NAMED)),
    "caffe V1": ("caffe", model_bytes(LAYERS)),
    "caffe V2": ("caffe", model_bytes(LAYERS, generation="V2", legacy=False)),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_parameters_and_digest(tmp_path, container):
    kind, data = CONTAINERS[container]
    path = tmp_path / "weights.h5"  # whatever is in it
    path.write_bytes(data)
    params, provenance = weights.read(path, blocks=BLOCKS)
    assert_params(params)
    assert provenance == weights.Provenance(path, kind, DIGEST, "weights.h5", architecture=of_blocks(BLOCKS))


def test_half_and_double_precision_become_single(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(npz_bytes({name: array.astype(np.float64) for name, array in NAMED.items()}))
    assert_params(weights.read(path, blocks=BLOCKS)[0])
    path.write_bytes(save({name: array.astype(np.float16) for name, array in NAMED.items()}))
    params, _ = weights.read(path, blocks=BLOCKS)
    np.testing.assert_allclose(params["conv1_1"]["kernel"], PARAMS["conv1_1"]["kernel"], rtol=1e-3)


@pytest.mark.skipif(not REAL, reason="needs $NST_JAX_WEIGHTS")
def test_the_real_file():
    params, provenance = weights.read(Path(REAL))
    assert vgg.blocks_of(params) == VGG19.blocks
    assert sum(a.size for layer in params.values() for a in layer.values()) == 20_024_384
    assert provenance.digest in weights.examine(Path(REAL))


# Writing


def write(path, **changes):
    options = {"source": "x.caffemodel", "sha256": "ab" * 32, "licence": "CC BY 4.0"} | changes
    weights.write(path, PARAMS, **options)


def test_written_files_are_read_back(tmp_path):
    path = tmp_path / "weights.h5"
    write(path)
    params, provenance = weights.read(path, blocks=BLOCKS)
    assert_params(params)
    expected = weights.Provenance(
        path, "nst_jax", DIGEST, "x.caffemodel", "ab" * 32, "CC BY 4.0", architecture=of_blocks(BLOCKS)
    )
    assert provenance == expected


def test_written_files_hold_what_keras_looks_for_and_their_origin(tmp_path):
    path = tmp_path / "weights.h5"
    write(path)
    with h5py.File(path) as file:
        assert [name.decode() for name in file.attrs["layer_names"]] == list(PARAMS)
        for name, layer in PARAMS.items():
            found = [file[name][weight.decode()][()] for weight in file[name].attrs["weight_names"]]
            for array, expected in zip(found, layer.values(), strict=True):
                np.testing.assert_array_equal(array, expected)
            assert tuple(file[name].attrs["shape"]) == layer["kernel"].shape
        assert file.attrs["source"].decode() == "x.caffemodel"
        assert file.attrs["source_sha256"].decode() == "ab" * 32
        assert file.attrs["licence"].decode() == "CC BY 4.0"
        assert file.attrs["digest"].decode() == DIGEST


NORMALISED = weights.Normalisation("max", "zero", 7, 512, "cd" * 32)


def test_a_normalised_network_says_so(tmp_path):
    path = tmp_path / "weights.h5"
    write(path, normalised=NORMALISED)
    params, provenance = weights.read(path, blocks=BLOCKS)
    assert_params(params)
    assert provenance.normalised == NORMALISED
    with h5py.File(path) as file:
        names = ("normalised_pool", "normalised_padding", "photos", "photos_size", "photos_sha256")
        assert [file.attrs[name].decode() for name in names] == ["max", "zero", "7", "512", "cd" * 32]
    told = weights.describe(path, blocks=BLOCKS)
    assert "for max pooling and zero padding, over 7 photographs of at most 512 pixels" in told
    assert "cd" * 32 in told
    weights.convert(path, tmp_path / "again.h5", blocks=BLOCKS)
    assert weights.read(tmp_path / "again.h5", blocks=BLOCKS)[1].normalised == NORMALISED


@pytest.mark.parametrize(
    ("name", "value"), [("normalised_pool", "sum"), ("photos", "many"), ("photos_sha256", None)]
)
def test_a_normalised_network_with_damaged_notes(tmp_path, name, value):
    path = tmp_path / "weights.h5"
    write(path, normalised=NORMALISED)
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
        if value:
            file.attrs[name] = np.bytes_(value)
    assert "damaged or unfamiliar" in refusal(path)


def test_the_same_arguments_give_the_same_bytes(tmp_path):
    write(tmp_path / "a.h5")
    time.sleep(1.1)  # HDF5 would keep times in whole seconds
    write(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_changed_value_is_noticed(tmp_path):
    path = tmp_path / "weights.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        file["conv1_2/bias"][0] += 1
    with pytest.raises(WeightsError, match="do not have the digest recorded"):
        weights.read(path, blocks=BLOCKS)


def test_writing_where_it_is_not_possible(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "none" / "weights.h5")


def test_conversion_keeps_the_numbers_and_records_the_source(tmp_path):
    source, target = tmp_path / "x.caffemodel", tmp_path / "x.h5"
    source.write_bytes(model_bytes(LAYERS))
    made = weights.convert(source, target, blocks=BLOCKS)
    params, provenance = weights.read(target, blocks=BLOCKS)
    assert_params(params)
    assert made.digest == provenance.digest == DIGEST
    assert provenance.source == "x.caffemodel"
    assert provenance.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert provenance.licence == weights.LICENCE


@pytest.mark.parametrize("link", ["", "symbolic", "hard", "to the folder"])
def test_conversion_never_replaces_what_it_reads(tmp_path, link):
    (tmp_path / "in").mkdir()
    source, target = tmp_path / "in" / "x.h5", tmp_path / "in" / ".." / "in" / "x.h5"
    source.write_bytes(keras_bytes())
    if link == "symbolic":
        (target := tmp_path / "y.h5").symlink_to(source)
    elif link == "hard":
        (target := tmp_path / "y.h5").hardlink_to(source)
    elif link:
        (tmp_path / "other").symlink_to(source.parent)
        target = tmp_path / "other" / "x.h5"
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    with pytest.raises(OutputError) as caught:
        weights.convert(source, target, blocks=BLOCKS)
    assert (
        str(caught.value) == f"{target}: is the file that is read, {source}, so it is kept; name another file"
    )
    assert source.read_bytes() == keras_bytes()
    after = {path: path.lstat() for path in tmp_path.rglob("*")}
    assert [(p, s.st_ino, s.st_mtime_ns) for p, s in after.items()] == [
        (p, s.st_ino, s.st_mtime_ns) for p, s in before.items()
    ]


# Mistakes


def zip_bytes(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\n<!DOCTYPE html>\n<html><title>404</title>", "this is a web page, not weights"),
        (b"<html>", "this is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (
            b"\xff\xd8\xff\xe0 a photograph",
            "no weights file; known are HDF5, .keras, safetensors, npz and .caffemodel",
        ),
        (pickle.dumps({}), "torch pickle, .*safetensors"),
        (zip_bytes("vgg_conv/data.pkl", "vgg_conv/data/0"), "torch pickle, .*safetensors"),
        (zip_bytes("readme"), "damaged or unfamiliar"),
        (keras_bytes()[:3000], "damaged or unfamiliar.*truncated file"),
        (npz_bytes(NAMED)[:-10], "damaged or unfamiliar"),
        (save(NAMED)[:-10], "damaged or unfamiliar"),
        (npz_bytes(NAMED | {"conv1_1.weight": np.ones((3, 3, 3, 3), int)}), "it holds int64 values"),
        (npz_bytes({"a": np.array([{}])}), "damaged or unfamiliar"),
        (model_bytes(LAYERS)[:200], "not a Caffe model, or a damaged one: cut short"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, data, message):
    path = tmp_path / "weights.h5"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        weights.read(path, blocks=BLOCKS)
    refusal(path)


def test_missing_file_and_folder(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.h5")
    assert "Is a directory" in refusal(tmp_path)


def test_another_network_lists_missing_unexpected_and_wrong_layers(tmp_path):
    path = tmp_path / "weights.h5"
    wider = PARAMS["conv2_1"] | {"kernel": np.ones((3, 3, 3, 5), np.float32)}
    path.write_bytes(
        keras_bytes({"conv1_1": PARAMS["conv1_1"], "conv2_1": wider, "conv9_9": PARAMS["conv1_2"]})
    )
    message = refusal(path)
    assert "-conv1_2 (3, 3, 3, 3)" in message
    assert "+conv9_9" in message
    assert "conv2_1 kernel is (3, 3, 3, 5), should be (3, 3, 3, 4)" in message
    assert "conv1_1" not in message


def full(network):
    """Return parameters of a network's own shapes: the number of the layer, from 0."""
    shapes = kernel_shapes(network.blocks)
    values = {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(shapes.items())}
    return {name: {"kernel": kernel, "bias": kernel[0, 0, 0]} for name, kernel in values.items()}


# Simonyan & Zisserman (2015), table 1, with torch's count of rectifiers and poolings.
FEATURES_OF = {
    VGG16: (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    VGG19: (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}


@pytest.mark.parametrize("network", [VGG16, VGG19], ids=["VGG-16", "VGG-19"])
@pytest.mark.parametrize("container", ["keras", "torch", "caffe"])
def test_a_file_tells_its_network_by_its_layers(tmp_path, network, container):
    path, params = tmp_path / "weights.h5", full(network)
    turned = {name: (np.moveaxis(p["kernel"], (3, 2), (0, 1)), p["bias"]) for name, p in params.items()}
    if container == "keras":
        path.write_bytes(keras_bytes(params, compression="gzip"))
    elif container == "caffe":
        path.write_bytes(model_bytes(turned))
    else:
        layers = zip(FEATURES_OF[network], turned.values(), strict=True)
        state = [
            (f"features.{n}.{part}", a)
            for n, layer in layers
            for part, a in zip(("weight", "bias"), layer, strict=True)
        ]
        path.write_bytes(save({name: np.ascontiguousarray(a) for name, a in state}))
    found, provenance = weights.read(path)
    assert provenance.architecture == network == weights.identify(path)
    assert list(found) == list(network.layers)
    assert [float(layer["bias"][0]) for layer in found.values()] == list(range(len(found)))
    assert network.title in weights.describe(path)


def test_an_unknown_table_is_compared_with_the_nearest_network(tmp_path):
    path, params = tmp_path / "weights.h5", full(VGG16)
    del params["conv5_3"]
    path.write_bytes(keras_bytes(params, compression="gzip"))
    assert weights.identify(path) is None
    message = refusal(path, blocks=None)
    assert "not the layers of VGG-16 (- missing, + unexpected): -conv5_3 (3, 3, 512, 512)" in message
    path.write_bytes(keras_bytes(full(VGG19) | {"conv5_5": full(VGG19)["conv5_4"]}, compression="gzip"))
    assert "not the layers of VGG-19 (- missing, + unexpected): +conv5_5" in refusal(path, blocks=None)


def test_long_lists_are_abbreviated(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(npz_bytes(FEATURES))
    message = refusal(path, blocks=VGG19.blocks)
    assert "and 9 more" in message
    assert len(message) < 700


def test_names_from_a_damaged_file_stay_on_their_line(tmp_path):
    path = tmp_path / "weights.caffemodel"
    path.write_bytes(model_bytes(LAYERS | {"a\r\nb" + 100 * "c": LAYERS["conv1_1"]}))
    assert r"+'a\r\nbccc" in refusal(path)


def test_a_layer_without_bias(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(npz_bytes({name: array for name, array in NAMED.items() if name != "conv1_2.bias"}))
    assert "-conv1_2 bias (3,)" in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    path = tmp_path / "weights.npz"
    path.write_bytes(npz_bytes(NAMED | {"conv2_1.bias": np.array([0, 0, value, 0], np.float32)}))
    assert "layer conv2_1 holds values that are not finite" in refusal(path)


def test_torchvisions_own_weights_are_refused(tmp_path):
    kernel = np.random.default_rng(0).standard_normal((64, 3, 3, 3)).astype(np.float32)
    kernel[0, 0] = [
        [-0.053474, -0.049257, -0.067942],
        [0.015314, 0.045068, 0.0021444],
        [0.036226, 0.019999, 0.019864],
    ]
    path = tmp_path / "vgg19.safetensors"
    path.write_bytes(save({"features.0.weight": kernel, "features.0.bias": np.zeros(64, np.float32)}))
    assert "torchvision's own VGG-19, trained for RGB in [0, 1]" in refusal(path, blocks=((1, 64),))
    kernel[0, 0, 0, 0] *= 1.01
    path.write_bytes(save({"features.0.weight": kernel, "features.0.bias": np.zeros(64, np.float32)}))
    weights.read(path, blocks=((1, 64),))


# Damage


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "weights"


def outcome(path, data):
    path.write_bytes(data)
    try:
        weights._load(path, BLOCKS)
    except WeightsError as error:
        return str(error)
    return ""


@settings(max_examples=200, deadline=None, database=None)
@given(
    start=st.sampled_from([b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x20" + bytes(7) + b"{", b"\x12"]),
    data=st.binary(),
)
@example(start=b"\xff" * 8 + b"{", data=b"}")
def test_random_bytes_are_refused(scratch, start, data):
    assert len(outcome(scratch, start + data).splitlines()) == 1


@pytest.mark.parametrize(
    "container", ["keras 1.2", "keras gzip", "torch safetensors", "torch npz", "caffe V2"]
)
@settings(max_examples=60, deadline=None, database=None)
@given(data=st.data())
def test_truncated_files_are_refused(scratch, container, data):
    content = CONTAINERS[container][1]
    if container == "caffe V2":
        content = content[: content.index(b"relu2_1") - 5]  # what follows the last convolution may be lost
    length = data.draw(st.integers(0, len(content) - 1))
    assert len(outcome(scratch, content[:length]).splitlines()) == 1


# Telling people


def test_describe(tmp_path):
    path = tmp_path / "weights.h5"
    write(path)
    text = weights.describe(path, blocks=BLOCKS)
    for fact in (str(path), "nst_jax", "x.caffemodel", "ab" * 32, "CC BY 4.0", DIGEST, "3 x 3 x 3 x 4"):
        assert fact in text
    assert f"{sum(a.size for layer in PARAMS.values() for a in layer.values()):,} in 3 layers" in text


def test_a_published_file_is_known_by_its_checksum(tmp_path):
    path = tmp_path / "weights.h5"
    path.write_bytes(b"something")
    assert weights.published(path) is None
    checksums = {"other": f"md5:{32 * '0'}", "mine": f"sha256:{hashlib.sha256(b'something').hexdigest()}"}
    assert weights.published(path, checksums=checksums) == "mine"
    with pytest.raises(WeightsError, match="none: cannot be read: No such file"):
        weights.published(tmp_path / "none")


def test_examination(tmp_path):
    path = tmp_path / "weights.h5"
    path.write_bytes(keras_bytes())
    lines = weights.examine(path, blocks=BLOCKS).splitlines()
    assert lines[0] == f"{path}: good"
    assert lines[1].startswith("3 layers with the shapes of VGG-19")
    assert lines[2] == f"digest {DIGEST}"
    path.write_bytes(keras_bytes()[:-3000])
    with pytest.raises(WeightsError):
        weights.examine(path, blocks=BLOCKS)
