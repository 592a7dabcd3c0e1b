import numpy as np
import pytest
from problems import network_of

from nst_jax.transfer import machine


@pytest.fixture(scope="session")
def network(narrow):
    return network_of(narrow)


@pytest.fixture(scope="session")
def pair():
    random = np.random.default_rng(0)
    return np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)) ** 3)


@pytest.fixture(autouse=True)
def _as_if_nothing_was_kept(monkeypatch):
    """Of freed memory, by a command that another test of this process has called."""
    monkeypatch.setattr(machine, "_kept", 0)
