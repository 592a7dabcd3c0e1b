"""Containers of weights files, written by hand as their programs write them, and then damaged at random."""

import io
import json
import math
import re
import tracemalloc
import zipfile

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
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

from nst_jax.architecture import VGG16, VGG19, kernel_shapes
from nst_jax.errors import WeightsError
from nst_jax.pretrained import files as weights

TORCH = {
    f"features.{number}.{part}": array
    for number, layer in zip((0, 2, 5), LAYERS.values(), strict=True)
    for part, array in zip(("weight", "bias"), layer, strict=True)
}
KERAS_NAMES = {"conv1_1": "block1_conv1", "conv1_2": "block1_conv2", "conv2_1": "block2_conv1"}
KERAS = {
    f"{KERAS_NAMES[name]}/{part}": np.ascontiguousarray(array)
    for name, layer in PARAMS.items()
    for part, array in layer.items()
}


def keras3_bytes(params=PARAMS, *, named=True, inside=(), cast=np.asarray, dense=True):
    """Return what save_weights of Keras 3.15.1 and 3.6.0 writes for a VGG; 3.0.5 leaves the names out."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("vars").attrs["name"] = "vgg19"
        top = file.create_group("layers")
        for model in inside:
            top.create_group(f"{model}/vars")
            top = top.create_group(f"{model}/layers")
        for index, (name, layer) in enumerate(params.items()):
            variables = top.create_group(f"conv2d_{index}/vars" if index else "conv2d/vars")
            if named:
                variables.attrs["name"] = name.replace("conv", "block").replace("_", "_conv")
            for number, array in enumerate(layer.values()):
                values = variables.create_dataset(str(number), data=cast(array))
                if values.dtype.kind == "V":
                    values.attrs["dtype"] = "bfloat16"
        for name in ("input_layer", "max_pooling2d"):
            top.create_group(f"{name}/vars")
        if dense:
            top["dense/vars/0"], top["dense/vars/1"] = np.ones((4, 5)), np.ones(5)
    return buffer.getvalue()


def archive_bytes(content, *, compression=zipfile.ZIP_STORED):
    """Return a .keras archive: Keras 3.0.5 to 3.15.1 put these three files into it, uncompressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps({"module": "keras.src.models.functional"}))
        archive.writestr("model.weights.h5", content)
    return buffer.getvalue()


def npz_bytes(state):
    buffer = io.BytesIO()
    np.savez(buffer, **state)
    return buffer.getvalue()


def bfloat16(array):
    return np.asarray(jnp.asarray(array, jnp.bfloat16))


CONTAINERS = {
    "keras 3": ("keras", keras3_bytes()),
    "keras 3.0": ("keras", keras3_bytes(named=False)),
    "keras 3 in a model": ("keras", keras3_bytes(inside=["functional"], dense=False)),
    "keras 3 archive": ("keras", archive_bytes(keras3_bytes())),
    "keras 3.0 archive": ("keras", archive_bytes(keras3_bytes(named=False, inside=["functional"]))),
    "keras names safetensors": ("keras", save(KERAS)),
    "keras names npz": ("keras", npz_bytes(KERAS)),
    "keras 2 names npz": ("keras", npz_bytes({f"{name}:0": array for name, array in KERAS.items()})),
    "torch safetensors": ("torch", save(TORCH)),
    "big-endian npz": ("torch", npz_bytes({name: array.astype(">f4") for name, array in TORCH.items()})),
    "Fortran npz": ("torch", npz_bytes({name: np.asfortranarray(a) for name, a in TORCH.items()})),
    "Fortran keras npz": ("keras", npz_bytes({name: np.asfortranarray(a) for name, a in KERAS.items()})),
}


