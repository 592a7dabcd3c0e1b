"""Weight files written by hand with h5py and protobuf."""

import functools
import hashlib
import io

import h5py
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from nst_jax.errors import WeightsError
from nst_jax.pretrained import files as weights

Field = descriptor_pb2.FieldDescriptorProto

SCHEMA = {
    "BlobShape": [("dim", 1, "INT64", "packed")],
    "BlobProto": [
        ("num", 1, "INT32", ""),
        ("channels", 2, "INT32", ""),
        ("height", 3, "INT32", ""),
        ("width", 4, "INT32", ""),
        ("data", 5, "FLOAT", "packed"),
        ("diff", 6, "FLOAT", "packed"),
        ("shape", 7, "BlobShape", ""),
        ("double_data", 8, "DOUBLE", "packed"),
    ],
    "V1LayerParameter": [
        ("bottom", 2, "STRING", "repeated"),
        ("top", 3, "STRING", "repeated"),
        ("name", 4, "STRING", ""),
        ("type", 5, "UINT32", ""),
        ("blobs", 6, "BlobProto", "repeated"),
        ("blobs_lr", 7, "FLOAT", "repeated"),
    ],
    "LayerParameter": [
        ("name", 1, "STRING", ""),
        ("type", 2, "STRING", ""),
        ("bottom", 3, "STRING", "repeated"),
        ("top", 4, "STRING", "repeated"),
        ("blobs", 7, "BlobProto", "repeated"),
    ],
    "NetParameter": [
        ("name", 1, "STRING", ""),
        ("layers", 2, "V1LayerParameter", "repeated"),
        ("input", 3, "STRING", "repeated"),
        ("input_dim", 4, "INT32", "repeated"),
        ("layer", 100, "LayerParameter", "repeated"),
    ],
}
TYPES = {"V1": {"Convolution": 4, "InnerProduct": 14, "ReLU": 18}, "V2": None}


@functools.cache
def net_parameter(*, packed=True):
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in SCHEMA.items():
        added = file.message_type.add(name=message)
        for name, number, kind, label in fields:
            field = added.field.add(name=name, number=number)
            field.label = Field.LABEL_REPEATED if label else Field.LABEL_OPTIONAL
            if kind in SCHEMA:
                field.type, field.type_name = Field.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = Field.Type.Value(f"TYPE_{kind}")
            if label == "packed":
                field.options.packed = packed
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def random_layers(blocks, *, seed=0):
    """Return kernels in Caffe's order, (out, in, 3, 3), and biases."""
    random = np.random.default_rng(seed)
    layers, before = {}, 3
    for block, (convs, channels) in enumerate(blocks, 1):
        for index in range(1, convs + 1):
            kernel = random.standard_normal((channels, before, 3, 3)).astype(np.float32)
            layers[f"conv{block}_{index}"] = kernel, random.standard_normal(channels).astype(np.float32)
            before = channels
    return layers


def model_bytes(layers, *, generation="V1", legacy=True, packed=True, double=False, dense=True):
    """Return a Caffe model with a ReLU after each convolution and a fully connected layer at the end."""
    net = net_parameter(packed=packed)(name="VGG", input=["data"], input_dim=[10, 3, 224, 224])
    for name, arrays in layers.items():
        add_layer(net, name, "Convolution", arrays, generation, legacy, double)
        add_layer(net, name.replace("conv", "relu"), "ReLU", (), generation, legacy, double)
    if dense:
        arrays = np.ones((5, 7), np.float32), np.ones(5, np.float32)
        add_layer(net, "fc6", "InnerProduct", arrays, generation, legacy, double)
    return net.SerializeToString()


def add_layer(net, name, kind, arrays, generation, legacy, double):
    layer = net.layers.add() if generation == "V1" else net.layer.add()
    layer.name, layer.type = name, TYPES["V1"][kind] if generation == "V1" else kind
    layer.bottom.append("before")
    layer.top.append(name)
    if generation == "V1":
        layer.blobs_lr.extend([1.0, 2.0])
    for array in arrays:
        blob = layer.blobs.add()
        if legacy:
            blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
        else:
            blob.shape.dim.extend(array.shape)
        (blob.double_data if double else blob.data).extend(array.ravel().tolist())


BLOCKS = ((2, 3), (1, 4))
LAYERS = random_layers(BLOCKS)  # in Caffe's and torch's order, (out, in, 3, 3)
PARAMS = {n: {"kernel": k.transpose(2, 3, 1, 0), "bias": b} for n, (k, b) in LAYERS.items()}
DIGEST = hashlib.sha256(
    b"".join(np.ascontiguousarray(a).tobytes() for layer in PARAMS.values() for a in layer.values())
).hexdigest()


def keras_bytes(layers=PARAMS, *, style="1.2", root="", dense=True, **options):
    """Return an HDF5 file as Keras writes it, with input and pooling layers."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        top = file.create_group(root) if root else file
        names = []
        for name, layer in layers.items():
            block, index = name.removeprefix("conv").split("_")
            keras = f"block{block}_conv{index}" if "_" in name and name.startswith("conv") else name
            names.append(keras)
            pattern = f"{keras}_{{}}_1:0" if style == "1.2" else f"{keras}/{{}}:0"
            parts = dict(
                zip(("W", "b") if style == "1.2" else ("kernel", "bias"), layer.values(), strict=True)
            )
            group = top.create_group(keras)
            group.attrs["weight_names"] = [pattern.format(part).encode() for part in parts]
            for part, array in parts.items():
                group.create_dataset(pattern.format(part), data=array, **(options if array.ndim == 4 else {}))
        empty = ["input_1", "block1_pool"]
        for name in empty:
            top.create_group(name).attrs["weight_names"] = np.empty(0, "S1")
        if dense:
            names.append("fc1")
            top.create_group("fc1").attrs["weight_names"] = [b"fc1/kernel:0", b"fc1/bias:0"]
            top["fc1"]["fc1/kernel:0"], top["fc1"]["fc1/bias:0"] = np.ones((4, 5)), np.ones(5)
        top.attrs["layer_names"] = [name.encode() for name in [empty[0], *names, empty[1]]]
    return buffer.getvalue()


def assert_params(params):
    assert list(params) == list(PARAMS)
    for name, layer in PARAMS.items():
        assert params[name].keys() == layer.keys()
        for part, array in layer.items():
            np.testing.assert_array_equal(params[name][part], array)
            assert params[name][part].dtype == np.float32


def refusal(path, *, blocks=BLOCKS):
    """Return the one line with which a file is refused."""
    with pytest.raises(WeightsError) as caught:
        weights.read(path, blocks=blocks)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message
