"""The conversion script: what it prints and writes, its exit codes, and how much memory it takes."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from weight_files import model_bytes, random_layers

from nst_jax.architecture import kernel_shapes
from nst_jax.pretrained import files as weights

SCRIPT = Path(__file__).parent.parent / "weights" / "convert_caffe_vgg.py"
SMALL = ((2, 3), (1, 4))


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("convert_caffe_vgg", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A VGG-19 of full size whose values are drawn at random, as protobuf writes it (80 MB)."""
    path = tmp_path_factory.mktemp("caffe") / "VGG_ILSVRC_19_layers.caffemodel"
    random = np.random.default_rng(0)
    layers = {
        name: (random.random((o, i, 3, 3), np.float32), random.random(o, np.float32))
        for name, (_, _, i, o) in kernel_shapes().items()
    }
    path.write_bytes(model_bytes(layers, packed=True))
    return path, layers


def test_conversion_of_the_whole_network(model, tmp_path):
    source, layers = model
    target = tmp_path / "vgg19.h5"
    command = [sys.executable, SCRIPT, source, target]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    params, provenance = weights.read(target)
    for name, (kernel, bias) in layers.items():
        np.testing.assert_array_equal(params[name]["kernel"], np.moveaxis(kernel, (0, 1), (3, 2)))
        np.testing.assert_array_equal(params[name]["bias"], bias)
    assert provenance.source == source.name
    assert provenance.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert provenance.licence == "CC BY 4.0, Visual Geometry Group, University of Oxford"
    for fact in (provenance.digest, provenance.source_sha256, provenance.licence, "NOT the published file"):
        assert fact in done.stdout
    assert f"{target.stat().st_size:,} bytes" in done.stdout


def test_an_existing_file_is_kept_unless_forced(model, script, tmp_path, capsys):
    target = tmp_path / "vgg19.h5"
    target.write_bytes(b"precious")
    assert script.main([str(model[0]), str(target)]) == 2
    assert "exists already; --force replaces it" in capsys.readouterr().err
    assert target.read_bytes() == b"precious"
    assert script.main([str(model[0]), str(target), "--force"]) == 0
    assert target.stat().st_size > 80_000_000


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("link", [False, True])
def test_the_model_itself_is_no_target(script, tmp_path, capsys, force, link):
    source = target = tmp_path / "in.caffemodel"
    source.write_bytes(model_bytes(random_layers(SMALL)))
    if link:
        (target := tmp_path / "out.h5").symlink_to(source)
    before = source.read_bytes()
    assert script.main([str(source), str(target), *force]) == 2
    assert f"error: {target}: is the file that is read" in capsys.readouterr().err
    assert source.read_bytes() == before
    assert target.is_symlink() == link


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "No such file"),
        (b"<!doctype html>", "this is a web page, not weights"),
        (model_bytes(random_layers(SMALL)), "not the layers of VGG-16"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(script, tmp_path, capsys, data, message):
    source, target = tmp_path / "in.caffemodel", tmp_path / "out.h5"
    if data is not None:
        source.write_bytes(data)
    assert script.main([str(source), str(target)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert not target.exists()


def test_a_missing_argument_is_a_mistake_too(script, capsys):
    with pytest.raises(SystemExit) as caught:
        script.main(["only.caffemodel"])
    assert caught.value.code == 2
    assert "OUT.h5" in capsys.readouterr().err


def varint(value):
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(high) if high else bytes([low])


def write_with_large_layer(path, layers, *, size):
    """Write a model whose fully connected layer of ``size`` bytes, in the middle, is a hole on the disk."""
    first, *rest = ({name: arrays} for name, arrays in layers.items())
    blob = b"\x08\x01\x10\x01\x18\x01\x20" + varint(size // 4) + b"\x2a" + varint(size)
    layer = b"\x22\x03fc6\x28\x0e\x32" + varint(len(blob) + size) + blob
    with path.open("wb") as file:
        file.write(model_bytes(first, dense=False))
        file.write(b"\x12" + varint(len(layer) + size) + layer)
        file.seek(size, os.SEEK_CUR)
        for other in rest:
            file.write(model_bytes(other, dense=False))


PEAK = """
import re, sys
from pathlib import Path
from nst_jax.pretrained import files as weights

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before = peak()
weights.convert(Path(sys.argv[1]), Path(sys.argv[2]), blocks=((2, 3), (1, 4)))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_fully_connected_layers_take_no_memory(tmp_path):
    source, target = tmp_path / "large.caffemodel", tmp_path / "small.h5"
    layers = random_layers(SMALL)
    write_with_large_layer(source, layers, size=400_000_000)
    assert source.stat().st_size > 400_000_000
    done = subprocess.run(
        [sys.executable, "-c", PEAK, source, target], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 30  # MB
    params, _ = weights.read(target, blocks=SMALL)
    for name, (kernel, _) in layers.items():
        np.testing.assert_array_equal(params[name]["kernel"], np.moveaxis(kernel, (0, 1), (3, 2)))
