import numpy as np
import pytest

from nst_jax import Encoder


@pytest.fixture(scope="session")
def encoder(narrow):
    return Encoder(narrow, "narrow", "", "", "")


@pytest.fixture
def pair(random):
    return np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)) ** 3)
