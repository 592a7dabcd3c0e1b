"""Small networks, settings and calls that tests of several rooms share."""

import os
import signal
import subprocess
import sys

import pytest

from nst_jax import config
from nst_jax.errors import ConfigError
from nst_jax.runs import single, sweep

NARROW = ((2, 4), (2, 4), (4, 6), (4, 6), (4, 6))
"""VGG-19's names with a handful of channels."""

LAYERS = {"content": ["conv2_2"], "style": ["conv1_1", "conv2_1"]}
"""Of two blocks of the network, whose program is soon compiled; runs have them unless told otherwise."""

AXES = [{"style.weight": [10.0, 1000.0]}, {"content.weight": [0.1, 1.0, 10.0]}]
"""Six cells."""


NARROW_PROCESS = """
import functools, sys
sys.path.insert(0, sys.argv[1])
from makers import NARROW
from nst_jax import cli
from nst_jax.cli import process
process.prepare_process()  # before JAX is imported, as the command does
from nst_jax.pretrained import files
files.read = functools.partial(files.read, blocks=NARROW)
sys.exit(cli.run(sys.argv[2:]))
"""
"""A command in a process, on narrow networks; arguments: the folder of the tests, and the command's own."""


def load_text(tmp_path, text, **options):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    return config.load(file, **options)


def errors(tmp_path, text, **options):
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text, **options)
    return [line.replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()]


def shallow(data):
    """Return data of settings with few layers, and one level, where none are named."""
    short = {role: {"image": data[role]} if isinstance(data[role], str) else data[role] for role in LAYERS}
    layers = {role: {"layers": LAYERS[role]} | short[role] for role in LAYERS}
    return {"pyramid": {"levels": 1}} | data | layers


def run_settings(**changes):
    data = {"content": "photo.png", "style": "art.png", "output": "out.png", "size": 24}
    data |= {"solver": {"evaluations": 6}, "network": {"normalised": False}}
    return config.load(base=shallow(data | changes))


def paint(**changes):
    return single.run(run_settings(**changes), say=lambda line: None)


def sweep_settings(axes=AXES, folder="grid", **changes):
    data = {"content": "photo.png", "style": "art.png", "size": 24, "network": {"normalised": False}}
    data |= {"solver": {"evaluations": 6}, "sweep": {"axes": axes, "folder": folder}}
    return config.load(base=shallow(data | changes))


def paint_sweep(config, **options):
    said = []
    return sweep.run(config, say=said.append, **options), said


def nst(*arguments, **options):
    command = [sys.executable, "-m", "nst_jax", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


class Deadly:
    """In place of an encoder: ends the process that calls it, as one that is out of memory is ended."""

    def __call__(self, result, curve):
        os.kill(os.getpid(), signal.SIGKILL)
