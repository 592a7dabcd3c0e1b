import numpy as np
import pytest
from problems import network_of


@pytest.fixture(scope="session")
def network(narrow):
    return network_of(narrow)


@pytest.fixture(scope="session")
def pair():
    random = np.random.default_rng(0)
    return np.float32(random.uniform(size=(24, 32, 3))), np.float32(random.uniform(size=(40, 28, 3)) ** 3)
