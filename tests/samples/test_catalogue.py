import subprocess
import sys

import numpy as np
import pytest

from nst_jax import samples
from nst_jax.errors import ImageError


@pytest.mark.parametrize("name", samples.names())
def test_a_sample_is_a_picture_exact_in_8_bits(name):
    rgb = samples.load(name)
    assert rgb.dtype == np.float32
    assert rgb.ndim == 3
    assert min(rgb.shape) == 3
    np.testing.assert_array_equal(rgb, np.round(rgb * 255).astype(np.float32) / np.float32(255))
    colours = len(np.unique(rgb.reshape(-1, 3), axis=0))
    assert (colours <= 8) == (samples.CREDITS[name].kind == "map")


def test_kinds_stand_in_order():
    kinds = [samples.CREDITS[name].kind for name in samples.names()]
    assert kinds == ["content"] * 4 + ["style"] * 4 + ["map"] * 4


def test_unknown_name():
    with pytest.raises(ImageError, match=r"'cofee'.*did you mean 'coffee'.*starry_swirls"):
        samples.load("cofee")


def test_description_has_a_line_for_each():
    lines = samples.describe().splitlines()
    assert len(lines) == len(samples.names())
    for line, (name, sample) in zip(lines, samples.CREDITS.items(), strict=True):
        assert line.startswith(name)
        assert sample.licence in line
        assert len(line) < 120


def test_import_is_light():
    code = "import sys, nst_jax.samples; print({'jax', 'skimage', 'scipy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
