"""HDF5 files in Keras' layouts that are damaged as no writer would: the rest is in test_containers.py."""

import io
import struct

import h5py
import numpy as np
import pytest
from weight_files import PARAMS, keras_bytes

from nst_jax.pretrained import hdf5


@pytest.fixture
def file():
    with h5py.File(io.BytesIO(keras_bytes()), "r+") as file:
        yield file


def test_shapes_are_known_and_arrays_can_be_read(file):
    layers, notes = hdf5.layers_of(file)
    assert notes is None
    assert list(layers) == list(PARAMS)
    for name, layer in PARAMS.items():
        assert {part: array.shape for part, array in layers[name].items()} == {
            part: array.shape for part, array in layer.items()
        }
        np.testing.assert_array_equal(layers[name]["kernel"].read(), layer["kernel"])


def test_the_attributes_of_keras_are_not_needed(file):
    """HDF5 trusts what a damaged one says of its length."""
    file.attrs["layer_names"] = 3
    del file["block1_conv1"].attrs["weight_names"]
    assert list(hdf5.layers_of(file)[0]) == list(PARAMS)


def test_further_arrays_of_a_layer_keep_their_names(file):
    file["block1_conv1/moving_mean"] = np.ones(3)
    assert hdf5.layers_of(file)[0]["conv1_1"].keys() == {"kernel", "bias", "moving_mean"}


def test_a_group_in_itself(file):
    file["block1_conv1/again"] = file["block1_conv1"]
    with pytest.raises(ValueError, match="more than 4 deep"):
        hdf5.layers_of(file)


def test_a_group_without_end(file):
    for number in range(1001):
        file.create_group(f"block1_conv1/{number}")
    with pytest.raises(ValueError, match="a group of more than 1000 entries"):
        hdf5.layers_of(file)


def test_free_space_without_end(tmp_path):
    """HDF5 would follow it until memory is full."""
    path, data = tmp_path / "x.h5", bytearray(keras_bytes())
    path.write_bytes(data)
    hdf5.check_heaps(path)
    size, free, start = struct.unpack_from("<3Q", data, data.index(b"HEAP") + 8)
    assert 1 < free < size
    struct.pack_into("<Q", data, start + free, free)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="free space without end"):
        hdf5.check_heaps(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.arange(3), "'format' is no text"),
        (3, "'format' is no text"),
        (np.array([b"a", b"b"]), "'format' is no text"),
        (np.bytes_(60000 * b"a"), ""),
    ],
)
def test_notes_are_single_texts(file, value, message):
    file.attrs["format"] = value
    if not message:
        assert hdf5.layers_of(file)[1] is None
        return
    with pytest.raises(ValueError, match=message):
        hdf5.layers_of(file)


def test_notes_of_no_fixed_length_are_read_too(file):
    """Files of this program had them."""
    file.attrs.update({name: f"é {name}" for name in hdf5.NOTES}, format=hdf5.FORMAT)
    assert hdf5.layers_of(file)[1] == {name: f"é {name}" for name in hdf5.NOTES}
    file.attrs.update(hdf5.notes({name: f"ü {name}" for name in hdf5.NOTES}))
    assert hdf5.layers_of(file)[1] == {name: f"ü {name}" for name in hdf5.NOTES}
