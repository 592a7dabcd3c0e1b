"""The examples run as they stand, but small."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from makers import NARROW

from nst_jax import images
from nst_jax.networks import vgg
from nst_jax.pretrained import files as weights

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
SMALL = {"SIZE": 48, "WIDTH": 48, "HEIGHT": 32, "EVALUATIONS": 3}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.usefixtures("direct")
def test_it_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(weights, "read", functools.partial(weights.read, blocks=NARROW))
    monkeypatch.setattr(vgg, "random_params", functools.partial(vgg.random_params, blocks=NARROW))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for name, value in SMALL.items():
        if hasattr(example, name):
            monkeypatch.setattr(example, name, value)
    example.main()
    assert "nan" not in capsys.readouterr().out
    promised = f"Writes {path.stem}.png" in example.__doc__
    assert promised == (tmp_path / f"{path.stem}.png").exists()
    if promised:
        picture = images.read(tmp_path / f"{path.stem}.png").rgb
        assert max(picture.shape) == SMALL["WIDTH" if hasattr(example, "WIDTH") else "SIZE"]
        assert np.ptp(picture) > 0.1


def test_there_are_eight_and_each_is_short():
    assert len(EXAMPLES) == 8
    for path in EXAMPLES:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) <= 35, path.name