@pytest.mark.parametrize("suffix", [".h5", ".caffemodel", ".npz"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_parameters_and_digest(tmp_path, container, suffix):
    kind, data = CONTAINERS[container]
    path = tmp_path / f"weights{suffix}"  # whatever is in it
    path.write_bytes(data)
    params, found = weights.read(path, blocks=BLOCKS)
    assert_params(params)
    assert (found.kind, found.digest) == (kind, DIGEST)


HALVES = {"float16": lambda array: array.astype(np.float16), "bfloat16": bfloat16}
HALF_CONTAINERS = {
    "torch safetensors": lambda cast: save({name: cast(array) for name, array in TORCH.items()}),
    "keras safetensors": lambda cast: save({name: cast(array) for name, array in KERAS.items()}),
    "npz": lambda cast: npz_bytes({name: cast(array) for name, array in TORCH.items()}),
    "keras 3": lambda cast: keras3_bytes(cast=cast),
    "keras 3 archive": lambda cast: archive_bytes(keras3_bytes(cast=cast)),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("container", HALF_CONTAINERS)
def test_half_precision_gives_its_own_values_exactly(tmp_path, container, half):
    path = tmp_path / "weights"
    path.write_bytes(HALF_CONTAINERS[container](HALVES[half]))
    params, _ = weights.read(path, blocks=BLOCKS)
    for name, layer in PARAMS.items():
        for part, array in layer.items():
            np.testing.assert_array_equal(params[name][part], HALVES[half](array).astype(np.float32))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("network", [VGG16, VGG19], ids=["VGG-16", "VGG-19"])
def test_keras_3_files_tell_their_network_and_its_order(tmp_path, network, named):
    """The group of the eleventh convolution comes before that of the third, by its name."""
    shapes = kernel_shapes(network.blocks)
    values = {name: np.full(shape, i, np.float32) for i, (name, shape) in enumerate(shapes.items())}
    full = {name: {"kernel": kernel, "bias": kernel[0, 0, 0]} for name, kernel in values.items()}
    path = tmp_path / "weights.h5"
    path.write_bytes(keras3_bytes(full, named=named))
    params, found = weights.read(path)
    assert found.architecture == network == weights.identify(path)
    assert [float(layer["bias"][0]) for layer in params.values()] == list(range(len(shapes)))


# Mistakes


def refusal_of(path, data):
    path.write_bytes(data)
    return refusal(path)


def changed(data, change):
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


def replace(name, **options):
    def change(file):
        file.pop(name, None)
        file.create_dataset(name, **options)

    return change


def test_a_compressed_archive_says_what_to_do(tmp_path):
    data = archive_bytes(keras3_bytes(), compression=zipfile.ZIP_DEFLATED)
    assert "model.weights.h5 in it is compressed; unpack the archive" in refusal_of(
        tmp_path / "x.keras", data
    )


def test_a_damaged_archive_is_known_by_its_checksum(tmp_path):
    data = bytearray(archive_bytes(keras3_bytes()))
    data[data.index(PARAMS["conv2_1"]["bias"].tobytes())] ^= 1
    assert "Bad CRC-32" in refusal_of(tmp_path / "x.keras", bytes(data))


def test_a_pickle_is_not_opened_whatever_it_is_called(tmp_path):
    message = refusal_of(tmp_path / "vgg.safetensors", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")
    assert "a torch pickle" in message
    assert "safetensors.torch.save_file" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.pop("layers"), "neither 'layer_names', as of Keras 1 and 2, nor 'layers'"),
        (lambda file: file.pop("layers/conv2d_1"), r"-conv1_2 \(3, 3, 3, 3\)"),
        (lambda file: file.pop("layers/conv2d_1/vars/1"), r"-conv1_2 bias \(3,\)"),
        (replace("layers/conv2d_1/vars/2", data=np.ones((3, 3))), r"\+conv1_2 2"),
        (replace("layers/conv2d/vars/1", data=np.ones(3, np.int8)), "it holds int8 values"),
        (replace("layers/conv2d/vars/1", data=h5py.Empty("f4")), "something else where"),
        (replace("layers/conv2d/vars/1", data=["a", "b", "c"]), "it holds object values"),
        (
            lambda file: file.create_dataset("layers/batch_normalization/vars/0", data=np.ones(3)),
            r"\+batch_normalization",
        ),
        (lambda file: file.copy("layers", "layers/functional/layers"), "two layers"),
        (lambda file: file.__setitem__("layers/again/layers", file["layers"]), "models in models"),
    ],
)
def test_other_keras_3_files(tmp_path, change, message):
    assert re.search(message, refusal_of(tmp_path / "x.h5", changed(keras3_bytes(), change)))


def test_an_array_that_is_there_twice(tmp_path):
    state = KERAS | {"conv1_1.bias": PARAMS["conv1_1"]["bias"]}
    assert "has two arrays 'bias'" in refusal_of(tmp_path / "x.npz", npz_bytes(state))


# Sizes


def huge_npy(shape=(2**20, 2**20), dtype="<f4"):
    """Return the header of an array of four terabytes, and no more."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def npz_with(name, content):
    buffer = io.BytesIO(npz_bytes(KERAS))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def of_shape(shape, **options):
    return changed(keras3_bytes(), replace("layers/conv2d/vars/0", shape=shape, dtype="f4", **options))


WIDE = (3, 3, 3, 2**28)
HUGE = {
    "hdf5": of_shape(WIDE, chunks=(3, 3, 3, 16)),
    "hdf5 in one chunk": of_shape((3, 3, 3, 3), maxshape=4 * (None,), chunks=(3, 3, 2**12, 2**12)),
    "npz": npz_with("block1_conv3/kernel.npy", huge_npy()),
    "npz of long text": npz_with("block1_conv3/kernel.npy", huge_npy((3,), f"|S{2**31 - 1}")),
    "npz of few and long": npz_with("block1_conv3/kernel.npy", huge_npy((3,), "|V2000000000")),
    "safetensors": (76).to_bytes(8, "little")
    + b'{"conv1_1.bias":{"dtype":"F32","shape":[%13d],"data_offsets":[0,%4d]}}' % (2**40, 4),
}


@pytest.mark.parametrize("container", HUGE)
def test_sizes_are_refused_from_the_header(tmp_path, container):
    path = tmp_path / "x"
    path.write_bytes(HUGE[container])
    tracemalloc.start()
    try:
        refusal_of(path, HUGE[container])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4e6
    assert math.prod(WIDE) > 1e9


# Damage


VALID = {name: CONTAINERS[name][1] for name in ("keras 3", "keras 3 archive", "keras names npz")} | {
    "keras 1.2": keras_bytes(),
    "keras 2": keras_bytes(style="2", root="model_weights"),
    "keras gzip": keras_bytes(compression="gzip"),
    "torch safetensors": save({name: bfloat16(array) for name, array in TORCH.items()}),
    "caffe V1": model_bytes(LAYERS),
    "caffe V2 unpacked": model_bytes(LAYERS, generation="V2", packed=False),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file of this program, with its digest."""
    path = tmp_path_factory.mktemp("written") / "weights.h5"
    over = weights.Normalisation("max", "zero", 7, 512, "cd" * 32)
    weights.write(path, PARAMS, source="x", sha256="ab" * 32, licence="CC0", normalised=over)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "weights"


def damage(draw, content):
    """Change bytes, cut or insert some, at a few places: half of them where headers are."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        end = len(data) - 1
        place = draw(
            st.integers(0, end) | st.integers(0, min(2000, end)) | st.integers(max(0, end - 600), end)
        )
        match draw(st.sampled_from(["flip", "set", "cut", "insert"])):
            case "flip":
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
            case "cut":
                del data[place : place + draw(st.integers(1, 64))]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=16))
        if not data:
            break
    return bytes(data)


def check(path, data):
    """Read: finite parameters, or one line."""
    path.write_bytes(data)
    message = ""
    try:
        layers, _ = weights._load(path, BLOCKS)
        assert all(np.isfinite(array).all() for layer in layers.values() for array in layer.values())
    except WeightsError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1
    assert len(message) < 1000
    return not message


def test_what_is_damaged_below_is_good(scratch, written):
    assert all(check(scratch, content) for content in (*VALID.values(), written))


@pytest.mark.parametrize("container", VALID)
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_damaged_files_give_finite_parameters_or_one_line(scratch, container, data):
    check(scratch, damage(data.draw, VALID[container]))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(data=st.data())
def test_damaged_files_of_this_program_have_another_digest(scratch, written, data):
    if check(scratch, damage(data.draw, written)):
        layers, _ = weights._load(scratch, BLOCKS)
        assert weights.digest(layers) == DIGEST
