"""Caffe models, against the protobuf package with a schema built at run time as the independent writer."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from weight_files import model_bytes, net_parameter, random_layers

from nst_jax.errors import WeightsError
from nst_jax.pretrained.caffe import read_caffemodel


def assert_equal(found, layers):
    assert list(found) == list(layers)
    for name, (kernel, bias) in layers.items():
        out, channels, height, width = kernel.shape
        assert found[name]["kernel"].shape == (height, width, channels, out)
        for o, i, y, x in np.ndindex(kernel.shape):
            assert found[name]["kernel"][y, x, i, o] == kernel[o, i, y, x]
        np.testing.assert_array_equal(found[name]["bias"], bias)
        assert {a.dtype.name for a in found[name].values()} == {"float32"}


LAYERS = random_layers(((2, 3), (1, 4)))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("generation", ["V1", "V2"])
def test_reads_what_protobuf_writes(tmp_path, generation, legacy, packed, double):
    path = tmp_path / "model.caffemodel"
    path.write_bytes(model_bytes(LAYERS, generation=generation, legacy=legacy, packed=packed, double=double))
    assert_equal(read_caffemodel(path), LAYERS)


def test_a_kernel_that_is_not_square(tmp_path):
    layers = {
        "conv": (np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5), np.zeros(2, np.float32))
    }
    path = tmp_path / "model.caffemodel"
    path.write_bytes(model_bytes(layers))
    assert_equal(read_caffemodel(path), layers)


def test_arrays_split_into_several_packed_fields_are_joined(tmp_path):
    # A message put after another is merged into it: repeated fields are appended.
    net = net_parameter()()
    layer = net.layers.add(name="conv1_1", type=4)
    layer.blobs.add(num=1, channels=1, height=1, width=3, data=[1.0, 2.0])
    layer.blobs.add(num=1, channels=1, height=1, width=1, data=[4.0])
    data = net.SerializeToString()
    kernel = layer.blobs[0].SerializeToString()
    longer = bytearray(
        data.replace(
            bytes([len(kernel)]) + kernel, bytes([len(kernel) + 6]) + kernel + b"\x2a\x04\0\0\x40\x40"
        )
    )
    longer[1] += 6  # the length of the layer
    path = tmp_path / "model.caffemodel"
    path.write_bytes(longer)
    np.testing.assert_array_equal(read_caffemodel(path)["conv1_1"]["kernel"].ravel(), [1.0, 2.0, 3.0])


def test_doubles_out_of_range_become_infinite(tmp_path):
    net = net_parameter()()
    layer = net.layer.add(name="conv1_1", type="Convolution")
    layer.blobs.add(double_data=[1e300]).shape.dim.extend([1, 1, 1, 1])
    layer.blobs.add(double_data=[0.0]).shape.dim.append(1)
    path = tmp_path / "model.caffemodel"
    path.write_bytes(net.SerializeToString())
    assert np.isinf(read_caffemodel(path)["conv1_1"]["kernel"]).all()


def wrong(message, tmp_path, data):
    path = tmp_path / "model.caffemodel"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as caught:
        read_caffemodel(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def net_with(**blob):
    net = net_parameter()()
    net.layers.add(name="conv\n1", type=4).blobs.add(**blob)
    net.layers[0].blobs.add(num=1, channels=1, height=1, width=1, data=[0.0])
    return net.SerializeToString()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"<!doctype html><html><body>404 Not Found</body></html>", "byte 0 begins no known field"),
        (b"name: 'VGG'\nlayers {\n}", "begins no known field"),
        (bytes(1000), "byte 0 begins no known field"),
        (b"\xff" * 100, "has no end"),
        (model_bytes(LAYERS, generation="V2")[:-3], "cut short"),
        (model_bytes({}), "without trained convolutions"),
        (net_with(num=1, channels=1, height=1, width=2, data=[0.0]), r"shape \(1, 1, 1, 2\) holds 1 numbers"),
        (net_with(num=-1, channels=1, height=1, width=1, data=[0.0]), "holds 1 numbers"),
        (net_with(data=[0.0]), "holds 1 numbers"),
        (net_parameter()(layers=[{"name": "a", "type": 4}]).SerializeToString(), "'a' has 0 arrays"),
        (model_bytes(LAYERS) * 2, "two layers 'conv1_1'"),
    ],
)
def test_malformed(tmp_path, data, message):
    wrong(message, tmp_path, data)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        read_caffemodel(tmp_path / "none.caffemodel")
    with pytest.raises(WeightsError, match="Is a directory"):
        read_caffemodel(tmp_path)


def refusal(path, data):
    path.write_bytes(data)
    try:
        read_caffemodel(path)
    except WeightsError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "model.caffemodel"


@settings(max_examples=300, deadline=None, database=None)
@given(data=st.binary(max_size=200))
@example(data=b"\x12\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01")
@example(data=b"\x12\x05\x32\x03\x2d\0\0")
def test_random_bytes_are_refused(scratch, data):
    assert len(refusal(scratch, data).splitlines()) == 1


@pytest.mark.parametrize("packed", [True, False])
@settings(max_examples=200, deadline=None, database=None)
@given(data=st.data())
def test_flipped_and_missing_bytes_never_do_worse_than_a_message(scratch, packed, data):
    content = bytearray(model_bytes(LAYERS, packed=packed))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    message = refusal(scratch, bytes(content[: data.draw(st.integers(0, len(content)))]))
    assert len(message.splitlines()) <= 1
