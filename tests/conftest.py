import os

import jax
import numpy as np
import pytest
from hypothesis import settings

from nst_jax.networks import vgg

settings.register_profile("patient", deadline=None)  # a busy machine is no bug
settings.load_profile("patient")

NARROW = ((2, 4), (2, 4), (4, 6), (4, 6), (4, 6))
"""VGG-19's names with a handful of channels."""


@pytest.fixture(autouse=True)
def _own_world(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache, or downloads."""
    monkeypatch.setenv("NST_JAX_CACHE", str(tmp_path_factory.getbasetemp().parent / "nst_jax_cache"))
    monkeypatch.setattr("nst_jax.pretrained.downloads.PATIENCE", 1.0)


@pytest.fixture(scope="session")
def narrow():
    return vgg.random_params(jax.random.key(1), blocks=NARROW)


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_weights():
    path = os.environ.get("NST_JAX_WEIGHTS")
    if not path or not os.path.exists(path):
        pytest.skip("needs real VGG-19 weights in $NST_JAX_WEIGHTS")
    return path
